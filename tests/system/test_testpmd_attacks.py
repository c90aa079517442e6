#!/usr/bin/env python3
"""Attacks of phantom-testpmd on a real phantom-gateway: each forged packet ends under the drop reason it must have there,
what the session itself sends meanwhile all arrives, and a capture shows both. Relay mode does what it is set to."""

import json
import os
import subprocess

import test_testpmd_modes as modes
from test_testpmd_modes import Scene, drops_of, told

import netlab
import systest

LIMIT_S = 120
RATE = "5kpps"
FORGED_RATE = "2kpps"
# Different counts, so that sums of one reason tell their attacks apart.
COUNTS = {"replay": 300, "forge-epoch": 370, "stripped-flag": 340, "truncation": 350, "wrong-tag": 320,
          "off-path-challenge": 335, "spoofed-source": 310, "unknown-session": 360}
REASONS = {"replay_duplicate": ("replay", "spoofed-source"), "unencrypted": ("stripped-flag",), "truncated": ("truncation",),
           "auth": ("wrong-tag", "off-path-challenge"), "unknown_session": ("unknown-session",)}
FORGED_EPOCHS = ("epoch_ahead_forged", "epoch_ahead_budget")
DECODE = os.path.join(netlab.ROOT, "tools", "decode")


def attacked(lab, report):
    scene = Scene(lab, "attacked")
    scene.start_gateway()
    script = f"set fwd seal\nset ways down\nset txrate {RATE}\nstart\nwait 0.3\n"
    for name, count in COUNTS.items():
        script += f"attack {name} rate {FORGED_RATE} count {count}\nwait 0.5\n"
    harness = scene.finish(scene.start_harness("harness.toml", script + "stop\n"))
    summary = scene.stop_gateway()
    drops, ours = drops_of(summary), told(harness)
    made = {attack["attack"]: attack["packets"] for attack in harness["attacks"]}
    report.check("every attack was made in full", made == COUNTS, str(made))
    for reason, names in REASONS.items():
        wanted = sum(COUNTS[name] for name in names)
        report.check(f"{' and '.join(names)} end as {reason}", drops.get(reason) == wanted, f"{drops.get(reason)} of {wanted}")
    forged = sum(drops.get(reason, 0) for reason in FORGED_EPOCHS)
    report.check("forge-epoch ends as forged, or as beyond the budget", forged == COUNTS["forge-epoch"],
                 str({reason: drops.get(reason) for reason in FORGED_EPOCHS}))
    others = set(drops) - set(REASONS) - set(FORGED_EPOCHS)
    report.check("nothing else is dropped", not others, str(drops))
    report.check("the session's own packets all arrive", ours["sent"] > 10000 and ours["received"] == ours["sent"]
                 and ours["duplicates"] == ours["corrupt"] == 0, str(ours))
    report.check("the gateway's books balance", summary["books"]["balanced"] and summary["pools_full"])
    moved = sum(session["paths"][0]["migrations"] for session in summary["sessions"] if session.get("paths"))
    report.check("a spoofed source moves no session", moved == 0, f"{moved} moves")


def packets_of(path):
    """What tools/decode says of a capture."""
    done = subprocess.run([DECODE, "--json", path], capture_output=True, text=True, timeout=60)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def captured(lab, report):
    scene = Scene(lab, "captured")
    scene.start_gateway()
    path = scene.path("wire.pcapng")
    dropped = scene.path("dropped.pcapng")
    script = f"set fwd loop\nset ways both\nset txrate {RATE}\ncapture {path} count 400\nstart\nwait 0.5\nstop\ncapture stop\n"
    script += f"set fwd capture\ncapture {dropped}\nstart\nwait 1\nstop\ncapture stop\n"
    scene.finish(scene.start_harness("harness.toml", script))
    scene.stop_gateway()
    code, packets = packets_of(path)
    streams = {packet["stream"] for packet in packets if not packet["malformed"]}
    report.check("a capture has the sessions' packets, headers and comments", code == 0 and len(packets) > 100 and streams and
                 all("sequence" in packet.get("comment", "") for packet in packets), f"{len(packets)} packets, streams {streams}")
    report.check("mode capture writes a file that can be read", packets_of(dropped)[0] == 0)


RELAY = """
[[port]]
name = "a"
device = "net_memif0,role=client,socket={wan},socket-abstract=no,rsize=10,bsize=2176,mac=02:50:54:01:03:01"
role = "lan"
addresses = ["10.98.0.1/24"]
mtu = 1600

[[port]]
name = "b"
device = "net_memif1,role=server,socket={relay},socket-abstract=no,rsize=10,bsize=2176,mac=02:50:54:01:03:02"
role = "wan"
addresses = ["10.97.0.1/24"]
mtu = 1600
"""
RELAY_LOSS = 0.02
RELAY_PPS = 10000
MOST_DELAY_US = 60000


def say(process, *lines):
    process.stdin.write("".join(line + "\n" for line in lines).encode())
    process.stdin.flush()


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def relayed(lab, report):
    """A loop harness and a gateway, with a relay harness between their WAN sides."""
    scene = Scene(lab, "relayed")
    with open(scene.path("harness.toml"), encoding="ascii") as file:
        config = file.read()
    wan, between = scene.path("wan.sock"), scene.path("between.sock")
    scene.write("far.toml", config.replace(wan, between))
    scene.write("relay.toml", modes.ALONE.format(name=f"relay-{os.getpid()}", port=RELAY.format(wan=wan, relay=between)))
    scene.start_gateway()
    log = os.path.join(lab.folder, "relay.log")
    relay = lab.start([modes.TESTPMD, "--init-state", scene.path("relay.toml")], log=log, stdin=subprocess.PIPE)
    say(relay, "set fwd relay", "start")
    netlab.wait_until(lambda: os.path.exists(between), 10)
    result, far_log = scene.path("far.json"), os.path.join(lab.folder, "far.log")
    far = lab.start([modes.TESTPMD, "--init-state", scene.path("far.toml"), "--json", result], log=far_log, stdin=subprocess.PIPE)
    say(far, "set fwd loop", "set ways up")
    for number, setting in enumerate((f"loss={RELAY_LOSS}", "loss=0 corrupt=5%", "corrupt=0 delay=20ms"), 1):
        say(relay, f"set relay ab {setting}", "show relay")
        say(far, "wait 0.3", f"trial rate {RELAY_PPS}pps time 1")
        if not netlab.wait_until(lambda wanted=number: text_of(far_log).count("void because") == wanted, 20):
            raise netlab.LabError(f"no trial with {setting}: {text_of(far_log)[-300:]}")
    for process in (far, relay):
        say(process, "quit")
        process.wait(timeout=20)
    with open(result, encoding="utf-8") as file:
        lossy, damaged, late = modes.trials(json.load(file))
    summary = scene.stop_gateway()
    wanted = RELAY_LOSS * lossy["offered"]
    report.check("a relay loses its share", abs(lossy["loss"] - wanted) < 6 * wanted ** 0.5, f"{lossy['loss']} of {lossy['offered']}")
    report.check("what a relay damages does not arrive, and nothing damaged does",
                 damaged["loss"] > 0.03 * damaged["offered"] and damaged["corrupt"] == 0, f"{damaged['loss']} of {damaged['offered']}")
    median = late["p50_us"]
    report.check("a relay's delay is what was set", late["loss"] == 0 and 20000 <= median < MOST_DELAY_US, f"{late['loss']} lost, {median} us")
    # Its first probes found no relay yet, and damaged addresses and ports bring answers to nobody.
    drops = set(drops_of(summary)) - {"neighbour_timeout", "not_phantom"}
    report.check("the gateway lost nothing of it", not drops, str(drops_of(summary)))


def body(lab, report):
    attacked(lab, report)
    captured(lab, report)
    relayed(lab, report)


if __name__ == "__main__":
    systest.main("testpmd attacks", body, LIMIT_S, binary=modes.TESTPMD)
