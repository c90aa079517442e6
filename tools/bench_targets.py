"""The targets that this data plane has set itself, each with what a run measured of it.

A target that a run could not measure has `measured` null and says why in `reason`. `measured` is of quiet minima: a
core that others share gets slower for seconds at a time, which the median of a short run may or may not have seen.
"""

import re

from bench_numbers import quiet, ratio

WAYS, SIZES = ("seal", "open"), (64, 512, 1400)
AROUND_CYCLES = {"seal": 60, "open": 50}
AROUND_MILLION_CYCLES = 120
MILLION = 1_000_000
SECGW = {1: {64: 1.7, 512: 1.4, 1400: 1.2}, 1000: {64: 1.9, 512: 1.6, 1400: 1.35}}
CRATE = 2.3
MILLION_RATE = 0.5
REKEY_COST = 0.02
SESSION_BYTES = 4096
SESSION_US = 20
STALL_US = 10
FORGED = {"tag": "current epoch", "unknown": "unknown session", "ahead": "epoch ahead", "replay": "replayed",
          "mixed": "all kinds in turn"}


class Unmeasured(Exception):
    """Why a target has no figure in this run."""


class Found:
    """What a run measured, by names of rows."""

    def __init__(self, rows, peers, problems):
        self.rows = {(row["program"], row["name"]): row for row in rows}
        self.peers, self.problems = peers, {problem["what"]: problem["why"] for problem in problems}

    def counters(self, program, name, *needed):
        row = self.rows.get((program, name))
        if row is None:
            raise Unmeasured(self.problems.get(program) or f"this run had no {program} {name}")
        if "error" in row:
            raise Unmeasured(f"{program} {name}: {row['error']}")
        for counter in needed:
            if counter not in row["counters"]:
                raise Unmeasured(f"{program} {name} has no counter {counter}")
        return row["counters"]

    def matching(self, program, pattern):
        """Counters of all rows of a program whose names match."""
        found = [self.counters(program, name) for of, name in self.rows if of == program and re.search(pattern, name)]
        if not found:
            raise Unmeasured(self.problems.get(program) or f"this run had no row {pattern} of {program}")
        return found

    def peer(self, what, way, size, sessions):
        for entry in self.peers:
            if (entry["peer"], entry["way"], entry["bytes"], entry["sessions"]) == (what, way, size, sessions):
                return entry
        raise Unmeasured(self.problems.get(what, f"{what} was not run: --peers"))


def counter(found, program, name, what):
    """Minimum and median of a counter."""
    counters = found.counters(program, name, what)
    return quiet(counters, what), counters[what]["median"]


def peer_ratio(found, what, way, size, sessions):
    entry = found.peer(what, way, size, sessions)
    if entry.get("ratio") is None:
        raise Unmeasured(entry.get("reason", "no ratio"))
    return entry["ratio"]["min"], entry["ratio"]["median"]


def of_one_session(found, way):
    """Rate with a million sessions by that with one, of the same program and run."""
    counters = found.counters("bench_scale", f"{way}/uniform/sessions:{MILLION}", "poll", "one_poll")
    pair = {"poll": counters["one_poll"], "poll_min": counters.get("one_poll_min", counters["one_poll"])}
    share = ratio(pair, counters, "poll")
    return share["min"], share["median"]


def worst_rate(found, kind):
    """Rate under forgeries by that of clean traffic, of the row where it is least."""
    shares = []
    for counters in found.matching("bench_pipeline", f"^forged/{kind}/"):
        clean = {"rate": counters["clean"], "rate_min": counters.get("clean_min", counters["clean"])}
        half = {"rate": counters["forged"], "rate_min": counters.get("forged_min", counters["forged"])}
        shares.append(ratio(clean, half, "rate"))
    worst = min(shares, key=lambda share: share["min"])
    return worst["min"], worst["median"]


def rekey_cost(found, way):
    """Share of throughput lost, of the row where it is most."""
    rows = found.matching("bench_pipeline", f"^rekey/{way}/")
    return max((quiet(counters, "cost"), counters["cost"]["median"]) for counters in rows)


def rekey_loss(found):
    """Packets lost: a row that loses one ends in an error instead of figures."""
    rows = found.matching("bench_pipeline", "^rekey/")
    if not all(counters["rekeys"]["min"] > 0 for counters in rows):
        raise Unmeasured("a row of bench_pipeline rekey/ had no rekeys")
    return 0, 0


def counted(sessions):
    return "1 session" if sessions == 1 else f"{sessions:,} sessions"


def of_session(what):
    """Of the gateway with 1,000 idle sessions, routes included."""
    return lambda found: counter(found, "bench_control", "session/route/sessions:1000", what)


def idle_session(found):
    """A slot of the shard, the keys it holds, and what control keeps of it."""
    return counter(found, "bench_control", "memory/sessions:1000", "session_bytes")


def targets():
    """All of them: name, unit, whether the bound is the most or the least, bound, and how to measure it."""
    for way in WAYS:
        for size in SIZES:
            yield (f"around AEAD and ports, {way}, {size} B, 1 session", "cycles a packet", "at most", AROUND_CYCLES[way],
                   lambda found, way=way, size=size: counter(found, "bench_pipeline", f"{way}/bytes:{size}/sessions:1",
                                                             "around"))
    for way in WAYS:
        yield (f"around AEAD and ports, {way}, 64 B, 1,000,000 sessions at random", "cycles a packet", "at most",
               AROUND_MILLION_CYCLES,
               lambda found, way=way: counter(found, "bench_scale", f"{way}/uniform/sessions:{MILLION}", "around"))
    for sessions, bounds in SECGW.items():
        for way in WAYS:
            for size, bound in bounds.items():
                yield (f"packets per second by those of ipsec-secgw, {way}, {size} B, {counted(sessions)}", "times",
                       "at least", bound,
                       lambda found, way=way, size=size, sessions=sessions: peer_ratio(found, "ipsec-secgw", way, size,
                                                                                       sessions))
    for way in WAYS:
        for size in SIZES:
            yield (f"packets per second by those of the reference crate, {way}, {size} B", "times", "at least", CRATE,
                   lambda found, way=way, size=size: peer_ratio(found, "crate", way, size, 1))
    for way in WAYS:
        yield (f"rate with 1,000,000 sessions at random by that with one, {way}, 64 B", "times", "at least", MILLION_RATE,
               lambda found, way=way: of_one_session(found, way))
    for way in WAYS:
        yield (f"throughput lost to a rekey every 10,000 packets, {way}", "share", "at most", REKEY_COST,
               lambda found, way=way: rekey_cost(found, way))
    yield "packets lost to a rekey every 10,000 packets", "packets", "at most", 0, rekey_loss
    yield "memory of an idle session", "bytes", "at most", SESSION_BYTES, idle_session
    for what, name in (("adding", "add_us"), ("removing", "remove_us")):
        yield f"control core's time for {what} a session", "us", "at most", SESSION_US, of_session(name)
    yield "longest stall of a worker by a control action", "us", "at most", STALL_US, of_session("stall_us")
    for kind, text in FORGED.items():
        yield (f"packets per second with half the traffic forged ({text}) by clean", "times", "at least", 1,
               lambda found, kind=kind: worst_rate(found, kind))


def measure(rows, peers, problems):
    """The list `targets` of a report."""
    found, listed = Found(rows, peers, problems), []
    for name, unit, sense, bound, how in targets():
        entry = {"name": name, "unit": unit, "sense": sense, "bound": bound, "measured": None, "median": None, "met": None}
        try:
            entry["measured"], entry["median"] = how(found)
            entry["met"] = entry["measured"] <= bound if sense == "at most" else entry["measured"] >= bound
        except Unmeasured as why:
            entry["reason"] = str(why)
        listed.append(entry)
    return listed
