#!/usr/bin/env python3
"""The worker's loop costs as many instructions a packet as the stored baseline says, and the check would notice more."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

from netlab import ROOT  # noqa: E402
from systest import Report  # noqa: E402

PLANTED = 80  # instructions a packet more: well above the tolerance
LIMIT_S = 170
SKIPPED = 77


def cost(*arguments):
    build = os.environ.get("PHANTOM_BUILD_DIR", os.path.join(ROOT, "build"))
    done = subprocess.run([os.path.join(ROOT, "tools", "instruction-cost"), "--build", build, *arguments],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S)
    return done.returncode, (done.stdout + done.stderr).strip()


def main():
    report = Report()
    code, text = cost()
    print(text)
    if code == SKIPPED:
        report.skip("instructions a packet", text.splitlines()[-1])
        return
    report.check("instructions a packet are those of the baseline", code == 0, "" if code == 0 else
                 "see above; a change that is meant: tools/instruction-cost --update")
    code, text = cost("--only", "seal/64/1", "--waste", str(PLANTED))
    report.check(f"{PLANTED} instructions more a packet are noticed", code == 1, text.splitlines()[-1])
    sys.exit(1 if report.failed else 0)


main()
