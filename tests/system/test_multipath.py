#!/usr/bin/env python3
"""Two ways between two gateways, different in delay, loss and rate: what each scheduler makes of them, and what is lost
when one of them dies under load."""

import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import roaming  # noqa: E402
import systest  # noqa: E402
import traffic  # noqa: E402
from netlab import Tunnel, wait_until  # noqa: E402
from relay import endpoint  # noqa: E402
from roaming import PORT, RelayedPair, far, near  # noqa: E402

LIMIT_S = 85
SOAK_LIMIT_S = 600
# Way 0 is short and fast, way 1 is longer, slower and loses more.
WAYS = ({"delay_ms": 10, "rate_mbit": 60, "loss": 0.005}, {"delay_ms": 25, "rate_mbit": 30, "loss": 0.01})
WEIGHTS = (2, 1)
QUEUE = "256k"               # before the rate of each way
PROBE_MS, PROBES_LOST = 100, 3
FLOWS, RATE, PACKET_BYTES = 64, 1000, 600   # of counted UDP: flows, so that there is something to spread
SECONDS = 3                  # of each measurement
SOAK_FACTOR = 10
BANDWIDTH_MBIT, OVERLOAD = 10, 1.5   # of way 0 where its estimate is looked at, and what is sent there
MODES = ("lowest-latency", "weighted", "duplicate")
WAN = {"a": ("192.0.2.1", "192.0.2.31"), "b": ("192.0.2.2", "192.0.2.32")}


class Mode:
    """One scheduler: its session, its two relay paths, its share of both hosts' networks."""

    def __init__(self, index):
        self.index, self.name = index, MODES[index]
        self.ways = (2 * index, 2 * index + 1)
        self.port = Tunnel.PORT + index

    def part(self, site):
        return site.host4.rsplit(".", 1)[0] + f".{64 * self.index}"

    def host(self, site):
        return site.host4.rsplit(".", 1)[0] + f".{64 * self.index + 2}"

    def session(self):
        def prefixes(end):
            return [f"{self.part(end)}/26"] + ([end.net6] if self.index == 0 else [])

        return {"name": self.name, "prefixes": prefixes,
                "options": {"scheduler": self.name, "weight": WEIGHTS[0], "probe_interval": f"{PROBE_MS}ms",
                            "mss_clamp": True}}

    def entry(self, letter):
        relay = near if letter == "a" else far
        here, there = WAN[letter], [endpoint(relay(way), PORT) for way in self.ways]
        return {"local": endpoint(here[0], self.port), "peer": there[0],
                "path": [{"local": endpoint(here[1], self.port), "peer": there[1], "weight": WEIGHTS[1]}]}

    def dress(self, network):
        """Hosts use the addresses of this mode towards the other one's."""
        if self.index == 0:
            return
        for site in (network.a, network.b):
            site.host.ip("addr", "add", f"{self.host(site)}/32", "dev", "eth0")
            site.host.ip("route", "add", f"{self.part(network.other(site))}/26", "via", site.lan4, "src",
                         self.host(site))


def start(lab):
    modes = [Mode(index) for index in range(len(MODES))]
    more = {letter: [f"{addresses[1]}/24"] for letter, addresses in WAN.items()}
    pair = RelayedPair(lab, [mode.session() for mode in modes], more,
                       {letter: [mode.entry(letter) for mode in modes] for letter in "ab"})
    for mode in modes:
        mode.dress(pair.network)
        for way, address in zip(mode.ways, WAN["b"]):
            pair.relay_path(way, endpoint(address, mode.port))
        impair(pair, mode)
    pair.init_state().start()
    pair.connected()
    return pair, modes


def impair(pair, mode, lossy=True):
    for way, found in zip(mode.ways, WAYS):
        pair.relay.set(way, delay=f"{found['delay_ms']}ms", rate=f"{found['rate_mbit']}mbit", queue=QUEUE,
                       loss=found["loss"] if lossy else 0)


def both_up(pair, mode, timeout_s=10):
    """Both gateways know both ways, with their round trips."""
    def known():
        slots = pair.paths("a", mode.name) + pair.paths("b", mode.name)
        return len(slots) == 4 and all(slot["up"] and slot["state"] == "validated" and slot["srtt_ms"] > 0 for slot in slots)

    return wait_until(known, timeout_s, 0.1)


def entered(pair, mode):
    """Packets that gateway A sent into each way."""
    return [pair.relay.stats(way)["ab"]["in"] for way in mode.ways]


def measure(pair, mode, report):
    """Throughput, latency, loss, and who carried what."""
    network, seconds = pair.network, SECONDS * (SOAK_FACTOR if systest.soak() else 1)
    target = mode.host(network.b)
    before = entered(pair, mode)
    udp = traffic.counted_udp(network.a, network.b, target, RATE, seconds, PACKET_BYTES, flows=FLOWS)
    packets = [now - old for now, old in zip(entered(pair, mode), before)]
    tcp = traffic.iperf(network.a, network.b, target, seconds, flows=4)
    share = packets[0] / max(1, sum(packets))
    loss = udp["lost"] / max(1, udp["sent"])
    report.check(f"{mode.name}, measured", udp["received"] > 0 and tcp["bits_per_second"] > 0,
                 f"TCP {tcp['bits_per_second'] / 1e6:.1f} Mbit/s, {tcp['retransmits']} retransmitted; UDP {udp['sent']} "
                 f"packets, {100 * loss:.2f} % lost, {udp['reordered']} out of order, latency {udp['latency_ms']} ms; "
                 f"packets by way {packets}")
    return {"udp": udp, "tcp": tcp, "share": share, "loss": loss, "packets": packets}


def judge(found, report):
    short, long = (way["delay_ms"] for way in WAYS)
    lowest, weighted, duplicate = (found[name] for name in MODES)
    report.check("lowest-latency uses the short way", lowest["share"] > 0.9 and
                 short <= lowest["udp"]["latency_ms"]["p50"] < long, f"{100 * lowest['share']:.0f} % of the packets")
    report.check("weighted uses both by their weights", abs(weighted["share"] - WEIGHTS[0] / sum(WEIGHTS)) < 0.2,
                 f"{100 * weighted['share']:.0f} % over way 0, weights {WEIGHTS}")
    sent = duplicate["udp"]["sent"]
    report.check("duplicate sends everything over both", min(duplicate["packets"]) >= sent,
                 f"{sent} packets, by way {duplicate['packets']}")
    report.check("duplicate takes the shorter latency", duplicate["udp"]["latency_ms"]["p50"] < long,
                 f"{duplicate['udp']['latency_ms']['p50']} ms")
    report.check("duplicate hides the loss of each way", duplicate["loss"] <= 0.001 < lowest["loss"],
                 f"{100 * duplicate['loss']:.3f} %, alone {100 * lowest['loss']:.2f} %")
    twice = {name: one["udp"]["duplicates"] for name, one in found.items()}
    report.check("no packet was delivered twice", not any(twice.values()), str(twice))


def bandwidth(pair, mode, report):
    """More than way 0 carries: the estimate that an operator sees is what it does carry."""
    pair.relay.set(mode.ways[0], delay=f"{WAYS[0]['delay_ms']}ms", rate=f"{BANDWIDTH_MBIT}mbit", queue="16k", loss=0)
    size = 1000
    traffic.counted_udp(pair.network.a, pair.network.b, mode.host(pair.network.b),
                        int(OVERLOAD * BANDWIDTH_MBIT * 1e6 / 8 / size), 4, size, flows=FLOWS)
    shown = pair.gateways["a"].ctl("session", "show", mode.name)
    estimate = re.search(r"bandwidth +(>?=?)([0-9.]+) Mbit/s", shown)
    slot = pair.paths("a", mode.name)[0].get("bandwidth", {})
    report.check(f"{mode.name}, estimate of a way of {BANDWIDTH_MBIT} Mbit/s", estimate is not None and slot.get("full") and
                 abs(slot["bottleneck_bw_bytes_per_s"] * 8e-6 / BANDWIDTH_MBIT - 1) < 0.15,
                 f"{slot}; session show: {estimate.group(0) if estimate else shown}")


def kill(pair, mode, report):
    """Way 0 dies under load: what it loses is at most what it carried until its gateway noticed, and what was on it."""
    network = pair.network
    impair(pair, mode, lossy=False)
    if not report.check(f"{mode.name}, both ways are up", both_up(pair, mode),
                        roaming.ways_text(pair.paths("a", mode.name))):
        return
    target = mode.host(network.b)
    sink = traffic.UdpSink(network.b, target, 7000)
    source = traffic.UdpSource(network.a, target, 7000, RATE, 0, PACKET_BYTES, FLOWS)
    time.sleep(0.5)
    before, began = entered(pair, mode)[0], time.monotonic()
    time.sleep(0.7)
    rate = (entered(pair, mode)[0] - before) / (time.monotonic() - began)
    pair.relay.cut(mode.ways[0], hard=True)
    time.sleep(1.5)
    sent = source.result()["sent"]
    found = sink.result()
    pair.relay.restore(mode.ways[0])
    lost = sent - found["received"]
    delay_ms = WAYS[0]["delay_ms"]
    notice_ms = roaming.notice_of_silence_ms(PROBE_MS, PROBES_LOST, 2 * delay_ms)
    bound = 0 if mode.name == "duplicate" else int(rate * (notice_ms + delay_ms) / 1000)
    text = ("the other way has it all" if mode.name == "duplicate" else
            f"{rate:.0f} packets/s x ({notice_ms:.0f} ms to notice + {delay_ms} ms on the way)")
    report.check(f"{mode.name}, way 0 killed under load", lost <= bound and rate > 0,
                 f"{lost} of {sent} lost, bound {bound} = {text}; longest gap {found['longest_gap_ms']} ms")


def body(lab, report):
    pair, modes = start(lab)
    found = {}
    for mode in modes:
        if report.check(f"{mode.name}, both ways validated", both_up(pair, mode),
                        roaming.ways_text(pair.paths("a", mode.name))):
            found[mode.name] = measure(pair, mode, report)
    if len(found) == len(MODES):
        judge(found, report)
    bandwidth(pair, modes[0], report)
    for mode in modes:
        kill(pair, mode, report)
    roaming.end_and_check(pair, report, copies=True)


if __name__ == "__main__":
    systest.main("multipath", body, SOAK_LIMIT_S if systest.soak() else LIMIT_S)
