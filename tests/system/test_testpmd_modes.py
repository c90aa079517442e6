#!/usr/bin/env python3
"""Forward modes of phantom-testpmd against a real phantom-gateway over memif, and the books: what was sent is what was
delivered and what the gateway says it dropped, by name."""

import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import netlab  # noqa: E402
import systest  # noqa: E402

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TESTPMD = netlab.built("tools", "testpmd", "phantom-testpmd")
LAB = os.path.join(ROOT, "tools", "testpmd-lab")
LIMIT_S = 150
RATE = "10kpps"
SESSIONS = 4
ALONE = "\n".join(["[gateway]", 'name = "{name}"', 'state_dir = "{name}-state"', 'log_level = "warn"', "[cores]",
                   "idle_backoff = true", "[eal]", 'args = ["--no-huge", "-m", "320"]', "[harness]", "{port}", ""])


def told(harness):
    """The packets of a finished run, both ways added up."""
    both = next(way for way in harness["ways"] if way["way"] == "both")
    return {key: both[key] for key in ("sent", "received", "loss", "corrupt", "foreign", "duplicates")}


class Scene:
    """A gateway, and harnesses around it."""

    def __init__(self, lab, name, *options):
        self.lab, self.folder = lab, os.path.join(lab.folder, name)
        subprocess.run([LAB, self.folder, "--sessions", str(SESSIONS), "--streams", "2", *options], check=True,
                       stdout=subprocess.DEVNULL)
        self.runs = 0

    def forget_route(self, session):
        """The gateway knows no way for what is sent up in this session, and says so to nobody."""
        with open(self.path("gateway.toml"), encoding="ascii") as file:
            text = file.read()
        head, *routes = text.split("[[route]]")
        routes = [route for route in routes if f'"s{session}"' not in route]
        head = head.replace("[gateway]", "[gateway]\nicmp_errors = false")
        self.write("gateway.toml", "[[route]]".join([head, *routes]))

    def path(self, name):
        return os.path.join(self.folder, name)

    def start_gateway(self):
        binary = netlab.gateway_binary()
        netlab.run(binary, "--init-state", self.path("gateway.toml"))
        self.gateway = self.lab.start([binary, "--json", self.path("gateway.json"), self.path("gateway.toml")],
                                      log=os.path.join(self.lab.folder, "gateway.log"))
        if not netlab.wait_until(lambda: os.path.exists(self.path("wan.sock")), 10):
            raise netlab.LabError("the gateway did not start")

    def stop_gateway(self):
        """Its summary."""
        self.gateway.terminate()
        self.gateway.wait(timeout=20)
        with open(self.path("gateway.json"), encoding="utf-8") as file:
            return json.load(file)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="ascii") as file:
            file.write(text)
        return self.path(name)

    def start_harness(self, config, script):
        self.runs += 1
        result = self.path(f"run{self.runs}.json")
        process = self.lab.start([TESTPMD, "--init-state", self.path(config), "--json", result, "--cmdline-file",
                                  self.write(f"script{self.runs}", script)],
                                 log=os.path.join(self.lab.folder, f"harness{self.runs}.log"))
        return process, result

    @staticmethod
    def finish(started, timeout=60):
        process, result = started
        code = process.wait(timeout=timeout)
        if code not in (0, 1):
            raise netlab.LabError(f"the harness ended with code {code}")
        with open(result, encoding="utf-8") as file:
            return json.load(file)


def trials(harness):
    return [trial for result in harness["results"] for trial in result.get("trials", [])]


def port_of(config, name):
    ports = config.split("[[port]]")[1:]
    return "[[port]]" + next(port for port in ports if f'name = "{name}"' in port).split("[[session]]")[0]


def without_port(config, name):
    return config.replace(port_of(config, name), "")


def check_trial(report, name, trial, wanted):
    good = trial["void"] is None and trial["offered"] == trial["received"] == wanted and trial["corrupt"] == 0
    report.check(f"mode {name} carries every packet", good,
                 f"{trial['offered']} sent, {trial['received']} received, {trial['corrupt']} damaged, void: {trial['void']}")


def drops_of(summary):
    return {name: count for name, count in summary["drops"].items() if name != "draining"}


def both_sides(lab, report):
    """gen, seal and loop; then more than the gateway can carry."""
    scene = Scene(lab, "both")
    scene.forget_route(SESSIONS - 1)
    scene.start_gateway()
    script = f"set sessions {SESSIONS - 1}\nset ways both\nset fwd loop\ntrial rate {RATE} time 1\nset fwd gen\ntrial rate {RATE} time 1\n"
    script += f"set fwd seal\ntrial rate {RATE} time 1\nset fwd loop\nset txpkts 64x7,570x4,1400x1\ntrial rate {RATE} time 1\n"
    script += f"set txpkts 64\nset streams 2\ntrial rate max time 0.5\nset sessions {SESSIONS}\nset txrate {RATE}\nstart\nwait 1\nstop\n"
    harness = scene.finish(scene.start_harness("harness.toml", script))
    summary = scene.stop_gateway()
    loop, gen, seal, mixed, most = trials(harness)
    astray = told(harness)  # since the last start
    check_trial(report, "loop", loop, 20000)
    check_trial(report, "gen", gen, 10000)
    check_trial(report, "seal", seal, 10000)
    check_trial(report, "loop with mixed sizes", mixed, 20000)
    report.check("as fast as it goes, packets arrive once and whole",
                 most["received"] > 20000 and most["duplicates"] == most["corrupt"] == 0,
                 f"{most['received']} of {most['offered']}, {most['duplicates']} twice, {most['corrupt']} damaged")
    lost = sum(trial["loss"] for trial in trials(harness)) + astray["loss"]
    here = {drop["reason"]: drop["packets"] for drop in harness.get("end_drops", [])}
    there = drops_of(summary)
    # Up there is no way into it, and down nothing may come out of it; packets are spread evenly.
    share = astray["sent"] // (2 * SESSIONS)
    report.check("a session without a route loses all of both ways",
                 share > 1000 and set(there) == {"no_route", "inner_source"} and
                 all(share <= count <= share + 1 for count in there.values()),
                 f"{astray['loss']} of {astray['sent']} lost, gateway {there}")
    report.check("what was lost is what the gateway dropped, by name", lost == sum(there.values()) + sum(here.values()),
                 f"{lost} lost; gateway {there}, harness {here}")
    report.check("the gateway's books balance", summary["books"]["balanced"] and summary["pools_full"])


def apart(lab, report):
    """verify and reflect: one harness on the gateway's LAN side, another on its WAN side."""
    scene = Scene(lab, "apart")
    with open(scene.path("harness.toml"), encoding="ascii") as file:
        config = file.read()
    scene.write("near.toml", ALONE.format(name=f"near-{os.getpid()}", port=port_of(config, "lan")))
    far = re.sub(r'name = "testpmd-', 'name = "far-', without_port(config, "lan"), count=1)
    scene.write("far.toml", far)
    scene.start_gateway()
    verify = scene.start_harness("far.toml", "set fwd verify\nstart\nwait 6\nstop\n")
    time.sleep(1.5)
    near = scene.finish(scene.start_harness("near.toml", f"set fwd gen\nset txrate {RATE}\nstart\nwait 1\nstop\n"))
    verify = scene.finish(verify)
    sent, arrived = told(near)["sent"], told(verify)
    # The first packet only tells the verifier that a sender is there.
    whole = sent > 5000 and sent - 1 <= arrived["received"] <= sent and arrived["corrupt"] == 0
    report.check("mode verify counts what another program sent", whole, f"{sent} sent by gen, {arrived}")
    scene.stop_gateway()


def reflected(lab, report):
    scene = Scene(lab, "reflected")
    with open(scene.path("harness.toml"), encoding="ascii") as file:
        config = file.read()
    scene.write("near.toml", ALONE.format(name=f"near-{os.getpid()}", port=port_of(config, "lan")))
    scene.write("mirror.toml", ALONE.format(name=f"mirror-{os.getpid()}", port=port_of(config, "wan")))
    scene.start_gateway()
    mirror = scene.start_harness("mirror.toml", "set fwd reflect\nstart\nwait 6\nstop\n")
    time.sleep(1.5)
    near = scene.finish(scene.start_harness("near.toml", f"set fwd gen\nset txrate {RATE}\nstart\nwait 1\nstop\n"))
    scene.finish(mirror)
    sent = told(near)["sent"]
    summary = scene.stop_gateway()
    drops = drops_of(summary)
    # Sealed by the gateway itself: it has no keys to open that, and says so for each.
    report.check("mode reflect sends every frame back, and the gateway opens none",
                 sent > 5000 and drops.get("auth", 0) >= sent, f"{sent} sent, dropped {drops}")
    report.check("nothing of it reaches the LAN", summary["workers"][0]["opened_pkts"] == 0,
                 f"{summary['workers'][0]['opened_pkts']} opened")


def alone(lab, report):
    scene = Scene(lab, "self", "--self")
    harness = scene.finish(scene.start_harness("harness.toml", f"set fwd self\nset ways both\ntrial rate {RATE} time 1\n"))
    check_trial(report, "self", trials(harness)[0], 20000)
    script = scene.write("bad", "set fwd self\nset burst 65\n")
    refused = netlab.run(TESTPMD, scene.path("harness.toml"), "--cmdline-file", script, check=False)
    report.check("a burst above the ring's is refused", "65" in refused and "64" in refused, refused[-200:])


def body(lab, report):
    both_sides(lab, report)
    apart(lab, report)
    reflected(lab, report)
    alone(lab, report)


if __name__ == "__main__":
    systest.main("testpmd modes", body, LIMIT_S, binary=TESTPMD)
