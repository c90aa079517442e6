"""The impairment relay (relay.h) inside a namespace of the lab, and what a test says to it."""

import json
import os
import subprocess

import netlab
from netlab import LabError


def relay_binary():
    return netlab.built("tests", "phantom-relay")


def endpoint(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Relay:
    """A phantom-relay process; it ends with the lab. Endpoints are texts, as endpoint() makes them."""

    def __init__(self, space, seed=1):
        binary = relay_binary()
        if not os.access(binary, os.X_OK):
            raise LabError(f"there is no program {binary}")
        self.process = space.start(binary, "--seed", str(seed), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words):
        """The answer to one command, without its `ok`."""
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().strip()
        except OSError as error:
            raise LabError(f"the relay is gone: {error}") from None
        if not answer or answer.startswith("error"):
            raise LabError(f"relay: {' '.join(map(str, words))}: {answer or 'no answer'}")
        return answer[2:].strip() if answer.startswith("ok") else answer

    def path(self, name, a_local, b_local, b_remote, a_remote="any"):
        """Makes a path; the local endpoints of its two sides."""
        return tuple(self.ask("path", name, a_local, a_remote, b_local, b_remote).split())

    def set(self, name, direction="both", **settings):
        return self.ask("set", name, direction, *(f"{key}={value}" for key, value in settings.items()))

    def rebind(self, name, side, local, remote="", keep=""):
        """A new socket for a side; its endpoint."""
        return self.ask("rebind", name, side, local, *([remote] if remote else []), *([f"keep={keep}"] if keep else []))

    def cut(self, name, direction="both", hard=False):
        return self.ask("cut", name, direction, *(["hard"] if hard else []))

    def restore(self, name, direction="both"):
        return self.ask("restore", name, direction)

    def stats(self, name=None):
        return json.loads(self.ask("stats", *([] if name is None else [name])))


def dropped(direction):
    """Packets of one direction that did not come out again and are not on their way."""
    return direction["lost"] + direction["cut"] + direction["queue_drops"]
