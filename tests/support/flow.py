#!/usr/bin/env python3
"""Traffic whose every packet or byte is accounted for. Each end is one process and prints its result as JSON.

    flow.py udp-recv ADDRESS PORT            until its input is closed, then what is still on its way
    flow.py udp-send ADDRESS PORT RATE SECONDS [BYTES [FLOWS]]     RATE in packets per second, over all FLOWS, each with
                                             a port and numbers of its own; SECONDS 0: until ended
    flow.py file-recv ADDRESS PORT           SHA-256 of one TCP connection
    flow.py file-send ADDRESS PORT BYTES [BITS]     random bytes over TCP, at most so many bits per second

udp-recv with FLOW_STATUS=FILE in its environment keeps the numbers there up to date while it runs. At its end it also
knows the holes: numbers that never came, with the times of their neighbours by the clock that all processes share, and
how long packets took from end to end.
"""

import hashlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time

MAGIC = b"flow"
HEADER = struct.Struct("!4sIQQ")  # magic, run, number, when it was sent (CLOCK_MONOTONIC, ns)
MOST_HOLES = 200
BUFFER_BYTES = 32 << 20
SO_RCVBUFFORCE = 33
SO_MAX_PACING_RATE = 47
SETTLE_S = 0.7
STATUS_S = 0.05
CHUNK_BYTES = 1 << 18


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Tally:
    """Which numbers of which run arrived, and when."""

    def __init__(self):
        self.seen = {}  # run: {number: time}
        self.took_ns = []
        self.received = self.duplicates = self.reordered = self.foreign = 0
        self.highest = {}
        self.last = None
        self.longest_gap_s = 0.0

    def add(self, data):
        try:
            magic, run, number, sent_ns = HEADER.unpack_from(data)
        except struct.error:
            magic = b""
        if magic != MAGIC:
            self.foreign += 1
            return
        now = time.monotonic()
        if self.last is not None:
            self.longest_gap_s = max(self.longest_gap_s, now - self.last)
        self.last = now
        numbers = self.seen.setdefault(run, {})
        if number in numbers:
            self.duplicates += 1
            return
        numbers[number] = now
        self.took_ns.append(time.monotonic_ns() - sent_ns)
        self.received += 1
        if number < self.highest.get(run, -1):
            self.reordered += 1
        else:
            self.highest[run] = number

    def result(self):
        return {"received": self.received, "duplicates": self.duplicates, "reordered": self.reordered,
                "foreign": self.foreign, "longest_gap_ms": round(self.longest_gap_s * 1000, 1)}

    def details(self):
        """What takes a look at every packet: once, at the end."""
        holes = [hole for run in self.seen.values() for hole in holes_of(run)]
        return {"holes": holes[:MOST_HOLES], "latency_ms": percentiles(self.took_ns)}


def holes_of(arrivals):
    """Numbers that are missing, in stretches: how many, and when what stood before and behind arrived."""
    holes, before = [], None
    for number in sorted(arrivals):
        missing = number - (before + 1 if before is not None else 0)
        if missing:
            start = arrivals[before] if before is not None else arrivals[number]
            holes.append({"count": missing, "from_s": start, "to_s": arrivals[number]})
        before = number
    return holes


def percentiles(times_ns):
    ordered = sorted(times_ns)
    if not ordered:
        return {}
    at = {"min": 0, "p50": 0.5, "p99": 0.99, "max": 1}
    return {name: round(ordered[int(share * (len(ordered) - 1))] / 1e6, 3) for name, share in at.items()}


def udp_recv(address, port):
    server = socket.socket(family(address), socket.SOCK_DGRAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    except OSError:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    server.bind((address, port))
    server.setblocking(False)
    print("ready", flush=True)
    tally, status, wrote, end = Tally(), os.environ.get("FLOW_STATUS"), 0.0, None
    while end is None or time.monotonic() < end:
        readable, _, _ = select.select([server] + ([sys.stdin] if end is None else []), [], [], STATUS_S)
        if sys.stdin in readable and not os.read(0, 4096):
            end = time.monotonic() + SETTLE_S
        drain(server, tally)
        if status and time.monotonic() - wrote > STATUS_S:
            wrote = time.monotonic()
            with open(status + ".new", "w", encoding="ascii") as file:
                json.dump(tally.result(), file)
            os.rename(status + ".new", status)
    print(json.dumps({**tally.result(), **tally.details()}), flush=True)


def drain(server, tally, most=2048):
    try:
        for _ in range(most):
            tally.add(server.recv(2048))
    except BlockingIOError:
        pass


def udp_send(address, port, rate, seconds, size=200, flows=1):
    clients = [socket.socket(family(address), socket.SOCK_DGRAM) for _ in range(int(flows))]
    for client in clients:
        client.connect((address, int(port)))
    rate, seconds = float(rate), float(seconds)
    runs = [(os.getpid() << 8 | index) & 0xFFFFFFFF for index in range(len(clients))]
    padding = bytes(max(0, int(size) - HEADER.size))
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    start, sent, refused = time.monotonic(), 0, 0
    while not stopping:
        elapsed = time.monotonic() - start
        if seconds and elapsed >= seconds:
            break
        for _ in range(min(64, int(elapsed * rate) - sent - refused)):
            number, flow = divmod(sent, len(clients))
            try:
                clients[flow].send(HEADER.pack(MAGIC, runs[flow], number, time.monotonic_ns()) + padding)
                sent += 1
            except OSError:  # an ICMP error of an earlier packet, or no route for a moment
                refused += 1
        time.sleep(0.001)
    print(json.dumps({"sent": sent, "refused": refused, "seconds": round(time.monotonic() - start, 3)}), flush=True)


def file_recv(address, port):
    server = socket.create_server((address, port), family=family(address))
    print("ready", flush=True)
    connection, _ = server.accept()
    digest, total, start = hashlib.sha256(), 0, time.monotonic()
    while chunk := connection.recv(CHUNK_BYTES):
        digest.update(chunk)
        total += len(chunk)
    print(json.dumps({"sha256": digest.hexdigest(), "bytes": total, "seconds": round(time.monotonic() - start, 3)}),
          flush=True)


def file_send(address, port, size, bits=0):
    client = socket.create_connection((address, int(port)), timeout=20)
    client.settimeout(60)
    if float(bits):
        client.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, int(float(bits) / 8))
    digest, left, start = hashlib.sha256(), int(size), time.monotonic()
    while left:
        chunk = os.urandom(min(CHUNK_BYTES, left))
        digest.update(chunk)
        client.sendall(chunk)
        left -= len(chunk)
    client.close()
    print(json.dumps({"sha256": digest.hexdigest(), "bytes": int(size), "seconds": round(time.monotonic() - start, 3)}),
          flush=True)


COMMANDS = {"udp-recv": udp_recv, "udp-send": udp_send, "file-recv": file_recv, "file-send": file_send}


def main():
    if len(sys.argv) < 4 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    port = int(sys.argv[3])
    COMMANDS[sys.argv[1]](sys.argv[2], port, *sys.argv[4:])


if __name__ == "__main__":
    main()
