"""Figures of several interleaved runs: what is kept of them, and how they are compared."""

import statistics

# What a row is compared by: the first of these counters that it has.
COSTS = ("around", "poll", "forged", "cycles_per_packet", "cycles_per_message", "cycles", "send", "clean", "add_us",
         "session_bytes", "core_percent", "time_ns")


def summary(values):
    """Median, minimum, maximum, and spread: how far the largest is from the smallest, in shares of the smallest."""
    low, high = min(values), max(values)
    return {"median": statistics.median(values), "min": low, "max": high,
            "spread": (high - low) / abs(low) if low else 0.0, "values": values}


def cost_of(counters):
    """Name of the counter that says what a row costs."""
    return next((name for name in COSTS if name in counters), None)


def quiet(counters, name):
    """The minimum of a counter: the program's own over its samples where it gives one, else that of the runs."""
    return counters.get(name + "_min", counters[name])["min"]


def ratio(top, bottom, name):
    """How a counter of one row compares with the same of another, by medians, by minima, and run by run."""
    if name not in top or name not in bottom:
        return None
    pairs = [a / b for a, b in zip(top[name]["values"], bottom[name]["values"]) if b]
    if not pairs or not bottom[name]["median"] or not quiet(bottom, name):
        return None
    return {"median": top[name]["median"] / bottom[name]["median"], "min": quiet(top, name) / quiet(bottom, name),
            "spread": (max(pairs) - min(pairs)) / abs(min(pairs)) if min(pairs) else 0.0}


def variants(rows):
    """Pairs (ours, other) of rows whose names differ in one word only, which in ours begins with `ours`."""
    by_name = {(row["program"], row["name"]): row for row in rows if row["counters"]}
    groups = {}
    for program, name in by_name:
        words = name.split("/")
        for place in range(len(words)):
            groups.setdefault((program, place, tuple(words[:place] + words[place + 1:])), []).append((words[place], name))
    for (program, _, _), members in groups.items():
        for _, ours in (member for member in members if member[0].startswith("ours")):
            for _, other in (member for member in members if not member[0].startswith("ours")):
                yield by_name[(program, ours)], by_name[(program, other)]


def ratios(rows):
    """The list `ratios` of a report: what ours costs by what the other one costs; below 1 ours is cheaper."""
    found = []
    for ours, other in variants(rows):
        name = cost_of(ours["counters"])
        share = ratio(ours["counters"], other["counters"], name)
        if share:
            found.append({"program": ours["program"], "ours": ours["name"], "other": other["name"], "counter": name, **share})
    return found
