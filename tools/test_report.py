#!/usr/bin/env python3
"""Runs tests for tools/test and counts their cases.

Every command appends its cases to a results file (one JSON object a line: phase, name, verdict, reason), and
`summary` turns that file into the closing lines of tools/test. A case is one GoogleTest case, one lint check, one
PASS/FAIL/SKIP line of a system test, or a test program that knows no cases of its own. A program that crashes, times
out, or reports nothing is a failed case: silence never counts as success.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

VERDICTS = ("PASS", "FAIL", "SKIP")
LINE = re.compile(r"^(PASS|FAIL|SKIP) ([^:]+)(?:: (.*))?$")
TAIL_LINES = 60
KILL_GRACE_S = 10


class Results:
    """Appends cases to the results file and prints what isn't a pass."""

    def __init__(self, path, phase, say=True):
        self.path = path
        self.phase = phase
        self.say = say
        self.counts = dict.fromkeys(VERDICTS, 0)
        self.started = time.monotonic()

    def add(self, verdict, name, reason=""):
        self.counts[verdict] += 1
        record = {"phase": self.phase, "name": name, "verdict": verdict, "reason": reason}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        if self.say and verdict != "PASS":
            print(f"  {verdict} {name}" + (f": {reason}" if reason else ""), flush=True)

    def finish(self):
        if not sum(self.counts.values()):
            self.add("FAIL", "no tests", "this part ran no test at all")
        passed, failed, skipped = (self.counts[verdict] for verdict in VERDICTS)
        seconds = time.monotonic() - self.started
        print(f"[{self.phase}] {passed} passed, {failed} failed, {skipped} skipped in {seconds:.0f} s", flush=True)
        return 1 if failed else 0


def kill_group(process):
    """Ends a child started in its own session, with everything it started."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, signal_number)
            process.wait(timeout=KILL_GRACE_S)
        except (ProcessLookupError, PermissionError):
            return
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def run_killable(command, on_line, timeout_s, env=None):
    """Runs a command in its own session, hands its output over by lines; the exit code, or None after a timeout."""
    # A shell's background job ignores SIGINT, and a test that sends itself one must not inherit that.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env=env, start_new_session=True, text=True, errors="replace",
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    timed_out = threading.Event()

    def expire():
        timed_out.set()
        kill_group(process)

    timer = threading.Timer(timeout_s, expire)
    timer.start()
    try:
        for line in process.stdout:
            on_line(line.rstrip("\n"))
        process.wait()
    finally:
        timer.cancel()
        if process.poll() is None:
            kill_group(process)
    return None if timed_out.is_set() else process.returncode


def tail(text):
    lines = text.splitlines()
    return "\n".join("    | " + line for line in lines[-TAIL_LINES:])


# --- GoogleTest binaries under meson ---------------------------------------------------------------------------------

def xml_reports(folder, program):
    """Reports of one program: GoogleTest names them PROGRAM.xml, PROGRAM_1.xml, ... when it ran more than once."""
    own = re.compile(re.escape(program) + r"(_\d+)?\.xml$")
    return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if own.fullmatch(name)]


def cases_of_report(path):
    for element in ElementTree.parse(path).iter("testcase"):
        name = f"{element.get('classname')}.{element.get('name')}"
        failure = element.find("failure")
        skipped = element.find("skipped")
        if failure is not None:
            text = failure.get("message") or failure.text or "failed"
            yield "FAIL", name, " / ".join(text.split("\n")[:6])
        elif skipped is not None or element.get("result") == "skipped":
            reason = (skipped.get("message") or "") if skipped is not None else ""
            yield "SKIP", name, reason.strip().replace("\n", " / ") or "the test gives no reason"
        elif element.get("status") == "notrun":
            yield "FAIL", name, "disabled: a test that never runs is no test"
        else:
            yield "PASS", name, ""


def add_program(results, folder, program, entries):
    """Counts the cases of one test program; entries are its runs as meson saw them."""
    found_failure = False
    cases = 0
    for path in xml_reports(folder, program):
        try:
            for verdict, name, reason in cases_of_report(path):
                cases += 1
                found_failure = found_failure or verdict == "FAIL"
                results.add(verdict, f"{program}: {name}", reason)
        except ElementTree.ParseError:
            results.add("FAIL", f"{program}: {os.path.basename(path)}", "its report is cut short")
            found_failure = True
    for entry in entries:
        outcome = entry["result"]
        if outcome in ("OK", "EXPECTEDFAIL"):
            if not cases:
                results.add("PASS", entry["name"])
        elif outcome == "SKIP":
            results.add("SKIP", entry["name"], (entry.get("stdout") or "").strip().split("\n")[-1] or "exit code 77")
        else:
            if not found_failure:
                results.add("FAIL", entry["name"], f"{outcome}, exit code {entry['returncode']}, {entry['duration']:.0f} s")
            print(tail((entry.get("stdout") or "") + (entry.get("stderr") or "")), flush=True)


def meson_command(args):
    command = ["meson", "test", "-C", args.build, "--num-processes", str(os.cpu_count() or 1)]
    command += ["--timeout-multiplier", str(args.timeout_multiplier)]
    for suite in args.suite:
        command += ["--suite", suite]
    for suite in args.no_suite:
        command += ["--no-suite", suite]
    if args.fixed_addresses:
        # Sanitizer run times of older compilers can't always place their shadow memory under full address
        # randomization; without it they always can.
        command = ["setarch", "-R"] + command
    return command


def run_meson(args):
    results = Results(args.results, args.phase)
    folder = os.path.abspath(os.path.join(args.build, "gtest-reports"))
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    log = os.path.join(args.build, "meson-logs", "testlog.json")
    if os.path.exists(log):
        os.remove(log)
    output = []
    env = dict(os.environ, GTEST_OUTPUT=f"xml:{folder}/")
    code = run_killable(meson_command(args), output.append, args.timeout, env)
    programs = {}
    if os.path.exists(log):
        with open(log, encoding="utf-8") as file:
            for entry in map(json.loads, file):
                programs.setdefault(os.path.basename(entry["command"][0]), []).append(entry)
    for program, entries in programs.items():
        add_program(results, folder, program, entries)
    if code is None:
        results.add("FAIL", "meson test", f"ended after {args.timeout:.0f} s")
    elif code and not results.counts["FAIL"]:
        print(tail("\n".join(output)), flush=True)
        results.add("FAIL", "meson test", f"exit code {code}; its last lines are above")
    return results.finish()


# --- programs that print PASS, FAIL and SKIP lines -------------------------------------------------------------------

def wanted_timeout(path, default_s):
    """A script may ask for its own bound in one of its first lines: `# timeout: SECONDS`."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for _, line in zip(range(20), file):
            match = re.match(r"#\s*timeout:\s*(\d+)\s*$", line)
            if match:
                return float(match.group(1))
    return default_s


def run_lines(args):
    results = Results(args.results, args.phase, say=False)

    def on_line(line):
        print(f"  {line}", flush=True)
        match = LINE.match(line)
        if match:
            results.add(match.group(1), match.group(2), match.group(3) or "")

    program = args.command[0]
    timeout_s = wanted_timeout(program, args.timeout)
    code = run_killable(args.command, on_line, timeout_s)
    results.say = True
    name = os.path.basename(program)
    if code is None:
        results.add("FAIL", name, f"no end after {timeout_s:.0f} s")
    elif code and not results.counts["FAIL"]:
        results.add("FAIL", name, f"exit code {code}")
    return results.finish()


# --- single cases and the end ----------------------------------------------------------------------------------------

def add_case(args):
    Results(args.results, args.phase).add(args.verdict, args.name, args.reason)
    return 0


def summary(args):
    records = []
    if os.path.exists(args.results):
        with open(args.results, encoding="utf-8") as file:
            records = [json.loads(line) for line in file]
    counts = dict.fromkeys(VERDICTS, 0)
    for record in records:
        counts[record["verdict"]] += 1
    for verdict, title in (("SKIP", "Skipped:"), ("FAIL", "Failed:")):
        chosen = [record for record in records if record["verdict"] == verdict]
        if chosen:
            print(f"\n{title}")
        for record in chosen:
            print(f"  [{record['phase']}] {record['name']}: {record['reason'] or 'no reason given'}")
    nothing_ran = counts["PASS"] + counts["FAIL"] == 0
    if nothing_ran:
        print("\nNo test ran at all; that counts as a failure.")
    print()
    line = f"{counts['PASS']} passed, {counts['FAIL']} failed"
    print(line + (f", {counts['SKIP']} skipped" if counts["SKIP"] else ""), flush=True)
    return 1 if counts["FAIL"] or nothing_ran else 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", required=True, help="file to append to")
    commands = parser.add_subparsers(required=True)

    meson = commands.add_parser("meson", help="run the tests of a meson build folder")
    meson.add_argument("--phase", required=True)
    meson.add_argument("--build", required=True)
    meson.add_argument("--suite", action="append", default=[])
    meson.add_argument("--no-suite", action="append", default=[])
    meson.add_argument("--timeout-multiplier", type=float, default=1)
    meson.add_argument("--timeout", type=float, default=1800, help="seconds for the whole run")
    meson.add_argument("--fixed-addresses", action="store_true", help="run without address randomization")
    meson.set_defaults(run=run_meson)

    lines = commands.add_parser("lines", help="run a program that prints PASS, FAIL and SKIP lines")
    lines.add_argument("--phase", required=True)
    lines.add_argument("--timeout", type=float, default=180)
    lines.add_argument("command", nargs="+")
    lines.set_defaults(run=run_lines)

    case = commands.add_parser("case", help="record one case")
    case.add_argument("phase")
    case.add_argument("verdict", choices=VERDICTS)
    case.add_argument("name")
    case.add_argument("reason", nargs="?", default="")
    case.set_defaults(run=add_case)

    commands.add_parser("summary", help="print the closing lines").set_defaults(run=summary)
    return parser.parse_args()


def main():
    args = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return args.run(args)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
