#!/usr/bin/env python3
"""The prompt of phantom-testpmd as a user drives it, through a pseudo-terminal: completion, mistakes, Ctrl-C, the live
screen; and without a terminal: scripts, assertions, signals, JSON and CSV. Both Phantom ends are in the harness (mode
self), so it needs neither a gateway nor rights."""

import csv
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import netlab  # noqa: E402
import systest  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TESTPMD = netlab.built("tools", "testpmd", "phantom-testpmd")
LAB = os.path.join(ROOT, "tools", "testpmd-lab")
PROMPT = "phantom-testpmd> "
LIMIT_S = 120
STEP_S = 20  # for one answer, on a busy machine
VT100 = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]|\x1b[A-Z]")


class Checks(systest.Report):
    """What was seen is only of interest when it isn't what was wanted."""

    def check(self, name, passed, reason=""):
        return super().check(name, passed, "" if passed else reason)


class Scene:
    """A configuration of both ends, and files of one test."""

    def __init__(self, folder):
        self.folder = folder
        lab = os.path.join(folder, "lab")
        subprocess.run([LAB, lab, "--self", "--sessions", "3"], check=True, stdout=subprocess.DEVNULL)
        self.base = [TESTPMD, os.path.join(lab, "harness.toml")]
        self.first = True

    def command(self, *more):
        init, self.first = (["--init-state"] if self.first else []), False
        return [*self.base, *init, *more]

    def file(self, name, text=""):
        path = os.path.join(self.folder, name)
        if text:
            with open(path, "w", encoding="ascii") as out:
                out.write(text)
        return path

    def run(self, *more, text=None):
        """Without a terminal."""
        return subprocess.run(self.command(*more), input=text, stdin=subprocess.DEVNULL if text is None else None,
                              capture_output=True, text=True, timeout=60, check=False)


class Terminal:
    """A program on a pseudo-terminal, and a user who waits for what he expects to see."""

    def __init__(self, command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "vt100"
            os.execv(command[0], command)
        self.seen = ""  # not yet expected

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, part, seconds=STEP_S):
        """Everything up to and with `part`, without control sequences; fails when it doesn't come."""
        end = time.monotonic() + seconds
        while part not in self.seen:
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"{part!r} did not come, but {self.seen[-400:]!r}")
            try:
                chunk = os.read(self.fd, 65536)
            except OSError:
                chunk = b""
            if not chunk:
                raise AssertionError(f"the program ended before {part!r}, after {self.seen[-400:]!r}")
            self.seen += VT100.sub("", chunk.decode())
        before, self.seen = self.seen.split(part, 1)
        return before + part

    def enter(self, line):
        """What a command answers, up to the next prompt."""
        self.type(line + "\r")
        self.expect(line)
        return self.expect(PROMPT)

    def leave(self):
        """The exit code, within a time."""
        end = time.monotonic() + STEP_S
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode()
                except OSError:
                    time.sleep(0.05)
        raise AssertionError("the program did not end")

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


def start_up(scene, report):
    """Exit codes of what keeps a harness from starting; the store is made last."""
    for name, command, code in (
            ("no configuration", [TESTPMD, "/nonexistent.toml"], 2),
            ("no state store", scene.base, 3),
            ("an argument that EAL doesn't know", scene.command("--eal", "--no-such-argument"), 4)):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
        report.check(f"{name}, exit code {code}", done.returncode == code and done.stderr,
                     f"{done.returncode}: {done.stderr}")


def recorded_session(scene, report):
    user = Terminal(scene.command())
    try:
        user.expect(PROMPT)
        user.type("sto\t")
        user.expect("stop ")
        user.type("\x15\x03")  # Ctrl-C clears the line
        user.expect(PROMPT)
        report.check("Tab completes a command", True)

        user.type("set fwd re\t\t")
        listed = user.expect("set fwd re", 5) + user.expect("reflect") + user.expect("set fwd re")
        report.check("Tab lists choices", "relay" in listed, listed)
        user.type("\x03")
        user.expect(PROMPT)

        answer = user.enter("set fdw self")
        report.check("a mistake names the nearest word and its place",
                     'column 5: unknown word "fdw"; did you mean "fwd"?' in answer, answer)
        answer = user.enter("set burst 65")
        report.check("a wrong number says what is expected", "packets in a burst, 1 to 64" in answer, answer)

        for line in ("set fwd self", "set txrate 20kpps", "set txpkts 128", "start", "wait 1"):
            answer = user.enter(line)
            report.check(f"prompt takes {line}", "column" not in answer, answer)
        answer = user.enter("show fwd stats all")
        sent = re.search(r"sent packets +([\d,]+)", answer)
        report.check("show fwd stats all counts packets", bool(sent) and int(sent[1].replace(",", "")) > 1000, answer)
        report.check("no line of it is wider than 100", max(map(len, answer.splitlines())) <= 100, answer)

        begun = time.monotonic()
        user.type("wait 50\r")
        time.sleep(0.3)
        user.type("\x03")
        user.expect("interrupted")
        user.expect(PROMPT)
        report.check("Ctrl-C interrupts a command", time.monotonic() - begun < 10)

        user.type("live\r")
        user.expect("q ends this view")
        user.type("q")
        user.expect(PROMPT)
        report.check("the live view ends with q", True)

        user.type("trial rate 1000 time 60\r")
        answer = user.expect(PROMPT)
        report.check("a trial is refused while traffic runs", "traffic runs; `stop` it" in answer, answer)

        user.type("\x1b[A\x1b[A\x1b[A\r")  # three up: before `trial` and `live`
        user.expect("wait 50")
        time.sleep(0.3)
        user.type("\x03")
        user.expect(PROMPT)
        report.check("the arrow keys bring lines back", True)

        answer = user.enter("stop")
        report.check("stop prints totals", "received packets" in answer, answer)
        user.type("trial rate 1k time 50\r")
        time.sleep(0.5)
        user.type("\x03")
        answer = user.expect("void because") + user.expect(PROMPT)
        report.check("Ctrl-C ends a trial, which is void", "interrupted" in answer, answer)
        user.type("set burst ?")
        answer = user.expect("[<burst>]")
        report.check("? tells what may follow", True, answer)
        user.type("\x03")
        user.expect(PROMPT)

        user.type("quit\r")
        code = user.leave()
        report.check("quit ends it with 0", code == 0, f"exit code {code}, {user.seen[-400:]}")
    finally:
        user.close()


def end_of_input(scene, report):
    user = Terminal(scene.command())
    try:
        user.expect(PROMPT)
        before = termios.tcgetattr(user.fd)[3] & termios.ECHO
        user.enter("set fwd self")
        user.enter("start")
        user.type("\x04")
        totals = user.expect("received packets")
        code = user.leave()
        after = termios.tcgetattr(user.fd)[3] & termios.ECHO
        report.check("Ctrl-D stops traffic, prints totals and ends with 0", code == 0, f"{code}: {totals}")
        report.check("the terminal is as it was", not before and after)
    finally:
        user.close()


def scripts(scene, report):
    script = scene.file("wrong.txt", "set fwd self\nset burst 8\nset brust 9\nstart\n")
    done = scene.run("--cmdline-file", script)
    report.check("a script's error names file and line, exit code 2",
                 done.returncode == 2 and f"{script}:3: column 5" in done.stderr and '"burst"' in done.stderr,
                 f"{done.returncode}: {done.stderr}")
    report.check("nothing after it ran", "received packets" not in done.stdout, done.stdout)

    done = scene.run(text="set fwd self\nset txrate 10k\nset format json\ntrial rate 10k time 0.5\nassert 'loss == 0'\n")
    report.check("without a terminal stdin is a script, and there is no prompt",
                 done.returncode == 0 and PROMPT not in done.stdout, f"{done.returncode}: {done.stderr}{done.stdout}")
    trial = json.loads(done.stdout.splitlines()[-1])["trials"][0]
    report.check("a trial's JSON", trial["offered"] >= 4500 and trial["loss"] == 0, str(trial))

    done = scene.run(text="assert 'sent > 0'\nset fwd gen\n")
    report.check("a false assertion of a script is exit code 1, with its values",
                 done.returncode == 1 and "stdin:1:" in done.stderr and "sent = 0" in done.stderr, done.stderr)


def tables(text):
    """CSV tables by the name in their first column."""
    found = {}
    for block in text.split("\n\n"):
        rows = list(csv.DictReader(block.splitlines()))
        if rows:
            found[rows[0]["table"]] = rows
    return found


def results(scene, report):
    written = scene.file("out.json"), scene.file("out.csv")
    script = scene.file("run.txt", "set fwd self\nset txrate 10k\n")
    done = scene.run("--cmdline-file", script, "--auto-start", "--run-seconds", "1", "--stats-period", "0.3",
                     "--assert", "loss==0 && sent>=5000", "--json", written[0], "--csv", written[1])
    report.check("--assert that holds: exit code 0", done.returncode == 0, f"{done.returncode}: {done.stderr}")
    report.check("--stats-period prints rates", len(re.findall(r"sent/s +\d", done.stdout)) >= 2, done.stdout)
    with open(written[0], encoding="utf-8") as file:
        found = json.load(file)
    both = found["ways"][2]
    report.check("--json has the totals", both["sent"] >= 5000 and both["loss"] == 0 and found["exit_code"] == 0
                 and found["assertions"][0]["holds"] and found["consistent"], str(both))
    with open(written[1], encoding="utf-8") as file:
        rows = tables(file.read())
    report.check("--csv has the same", int(rows["ways"][2]["sent"]) == both["sent"]
                 and len(rows["sessions"]) == 3, str(rows["ways"]))

    done = scene.run("--cmdline-file", script, "--auto-start", "--run-seconds", "0.5", "--assert",
                     "loss==0 && mpps>=1000")
    report.check("--assert that fails: exit code 1, and which part", done.returncode == 1
                 and "mpps>=1000 is false: mpps = " in done.stderr and "loss==0 is" not in done.stderr, done.stderr)
    done = scene.run("--assert", "los==0")
    report.check("--assert that can't be read: exit code 2 before anything starts",
                 done.returncode == 2 and 'did you mean "loss"' in done.stderr, done.stderr)
    done = scene.run("--no-such-option")
    report.check("an unknown option: exit code 2", done.returncode == 2, done.stderr)


def signals(scene, report):
    script = scene.file("forever.txt", "set fwd self\nset txrate 10k\nstart\nwait 1h\nset burst 3\n")
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(scene.command("--cmdline-file", script, "--stats-period", "0.2"),
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            line = process.stdout.readline()
            while line and "sent/s" not in line:
                line = process.stdout.readline()
            process.send_signal(number)
            out, err = process.communicate(timeout=STEP_S)
            report.check(f"{number.name} stops traffic, prints totals, exit code 0",
                         process.returncode == 0 and "received packets" in out, f"{process.returncode}: {err}{out}")
        finally:
            process.kill()
            process.wait()


def main():
    report = Checks()
    signal.alarm(LIMIT_S)
    folder = tempfile.mkdtemp(prefix="testpmd-prompt-")
    try:
        scene = Scene(folder)
        for part in (start_up, recorded_session, end_of_input, scripts, results, signals):
            try:
                part(scene, report)
            except (AssertionError, subprocess.SubprocessError, ValueError, KeyError, IndexError) as error:
                report.check(f"{part.__name__} ran to its end", False, str(error).replace("\n", " ")[:600])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if report.failed or not report.passed else 0)


if __name__ == "__main__":
    main()
