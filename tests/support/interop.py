"""The published crate as a peer: building tests/interop and running it in a namespace."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import netlab
import systest
from netlab import LabError

FOLDER = os.path.join(netlab.ROOT, "tests", "interop")
OLDEST_CARGO = (1, 85)  # what the locked dependencies ask for
FETCH_LIMIT_S = 180
BUILD_LIMIT_S = 600
ANSWER_LIMIT_S = 20


class Missing(Exception):
    """It can't be built here, and that is nobody's fault: the text says why."""


def cargo():
    """A cargo that is young enough, or Missing."""
    found = "none is installed"
    for place in (shutil.which("cargo"), os.path.expanduser("~/.cargo/bin/cargo")):
        if not place or not os.access(place, os.X_OK):
            continue
        version = subprocess.run([place, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
        number = re.search(r"(\d+)\.(\d+)", version)
        if number and (int(number.group(1)), int(number.group(2))) >= OLDEST_CARGO:
            return place
        found = f"{place} is {version.strip() or 'broken'}"
    raise Missing(f"no cargo of {OLDEST_CARGO[0]}.{OLDEST_CARGO[1]} or later: {found}")


def _last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"


def build():
    """Builds the program in the build folder, where it stays; its path. Missing when no registry can be reached."""
    target = netlab.built("interop")
    place = cargo()
    env = {**os.environ, "CARGO_TARGET_DIR": target, "PATH": os.path.dirname(place) + os.pathsep + os.environ["PATH"]}

    def run(limit_s, *words):
        command = [place, *words, "--locked", "--manifest-path", os.path.join(FOLDER, "Cargo.toml")]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, timeout=limit_s, env=env)
        except subprocess.TimeoutExpired:
            return f"cargo {words[0]} did not end within {limit_s} s"
        return "" if done.returncode == 0 else done.stdout

    trouble = run(FETCH_LIMIT_S, "fetch", "--target", "x86_64-unknown-linux-gnu")
    if trouble:
        raise Missing(f"cargo could not fetch the crate: {_last_line(trouble)}")
    trouble = run(BUILD_LIMIT_S, "build", "--release", "--offline")
    if trouble:
        raise LabError(f"cargo build failed:\n{trouble}")
    return os.path.join(target, "release", "phantom-interop")


# Without a rekey that was asked for. When an acknowledgement of the crate overtakes a segment that was numbered before, it
# takes that for a span of 2^32 and rekeys (W-12); the repetition of an older segment may make it once more.
EPOCHS_OF_ITS_OWN = range(4)


class Program:
    """One run of the program: lines in, JSON out. `start` is how: a namespace's or a lab's."""

    def __init__(self, start, binary, mode, log, **options):
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        with open(log, "ab") as errors:
            self.process = start([binary, mode, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                                 text=True)

    def say(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self, limit_s=ANSWER_LIMIT_S):
        timer = threading.Timer(limit_s, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise LabError("the crate's peer ended or hung; its log says why")
        return json.loads(line)

    def finish(self):
        """Ends it; the final report."""
        self.process.stdin.close()
        last = self.answer()
        self.process.wait(timeout=ANSWER_LIMIT_S)
        return last


class PacketPeer(Program):
    """One session's far end at packet level, in a namespace."""

    def __init__(self, space, binary, log, **options):
        super().__init__(lambda command, **how: space.start(*command, **how), binary, "packet", log, **options)

    def tell(self, *words):
        """One command; its answer."""
        self.say(*words)
        return self.answer()

    def report(self):
        return self.tell("report")


class Pump(Program):
    """A whole session of the crate; role is the crate's. Once made, id_file and secret_file are what its peer needs."""

    def __init__(self, start, binary, role, log, folder, **options):
        self.id_file, self.secret_file = (os.path.join(folder, f"{role}.{what}") for what in ("id", "secret"))
        self.limit_s = options.get("limit", 60)
        super().__init__(start, binary, f"pump-{role}", log, id_file=self.id_file, secret_file=self.secret_file, **options)
        ready = self.answer()
        self.peer_role = "responder" if ready["peer_is_responder"] else "initiator"
        self.stream = ready["stream"]

    def transfer(self):
        """Lets it begin; what it sent and received."""
        self.say("go")
        return self.answer(self.limit_s + ANSWER_LIMIT_S)


class Echo(Program):
    """The program's own peer of a pump, which sends everything back."""

    def __init__(self, start, binary, log, pump, **options):
        super().__init__(start, binary, "echo", log, id_file=pump.id_file, secret_file=pump.secret_file,
                         role=pump.peer_role, **options)
        self.answer()


def start_test(name, body, limit_s):
    """Builds the program and runs body(lab, report, binary) in a lab; never returns."""
    if netlab.missing_rights():
        systest.main(name, None, limit_s)
    try:
        began = time.monotonic()
        binary = build()
        print(f"     built in {time.monotonic() - began:.0f} s", flush=True)
    except Missing as why:
        systest.Report().skip(name, str(why))
        sys.exit(0)
    except LabError as why:
        print(why)
        systest.Report().check("the program on the published crate builds", False)
        sys.exit(1)
    systest.main(name, lambda lab, report: body(lab, report, binary), limit_s)
