"""Frame of a system test: PASS, FAIL and SKIP lines, an exit code, a limit in time, and a lab that is always removed."""

import os
import signal
import sys
import traceback

import netlab
from netlab import LabError


class Report:
    def __init__(self):
        self.failed = self.passed = 0

    def check(self, name, passed, reason=""):
        name = name.replace(":", " ")
        if passed:
            self.passed += 1
            print(f"PASS {name}" + (f": {reason}" if reason else ""), flush=True)
        else:
            self.failed += 1
            print(f"FAIL {name}: {reason or 'see above'}", flush=True)
        return bool(passed)

    def skip(self, name, reason):
        print(f"SKIP {name}: {reason}", flush=True)


def soak():
    return bool(os.environ.get("PHANTOM_SOAK"))


def _out_of_time(*_):
    raise LabError("out of time")


def main(name, body, limit_s, binary=None):
    """Runs body(lab, report) inside a lab; never returns."""
    report = Report()
    reason = netlab.missing_rights()
    binary = binary or netlab.gateway_binary()
    if reason:
        report.skip(name, reason)
        sys.exit(0)
    if not os.access(binary, os.X_OK):
        report.check(name, False, f"there is no program {binary}")
        sys.exit(1)
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.alarm(limit_s)
    try:
        with netlab.Lab() as lab:
            try:
                body(lab, report)
            except Exception as error:  # pylint: disable=broad-except  # whatever it was: a failed case with its place
                signal.alarm(0)
                traceback.print_exc(file=sys.stdout)
                show_logs(lab)
                report.check(f"{name} ran to its end", False, str(error).splitlines()[0] if str(error) else repr(error))
            signal.alarm(0)
            if report.failed:
                show_logs(lab)
    except LabError as error:
        report.check(f"{name} cleaned up in time", False, str(error))
    sys.exit(1 if report.failed or not report.passed else 0)


def show_logs(lab):
    for file in sorted(os.listdir(lab.folder)) if os.path.isdir(lab.folder) else []:
        if file.endswith(".log"):
            with open(os.path.join(lab.folder, file), encoding="utf-8", errors="replace") as log:
                print(f"--- last lines of {file}\n" + "".join(log.readlines()[-20:]), flush=True)
