"""Two gateways whose packets pass the impairment relay, gateways with several WAN addresses, and what a change of
address did to counted traffic.

    gw-a --- bridge of the namespace wan, on which the relay has its addresses --- gw-b

Every relay path k has a side towards gateway A (192.0.2.100+k, 2001:db8::100+k) and one towards gateway B (192.0.2.150+k,
2001:db8::150+k).
"""

import contextlib
import json
import re
import time

import netlab
import observe
import traffic
from netlab import wait_until
from pair import SESSION, Pair
from relay import Relay, endpoint

PORT = netlab.Tunnel.PORT
RELAY_PATHS = range(10)
PATIENCE_MS = 100  # least time a probe is given


def near(path, family=4):
    """Address of the relay towards gateway A."""
    return f"192.0.2.{100 + path}" if family == 4 else f"2001:db8::{100 + path}"


def far(path, family=4):
    return f"192.0.2.{150 + path}" if family == 4 else f"2001:db8::{150 + path}"


class RelayedPair(Pair):
    """`more`: site letter -> further WAN addresses with prefix length. `entries`: site letter -> keys of its sessions,
    one dictionary each."""

    def __init__(self, lab, sessions, more, entries):
        network = netlab.Network(lab)
        super().__init__(network, sessions)
        network.wan.write_sysctl("ipv6/conf/bridge/disable_ipv6", 0)
        for path in RELAY_PATHS:
            for address in (near(path), far(path)):
                network.wan.ip("addr", "add", f"{address}/24", "dev", "bridge")
            for address in (near(path, 6), far(path, 6)):
                network.wan.ip("addr", "add", f"{address}/64", "dev", "bridge", "nodad")
        self.relay = Relay(network.wan)
        for letter, gateway in self.gateways.items():
            gateway.config["port"][1]["addresses"] += more.get(letter, [])
            for session, entry in zip(gateway.config["session"], entries[letter]):
                session.update(entry)
            gateway.write()

    def relay_path(self, path, b_endpoint, **settings):
        """A relay path to this endpoint of gateway B, in its family, with the same impairments both ways."""
        family = 6 if b_endpoint.startswith("[") else 4
        self.relay.path(path, endpoint(near(path, family), PORT), endpoint(far(path, family), PORT), b_endpoint)
        if settings:
            self.relay.set(path, **settings)

    def paths(self, letter, session=SESSION):
        """Path slots of the session as its gateway shows them."""
        return self.gateways[letter].call("path.show", session=session)["paths"]

    def ends(self, letter, slot=0):
        found = self.paths(letter)[slot]
        return found["local"], found["peer"]

    def round_trip_ms(self):
        """Between the hosts, through the tunnel."""
        found = traffic.ping(self.network.a, self.network.b.host4, count=10, interval_s=0.02)[2]
        return float(re.search(r"= [\d.]+/([\d.]+)/", found).group(1))

    def wait_ends(self, letter, local=None, peer=None, slot=0, timeout_s=5):
        def there():
            found = self.ends(letter, slot)
            return local in (None, found[0]) and peer in (None, found[1])

        return wait_until(there, timeout_s, 0.02)


def notice_of_silence_ms(probe_ms, probes_lost, round_trip_ms):
    """How long a way may be dead before its gateway takes it for down: as many probes, one an interval, and the time
    the last of them is given (session/path_manager.h)."""
    return probes_lost * probe_ms + max(3 * round_trip_ms, PATIENCE_MS)


class Marks:
    """Names of what happened, and when, by the clock that counted traffic uses."""

    def __init__(self):
        self.marks = []

    def add(self, name):
        self.marks.append((name, time.monotonic()))
        return self.marks[-1][1]

    def holes(self, found):
        """Holes of a counted flow by the mark they came after."""
        by_mark = {name: [] for name, _ in self.marks}
        for hole in found["holes"]:
            before = [name for name, at in self.marks if at <= hole["to_s"]]
            by_mark.setdefault(before[-1] if before else "before the first", []).append(hole)
        return by_mark


def lost_in(holes):
    return sum(hole["count"] for hole in holes)


def gap_ms(holes):
    """From the last packet before a loss to the first one behind it, all losses together."""
    return (max(hole["to_s"] for hole in holes) - min(hole["from_s"] for hole in holes)) * 1000 if holes else 0.0


def ways_text(slots):
    return ", ".join(f"{slot['local']} to {slot['peer']} {slot['state']}, {slot['srtt_ms']:.1f} ms" for slot in slots)


def end_and_check(pair, report, copies=False):
    """Books while they run and after they ended; every buffer back in its pool. `copies`: packets came twice on purpose,
    and the second one fell to the window."""
    time.sleep(0.3)
    for gateway in pair.both():
        found = observe.books(gateway)
        report.check(f"{gateway.name} books balance", found["balanced"], observe.books_text(found))
        drops = observe.drops(gateway)
        lost = observe.keying_losses(gateway) - (drops.get("replay_duplicate", 0) if copies else 0)
        report.check(f"{gateway.name} lost nothing to its keys", lost == 0, str(drops))
    for gateway in pair.both():
        code = gateway.stop()
        report.check(f"{gateway.name} ended cleanly", code == 0, f"exit code {code}")
        problems = ["no final summary"]
        with contextlib.suppress(OSError, ValueError), open(gateway.summary, encoding="utf-8") as file:
            problems = observe.leftovers(gateway.name, json.load(file))
        report.check(f"{gateway.name} final books balance, all buffers are back", not problems, str(problems))
