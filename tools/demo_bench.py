#!/usr/bin/env python3
"""The demo's benchmark: phantom-testpmd around a gateway, on this machine alone. tools/demo --bench starts this."""

import argparse
import contextlib
import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import types

TOOLS = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(TOOLS), "tests", "support"))

import netlab  # noqa: E402
import observe  # noqa: E402
from demo_run import Summary, say  # noqa: E402
from netlab import LabError  # noqa: E402

LIMIT_S = 280             # for everything but installing and building
LONGEST_PHASE_S = 60      # beside the time that a phase's searches may take
SIZES = ("64", "512", "1400", "imix")
EVENT_SIZE = "512"
PDR = "0.5%"
BUFFERS, RING = 32768, 4096  # what comes while a busy machine lets a worker wait
LEAST_HUGEPAGES = 512
MTU = {"memif": 1500, "af_packet": 1400}  # of the LAN side; AF_PACKET takes frames of 1518 bytes at most
# Words of `bench` that say how thorough it is: two cores for all, and everything within LIMIT_S. `close`: how far apart,
# by share, the bounds of an NDR may be when its time is over; the quick one only looks whether everything works.
FULL = types.SimpleNamespace(sizes=SIZES, ndr="width 2% trial 500ms sum 2500ms time 160s", search_s=160, latency="run 3s",
                             event="run 500ms repeat 5", books_s=1, close=0.1, of_ndr=1)
QUICK = types.SimpleNamespace(sizes=("64", "imix"), ndr="width 5% trial 300ms sum 900ms time 24s", search_s=24,
                              latency="run 500ms", event="run 300ms repeat 2", books_s=0.5,
                              close=1, of_ndr=0.5)


def number(value):
    return f"{value / 1e6:.3f} M" if value >= 1e6 else f"{value / 1e3:.1f} k"


# --- both processes --------------------------------------------------------------------------------------------------

class Bench:
    """A gateway and, one after another, harnesses around it, in a namespace of their own."""

    def __init__(self, lab, driver):
        self.lab, self.driver = lab, driver
        self.space = lab.namespace(f"bench-{driver}")
        self.folder = os.path.join(lab.folder, driver)
        self.huge = netlab.free_hugepages() >= LEAST_HUGEPAGES
        self.runs = 0
        if driver == "af_packet":
            self._cables()
        netlab.run(sys.executable, os.path.join(TOOLS, "testpmd-lab"), self.folder, "--driver", driver, "--packets",
                   str(BUFFERS), "--ring", str(RING), "--mtu", str(MTU[driver]), *(["--huge"] if self.huge else []))
        self.gateway = UnderTest(self)

    def _cables(self):
        for near, far in (("gw-lan", "tp-lan"), ("gw-wan", "tp-wan")):
            self.space.ip("link", "add", near, "mtu", "1600", "type", "veth", "peer", "name", far, "mtu", "1600")
            for name in (near, far):
                self.space.write_sysctl(f"ipv6/conf/{name}/disable_ipv6", 1)
                self.space.quiet_offloads(name)
                self.space.ip("link", "set", name, "up")

    def file(self, name):
        return os.path.join(self.folder, name)

    def eal(self, number, name):
        return ["--eal", "--no-pci", "--lcores", netlab.lcores(number), "--file-prefix",
                f"{netlab.TAG}-{os.getpid()}-{self.driver}-{name}"]

    def harness(self, commands, limit_s):
        """Runs commands in a harness of their own: what it found, its exit code and the lines it printed."""
        with Harness(self) as harness:
            for command in commands:
                harness.say(command)
            return harness.end(limit_s)


class Harness:
    """A phantom-testpmd that takes commands one by one."""

    def __init__(self, bench):
        bench.runs += 1
        name = f"harness-{bench.runs}"
        self.found, self.log = bench.file(name + ".json"), bench.file(name + ".log")
        store = [] if os.path.isdir(bench.file("harness-state")) else ["--init-state"]
        program = netlab.built("tools", "testpmd", "phantom-testpmd")
        self.process = bench.space.start(program, bench.file("harness.toml"), *store, "--json", self.found,
                                         *bench.eal(1, name), log=self.log, stdin=subprocess.PIPE, text=True)
        self.say("set fwd loop")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=10)

    def say(self, command):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()

    def lines(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return [line.rstrip() for line in file]

    def trial(self, words, limit_s=20):
        """Runs a trial to its end; False when there was none."""
        before = sum("void because" in line for line in self.lines())
        self.say(f"trial {words}")
        netlab.wait_until(lambda: self.process.poll() is not None or
                          sum("void because" in line for line in self.lines()) > before, limit_s)
        return sum("void because" in line for line in self.lines()) > before

    def end(self, limit_s):
        """What it found, its exit code (None: it had to be killed) and the lines it printed."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            code = self.process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            code = None
            self.process.kill()
            self.process.wait(timeout=10)
        try:
            with open(self.found, encoding="utf-8") as file:
                return json.load(file), code, self.lines()
        except (OSError, ValueError):
            return {}, code, self.lines()


class UnderTest(netlab.Gateway):
    """The gateway, of the files that tools/testpmd-lab wrote."""

    def __init__(self, bench):  # pylint: disable=super-init-not-called  # its configuration is there already
        self.site = types.SimpleNamespace(gateway_space=bench.space)
        self.name, self.driver, self.huge = "the gateway", bench.driver, bench.huge
        self.env, self.launches, self.process = {}, 0, None
        self.log, self.summary, self.file = bench.file("gateway.log"), bench.file("gateway.json"), bench.file("gateway.toml")
        self.eal = bench.eal(0, "gateway")
        self.prefix = self.eal[-1]
        self.binary = netlab.gateway_binary()

    def command(self, *more):
        return [self.binary, self.file, "--json", self.summary, *more, *self.eal]


def start(lab, drivers):
    """The first driver over which packets come through."""
    for driver in drivers:
        bench = None
        try:
            bench = Bench(lab, driver)
            bench.gateway.init_state()
            bench.gateway.start()
            found, code, lines = bench.harness(["trial rate 1000 time 500ms"], LONGEST_PHASE_S)
            trial = (found.get("results") or [{}])[0].get("trials") or [{}]
            if code == 0 and trial[0].get("received", 0) > 0:
                return bench
            problem = "\n".join(lines[-8:]) or f"exit code {code}"
        except LabError as error:
            problem = str(error)
        if bench and bench.gateway.alive():
            bench.gateway.kill()
        say(f"{driver} does not work here: {problem.strip()}")
    raise LabError("no driver carries packets between the harness and the gateway")


# --- phases ----------------------------------------------------------------------------------------------------------

class Phases:
    def __init__(self, bench, summary, plan, deadline):
        self.bench, self.summary, self.plan, self.deadline = bench, summary, plan, deadline
        self.results = []
        self.rates = {}

    def run(self, title, commands, seconds):
        """The results of a phase by its commands; bounded by the deadline of all."""
        left = self.deadline - time.monotonic()
        say(f"{title} (about {seconds:.0f} s, {max(0, left):.0f} s left)")
        if left < 5:
            raise LabError(f"no time is left for: {title}")
        found, code, lines = self.bench.harness(commands, min(left, seconds + LONGEST_PHASE_S))
        results = found.get("results", [])
        self.results += results
        print("\n".join(line for line in lines if line.startswith(("----", "  "))), flush=True)
        if code != 0:
            say(f"the harness ended with {'no exit code in time' if code is None else f'exit code {code}'}: "
                + " / ".join(lines[-2:]))
        return found, code, results

    def ndr(self):
        sizes = ",".join(self.plan.sizes)
        command = f"bench ndr {sizes} pdr {PDR} {self.plan.ndr}"
        _, _, results = self.run(f"NDR and PDR at {', '.join(self.plan.sizes)} bytes", [command], self.plan.search_s)
        rows = [row for result in results for row in result.get("rates", [])]
        for size in self.plan.sizes:
            found = {row["goal"]: row for row in rows if row["size"] == size}
            self.check_rate(size, found.get("NDR"), found.get("PDR"))

    def check_rate(self, size, ndr, pdr):
        name = f"NDR at {size} bytes" if size.isdigit() else f"NDR with {size.upper()}"
        if not ndr or not ndr["lower_pps"]:
            self.summary.check(name, False, (ndr or {}).get("note") or "no result")
            return
        self.rates[size] = ndr["lower_pps"]
        partial = number(pdr["lower_pps"]) if pdr and pdr["lower_pps"] else "?"
        text = f"{number(ndr['lower_pps'])}pps, {ndr['wire_bits_per_second'] / 1e9:.2f} Gbit/s, PDR {partial}pps, " \
               f"{ndr['trials']} trials" + (f" ({ndr['note']})" if ndr["note"] else "")
        # Or the harness was the limit, or time ended the search when the bounds were close already.
        found = ndr["regular"] == "yes" or ndr["note"].startswith("at least") or 0 < ndr["width"] <= self.plan.close
        self.summary.check(name, found, text)

    def load(self):
        """Size and NDR that latency and events are measured with."""
        size = EVENT_SIZE if EVENT_SIZE in self.rates else next(iter(self.rates), None)
        if size is None:
            raise LabError("no NDR was found, so there is no load for latency, rekey and migration")
        if self.plan.of_ndr != 1:
            say(f"so short a search may end too high: {self.plan.of_ndr:.0%} of it counts as NDR from here on")
        return size, f"{size} ndr {min(self.rates[size] * self.plan.of_ndr, 1e9):.0f}pps"

    def latency(self):
        size, words = self.load()
        _, _, results = self.run(f"latency at {size} bytes", [f"bench latency {words} {self.plan.latency}"], 12)
        rows = [row for result in results for row in result.get("latency", [])]
        for share in (0.1, 0.5, 0.9):
            row = next((row for row in rows if abs(row["share"] - share) < 0.01), None)
            ok = bool(row) and not row["void"] and row["sent"] > 0 and row["p50_us"] <= row["p99_us"] <= row["max_us"]
            text = (row or {}).get("void") or "no result"
            if ok:
                text = f"p50 {row['p50_us']:.1f}, p99 {row['p99_us']:.1f}, p99.9 {row['p99_9_us']:.1f}, " \
                       f"max {row['max_us']:.1f} us, {row['lost']} of {row['sent']} lost"
            self.summary.check(f"latency at {share * 100:.0f} % of NDR", ok, text)

    def event(self, kind):
        _, words = self.load()
        _, _, results = self.run(f"{kind} under load", [f"bench {kind} {words} {self.plan.event}"], 20)
        rows = [row for result in results for row in result.get(kind, [])]
        for share in (0.5, 0.9):
            at = {row["event"]: row for row in rows if abs(row["share"] - share) < 0.01}
            row, quiet = at.get(kind), at.get("without")
            ok = bool(row) and row["runs"] > 0 and row["lost_median"] == 0
            text = "no result" if not row else \
                f"lost {row['lost_median']:.0f} in the median of {row['runs']} runs, {row['lost_worst']:.0f} at worst " \
                f"(without: {quiet['lost_worst']:.0f})" + \
                (f", {row['unsent_worst']} not taken by the link" if row["unsent_worst"] else "") + \
                f"; blocked {row['blocked_median_us']:.0f} us, " \
                f"{row['blocked_worst_us']:.0f} at worst (without: {quiet['blocked_worst_us']:.0f})"
            self.summary.check(f"{kind} at {share * 100:.0f} % of NDR loses nothing", ok, text)

    def books(self):
        """As fast as it goes, then both sides count: what was sent arrived or has a reason."""
        say("books of both sides")
        gateway = self.bench.gateway
        with Harness(self.bench) as harness:
            harness.say(f"set txpkts {EVENT_SIZE}")
            warm = harness.trial("rate 1000 time 500ms")  # a harness that was started anew is at a new epoch
            drops, before = observe.drops(gateway), observe.books(gateway)
            ran = warm and harness.trial(f"rate max time {self.plan.books_s}s")
            after, books = observe.drops(gateway), observe.books(gateway)
            found, _, _ = harness.end(LONGEST_PHASE_S)
        self.check_books(found, {name: count - drops.get(name, 0) for name, count in after.items()},
                         books["originated"] - before["originated"] if ran else 0)
        self.summary.check("gateway's books: rx + originated = tx + drops + consumed + held", books["balanced"],
                           observe.books_text(books))
        keying = observe.keying_losses(gateway)
        self.summary.check("the gateway lost no packet to keys", keying == 0, f"{keying} packets")

    def check_books(self, found, gateway, originated):
        """Drops also count packets that a Phantom end made for itself: at most so many as it originated."""
        trial = ((found.get("results") or [{}])[-1].get("trials") or [{}])[0]
        harness = {row["reason"]: row["packets"] for row in found.get("end_drops") or []}
        gateway = {name: count for name, count in gateway.items() if count}
        named, lost = sum(gateway.values()) + sum(harness.values()), trial.get("loss")
        self.summary.check("sent = delivered + named drops", lost is not None and 0 <= named - lost <= originated,
                           f"{trial.get('offered')} sent, {trial.get('received')} delivered, dropped by the gateway "
                           f"{gateway or 'none'}, by the harness {harness or 'none'}")


# --- picture and end -------------------------------------------------------------------------------------------------

def load_plot():
    loader = importlib.machinery.SourceFileLoader("plot", os.path.join(TOOLS, "plot"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("plot", loader))
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


def draw(summary, results, path):
    try:
        svg = load_plot().draw(results)
    except (KeyError, TypeError, ValueError) as error:
        summary.check("picture", False, f"{type(error).__name__}: {error}")
        return
    if svg:
        with open(path, "w", encoding="utf-8") as file:
            file.write(svg)
        summary.facts["picture"] = path
    summary.check("picture", bool(svg), path if svg else "there is nothing to draw")


def measure(lab, options, summary):
    began = time.monotonic()
    plan = types.SimpleNamespace(**vars(QUICK if options.quick else FULL))
    phases = None
    try:
        bench = start(lab, [options.driver] if options.driver else ["memif", "af_packet"])
        say(f"a harness around a gateway over {bench.driver}, no NIC, "
            f"{'hugepages' if bench.huge else 'ordinary memory (--no-huge)'}, {len(os.sched_getaffinity(0))} processors")
        summary.facts["driver"], summary.facts["hugepages"] = bench.driver, bench.huge
        if bench.driver == "af_packet":
            plan.sizes = tuple(size for size in plan.sizes if size != "imix")
            say("IMIX has frames of 1518 bytes, which don't fit through a tunnel over AF_PACKET: without it")
        phases = Phases(bench, summary, plan, began + LIMIT_S)
        phases.ndr()
        phases.latency()
        for kind in ("rekey", "migration"):
            phases.event(kind)
        phases.books()
        code = bench.gateway.stop()
        summary.check("the gateway ended cleanly", code == 0, f"exit code {code}")
    except (LabError, OSError, KeyError, TypeError, ValueError, subprocess.TimeoutExpired) as error:
        summary.check("the benchmark ran to its end", False, f"{type(error).__name__}: {error}")
    seconds = time.monotonic() - began
    summary.facts["seconds"] = seconds
    summary.facts["results"] = phases.results if phases else []
    summary.check("in less than 5 minutes", seconds < 300, f"{seconds:.0f} s")
    svg = os.path.splitext(options.json)[0] + ".svg" if options.json else os.path.join(tempfile.gettempdir(), "phantom-bench.svg")
    draw(summary, summary.facts["results"], os.path.abspath(svg))


def main():
    parser = argparse.ArgumentParser(prog="tools/demo --bench")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--driver", choices=("memif", "af_packet"))
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    reason = netlab.missing_rights()
    if reason:
        sys.exit(f"demo: error: {reason}; run it as root, or through tools/demo, which can use a user namespace")
    summary = Summary()
    try:
        with netlab.Lab() as lab:
            measure(lab, options, summary)
    except LabError as error:
        summary.check("the lab could be built", False, str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    if options.json:
        summary.write(options.json)
    failed = sum(not check["ok"] for check in summary.checks)
    say(f"{len(summary.checks) - failed} checks passed, {failed} failed")
    sys.exit(0 if summary.passed() else 1)


if __name__ == "__main__":
    main()
