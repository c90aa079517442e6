"""The report as text: Markdown that reads well on a terminal too, and the marked section of README.md."""

import bench_numbers
from bench_numbers import quiet

BEGIN, END = "<!-- figures of tools/bench -->", "<!-- end of the figures of tools/bench -->"
# Of a pipeline's rows: counters that add up to a packet.
PARTS = ("poll", "port", "aead", "around")


def figure(value, unit=""):
    if value is None:
        return "-"
    if unit == "times":
        return f"{value:.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.1:
        return f"{value:.4f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def table(heads, rows):
    """A Markdown table whose columns are padded; the first column is text, the others are figures."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(heads)] + rows) for i in range(len(heads))]
    def line(cells):
        return "| " + " | ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                                 for i, (cell, width) in enumerate(zip(cells, widths))) + " |"
    ruler = "|" + "|".join("-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)) + "|"
    return "\n".join([line(heads), ruler] + [line(row) for row in rows])


def machine_lines(report):
    m, v = report["machine"], report["versions"]
    huge = m["hugepages"]
    return [f"- {m['cpu']} ({m['family']}), {m['cpus']} CPU(s), {m['memory_mib']} MiB, kind `{m['kind']}`; {m['system']}, "
            f"Linux {m['kernel']}",
            f"- flags: {' '.join(m['flags'])}; not: {' '.join(m['lacks']) or 'none'}",
            f"- time stamp counter {m['tsc_hz'] / 1e6:.0f} MHz, clock source {m['clock']}, governor: {m['governor']}; load "
            f"average before: {m['load']:.1f}",
            f"- hugepages: {huge['free']} of {huge['total']} free, {huge['kib']} KiB each",
            "- " + ", ".join(f"{name} {value}" for name, value in v.items())]


def verdict(target):
    return {None: "not measured", True: "yes", False: "no"}[target["met"]]


def targets_table(targets):
    rows = [(t["name"], f"{t['sense']} {figure(t['bound'], t['unit'])} {t['unit']}", figure(t["measured"], t["unit"]),
             figure(t["median"], t["unit"]), verdict(t)) for t in targets]
    return table(("target", "bound", "measured (minima)", "medians", "met"), rows)


def unmeasured_lines(targets):
    reasons = {}
    for target in targets:
        if target["met"] is None:
            reasons.setdefault(target["reason"], []).append(target["name"])
    return [f"- {reason} ({len(names)}: {names[0]}{', ...' if len(names) > 1 else ''})" for reason, names in reasons.items()]


def parts_table(rows, program):
    """Rows of the pipeline: what a packet costs and what of it is whose; median and, behind it, minimum."""
    lines = []
    for row in rows:
        if row["program"] == program and "around" in row["counters"]:
            counters = row["counters"]
            lines.append([row["name"]] + [f"{figure(counters[part]['median'])} / {figure(quiet(counters, part))}"
                                          if part in counters else "-" for part in PARTS])
    heads = {"poll": "whole", "port": "ports alone", "aead": "AEAD", "around": "around both"}
    return table(("row", *(heads[part] for part in PARTS)), lines) if lines else ""


def ratios_table(ratios):
    return table(("ours by other", "median", "minima", "spread"),
                 [(f"{r['ours']} by {r['other'].split('/')[differing(r)]}", figure(r["median"], "times"),
                   figure(r["min"], "times"), f"{r['spread'] * 100:.0f} %") for r in ratios])


def differing(pair):
    return next(i for i, (a, b) in enumerate(zip(pair["ours"].split("/"), pair["other"].split("/"))) if a != b)


def peers_table(peers):
    lines = []
    for entry in peers:
        share = entry.get("ratio")
        lines.append((f"{entry['peer']}{' (' + entry['mode'] + ')' if entry.get('mode') else ''}, {entry['way']}, "
                      f"{entry['bytes']} B, {entry['sessions']:,}",
                      *(figure(entry[key]["median"]) + " / " + figure(entry[key]["min"]) if entry.get(key) else "-"
                        for key in ("cycles", "ours")),
                      f"{share['median']:.2f} / {share['min']:.2f}" if share else "-",
                      f"{entry['cycles']['spread'] * 100:.0f} %" if entry.get("cycles") else "-"))
    notes = dict.fromkeys(f"- {entry['peer']}, {entry['way']}: {entry['note']}" for entry in peers if entry.get("note"))
    return table(("peer, direction, inner bytes, sessions", "its cycles", "ours", "ours faster by", "spread"),
                 lines) + "\n\n" + "\n".join(notes)


def rows_table(rows, program):
    lines = []
    for row in rows:
        if row["program"] != program:
            continue
        name = bench_numbers.cost_of(row["counters"])
        if "error" in row or name is None:
            lines.append((row["name"], "-", "-", "-", row.get("error", "no cost")))
            continue
        kept = row["counters"][name]
        lines.append((row["name"], name, figure(kept["median"]), figure(quiet(row["counters"], name)),
                      f"{kept['spread'] * 100:.0f} %"))
    return table(("row", "counter", "median", "minimum", "spread"), lines)


def summary_line(targets):
    met = sum(t["met"] is True for t in targets)
    missed = sum(t["met"] is False for t in targets)
    return f"{met} of {len(targets)} targets met, {missed} missed, {len(targets) - met - missed} not measured in this run"


def sections(report):
    """Heading and text of each part of the report."""
    rows = report["rows"]
    yield "Machine", "\n".join(machine_lines(report))
    lines = [targets_table(report["targets"]), "", summary_line(report["targets"]) + "."]
    reasons = unmeasured_lines(report["targets"])
    yield "Targets", "\n".join(lines + (["Not measured:", ""] + reasons if reasons else []))
    for program in dict.fromkeys(row["program"] for row in rows):
        parts = parts_table(rows, program)
        if parts:
            yield f"{program}: cycles a packet, median / minimum", parts
    if report["peers"]:
        yield "Peers: time stamp cycles a packet on one core, median / minimum", peers_table(report["peers"])
    if report["ratios"]:
        yield "Ours by others, same run", ratios_table(report["ratios"])
    for program in dict.fromkeys(row["program"] for row in rows):
        yield program, rows_table(rows, program)
    if report["problems"]:
        yield "What could not run", "\n".join(f"- {p['what']}: {p['why']}" for p in report["problems"])


def whole(report):
    head = (f"# Report of `{report['command']}`, {report['machine']['made']}, {report['seconds']:.0f} s, "
            f"{report['rounds']} rounds in turns\n\n"
            "Time stamp cycles unless said otherwise. Median of the rounds; minimum: the least of all samples, which is what "
            "compares on a machine whose cores are shared; spread: largest by smallest round.\n")
    return head + "".join(f"\n## {title}\n\n{text}\n" for title, text in sections(report))


def readme_section(report, picture):
    """What stands in README.md between the two comments; long tables are folded away."""
    parts = [f"`{report['command']}`, {report['machine']['made']}:", "\n".join(machine_lines(report))]
    parts += [f"![the report's picture]({picture})"] if picture else []
    for title, text in sections(report):
        if title == "Targets":
            parts.append(text)
        elif title.startswith(("bench_pipeline:", "bench_scale:", "Peers")):
            parts.append(f"<details><summary>{title}</summary>\n\n{text}\n\n</details>")
    return "\n\n".join(parts)


def rewrite(path, report, picture):
    """Puts the newest figures into the file; False when it has no marked section."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        return False
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{BEGIN}\n{readme_section(report, picture)}\n{END}{after}")
    return True
