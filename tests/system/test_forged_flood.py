#!/usr/bin/env python3
"""A flood of forged packets 16 epochs ahead for a live session: the session keeps its epoch, its traffic flows, the
work of the control core stays bounded."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import inject  # noqa: E402
import netlab  # noqa: E402
import observe  # noqa: E402
import systest  # noqa: E402
from pair import Pair  # noqa: E402

LIMIT_S = 120
AHEAD = 16
FRAME_BYTES = 200
HELD_RATE = 20_000     # what a small machine can take in besides its own traffic
FLOOD_S = 6
MOST_LOST = 0.02       # in the queues of interfaces, while the machine lets a gateway wait
# session/cold.h: trial opens of one session, and how many more a second.
TRIAL_BURST = 64
TRIALS_PER_SECOND = 256
FORGED_REASONS = ("epoch_ahead_budget", "epoch_ahead_forged", "punt_ring", "punt_rate")


def live_packet(pair, lab):
    """A packet from a to b as it passes on the wire."""
    path = os.path.join(lab.folder, "live.pcap")
    process = inject.capture(pair.network.wan, "port-b", path, f"udp and dst host {pair.network.b.wan4}")
    time.sleep(0.5)
    process.terminate()
    process.wait(timeout=5)
    return inject.read_pcap(path)[-1][1]


class Meter:
    """Cycles of the worker of gateway b and drops, over a time."""

    def __init__(self, gateway):
        self.gateway = gateway
        self.before = (observe.work(gateway), observe.drops(gateway))

    def read(self):
        work, drops = observe.work(self.gateway), observe.drops(self.gateway)
        old_work, old_drops = self.before
        packets = work["packets"] - old_work["packets"]
        return {
            "packets": packets,
            "cycles": (work["busy_tsc"] - old_work["busy_tsc"]) / max(packets, 1),
            "drops": {name: count - old_drops.get(name, 0) for name, count in drops.items()
                      if count != old_drops.get(name, 0)},
        }


def paced(pair, report, injector, frames):
    epochs, meter = pair.epochs(), Meter(pair.b)
    sent = injector.flood(frames, FLOOD_S, HELD_RATE)
    flow = pair.stop_traffic()
    found = meter.read()
    forged = sum(found["drops"].get(reason, 0) for reason in FORGED_REASONS)
    report.check("forged packets arrived and were dropped by name", forged >= 0.95 * sent,
                 f"{sent} sent, {found['drops']}")
    report.check("the session kept its epoch", pair.epochs() == epochs, f"{epochs} before, {pair.epochs()} after")
    for letter, result in flow.items():
        report.check(f"traffic to {letter} flowed during the flood", result["lost"] <= MOST_LOST * result["sent"],
                     str(result))
    report.check("the gateway itself dropped nothing but forged packets", not set(found["drops"]) - set(FORGED_REASONS),
                 str(found["drops"]))
    trials = found["drops"].get("epoch_ahead_forged", 0)
    bound = TRIAL_BURST + TRIALS_PER_SECOND * (FLOOD_S + 2)
    report.check("control tried no more than its budget", trials <= bound, f"{trials} trial opens, at most {bound}")
    # Beside an ordinary packet's, on equal terms and without drivers: tests/pipeline/test_forged_flood.cc.
    report.check("cost of a packet in the flood", found["cycles"] > 0,
                 f"{found['cycles']:.0f} cycles with the AF_PACKET driver, {forged} of {found['packets']} forged")


def full_speed(pair, report, injector, frames):
    """More than the machine can take in: the interface's queue overflows, but nothing stands still."""
    epochs = pair.epochs()
    pair.start_traffic(rate=1000)
    pair.flows(more=50)
    before = pair.received()
    sent = injector.flood(frames, FLOOD_S)
    during = {letter: count - before[letter] for letter, count in pair.received().items()}
    report.check("traffic went on while forged packets came as fast as they could", min(during.values()) > 100,
                 f"{sent / FLOOD_S / 1000:.0f} kpps forged, delivered meanwhile: {during}")
    report.check("traffic flows after the flood", pair.flows(more=500), str(pair.received()))
    pair.stop_traffic()
    report.check("the session still has its epoch", pair.epochs() == epochs, f"{epochs} before, {pair.epochs()} after")


def body(lab, report):
    pair = Pair(netlab.Network(lab)).init_state().start()
    pair.connected()
    pair.start_traffic(rate=1000, size=FRAME_BYTES)
    pair.flows()
    frames = inject.forged_ahead(live_packet(pair, lab), AHEAD, inject.BURST)
    injector = inject.Injector(pair.network.wan, "port-b")
    paced(pair, report, injector, frames)
    full_speed(pair, report, injector, frames)
    injector.close()
    time.sleep(0.5)
    for gateway in pair.both():
        found = observe.books(gateway)
        report.check(f"{gateway.name} books balance", found["balanced"], observe.books_text(found))
        report.check(f"{gateway.name} ended cleanly", gateway.stop() == 0, "exit code 0")


if __name__ == "__main__":
    systest.main("forged flood", body, LIMIT_S)
