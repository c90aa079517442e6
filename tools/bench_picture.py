"""The report's picture: where a packet's cycles go, what sessions cost, peers, targets. Drawn with tools/plot's parts."""

import importlib.machinery
import importlib.util
import os
import re
import sys

from bench_numbers import quiet

STACK = (("port", "ports alone"), ("aead", "AEAD call"), ("around", "around both"))


def load_plot():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "plot")
    loader = importlib.machinery.SourceFileLoader("plot", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("plot", loader))
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


plot = load_plot()


class Bars:
    """Groups of bars in a panel; `at`: middle in shares of a group."""

    def __init__(self, panel, groups, bars):
        self.panel, self.width = panel, 0.8 * panel.width / groups / bars
        self.bars = bars

    def middle(self, group, bar):
        return self.panel.px(group) + (bar - (self.bars - 1) / 2) * self.width

    def draw(self, group, bar, low, high, colour, text=""):
        panel = self.panel
        top, bottom = panel.py(high), panel.py(low)
        panel.picture.add("rect", x=self.middle(group, bar) - self.width * 0.45, y=top, width=self.width * 0.9,
                          height=max(0.0, bottom - top), fill=colour, fill_opacity=0.85)
        if text:
            panel.picture.text(self.middle(group, bar), top - 4, text, size=10, anchor="middle")


def group_name(size, sessions):
    return f"{size}, {sessions}"


def pipeline_rows(rows, way):
    found = []
    for row in rows:
        name = re.fullmatch(rf"{way}/bytes:(\d+)/sessions:(\d+)", row["name"])
        if name and row["program"] == "bench_pipeline" and {"port", "aead", "around"} <= row["counters"].keys():
            found.append((group_name(int(name[1]), int(name[2])), row["counters"]))
    return found


def stack_panel(picture, box, way, rows):
    most = max(sum(max(0, quiet(c, part)) for part, _ in STACK) for _, c in rows)
    panel = plot.Panel(picture, box, f"{way}: where a packet's cycles go (minima)", plot.Groups([name for name, _ in rows]),
                       plot.Linear(0, most * 1.08), "inner bytes, sessions", "time stamp cycles a packet")
    bars = Bars(panel, len(rows), 1)
    for group, (_, counters) in enumerate(rows):
        low = 0
        for (part, _), colour in zip(STACK, plot.COLOURS):
            high = low + max(0, quiet(counters, part))
            last = part == STACK[-1][0]
            bars.draw(group, 0, low, high, colour, plot.number(high) if last else "")
            low = high
    for (_, text), colour in zip(STACK, plot.COLOURS):
        panel.legend(text, colour)


def draw_pipeline(picture, rows):
    panels = [(way, found) for way in ("seal", "open") if (found := pipeline_rows(rows, way))]
    if panels:
        picture.heading("The pipeline")
        for box, (way, found) in zip(picture.row(2), panels):
            stack_panel(picture, box, way, found)
    return bool(panels)


def scale_points(rows, name):
    found = []
    for row in rows:
        match = re.fullmatch(re.escape(name) + r"/sessions:(\d+)", row["name"])
        if match and row["program"] == "bench_scale" and "poll" in row["counters"]:
            found.append((int(match[1]), quiet(row["counters"], "poll")))
    return sorted(found)


def draw_scale(picture, rows):
    names = ("seal/uniform", "open/uniform", "seal/zipf", "open/zipf")
    curves = {name: points for name in names if (points := scale_points(rows, name))}
    if not curves:
        return False
    everything = [value for points in curves.values() for _, value in points]
    sessions = [count for points in curves.values() for count, _ in points]
    picture.heading("Sessions")
    panel = plot.Panel(picture, picture.row(1)[0], "cycles a packet by sessions in traffic, 64 bytes (minima)",
                       plot.Log(max(1, min(sessions)), max(sessions)), plot.Linear(0, max(everything)),
                       "sessions that all have traffic", "time stamp cycles a packet")
    for (name, points), colour in zip(curves.items(), plot.COLOURS):
        panel.path(points, colour)
        for count, value in points:
            panel.dot(count, value, colour, hint=f"{name}, {count:,} sessions: {value:.0f}")
        panel.legend(name, colour)
    return True


def peer_panel(picture, box, way, entries):
    names = [group_name(e["bytes"], e["sessions"]) for e in entries]
    most = max(max(e["cycles"]["min"], e["ours"]["min"]) for e in entries)
    panel = plot.Panel(picture, box, f"{way}: cycles a packet beside {entries[0]['peer']} (minima)", plot.Groups(names),
                       plot.Linear(0, most * 1.08), "inner bytes, sessions", "time stamp cycles a packet")
    bars = Bars(panel, len(entries), 2)
    for group, entry in enumerate(entries):
        for bar, (key, colour) in enumerate((("ours", plot.COLOURS[0]), ("cycles", plot.COLOURS[1]))):
            bars.draw(group, bar, 0, entry[key]["min"], colour, plot.number(entry[key]["min"]))
    panel.legend("ours", plot.COLOURS[0])
    panel.legend(entries[0]["peer"], plot.COLOURS[1])


def draw_peers(picture, peers):
    compared = [entry for entry in peers if entry.get("ratio") and entry.get("cycles")]
    drawn = False
    for peer in dict.fromkeys(entry["peer"] for entry in compared):
        panels = [(way, found) for way in ("seal", "open")
                  if (found := [e for e in compared if e["peer"] == peer and e["way"] == way])]
        if not drawn:
            picture.heading("Peers")
        for box, (way, found) in zip(picture.row(2), panels):
            peer_panel(picture, box, way, found)
        drawn = True
    return drawn


def draw_targets(picture, targets):
    """Every target that was measured, as a share of its bound: to the left of the line is met, to the right missed."""
    measured = [t for t in targets if t["measured"] is not None and t["bound"]]
    if not measured:
        return False
    picture.heading("Targets: measured by bound; left of the line is met")
    left, width, step, most = 560, plot.WIDTH - 560 - 130, 20, 2.0
    top = picture.height + 6
    for place, target in enumerate(measured):
        share = target["measured"] / target["bound"]
        if target["sense"] == "at least":
            share = 1 / share if share > 0 else most
        y = top + place * step
        picture.text(left - 8, y + 13, target["name"], size=11, anchor="end")
        picture.add("rect", x=left, y=y + 3, width=width * max(0.0, min(share, most)) / most, height=step - 6,
                    fill=plot.GOOD if target["met"] else plot.BAD, fill_opacity=0.85)
        picture.text(left + width + 6, y + 13, f"{round(target['measured'], 4):.3g}, {target['sense']} {target['bound']:g}", size=11)
    bottom = top + len(measured) * step
    picture.line(left + width / most, top, left + width / most, bottom, stroke=plot.INK, width=1.5)
    picture.height = bottom + plot.MARGIN
    return True


def draw(report):
    """The picture, or nothing when a run measured nothing that is drawn."""
    picture = plot.Picture()
    drawn = draw_pipeline(picture, report["rows"])
    drawn = draw_scale(picture, report["rows"]) or drawn
    drawn = draw_peers(picture, report["peers"]) or drawn
    drawn = draw_targets(picture, report["targets"]) or drawn
    return picture.svg() if drawn else None
