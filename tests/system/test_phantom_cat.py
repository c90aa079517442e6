#!/usr/bin/env python3
"""phantom-cat as a program: files both ways over a bad network with a rekey every second, forwarded ports, a backend
that stalls or refuses, no descriptors left, a peer that dies, a kill in the middle, terminals and sockets that stay as
they were, and what it refuses to start with."""

import fcntl
import hashlib
import os
import pty
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import netlab  # noqa: E402
import systest  # noqa: E402
from relay import Relay  # noqa: E402

CAT = netlab.built("tools", "phantom-cat")
MIB = 1 << 20
A, B = "127.0.0.1:4500", "127.0.0.1:4501"


class Cats:
    """Two ends of one session in one namespace, with a secret of their own."""

    def __init__(self, lab, space, name):
        self.lab, self.space, self.name = lab, space, name
        self.secret = self.file("secret", os.urandom(32).hex().encode())
        self.id = os.urandom(32).hex()

    def path(self, name):
        return os.path.join(self.lab.folder, f"{self.name}-{name}")

    def file(self, name, data, mode=0o600):
        with open(self.path(name), "wb", opener=lambda p, f: os.open(p, f, mode)) as out:
            out.write(data)
        return self.path(name)

    def command(self, role, local, peer, *more):
        words = [CAT, "--id", self.id, "--secret-file", self.secret, "--role", role, "--local", local,
                 "--state", self.path(f"state-{role}"), *more]
        return words + (["--peer", peer] if peer else [])

    def start(self, role, local, peer, *more, stdin=None, stdout=None):
        """A running end; its messages are in a log file."""
        log = open(self.path(f"{role}.log"), "ab")
        source = open(stdin, "rb") if stdin else subprocess.DEVNULL
        sink = open(stdout, "wb") if stdout else subprocess.DEVNULL
        return self.space.start(*self.command(role, local, peer, *more), stdin=source, stdout=sink, stderr=log)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def ended(process, timeout_s):
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "still running"


def bad_network(space, seed):
    """A relay between both ends: 1 % loss, reordering, 5 ms. What each end takes for the other's address."""
    relay = Relay(space, seed=seed)
    at_a, at_b = relay.path("p", "127.0.0.1:0", "127.0.0.1:0", B)
    relay.set("p", loss="1%", reorder="2%", delay="5ms")
    return relay, at_a, at_b


def files_both_ways(lab, space, report):
    cats, size = Cats(lab, space, "files"), (1024 if systest.soak() else 24) * MIB
    relay, towards_b, _ = bad_network(space, 3)
    left, right = cats.file("left", os.urandom(size)), cats.file("right", os.urandom(size // 2))
    b = cats.start("responder", B, None, "--listen", "--rekey-interval", "1s", stdin=right, stdout=cats.path("at-b"))
    begin = time.monotonic()
    a = cats.start("initiator", A, towards_b, "--progress", stdin=left, stdout=cats.path("at-a"))
    codes = ended(a, 60 if not systest.soak() else 900), ended(b, 10)
    took = time.monotonic() - begin
    report.check("files both ways end well", codes == (0, 0), f"exit codes {codes}, {took:.1f} s")
    report.check("what went in at A came out at B", digest(left) == digest(cats.path("at-b")), f"{size // MIB} MiB")
    report.check("what went in at B came out at A", digest(right) == digest(cats.path("at-a")), f"{size // 2 // MIB} MiB")
    lost = sum(relay.stats("p")[way]["lost"] for way in ("ab", "ba"))
    report.check("the network was bad", lost > 0, f"{lost} datagrams lost")
    with open(cats.path("initiator.log"), encoding="utf-8") as log:
        epochs = [int(line.rsplit("epoch ", 1)[1]) for line in log if "epoch " in line]
    report.check("it rekeyed meanwhile", took < 2 or max(epochs, default=0) >= 1, f"epoch {max(epochs, default=0)}")


class Backend:
    """A TCP server in the namespace; `serve(connection)` runs in a thread each."""

    def __init__(self, space, serve):
        with space.entered():
            self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port, self.serve = self.listener.getsockname()[1], serve
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with connection:
            try:
                self.serve(connection)
            except OSError:
                pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # or the thread in accept() keeps it
        self.listener.close()


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def through(space, port, data, timeout_s=20):
    """What comes back of `data` sent through a forwarded port; an error's text."""
    try:
        with space.entered():
            connection = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        with connection:
            threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)), daemon=True).start()
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
            return b"".join(parts)
    except OSError as error:
        return str(error)


def forwarded_ports(lab, space, report):
    cats, stalled = Cats(lab, space, "forward"), threading.Event()

    def serve(connection):
        first = connection.recv(1)
        if first == b"S":  # takes nothing for a while
            stalled.wait(30)
        connection.sendall(first)
        echo(connection)

    backend = Backend(space, serve)
    relay, towards_b, _ = bad_network(space, 4)
    serving = cats.start("responder", B, None, "--to", f"127.0.0.1:{backend.port}")
    forwarding = cats.start("initiator", A, towards_b, "-L", "8080")
    time.sleep(1)
    slow_data, slow = b"S" + os.urandom(8 * MIB), []
    waiting = threading.Thread(target=lambda: slow.append(through(space, 8080, slow_data, 60)), daemon=True)
    waiting.start()
    data = [b"x" + os.urandom(100_000 + i) for i in range(40)]
    got = [None] * len(data)
    threads = [threading.Thread(target=lambda i=i: got.__setitem__(i, through(space, 8080, data[i])), daemon=True)
               for i in range(len(data))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)
    good = sum(g == d for g, d in zip(got, data))
    report.check("forwarded connections come back whole beside a backend that hangs", good == len(data), f"{good} of {len(data)}")
    stalled.set()
    waiting.join(60)
    report.check("the one that hung goes on when it is read again", slow and slow[0] == slow_data, f"{len(slow_data)} bytes")
    backend.close()
    refused = through(space, 8080, b"hello")
    report.check("a backend that is gone ends the connection", refused == b"" or "reset" in str(refused).lower(), str(refused)[:60])
    for process in (forwarding, serving):
        process.send_signal(signal.SIGTERM)
    codes = ended(forwarding, 10), ended(serving, 10)
    report.check("both end on a signal", codes == (0, 0), f"exit codes {codes}")
    del relay


def cpu_s(process):
    """Seconds of processor it has used."""
    with open(f"/proc/{process.pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def said(cats, role):
    with open(cats.path(f"{role}.log"), encoding="utf-8") as log:
        return log.read().count("no descriptor")


def no_descriptors(lab, space, report):
    """More connections than descriptors, first below the program's own limit, then below what it asked for at its start."""
    cats, go = Cats(lab, space, "descriptors"), threading.Event()

    def serve(connection):
        go.wait(30)
        echo(connection)

    backend = Backend(space, serve)
    serving = cats.start("responder", B, None, "--to", f"127.0.0.1:{backend.port}")
    forwarding = cats.start("initiator", A, B, "-L", "8081")
    ends = {"initiator": forwarding, "responder": serving}
    time.sleep(0.5)
    limit = resource.prlimit(forwarding.pid, resource.RLIMIT_NOFILE)
    for role, descriptors in (("initiator", 15), ("responder", 12)):  # 9 and 8 of them are its own
        go.clear()
        before = said(cats, role)
        resource.prlimit(ends[role].pid, resource.RLIMIT_NOFILE, (descriptors, limit[1]))
        data, got = [os.urandom(20_000 + i) for i in range(30)], []
        threads = [threading.Thread(target=lambda d=d: got.append(through(space, 8081, d, 40) == d), daemon=True) for d in data]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        used = cpu_s(ends[role])
        time.sleep(1.5)
        used = cpu_s(ends[role]) - used
        report.check(f"{role} without descriptors waits", ends[role].poll() is None and used < 0.3,
                     f"{used:.2f} s of processor in 1.5 s")
        go.set()
        for thread in threads:
            thread.join(40)
        report.check(f"{role} without descriptors serves all, one after the other", sum(got) == len(data), f"{sum(got)} of {len(data)}")
        report.check(f"{role} says so once", said(cats, role) - before == 1)
        resource.prlimit(ends[role].pid, resource.RLIMIT_NOFILE, limit)
    for process in ends.values():
        process.send_signal(signal.SIGTERM)
    report.check("both end on a signal then", [ended(process, 10) for process in ends.values()] == [0, 0])
    backend.close()


def blocks(file):
    return fcntl.fcntl(file, fcntl.F_GETFL) & os.O_NONBLOCK == 0


def stays_as_it_was(lab, space, report):
    """Who shares a terminal or a socket with it finds it as it was."""
    cats = Cats(lab, space, "stdio")
    _, terminal = pty.openpty()
    command = space.prefix() + cats.command("initiator", A, B)
    a = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    report.check("a terminal is left alone", a.poll() is None and blocks(terminal))
    a.kill()
    a.wait()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        ours, theirs = socket.socketpair()
        a = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        during = blocks(theirs)
        a.send_signal(number)
        code = ended(a, 10)
        report.check(f"a socket is given back as it was after {number.name}", code == 0 and not during and blocks(theirs),
                     f"exit code {code}")
        ours.close()
        theirs.close()


def dead_peer_and_kill(lab, space, report):
    cats = Cats(lab, space, "kill")
    begin = time.monotonic()
    code = ended(cats.start("initiator", A, B, "--timeout", "2", stdin=cats.file("in", os.urandom(MIB))), 20)
    report.check("a peer that is not there is said so", code == 1, f"exit code {code} after {time.monotonic() - begin:.1f} s")
    big = cats.file("big", os.urandom(32 * MIB))
    b = cats.start("responder", B, None, "--listen", "--timeout", "3", stdout=cats.path("at-b"))
    a = cats.start("initiator", A, B, stdin="/dev/zero")  # without end
    time.sleep(0.6)
    a.kill()
    a.wait()
    report.check("the other end gives up", ended(b, 20) == 1)
    b = cats.start("responder", B, None, "--listen", stdout=cats.path("again"))
    a = cats.start("initiator", A, B, stdin=big)
    codes = ended(a, 40), ended(b, 10)
    report.check("after a kill both come back with the same secret", codes == (0, 0) and digest(big) == digest(cats.path("again")),
                 f"exit codes {codes}")


def refusals(lab, space, report):
    cats = Cats(lab, space, "refused")
    def says(name, code, text, words):
        done = subprocess.run(space.prefix() + words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        output = done.stdout + done.stderr
        report.check(name, done.returncode == code and text in output, f"exit code {done.returncode}, {output.strip()[-120:]!r}")
    good = cats.command("initiator", A, B)
    says("a short id is refused", 2, "64 hex digits", [w if w != cats.id else "abcd" for w in good])
    says("two modes are refused", 2, "choose one", good + ["--listen", "-L", "8080"])
    says("an odd -L is refused", 2, "-L", good + ["-L", "nonsense"])
    says("a peer is needed to open a stream", 2, "--peer", cats.command("initiator", A, None))
    os.chmod(cats.secret, 0o644)
    says("a secret that others can read is refused", 3, "chmod 600", good)
    os.chmod(cats.secret, 0o600)
    says("a missing secret is named", 3, "nowhere", [w if w != cats.secret else "/nowhere" for w in good])


def body(lab, report):
    space = lab.namespace("cat")
    space.ip("link", "set", "lo", "up")
    files_both_ways(lab, space, report)
    forwarded_ports(lab, space, report)
    no_descriptors(lab, space, report)
    stays_as_it_was(lab, space, report)
    dead_peer_and_kill(lab, space, report)
    refusals(lab, space, report)


if __name__ == "__main__":
    systest.main("phantom-cat", body, 1500 if systest.soak() else 150, CAT)
