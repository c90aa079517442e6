#!/usr/bin/env python3
"""A gateway's address changes eleven times during a TCP and two counted UDP flows: new addresses, ports that a NAT gives
anew, IPv4 to IPv6 and back. Where the old way lives until the new one is validated nothing may be lost; where it is cut
at once the gap is at most three round trips and what it takes to notice."""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import observe  # noqa: E402
import roaming  # noqa: E402
import systest  # noqa: E402
import traffic  # noqa: E402
from netlab import wait_until  # noqa: E402
from pair import SESSION  # noqa: E402
from relay import endpoint  # noqa: E402
from roaming import PORT, RelayedPair, far, near  # noqa: E402

LIMIT_S = 85
SOAK_LIMIT_S = 900
DELAY_MS = 30                 # of the relay, one way
ROUND_TRIP_MS = 2 * DELAY_MS
PROBE_MS = 100
PROBES_LOST = 3               # unanswered in a row: a way is down
UDP_RATE = 1000               # packets a second, each direction
TCP_BITS = 20e6
SPACING_S = 2.0               # between changes, once both gateways have moved
MOVE_TIMEOUT_S = 5
SOAK_ROUNDS = 12
WAYS, V6_WAYS = 7, (4, 5)     # of the relay
ADDRESSES = [f"192.0.2.{number}/24" for number in (11, 12, 13, 14)] + ["2001:db8::11/64"]


def start(lab):
    keys = {"migration": "validated", "probe_interval": f"{PROBE_MS}ms", "rekey": {"interval": "2s"}, "mss_clamp": True}
    entries = {"a": [{"peer": endpoint(near(0), PORT)}], "b": [{"peer": endpoint(far(0), PORT)}]}
    pair = RelayedPair(lab, [{"name": SESSION, "options": keys}], {"a": ADDRESSES}, entries)
    b = pair.network.b
    for path in range(WAYS):
        pair.relay_path(path, endpoint(b.wan6 if path in V6_WAYS else b.wan4, PORT), delay=f"{DELAY_MS}ms")
    pair.init_state().start()
    pair.connected()
    return pair


class Change:
    """One change of address: how it is made, where it leads, and what it may cost."""

    def __init__(self, name, make, local, peer, keeps=True, notice_ms=0.0, notice="the next packet"):
        self.name, self.make = name, make
        self.local, self.peer = local, peer  # what gateway A sends from, what gateway B sends to
        self.keeps, self.notice_ms, self.notice = keeps, notice_ms, notice

    def bound_ms(self, round_trip_ms):
        return 3 * round_trip_ms + self.notice_ms


class Journey:
    """The changes, made one after the other, with their times."""

    def __init__(self, pair):
        self.pair, self.relay, self.marks = pair, pair.relay, roaming.Marks()
        self.done = []

    def migrate(self, address, path, family=4):
        words = ("--local", endpoint(address, PORT), "--peer", endpoint(near(path, family), PORT))
        return lambda: self.pair.a.ctl("path", "migrate", SESSION, *words)

    def cut_and_migrate(self, change, old, address, path, family=4):
        """The old way dies, and what notices is the operator: the time until the command arrived counts as such."""
        def make():
            start_s = time.monotonic()
            self.relay.cut(old, hard=True)
            self.pair.a.call("path.migrate", session=SESSION, local=endpoint(address, PORT),
                             peer=endpoint(near(path, family), PORT))
            change.notice_ms = (time.monotonic() - start_s) * 1000
        change.make, change.notice = make, "the command"
        return change

    def rebind(self, change, path, family=4, port=0, keep="1500ms"):
        """A NAT's new mapping, as gateway B sees it; the port is the kernel's choice."""
        def make():
            site, local = self.pair.network.b, endpoint(far(path, family), port)
            remote = endpoint(site.wan4 if family == 4 else site.wan6, PORT)
            change.peer = self.relay.rebind(path, "b", local, remote, keep if change.keeps else "")
        change.make = make
        return change

    def changes(self):
        a = self.pair.network.a
        here = {address: endpoint(address, PORT) for address in
                ("192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14", a.wan6, "2001:db8::11")}

        def way(path):
            return self.relay.stats(path)["b"]["local"]

        yield Change("new IPv4 address", self.migrate("192.0.2.11", 1), here["192.0.2.11"], way(1))
        yield Change("another IPv4 address", self.migrate("192.0.2.12", 2), here["192.0.2.12"], way(2))
        yield self.cut_and_migrate(Change("new IPv4 address, old way cut", None, here["192.0.2.13"], way(3), False),
                                   2, "192.0.2.13", 3)
        yield self.rebind(Change("NAT gives a new port", None, here["192.0.2.13"], None), 3)
        yield self.rebind(Change("NAT gives another port", None, here["192.0.2.13"], None), 3)
        yield self.rebind(Change("NAT gives a new port, old one cut", None, here["192.0.2.13"], None, False), 3)
        yield Change("IPv4 to IPv6", self.migrate(a.wan6, 4, 6), here[a.wan6], way(4))
        yield self.cut_and_migrate(Change("new IPv6 address, old way cut", None, here["2001:db8::11"], way(5), False),
                                   4, "2001:db8::11", 5, 6)
        yield Change("IPv6 to IPv4", self.migrate("192.0.2.14", 6), here["192.0.2.14"], way(6))
        yield self.rebind(Change("NAT goes from IPv4 to IPv6", None, here["192.0.2.14"], None), 6, 6)
        # Which of the ways that live is for the gateways to agree on: fallbacks and addresses that answered before.
        lost_ms = roaming.notice_of_silence_ms(PROBE_MS, PROBES_LOST, ROUND_TRIP_MS)
        yield Change("the way dies and one that was left before takes over", lambda: self.relay.cut(6, hard=True),
                     None, None, False, lost_ms, f"{PROBES_LOST} probes")

    def on_a_living_way(self):
        """Both gateways send into the same relay path, and that one is not cut."""
        near_end, far_end = self.pair.ends("a")[1], self.pair.ends("b")[1]
        return any(path["a"]["local"] == near_end and path["b"]["local"] == far_end and not path["ab"]["is_cut"]
                   for path in self.relay.stats().values())

    def travel(self, report):
        for change in self.changes():
            at = self.marks.add(change.name)
            change.make()
            moved = (self.pair.wait_ends("a", local=change.local) and self.pair.wait_ends("b", peer=change.peer) and
                     wait_until(self.on_a_living_way, MOVE_TIMEOUT_S, 0.02))
            took_ms = (time.monotonic() - at) * 1000
            report.check(f"{change.name}, both gateways follow", moved, f"after {took_ms:.0f} ms" if moved else
                         f"a {self.pair.ends('a')}, b {self.pair.ends('b')}; expected {change.local} and {change.peer}")
            self.done.append(change)
            time.sleep(SPACING_S)
        self.marks.add("the end")

    def judge(self, found, report):
        flows = {"a to b": self.marks.holes(found["b"]), "b to a": self.marks.holes(found["a"])}
        for change in self.done:
            holes = {name: flow[change.name] for name, flow in flows.items()}
            lost = {name: roaming.lost_in(flow) for name, flow in holes.items()}
            if change.keeps:
                report.check(f"{change.name}, no packet lost", not any(lost.values()), str(lost))
                continue
            gaps = {name: round(roaming.gap_ms(flow), 1) for name, flow in holes.items()}
            bound = change.bound_ms(self.round_trip_ms)
            report.check(f"{change.name}, gap below 3 round trips and detection", max(gaps.values()) <= bound,
                         f"{gaps} ms, lost {lost}; bound {bound:.0f} ms = 3 x {self.round_trip_ms:.0f} ms + "
                         f"{change.notice_ms:.0f} ms ({change.notice})")
        spare = {name: roaming.lost_in(flow.get("before the first", []) + flow["the end"]) for name, flow in flows.items()}
        report.check("nothing lost before the first change and after the last", not any(spare.values()), str(spare))

    def measure(self):
        self.round_trip_ms = max(ROUND_TRIP_MS, self.pair.round_trip_ms())


def one_journey(pair, report):
    journey, network, tcp = Journey(pair), pair.network, {}
    pair.start_traffic(UDP_RATE)
    seconds = 14 * SPACING_S

    def tcp_run():
        tcp.update(traffic.iperf(network.a, network.b, network.b.host4, seconds, tcp_bits=TCP_BITS))

    with observe.running([threading.Thread(target=tcp_run)]):
        time.sleep(SPACING_S)
        journey.measure()
        journey.travel(report)
        found = pair.stop_traffic()
    slowest = min(tcp.get("per_second", [0])[:-1], default=0)
    report.check("the TCP connection never broke", tcp.get("seconds", 0) >= seconds - 1 and slowest > 0,
                 f"{tcp.get('bits_per_second', 0) / 1e6:.1f} Mbit/s over {tcp.get('seconds', 0):.0f} s, "
                 f"{tcp.get('retransmits')} retransmitted, {slowest / 1e6:.1f} Mbit/s in the slowest second")
    journey.judge(found, report)
    print(f"     UDP a to b {found['b']['sent']} sent, {found['b']['lost']} lost; b to a {found['a']['sent']} sent, "
          f"{found['a']['lost']} lost; round trip {journey.round_trip_ms:.1f} ms", flush=True)


def body(lab, report):
    pair = start(lab)
    report.check("traffic flows through the relay", True, roaming.ways_text(pair.paths("a")))
    for _ in range(SOAK_ROUNDS if systest.soak() else 1):
        one_journey(pair, report)
        for path in range(WAYS):
            pair.relay.restore(path)
        pair.relay.rebind(6, "b", endpoint(far(6), 0), endpoint(pair.network.b.wan4, PORT))
    roaming.end_and_check(pair, report)


if __name__ == "__main__":
    systest.main("roaming", body, SOAK_LIMIT_S if systest.soak() else LIMIT_S)
