#!/usr/bin/env python3
# timeout: 1000
"""The published crate, unmodified, as the peer of a gateway at packet level: its session object behind a kernel UDP
socket carries what the hosts say, rekeys and follows rekeys, jumps and follows jumps of 16 epochs, answers challenges,
and moves its address. Nothing may get lost without a name at one of the ends."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import interop  # noqa: E402
import netlab  # noqa: E402
import observe  # noqa: E402
import traffic  # noqa: E402
from netlab import wait_until  # noqa: E402

LIMIT_S = 150
PEER_PORT = 4500
SECOND_ADDRESS = "192.0.2.22"
FAR_PORT, NEAR_PORT = 7002, 7001
RATE, SECONDS, SIZE, FLOWS = 1000, 4, 300, 16
OWN_REKEY_EVERY = 150     # seals of the crate in one epoch
OWN_REKEYS = 20           # of the gateway, meanwhile
JUMP = 16                 # MAX_REKEY_CATCHUP
JUMPS = 3                 # of each end; with the rekeys above well below epoch 255
CHALLENGE, DATA = "0x0220", "0x0028"


class Far:
    """A session and who plays its far end: what differs between them."""

    def __init__(self, name, index, role, suite=""):
        self.name, self.index, self.role, self.suite = name, index, role, suite
        self.net4, self.host4 = f"10.{20 + index}.0.0/24", f"10.{20 + index}.0.2"
        self.net6, self.host6 = f"fd00:{20 + index}::/64", f"fd00:{20 + index}::2"
        self.peer = None

    def session(self):
        options = {"unmodified_peer": True, "restart_reserve": 0,
                   "role": "responder" if self.role == "initiator" else "initiator"}
        return {"name": self.name, "suite": self.suite or "aes-256-gcm", "options": options,
                "prefixes": lambda _: [self.net4, self.net6]}

    def start(self, network, tunnel, binary):
        agreed = tunnel.sessions[self.index]
        folder, port = network.lab.folder, PEER_PORT + self.index
        secret = netlab.write_secret(os.path.join(folder, f"{self.name}-far.secret"), agreed["secret"])
        more = {"suite": self.suite} if self.suite else {}
        self.peer = interop.PacketPeer(
            network.b.gateway_space, binary, os.path.join(folder, f"{self.name}-far.log"), id=agreed["id"],
            bind=f"{network.b.wan4}:{port}", peer=f"{network.a.wan4}:{port}", secret_file=secret, role=self.role, **more)

    @property
    def port(self):
        return PEER_PORT + self.index


def lost_by_name(found):
    return sum(found["dropped"].values())


def over_budget(gateway):
    """Packets of a crate that was two epochs ahead while a busy control core had no keys for them yet."""
    return observe.drops(gateway).get("epoch_ahead_budget", 0)


def both_ways(network, gateway, far, during, address_of="host4"):
    """Counted flows both ways, `during` beside them: by direction sent and received."""
    near, outside = network.a, getattr(far, address_of)
    before, budget_before = far.peer.report(), over_budget(gateway)
    sink = traffic.UdpSink(near, getattr(near, address_of), NEAR_PORT)
    source = traffic.UdpSource(near, outside, FAR_PORT, RATE, SECONDS, SIZE, FLOWS)
    ends = [f"[{one}]" if ":" in one else one for one in (outside, getattr(near, address_of))]
    far.peer.tell("flow", f"{ends[0]}:6000", f"{ends[1]}:{NEAR_PORT}", RATE, RATE * SECONDS, SIZE, FLOWS)
    during()
    sent = source.result()["sent"]
    wait_until(lambda: not far.peer.report()["flow_running"], 15)
    time.sleep(0.3)
    after, arrived = far.peer.report(), sink.result()
    gone = lost_by_name(after) - lost_by_name(before)
    received = after["inner"].get("flow", 0) - before["inner"].get("flow", 0)
    return {"to the crate": {"sent": sent, "received": received, "dropped by name": gone},
            "from the crate": {"sent": after["flow_sent"] - before["flow_sent"], "received": arrived["received"],
                               "duplicates": arrived["duplicates"],
                               "dropped by name": over_budget(gateway) - budget_before}}


def check_flows(report, what, found, named_drops=False):
    """Every packet arrived once, or, where named_drops says so, the end that dropped it says why."""
    for direction, one in found.items():
        lost = one["sent"] - one["received"]
        most = one["dropped by name"] if named_drops else 0
        report.check(f"{what}, {direction} {'no loss without a name' if named_drops else 'nothing is lost'}",
                     one["received"] > 0 and 0 <= lost <= most and not one.get("duplicates"), str(one))


def check_plain(network, gateway, report, far):
    for address in ("host4", "host6"):
        found = both_ways(network, gateway, far, lambda: None, address)
        check_flows(report, f"{far.name} {'IPv4' if address == 'host4' else 'IPv6'}", found)


def check_rekeys(network, gateway, report, far):
    """Both ends rekey while traffic runs both ways. What was on its way to the crate then, it drops: it keeps no
    previous keys."""
    before, crate_before = observe.session(gateway, far.name), far.peer.report()

    def during():
        far.peer.tell("every", OWN_REKEY_EVERY)
        for _ in range(OWN_REKEYS):
            gateway.ctl("session", "rekey", far.name)
            time.sleep(0.8 * SECONDS / OWN_REKEYS)
        far.peer.tell("every", 1 << 47)

    found = both_ways(network, gateway, far, during)
    check_flows(report, f"{far.name} with rekeys of both ends", found, named_drops=True)
    after, crate = observe.session(gateway, far.name), far.peer.report()
    ours, theirs = after["rekeys"] - before["rekeys"], crate["rekeys"] - crate_before["rekeys"]
    report.check(f"{far.name}, both ends rekeyed and followed", ours >= OWN_REKEYS // 2 and theirs >= 10 and
                 after["followed"] > before["followed"] and crate["followed"] > crate_before["followed"],
                 f"{ours} by the gateway, {theirs} by the crate, epoch {crate['epoch']}")
    report.check(f"{far.name}, the ends agree on the epoch", after["epoch"] == crate["epoch"],
                 f"{after['epoch']} and {crate['epoch']}")
    behind = crate["dropped"].get("epoch_behind", 0)
    report.check(f"{far.name}, the crate dropped old epochs alone", lost_by_name(crate) == behind, str(crate["dropped"]))


def speak(far, network):
    """A few packets of the crate's own, which show its epoch."""
    far.peer.tell("flow", f"{far.host4}:6000", f"{network.a.host4}:{NEAR_PORT}", 100, 20, SIZE, 4)
    return wait_until(lambda: not far.peer.report()["flow_running"], 5)


def settle(network, gateway, far):
    """Traffic until both ends are at one epoch and know that they are."""
    def same():
        traffic.ping(network.a, far.host4, count=3, interval_s=0.02, wait_s=1)
        return observe.session(gateway, far.name)["epoch"] == far.peer.report()["epoch"]

    return wait_until(same, 10)


def check_jumps(network, gateway, report, far):
    for number in range(JUMPS):
        before = observe.session(gateway, far.name)
        epoch = far.peer.tell("jump", JUMP)["epoch"]
        settled = speak(far, network) and settle(network, gateway, far)
        after = observe.session(gateway, far.name)
        report.check(f"{far.name}, the gateway follows a jump of {JUMP} epochs, {number + 1}", settled and
                     after["epoch"] == epoch and after["catch_ups"] > before["catch_ups"], f"epoch {after['epoch']}")
        gateway.ctl("session", "rekey", far.name, "--steps", str(JUMP))
        settled = settle(network, gateway, far)
        crate = far.peer.report()
        report.check(f"{far.name}, the crate follows a jump of {JUMP} epochs, {number + 1}", settled and
                     crate["epoch"] == epoch + JUMP and crate["longest_jump"] == JUMP, f"epoch {crate['epoch']}")


def check_moves(network, gateway, report, far):
    """Another port, then another address: the gateway challenges, the crate echoes, the traffic follows."""
    for place, what in ((f"{network.b.wan4}:{far.port + 500}", "port"), (f"{SECOND_ADDRESS}:{far.port}", "address")):
        times = []

        def during(place=place, times=times):
            start = time.monotonic()
            far.peer.tell("move", place)
            if wait_until(lambda: observe.session(gateway, far.name)["peer"] == place, SECONDS):
                times.append(time.monotonic() - start)

        before = far.peer.report()
        found = both_ways(network, gateway, far, during)
        check_flows(report, f"{far.name} while its {what} changes", found)
        took = f"after {times[0] * 1000:.0f} ms" if times else observe.session(gateway, far.name)["peer"]
        report.check(f"{far.name}, the gateway follows to another {what}", times, took)
        after = far.peer.report()
        heard = after["heard_at"].get(place, 0)
        report.check(f"{far.name}, traffic arrives at the new {what}", heard > SECONDS * RATE // 2,
                     str(after["heard_at"]))
        report.check(f"{far.name}, challenges were echoed", after["echoes"] > before["echoes"],
                     f"{after['echoes'] - before['echoes']} echoes")


def check_books(gateway, report, far):
    """What one end sent, the other received or dropped with a name."""
    wait_until(lambda: observe.session(gateway, far.name)["tx_pkts"] == far.peer.report()["received"], 5)
    before = observe.session(gateway, far.name)
    crate = far.peer.finish()
    after = observe.session(gateway, far.name)
    report.check(f"{far.name}, what the gateway sent arrived", before["tx_pkts"] <= crate["received"] <= after["tx_pkts"],
                 f"{after['tx_pkts']} sent, {crate['received']} received")
    report.check(f"{far.name}, what the crate received it opened or dropped by name",
                 crate["received"] == crate["opened"] + lost_by_name(crate) - path_drops(crate),
                 f"{crate['opened']} opened, {crate['dropped']}")
    missing = crate["sent"] - after["rx_pkts"]
    report.check(f"{far.name}, what the crate sent the gateway opened or dropped by name",
                 0 <= missing <= over_budget(gateway),
                 f"{crate['sent']} sent, {after['rx_pkts']} opened, {missing} dropped two epochs ahead")
    report.check(f"{far.name}, the gateway sent data and challenges alone",
                 set(crate["opened_by_flags"]) <= {CHALLENGE, DATA, "0x0128", "0x0320"}, str(crate["opened_by_flags"]))
    report.check(f"{far.name}, data came on streams 1 to 16", set(map(int, crate["opened_by_stream"])) <= set(range(17)),
                 str(crate["opened_by_stream"]))
    print(f"     {far.name}: {crate}", flush=True)
    return missing


def path_drops(crate):
    """Drops of packets that had opened before."""
    return sum(n for reason, n in crate["dropped"].items() if reason.startswith("path_"))


def check_end(gateway, report, missing):
    found = observe.books(gateway)
    report.check("the gateway's books balance", found["balanced"], observe.books_text(found))
    report.check("the gateway's drops for its keys are those the crates miss",
                 observe.keying_losses(gateway) == over_budget(gateway) == missing, str(observe.drops(gateway)))
    code = gateway.stop()
    report.check("the gateway ended cleanly", code == 0, f"exit code {code}")


def body(lab, report, binary):
    network = netlab.Network(lab)
    space = network.b.gateway_space
    for address in (network.b.wan4, SECOND_ADDRESS):
        space.ip("addr", "add", f"{address}/24", "dev", "wan")
    ends = [Far("gcm", 0, "responder"), Far("gcm-back", 1, "initiator"),
            Far("chacha", 2, "responder", "chacha20-poly1305")]
    tunnel = netlab.Tunnel(network, [far.session() for far in ends])
    gateway = netlab.Gateway(network, network.a, tunnel.config(network.a), netlab.gateway_binary())
    gateway.init_state()
    for far in ends:  # first: whatever the gateway sends shall find them
        far.start(network, tunnel, binary)
    gateway.start()
    for far in ends:
        for address in (far.host4, far.host6):
            took = traffic.wait_for_ping(network.a, address)
            report.check(f"{far.name} answers pings in IPv{6 if ':' in address else 4}", took is not None, f"{took} s")
        check_plain(network, gateway, report, far)
    for far in ends[:2]:  # the crate's rekey goes back to the suite of its processor
        check_rekeys(network, gateway, report, far)
        check_jumps(network, gateway, report, far)
    for far in ends[1:]:
        check_moves(network, gateway, report, far)
    missing = sum([check_books(gateway, report, far) for far in ends])
    check_end(gateway, report, missing)


if __name__ == "__main__":
    interop.start_test("unmodified peer", body, LIMIT_S)
