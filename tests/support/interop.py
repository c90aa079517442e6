"""The published crate as a peer: building tests/interop and running it in a namespace."""

import json
import os
import re
import shutil
import subprocess
import threading

import netlab
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

    trouble = run(FETCH_LIMIT_S, "fetch")
    if trouble:
        raise Missing(f"cargo could not fetch the crate: {_last_line(trouble)}")
    trouble = run(BUILD_LIMIT_S, "build", "--release", "--offline")
    if trouble:
        raise LabError(f"cargo build failed:\n{trouble}")
    return os.path.join(target, "release", "phantom-interop")


class PacketPeer:
    """One session's far end at packet level: commands in, JSON out."""

    def __init__(self, space, binary, log, **options):
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        with open(log, "ab") as errors:
            self.process = space.start(binary, "packet", *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=errors, text=True)

    def tell(self, *words):
        """One command; its answer."""
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self):
        timer = threading.Timer(ANSWER_LIMIT_S, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise LabError("the crate's peer ended or hung; its log says why")
        return json.loads(line)

    def report(self):
        return self.tell("report")

    def finish(self):
        """Ends it; the final report."""
        self.process.stdin.close()
        last = self._answer()
        self.process.wait(timeout=ANSWER_LIMIT_S)
        return last
