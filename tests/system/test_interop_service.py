#!/usr/bin/env python3
# timeout: 1000
"""Whole sessions of the published crate, unmodified, through a stream service of a gateway: as initiator and as
responder it sends a file to a local TCP server and gets it back at the same time, also when 1 % of what the gateway
sends is lost. Sessions are added while the gateway runs: the crate makes their secrets."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import interop  # noqa: E402
import observe  # noqa: E402
import services  # noqa: E402
from netlab import wait_until  # noqa: E402
from relay import Relay  # noqa: E402

LIMIT_S = 200
MIB = 1 << 20
RAW_MIB, EXPLICIT_MIB, REKEY_MIB, LOSS_MIB = 64, 16, 16, 4
OWN_REKEY_EVERY = 10_000
EPOCHS_OF_A_STORM = 64  # in a storm (W-12) each retransmission makes one
ECHO = 9001
PUMP_LIMIT_S = 90


class Pumps:
    """One gateway; a session, an address pair and a pump for each transfer."""

    def __init__(self, lab, binary):
        self.lab, self.binary, self.count = lab, binary, 0
        self.services = services.Services(lab, [{"name": "echo", "group": "pumps", "target": f"tcp:127.0.0.1:{ECHO}"}])
        self.backend = services.Backend(self.services.near, services.echo, ECHO)
        self.services.start()
        self.gateway = self.services.gateway

    def transfer(self, role, stream, mib, relay=None, **options):
        """What the pump says of it, and the gateway of its session."""
        self.count += 1
        name, port = f"pump-{self.count}", 4700 + self.count
        folder = os.path.join(self.lab.folder, name)
        os.makedirs(folder)
        near, far = (f"{site.wan4}:{port}" for site in (self.services.network.a, self.services.network.b))
        pump_end, at_pump, at_gateway = far, near, far
        if relay:
            pump_end = f"127.0.0.1:{port}"
            at_gateway, at_pump = relay.path("p", f"{self.services.network.b.wan4}:0", "127.0.0.1:0", pump_end, near)
            relay.set("p", "ab", loss="1%")
        pump = interop.Pump(lambda command, **how: self.services.far.start(*command, **how), self.binary, role,
                            os.path.join(folder, "pump.log"), folder, bind=pump_end, peer=at_pump, stream=stream,
                            send_mib=mib, receive_mib=mib, limit=PUMP_LIMIT_S, **options)
        with open(pump.id_file, encoding="utf-8") as file:
            identity = file.read().strip()
        self.gateway.call("session.add", name=name, id=identity, secret_file=pump.secret_file, role=pump.peer_role,
                          local=near, peer=at_gateway, group="pumps", unmodified_peer=True, restart_reserve=0)
        wait_until(lambda: observe.session(self.gateway, name).get("state") == "connected", 5)
        pump.transfer()
        session = self.gateway.call("session.show", name=name)["sessions"][0]
        result = pump.finish()
        self.gateway.call("session.remove", name=name, drain="0s")
        return result, session


def check(report, what, mib, pump, session, epochs=interop.EPOCHS_OF_ITS_OWN):
    sent, received, streams = pump["sent"], pump["received"], session["streams"]
    report.check(f"{what}, {mib} MiB each way at once", pump["complete"],
                 f"{sent['bytes_per_second'] / 1e6:.2f} MB/s from the crate, {received['bytes_per_second'] / 1e6:.2f} MB/s "
                 f"to it; {pump['wire']}")
    report.check(f"{what}, what came back has the same SHA-256", sent["sha256"] == received["sha256"],
                 received["sha256"][:16])
    report.check(f"{what}, the gateway counts the same bytes", streams["received_bytes"] == streams["sent_bytes"] == mib * MIB,
                 f"{streams['received_bytes']} and {streams['sent_bytes']}")
    report.check(f"{what}, epochs stay where they should", pump["epoch"] == session["epoch"] and session["epoch"] in epochs
                 and session["rekeys"] == 0,
                 f"{pump['epoch']} at the crate, {session['epoch']} at the gateway, which made {session['rekeys']}")
    report.check(f"{what}, still connected", pump["state"] == "Connected", pump["state"])


def body(lab, report, binary):
    pumps = Pumps(lab, binary)
    for role in ("initiator", "responder"):
        check(report, f"{role} on its raw stream", RAW_MIB, *pumps.transfer(role, "raw", RAW_MIB))
        check(report, f"{role} on its explicit stream", EXPLICIT_MIB, *pumps.transfer(role, "explicit", EXPLICIT_MIB))
        pump, session = pumps.transfer(role, "raw", REKEY_MIB, rekey_every=OWN_REKEY_EVERY)
        check(report, f"{role} that rekeys", REKEY_MIB, pump, session, range(1, EPOCHS_OF_A_STORM))
        report.check(f"{role} that rekeys, the gateway followed", session["followed"] > 0, f"{session['followed']} epochs")
    relay = Relay(pumps.services.far, seed=7)
    pump, session = pumps.transfer("initiator", "raw", LOSS_MIB, relay)
    check(report, "1 % lost from the gateway to it", LOSS_MIB, pump, session)
    lost = relay.stats("p")["ab"]["lost"]
    report.check("1 % lost from the gateway to it, some was", lost > 0,
                 f"{lost} datagrams; the crate repeats a segment after 200 ms or more, with four of them under way at most")
    found = observe.books(pumps.gateway)
    report.check("the gateway's books balance", found["balanced"], observe.books_text(found))
    report.check("connections end with their sessions", wait_until(lambda: pumps.services.service("echo")["open"] == 0, 5),
                 str(pumps.services.service("echo")))
    code = pumps.gateway.stop()
    report.check("the gateway ended cleanly", code == 0, f"exit code {code}")
    pumps.backend.close()


if __name__ == "__main__":
    interop.start_test("published crate through a stream service", body, LIMIT_S)
