#!/usr/bin/env python3
"""tools/bench measures, reports and leaves nothing behind; tools/bench-compare sees a difference that was planted."""

import copy
import glob
import json
import os
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import netlab  # noqa: E402
from netlab import ROOT, wait_until  # noqa: E402
from systest import Report  # noqa: E402

BENCH, COMPARE = (os.path.join(ROOT, "tools", name) for name in ("bench", "bench-compare"))
SHORT = ("--quick", "--no-setup", "--no-build", "--rounds", "2", "--only", "windows")
LIMIT_S = 40
PLANTED = 1.25


def call(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=LIMIT_S, check=False)
    return done.returncode, done.stdout


def left_by(pid):
    """What a run with this process id may have left: folders and processes."""
    left = glob.glob(f"{tempfile.gettempdir()}/{netlab.TAG}-{pid}-*") + glob.glob(f"{netlab.RUNTIME}/{netlab.TAG}-{pid}-*")
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                if f"{netlab.TAG}-{pid}-".encode() in file.read():
                    left.append(path)
        except OSError:
            pass
    return left


def check_report(report, folder):
    path = os.path.join(folder, "run.json")
    code, text = call(BENCH, *SHORT, "--json", path)
    if not report.check("a short run measures", code == 0 and os.path.exists(path), text[-300:] if code else ""):
        return None
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    machine, rows, targets = found["machine"], found["rows"], found["targets"]
    report.check("the report knows the machine", machine["cpus"] > 0 and machine["cpu"] and machine["tsc_hz"] > 1e8 and
                 ("vaes" in machine["flags"]) == ("vaes" not in machine["lacks"]), machine["cpu"])
    counter = rows[0]["counters"]["cycles_per_packet"]
    report.check("rows have median, minimum and spread of both rounds", len(rows) >= 5 and len(counter["values"]) == 2 and
                 0 < counter["min"] <= counter["median"] and counter["spread"] >= 0, f"{len(rows)} rows")
    named = all({"name", "measured", "bound", "met"} <= target.keys() for target in targets)
    report.check("every target is listed, unmeasured ones with a reason", named and len(targets) > 20 and
                 all(t["measured"] is not None or (t["met"] is None and t["reason"]) for t in targets), f"{len(targets)}")
    with open(os.path.join(folder, "run.md"), encoding="utf-8") as file:
        text = file.read()
    report.check("the text names machine, targets and rows",
                 machine["cpu"] in text and targets[0]["name"] in text and rows[0]["name"] in text)
    return found


def check_refusals(report, folder):
    for words in (("--frobnicate",), ("--only", "nonsense"), ("--only", "openssl"), ("--rounds", "0"), ("--json",),
                  ("--json", "/nowhere/at/all.json", "--only", "windows"), ("garbage",)):
        code, text = call(BENCH, "--no-setup", "--no-build", *words)
        report.check(f"tools/bench {' '.join(words)} is refused", code == 2 and len(text) > 20 and "Traceback" not in text,
                     text.strip().splitlines()[-1] if text.strip() else "silent")
    broken = os.path.join(folder, "broken.json")
    with open(broken, "w", encoding="utf-8") as file:
        file.write('{"rows": [')
    for words in ((broken,), (folder,), ("/nowhere.json",), (broken, "--save", "--against", "x")):
        code, text = call(COMPARE, *words)
        report.check(f"bench-compare refuses {os.path.basename(words[0])} and {len(words) - 1} more",
                     code == 2 and text and "Traceback" not in text)


def check_killed(report, folder, number):
    """In the middle of a program: nothing is left of the run, and no report."""
    path = os.path.join(folder, f"killed-{number}.json")
    with subprocess.Popen([BENCH, "--no-setup", "--no-build", "--only", "aead", "--json", path], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        in_the_middle = wait_until(lambda: any("cmdline" in path for path in left_by(process.pid)), 20)
        process.send_signal(number)
        process.wait(timeout=20)
        gone = wait_until(lambda: not left_by(process.pid), 10)
        left = left_by(process.pid)
    report.check(f"ended by {signal.Signals(number).name} in the middle it leaves nothing",
                 in_the_middle and gone and not os.path.exists(path), f"left: {left}, started: {in_the_middle}")


def check_compare(report, folder, found):
    """Two files, of which one says that one row got slower by a quarter."""
    first, second, baseline = (os.path.join(folder, name) for name in ("a.json", "b.json", "baseline.json"))
    changed = copy.deepcopy(found)
    slow = changed["rows"][1]
    for counter in slow["counters"].values():
        for key in ("median", "min", "max"):
            counter[key] *= PLANTED
    for path, content in ((first, found), (second, changed)):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file)
    slower = lambda text: [line for line in text.splitlines() if line.rstrip(" |").endswith("slower")]
    code, text = call(COMPARE, first, first)
    report.check("a run is as fast as itself", code == 0 and "slower by" in text and " 0 slower" in text, text[-200:])
    code, text = call(COMPARE, first, second)
    lines = slower(text)
    report.check("a planted difference is seen, in its row alone", code == 1 and len(lines) == 1 and
                 slow["name"] in lines[0] and f"{PLANTED:.3f}" in lines[0], text[-300:])
    code, _ = call(COMPARE, second, first, "--filter", slow["name"] + "$")
    report.check("the other way round it is no complaint", code == 0)
    code, text = call(COMPARE, first, "--save", "--baseline", baseline)
    report.check("a run is kept as the baseline of its kind", code == 0 and found["machine"]["kind"] in text, text.strip())
    code, text = call(COMPARE, first, "--against", "--baseline", baseline)
    report.check("all its rows are in it, as fast", code == 0 and f"{len(found['rows'])} rows, 0 slower" in text, text[-200:])
    code, text = call(COMPARE, second, "--against", "--baseline", baseline)
    lines = slower(text)
    report.check("a later run is held against it, row by row", code == 1 and len(lines) == 1 and
                 slow["name"] in lines[0] and f"{PLANTED:.3f}" in lines[0], text[-300:])
    changed["machine"]["kind"] = "abacus"
    with open(second, "w", encoding="utf-8") as file:
        json.dump(changed, file)
    code, text = call(COMPARE, second, "--against", "--baseline", baseline)
    report.check("not against that of another kind of machine", code == 2 and "abacus" in text, text.strip())
    saved, _ = call(COMPARE, second, "--save", "--baseline", baseline)
    code, text = call(COMPARE, first, "--against", "--baseline", baseline)
    report.check("one kind's baseline leaves the others' alone", (saved, code) == (0, 0) and " 0 slower" in text, text[-200:])


def main():
    report = Report()
    build = os.environ.setdefault("PHANTOM_BUILD_DIR", os.path.join(ROOT, "build"))
    if not os.access(os.path.join(build, "bench", "bench_windows"), os.X_OK):
        report.skip("tools/bench", f"{build} has no benchmarks")
        return
    with tempfile.TemporaryDirectory() as folder:
        check_refusals(report, folder)
        check_killed(report, folder, signal.SIGTERM)
        check_killed(report, folder, signal.SIGKILL)
        found = check_report(report, folder)
        if found:
            check_compare(report, folder, found)
    sys.exit(1 if report.failed else 0)


main()
