#!/usr/bin/env python3
"""Two gateways between two kernel hosts: both families, both suites, both outer families, rekeying, and what a router
owes to the packets it can't deliver."""

import os
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import netlab  # noqa: E402
import observe  # noqa: E402
import systest  # noqa: E402
import traffic  # noqa: E402
from pair import Pair  # noqa: E402

LIMIT_S = 160
OVERHEAD = 69 + 8              # packet format and UDP (protocol specification, section 3.1)
INNER_OVER_V4 = 1500 - 20 - OVERHEAD
INNER_OVER_V6 = 1500 - 40 - OVERHEAD
GCM, CHACHA = "gcm4", "chacha6"


def sessions():
    """IPv4 travels in an AES session over IPv4, IPv6 in a ChaCha20 session over IPv6."""
    rekey = {"interval": "1s"}
    return [
        {"name": GCM, "outer": 4, "prefixes": lambda end: [end.net4], "options": {"rekey": rekey, "mss_clamp": True}},
        {"name": CHACHA, "outer": 6, "suite": "chacha20-poly1305", "prefixes": lambda end: [end.net6],
         "options": {"rekey": rekey}},
    ]


def reachability(pair, report):
    network = pair.network
    for near, far in ((network.a, network.b), (network.b, network.a)):
        for address in (far.host4, far.host6):
            sent, received, _ = traffic.ping(near, address, count=20, interval_s=0.02)
            report.check(f"ping {near.letter} to {far.letter} IPv{6 if ':' in address else 4}", sent == received,
                         f"{received} of {sent}")
        for address in (near.lan4, near.lan6):
            sent, received, _ = traffic.ping(near, address, count=3)
            report.check(f"gateway {near.letter} answers ping at {'IPv6' if ':' in address else 'IPv4'}",
                         sent == received, f"{received} of {sent}")


def counted(pair, report):
    network, found = pair.network, {}
    before = {name: observe.session(pair.a, name)["epoch"] for name in (GCM, CHACHA)}

    def one(name, near, far, address, port):
        found[name] = traffic.counted_udp(near, far, address, 2000, 5, size=600, port=port)

    runs = [("a to b IPv4", network.a, network.b, network.b.host4, 7001),
            ("b to a IPv6", network.b, network.a, network.a.host6, 7002)]
    with observe.running([threading.Thread(target=one, args=run) for run in runs]):
        time.sleep(2)
        refused = [observe.rekey(pair.a, GCM, 3), observe.rekey(pair.b, CHACHA, 3)]
    for name, *_ in runs:
        result = found.get(name, {"sent": 0, "received": -1})
        report.check(f"counted UDP {name} while both rekey", result["sent"] == result["received"] > 0, str(result))
    report.check("jump of three epochs accepted", not any(refused), str(refused))
    for name in (GCM, CHACHA):
        moved = observe.session(pair.a, name)["epoch"] - before[name]
        report.check(f"session {name} moved on by rekeying", moved >= 5, f"{moved} epochs in 5 s")
    report.check("the peer caught up by three epochs", observe.catch_ups(pair.b, GCM) >= 1 and
                 observe.catch_ups(pair.a, CHACHA) >= 1, "catch-ups of both peers")


def size_limits(pair, report):
    a, b = pair.network.a, pair.network.b
    for address, headers, inner, words in ((b.host4, 28, INNER_OVER_V4, r"(mtu ?= ?|Frag needed.*mtu = )(\d+)"),
                                           (b.host6, 48, INNER_OVER_V6, r"(mtu ?= ?)(\d+)")):
        family = "IPv6" if ":" in address else "IPv4"
        sent, received, text = traffic.ping(a, address, count=2, interval_s=0.2, size=1500 - headers,
                                            forbid_fragments=True, wait_s=1)
        found = re.search(words, text)
        report.check(f"{family} packet larger than the tunnel gets 'too big' with its MTU",
                     received == 0 and found and int(found.group(2)) == inner, text.replace("\n", " | ")[:300])
        sent, received, text = traffic.ping(a, address, count=3, size=inner - headers, forbid_fragments=True)
        report.check(f"{family} packet of exactly the tunnel's MTU passes", sent == received, f"{received} of {sent}")
    a.host.ip("route", "flush", "cache")
    output = a.host.run("ping", "-4", "-n", "-c", "3", "-i", "0.1", "-W", "2", "-M", "dont", "-s", "1472", b.host4,
                        check=False)
    report.check("IPv4 packet that may be cut is cut", ", 3 received" in output, output.replace("\n", " | ")[:300])


def hops(pair, report):
    a, b = pair.network.a, pair.network.b
    for address, first in ((b.host4, a.lan4), (b.host6, a.lan6)):
        family = "IPv6" if ":" in address else "IPv4"
        _, _, text = traffic.ping(a, address, count=1, hops=1, wait_s=1)
        report.check(f"{family} hop limit 1 ends at the near gateway", f"rom {first}" in text and "exceeded" in text,
                     text.replace("\n", " | ")[:200])
        _, received, text = traffic.ping(a, address, count=1, hops=3, wait_s=1)
        report.check(f"{family} hop limit 3 reaches the far host", received == 1, text.replace("\n", " | ")[:200])


MSS_SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], 7200)); print("ready", flush=True)
connection, _ = server.accept(); connection.recv(1)
print(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), flush=True)
"""


def mss(pair, report):
    a, b = pair.network.a, pair.network.b
    server = b.host.start(sys.executable, "-c", MSS_SERVER, b.host4, stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    a.host.run(sys.executable, "-c", "import socket, sys; s = socket.create_connection((sys.argv[1], 7200), 10); "
               "s.send(b'x'); s.recv(1)", b.host4, check=False)
    size = int(server.communicate(timeout=10)[0] or 0)
    report.check("TCP MSS clamped to the tunnel", 0 < size <= INNER_OVER_V4 - 40, f"{size} of at most {INNER_OVER_V4 - 40}")


def tcp(pair, report):
    a, b = pair.network.a, pair.network.b
    for near, far, address in ((a, b, b.host4), (b, a, a.host6)):
        size = 16 << 20
        found = traffic.send_file(near, far, address, size, 60)
        report.check(f"16 MiB over TCP {near.letter} to {far.letter} IPv{6 if ':' in address else 4}, same SHA-256",
                     found["sent_sha256"] == found["received_sha256"] and found["bytes"] == size,
                     f"{found['bits_per_second'] / 1e6:.0f} Mbit/s")


def telemetry(pair, report):
    for command in ("/phantom/summary", "/phantom/ports", "/phantom/workers", "/phantom/sessions", "/phantom/books",
                    "/phantom/neighbours", "/phantom/store", f"/phantom/session,{GCM}"):
        report.check(f"telemetry {command.rsplit('/', 1)[1]}", pair.a.ask(command), "an answer")
    refused = observe.rekey(pair.a, "nobody")
    report.check("rekey of an unknown session is refused", refused, refused)
    done = subprocess.run(["dpdk-telemetry.py", "-f", pair.a.prefix], input="/phantom/summary\nquit\n", text=True,
                          capture_output=True, timeout=15)
    report.check("dpdk-telemetry.py shows the summary", "/phantom/summary" in done.stdout and "gw-a" in done.stdout,
                 (done.stdout + done.stderr)[-200:].replace("\n", " "))


def verdict(pair, report):
    time.sleep(0.5)
    for gateway in pair.both():
        found = observe.books(gateway)
        report.check(f"{gateway.name} books balance", found["balanced"], observe.books_text(found))
        report.check(f"{gateway.name} lost nothing to rekeying", observe.keying_losses(gateway) == 0,
                     str(observe.drops(gateway)))
    for gateway in pair.both():
        code = gateway.stop()
        report.check(f"{gateway.name} ended cleanly", code == 0, f"exit code {code}")


def bad_configuration(pair, report):
    gateway = pair.a
    gateway.config["port"][0]["speed"] = 10
    gateway.write()
    code, text = gateway.run_to_end("--check")
    report.check("unknown key of the configuration is refused", code == 2 and "speed" in text, f"{code}: {text[:200]}")
    del gateway.config["port"][0]["speed"]
    gateway.write()
    code, text = gateway.run_to_end("--check")
    report.check("--check accepts the configuration", code == 0, f"{code}: {text[:200]}")
    os.chmod(gateway.config["session"][0]["secret_file"], 0o644)
    code, text = gateway.run_to_end()
    report.check("a secret that others can read is refused", code == 2, f"{code}: {text[-300:]}")


def body(lab, report):
    pair = Pair(netlab.Network(lab), sessions()).init_state().start()
    report.check("traffic flows after the start", True, f"after {pair.connected():.1f} s")
    for part in (reachability, counted, size_limits, hops, mss, tcp, telemetry, verdict, bad_configuration):
        part(pair, report)


if __name__ == "__main__":
    systest.main("two gateways", body, LIMIT_S)
