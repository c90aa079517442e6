#!/usr/bin/env python3
"""What phantom-testpmd measures is true: behind a relay with a set rate the search finds that rate, and the demo's
benchmark of a gateway on virtual ports holds its checks, draws its picture, and leaves nothing behind."""

import glob
import json
import os
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
sys.path.insert(0, os.path.join(ROOT, "tools"))
import demo_bench  # noqa: E402
import netlab  # noqa: E402
import observe  # noqa: E402
import systest  # noqa: E402
from relay import Relay  # noqa: E402

LIMIT_S = 900 if systest.soak() else 170
RUNS = 10  # of one search, in the long version
RATE_BITS = 60_000_000
# What the relay lets wait: a bad moment of the machine, but in a trial of 2 s no more than 0.5 % of the rate.
QUEUE_BYTES = 75_000
SIZE = 512
NEAR, FAR, PORT = "192.0.2.101", "192.0.2.151", netlab.Tunnel.PORT
WITHIN = 0.01
PDR = 0.005


class RelayedBench(demo_bench.Bench):
    """The WAN of the gateway and that of the harness meet at a relay on a bridge."""

    def __init__(self, lab):
        super().__init__(lab, "af_packet")
        for file, direct, relayed in (("gateway.toml", "192.0.2.2", NEAR), ("harness.toml", "192.0.2.1", FAR)):
            with open(self.file(file), encoding="ascii") as source:
                text = source.read()
            with open(self.file(file), "w", encoding="ascii") as target:
                target.write(text.replace(f'peer = "{direct}:{PORT}"', f'peer = "{relayed}:{PORT}"'))
        self.relay = Relay(self.wan)
        self.relay.path("wan", f"{NEAR}:{PORT}", f"{FAR}:{PORT}", f"192.0.2.2:{PORT}", f"192.0.2.1:{PORT}")

    def _cables(self):
        self.wan = self.lab.namespace("wan")
        self.wan.ip("link", "add", "bridge", "mtu", "1600", "type", "bridge", "mcast_snooping", "0")
        self.lab.cable(self.space, "gw-lan", self.space, "tp-lan", mtu=1600)
        for name in ("gw-wan", "tp-wan"):
            self.lab.cable(self.space, name, self.wan, f"port-{name[:2]}", mtu=1600)
            self.wan.ip("link", "set", f"port-{name[:2]}", "master", "bridge", "up")
        for name in ("gw-lan", "tp-lan", "gw-wan", "tp-wan"):
            self.space.write_sysctl(f"ipv6/conf/{name}/disable_ipv6", 1)
            self.space.ip("link", "set", name, "up")
        for address in (NEAR, FAR):
            self.wan.ip("addr", "add", f"{address}/24", "dev", "bridge")
        self.wan.ip("link", "set", "bridge", "up")

    def payload_bytes(self):
        """Of a datagram that carries a frame of SIZE, as the relay counts it: a measured trial, without a rate."""
        with demo_bench.Harness(self) as harness:
            harness.say(f"set txpkts {SIZE}")
            harness.trial("rate 1kpps time 500ms")  # what both ends say to one another at first are small datagrams
            before = self.relay.stats("wan")
            harness.trial("rate 10kpps time 2s")
            after = self.relay.stats("wan")
            found, code, lines = harness.end(30)
        if code != 0:
            raise netlab.LabError("\n".join(lines[-6:]))
        count = {key: after["ab"][key] - before["ab"][key] for key in ("in", "in_bytes")}
        sent = found["results"][-1]["trials"][0]["offered"]
        return count["in_bytes"] / count["in"], count["in"], sent


def search(bench, words):
    """Rows of the goals."""
    found, code, lines = bench.harness([f"bench ndr {SIZE} pdr {PDR} width 0.5% {words}"], 90)
    if code != 0:
        print("\n".join(lines[-8:]), flush=True)
    return {row["goal"]: row for result in found.get("results", []) for row in result["rates"]}


def close(report, name, rows, goal, rate):
    lower = (rows.get(goal) or {}).get("lower_pps") or 0
    report.check(name, abs(lower - rate) <= WITHIN * rate, f"{lower:.0f} for {rate:.0f} packets a second")


def known_rate(lab, report):
    bench = RelayedBench(lab)
    bench.gateway.init_state()
    bench.gateway.start()
    size, carried, sent = bench.payload_bytes()
    report.check("everything passes the relay", sent <= carried <= sent * 1.02, f"{carried} datagrams for {sent} packets")
    true = RATE_BITS / 8 / size
    bench.relay.set("wan", rate=f"{RATE_BITS}bit", queue=QUEUE_BYTES, burst=QUEUE_BYTES // 10)
    rows = search(bench, f"trial 2s sum 4s time 70s max {2 * true:.0f}pps")
    for goal, rate in (("NDR", true), ("PDR", true / (1 - PDR))):
        close(report, f"the search finds the {goal} of a known rate within 1 %", rows, goal, rate)
    if systest.soak():
        runs = [search(bench, f"trial 1s sum 2s time 40s max {2 * true:.0f}pps")["NDR"] for _ in range(RUNS)]
        lower, upper = [run["lower_pps"] or 0 for run in runs], [run["upper_pps"] or 0 for run in runs]
        report.check(f"{RUNS} runs of the search agree within their stated width", max(lower) <= min(upper),
                     f"lower bounds {min(lower):.0f} to {max(lower):.0f}, upper {min(upper):.0f} to {max(upper):.0f}, "
                     f"the rate is {true:.0f}")
    # A little loss at every load: there is no NDR, and the PDR is where loss and rate add up to it.
    bench.relay.set("wan", "ab", loss="0.2%")
    rows = search(bench, f"trial 2s sum 2s time 40s max {1.5 * true:.0f}pps min {true / 1.5:.0f}pps")
    close(report, "with loss the search finds the PDR within 1 %", rows, "PDR", true / (1 - PDR))
    report.check("with loss there is no NDR", "NDR" in rows and rows["NDR"]["lower_pps"] is None, f"{rows.get('NDR')}")
    books = observe.books(bench.gateway)
    report.check("the gateway's books balance", books["balanced"], observe.books_text(books))
    code = bench.gateway.stop()
    report.check("the gateway ends cleanly", code == 0, f"exit code {code}")


def demo(lab, report):
    summary = os.path.join(lab.folder, "summary.json")
    command = [os.path.join(ROOT, "tools", "demo"), "--bench", "--quick", "--no-setup", "--no-build", "--json", summary]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    with open(summary, encoding="utf-8") as file:
        found = json.load(file)
    bad = [check for check in found["checks"] if check["ok"] is not True]
    report.check("demo --bench holds its checks", done.returncode == 0 and not bad and len(found["checks"]) >= 14,
                 f"exit code {done.returncode}, {bad}" if bad or done.returncode else f"{len(found['checks'])} checks")
    with open(os.path.splitext(summary)[0] + ".svg", encoding="utf-8") as file:
        picture = file.read()
    report.check("demo --bench draws searches, latency and both events",
                 all(word in picture for word in ("bounds closing", "latency by percentile", "rekey under load",
                                                  "migration under load")), found.get("picture"))


def remains(pid):
    return [path for pattern in (f"/run/netns/{netlab.TAG}-{pid}-*", f"/tmp/{netlab.TAG}-{pid}-*",
                                 f"{netlab.RUNTIME}/{netlab.TAG}-{pid}-*") for path in glob.glob(pattern)]


def killed(lab, report):
    process = subprocess.Popen([sys.executable, os.path.join(ROOT, "tools", "demo_bench.py"), "--quick"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    begun = netlab.wait_until(lambda: glob.glob(f"/tmp/{netlab.TAG}-{process.pid}-*/*/harness-2.log"), 30)
    time.sleep(0.5)
    before = remains(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    gone = netlab.wait_until(lambda: not remains(process.pid), 10)
    report.check("nothing stays behind when the demo is killed", begun and before and gone, f"{remains(process.pid)}")


def body(lab, report):
    known_rate(lab, report)
    demo(lab, report)
    killed(lab, report)


if __name__ == "__main__":
    systest.main("testpmd_bench", body, LIMIT_S)
