"""Peers beside ours, in the same minutes on the same core: tools/bench --peers.

A peer's entry: {peer, way, bytes, sessions, mode, cycles, ours, ratio, note}. `cycles` and `ours` are time stamp cycles
a packet, `ratio` says how many times as fast ours is: cycles by ours.
"""

import json
import os
import re
import shutil
import subprocess
import time

import bench_ports
import bench_programs
import bench_secgw
import bench_targets
from bench_numbers import summary
from bench_ports import PortsError
from bench_programs import ProgramError

NAMES = ("testpmd", "crypto-perf", "openssl", "ipsec-secgw", "crate")
PACKAGES = ("dpdk-dev", "libdpdk-dev", "openssl", "make", "xz-utils", "ca-certificates")
SIZES, SESSIONS, WAYS = (64, 512, 1400), (1, 1000), ("seal", "open")
AEAD_SIZES = (64, 512, 1420)  # what bench_aead has
AAD_BYTES = 45
TURNS = {True: 6, False: 15}  # quick, full
ROUNDS = {True: 3, False: 6}
OPEN_ROUNDS = 3
PIPELINE_S, AEAD_S, CRATE_MS = 0.05, 0.05, 300
TOOL_LIMIT_S, CARGO_LIMIT_S = 60, 900
OPEN_NOTE = ("ours: bench_pipeline (1 or 1,024 sessions), with the cost of its ring ports replaced by that of these ports: "
             "packets in a loop are replays, which only a gateway without a window would open")


def by(cycles, ours):
    """How many times as fast ours is."""
    shares = [a / b for a, b in zip(cycles["values"], ours["values"])] or [1]
    return {"median": cycles["median"] / ours["median"], "min": cycles["min"] / ours["min"],
            "spread": (max(shares) - min(shares)) / min(shares)}


class Peers:
    """All that were asked for; what can't run is a problem, and the others go on."""

    def __init__(self, lab, build, options, tsc_hz, say):
        self.lab, self.build, self.quick, self.tsc_hz, self.say = lab, build, options.quick, tsc_hz, say
        self.setup, self.building = not options.no_setup, not options.no_build
        self.names = options.peer_names
        self.entries, self.problems, self.best = [], [], {}
        self.deadline = 0

    def run(self, limit_s):
        self.deadline = time.monotonic() + limit_s
        steps = {"testpmd": self.ports, "ipsec-secgw": self.secgw, "crypto-perf": self.crypto_perf, "openssl": self.openssl,
                 "crate": self.crate}
        self.install()
        for name, step in steps.items():
            # The forwarders of ipsec-secgw's groups include the ports alone.
            if name not in self.names or (name == "testpmd" and "ipsec-secgw" in self.names):
                continue
            self.say(f"peer {name}")
            try:
                step()
            except (PortsError, ProgramError, bench_secgw.SecgwError, bench_ports.netlab.LabError, OSError, KeyError, ValueError,
                    TypeError, subprocess.SubprocessError) as error:
                self.problem(name, str(error) or type(error).__name__)

    def problem(self, name, why):
        self.problems.append({"what": name, "why": why})
        self.say(f"{name} could not run: {why}")

    def in_time(self):
        if time.monotonic() > self.deadline:
            raise PortsError("there was no time left for all of it")

    def install(self):
        if not self.setup or os.geteuid() != 0:
            return
        missing = [name for name in PACKAGES if bench_secgw.output("dpkg-query", "-W", "-f", "${db:Status-Status}", name) !=
                   "installed"]
        log = os.path.join(self.lab.folder, "peers.log")
        if missing:
            self.say(f"installing {' '.join(missing)}")
            bench_programs.run_group(["apt-get", "-q", "update"], TOOL_LIMIT_S * 3, log)
            if bench_programs.run_group(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "--no-install-recommends",
                                         "install", *missing], TOOL_LIMIT_S * 10, log) != 0:
                self.problem("packages of the peers", bench_programs.last_line(log))

    def add(self, peer, way, size, sessions, cycles, ours=None, **more):
        self.entries.append({"peer": peer, "way": way, "bytes": size, "sessions": sessions, "cycles": cycles, "ours": ours,
                             "ratio": by(cycles, ours) if ours else None, **more})

    def tool(self, *command):
        """Output of a peer that ends by itself."""
        if not shutil.which(command[0]) and not os.access(command[0], os.X_OK):
            raise ProgramError(f"there is no {command[0]}; tools/setup installs it")
        return bench_ports.netlab.run(*command, timeout=TOOL_LIMIT_S)

    def ours(self, program, pattern, seconds):
        """Rows of one of our programs, run once: name -> counters."""
        rows = bench_programs.Rows()
        plan = bench_programs.Plan(pattern, seconds)
        rows.take(program, bench_programs.run_program(self.lab, os.path.join(self.build, "bench", program), plan,
                                                      os.path.join(self.lab.folder, "beside.json"), TOOL_LIMIT_S * 2)[1])
        if rows.errors:
            raise ProgramError(f"{program}: {next(iter(rows.errors.values()))[0]}")
        return {name: counters for (_, name), counters in rows.values.items()}

    # --- forwarders on the same ports

    def file(self, name):
        return os.path.join(self.lab.folder, name)

    def gateway(self):
        return os.path.join(self.build, "dataplane", "phantom-gateway")

    def ports(self):
        """What receiving and sending alone cost on these ports."""
        for size in SIZES:
            self.in_time()
            loop = self.file(f"plain-{size}.pcap")
            bench_ports.plain_loop(loop, size, 1)
            io = bench_ports.Testpmd(self.lab, f"io-{size}", loop)
            with bench_ports.held([io]):
                bench_ports.take_turns([io], TURNS[self.quick])
            self.add("testpmd", "io", size, 1, io.cycles(self.tsc_hz), note="io forwarding: the ports alone")

    def secgw(self):
        program = bench_secgw.program(self.lab.folder, self.say)
        for size in SIZES:
            for sessions in SESSIONS:
                for way in WAYS:
                    self.in_time()
                    self.say(f"ipsec-secgw, {way}, {size} B, {bench_targets.counted(sessions)}")
                    step = self.sealing if way == "seal" else self.opening
                    try:
                        self.again_without_hugepages(step, program, size, sessions)
                    except (PortsError, ProgramError, bench_ports.netlab.LabError) as error:
                        self.problem("ipsec-secgw", f"{way}, {size} B, {bench_targets.counted(sessions)}: {error}")

    @staticmethod
    def again_without_hugepages(step, *arguments):
        """Someone else may have taken hugepages meanwhile: then this group is measured without."""
        try:
            step(*arguments)
        except PortsError:
            if not bench_ports.Contender.huge:
                raise
            bench_ports.Contender.huge = False
            step(*arguments)
        finally:
            bench_ports.Contender.huge = None

    def modes(self, way, sessions):
        """All, or in a quick run after the first size the one that was best there."""
        return [self.best[way, sessions]] if self.quick and (way, sessions) in self.best else list(bench_ports.Secgw.MODES)

    def sealing(self, program, size, sessions):
        loop = self.file(f"plain-{size}-{sessions}.pcap")
        bench_ports.plain_loop(loop, size, sessions)
        waves = {}
        for mode in self.modes("seal", sessions):
            tag = f"seal-{size}-{sessions}-{mode}-{kind_of_memory()}"
            io = bench_ports.Testpmd(self.lab, f"io-{tag}", loop)
            ours = bench_ports.Gateway(self.lab, f"ours-{tag}", self.gateway(), loop, sessions)
            theirs = bench_ports.Secgw(self.lab, f"secgw-{tag}", program, loop, sessions, mode, "seal")
            with bench_ports.held([io, ours, theirs]):
                bench_ports.take_turns([io, ours, theirs], TURNS[self.quick])
            waves[mode] = [who.cycles(self.tsc_hz) for who in (theirs, ours, io)]
        self.add_secgw("seal", size, sessions, waves, "ours: phantom-gateway on the same ports")

    def opening(self, program, size, sessions):
        loop = self.file(f"sealed-{size}-{sessions}.pcap")
        bench_ports.sealed_loop(self.lab, program, loop, size, sessions)
        waves = {}
        for mode in self.modes("open", sessions):
            tag, own = f"open-{size}-{sessions}-{mode}-{kind_of_memory()}", []
            io = bench_ports.Testpmd(self.lab, f"io-{tag}", loop)
            theirs = bench_ports.Secgw(self.lab, f"secgw-{tag}", program, loop, sessions, mode, "open")
            with bench_ports.held([io, theirs]):
                for _ in range(OPEN_ROUNDS):
                    own.append(self.own_opening(size, sessions))
                    bench_ports.take_turns([io, theirs], max(2, TURNS[self.quick] // OPEN_ROUNDS))
            ports = io.cycles(self.tsc_hz)
            ours = summary([poll - ring + ports["median"] for poll, _, ring, _ in own])
            ours["min"] = min(poll for _, poll, _, _ in own) - min(ring for _, _, _, ring in own) + ports["min"]
            waves[mode] = [theirs.cycles(self.tsc_hz), ours, ports]
        self.add_secgw("open", size, sessions, waves, OPEN_NOTE)

    def own_opening(self, size, sessions):
        """Of our worker on ring ports: poll and ports, each median and minimum."""
        pattern = f"^open/bytes:{size}/sessions:{'1$' if sessions == 1 else '(1000|1024)$'}"
        found = self.ours("bench_pipeline", pattern, PIPELINE_S)
        if len(found) != 1:
            raise ProgramError(f"bench_pipeline has {len(found)} rows {pattern}")
        counters = next(iter(found.values()))
        return [counters[name][0] for name in ("poll", "poll_min", "port", "port_min")]

    def add_secgw(self, way, size, sessions, waves, note):
        """Its best mode counts; the minimum of ours is that of all waves, as is that of the ports."""
        best = min(waves, key=lambda mode: waves[mode][0]["min"])
        self.best.setdefault((way, sessions), best)
        theirs, ours, ports = waves[best]
        for place, kept in ((1, ours), (2, ports)):
            kept["min"] = min(wave[place]["min"] for wave in waves.values())
        memory = "hugepages" if bench_ports.Contender.huge else "no hugepages"
        self.add("ipsec-secgw", way, size, sessions, theirs, ours, mode=best, modes={mode: wave[0] for mode, wave in waves.items()},
                 note=f"{note}; {memory}; {bench_secgw.CHANGED}")
        self.add("testpmd", "io", size, sessions, ports, mode=f"of {'sealing' if way == 'seal' else 'opening'}",
                 note="io forwarding of the same packets: the ports alone")

    # --- AEAD alone

    def aead(self, peer, measure, note):
        """A peer's AEAD and ours in turns, by way and size."""
        theirs, own = {}, {}
        for _ in range(ROUNDS[self.quick]):
            self.in_time()
            for key, value in measure().items():
                theirs.setdefault(key, []).append(value)
            rows = self.ours("bench_aead", f"/gcm/ours/bytes:({'|'.join(map(str, AEAD_SIZES))})/keys:1/batch:32$", AEAD_S)
            for name, counters in rows.items():
                way, size = re.match(r"(seal|open)/gcm/ours/bytes:(\d+)/", name).groups()
                own.setdefault((way, int(size)), []).append(counters["cycles_per_packet"][0])
        for (way, size), values in theirs.items():
            self.add(peer, way, size, 1, summary(values), summary(own[way, size]), note=note)

    def crypto_perf(self):
        control, worker = bench_ports.cpus()
        def measure():
            found = {}
            for way, word in (("seal", "encrypt"), ("open", "decrypt")):
                text = self.tool("dpdk-test-crypto-perf", "--no-pci", "--no-huge", "-m", "512", "--lcores",
                                 f"0@{control},1@{worker}", "--file-prefix", f"{bench_ports.netlab.TAG}-{os.getpid()}-perf",
                                 "--vdev", "crypto_aesni_gcm0", "--", "--devtype", "crypto_aesni_gcm", "--ptest", "throughput",
                                 "--optype", "aead", "--aead-algo", "aes-gcm", "--aead-op", word, "--aead-key-sz", "32",
                                 "--aead-iv-sz", "12", "--aead-aad-sz", str(AAD_BYTES), "--digest-sz", "16", "--buffer-sz",
                                 ",".join(map(str, AEAD_SIZES)), "--total-ops", "300000", "--burst-sz", "32", "--silent",
                                 "--csv-friendly")
                for line in re.findall(r"^\d+,(\d+),.*,([\d.]+)$", text, re.MULTILINE):
                    found[way, int(line[0])] = float(line[1])
            if len(found) != len(WAYS) * len(AEAD_SIZES):
                raise ProgramError(f"dpdk-test-crypto-perf said nothing of {len(AEAD_SIZES)} sizes: {text.strip()[-200:]}")
            return found
        self.aead("crypto-perf", measure, "DPDK's cryptodev aesni_gcm, AES-256-GCM, 45 bytes of AAD; what it opens is not "
                                          "genuine")

    def openssl(self):
        def measure():
            found = {}
            for size in AEAD_SIZES:
                for way, more in (("seal", ()), ("open", ("-decrypt",))):
                    text = self.tool("openssl", "speed", "-mr", "-seconds", "1", "-bytes", str(size), "-aead", *more, "-evp",
                                     "aes-256-gcm")
                    rate = re.search(r"^\+R:(\d+):[^:]*:([\d.]+)$", text, re.MULTILINE)
                    found[way, size] = self.tsc_hz * float(rate[2]) / float(rate[1])
            return found
        self.aead("openssl", measure, "openssl speed -aead -evp aes-256-gcm: 13 bytes of AAD, one key")

    # --- the reference crate

    def cargo(self):
        for place in (shutil.which("cargo"), os.path.expanduser("~/.cargo/bin/cargo")):
            if place and os.access(place, os.X_OK):
                return place
        raise ProgramError("no cargo here; tools/setup installs it where Debian has one of 1.85 or later")

    def build_crate(self):
        folder, log = os.path.join(self.build, "interop"), self.file("cargo.log")
        program = os.path.join(folder, "release", "phantom-interop")
        if not self.building:
            if not os.access(program, os.X_OK):
                raise ProgramError(f"there is no {program}; run without --no-build")
            return program
        command = ["env", f"CARGO_TARGET_DIR={folder}", self.cargo(), "build", "--release", "--locked", "--quiet",
                   "--manifest-path", os.path.join(bench_ports.netlab.ROOT, "tests", "interop", "Cargo.toml")]
        if bench_programs.run_group(command, CARGO_LIMIT_S, log) != 0:
            raise ProgramError(f"it can't be built: {bench_programs.last_line(log)}")
        return program

    def crate(self):
        program = self.build_crate()
        theirs, own = {}, {}
        for _ in range(ROUNDS[self.quick]):
            self.in_time()
            for size in SIZES:
                found = json.loads(self.tool(program, "speed", "--bytes", str(size), "--millis", str(CRATE_MS)))
                rows = self.ours("bench_pipeline", f"^(seal|open)/bytes:{size}/sessions:1$", PIPELINE_S)
                for way in WAYS:
                    theirs.setdefault((way, size), []).append((found[way]["median"], found[way]["min"]))
                    counters = rows[f"{way}/bytes:{size}/sessions:1"]
                    own.setdefault((way, size), []).append((counters["poll"][0], counters["poll_min"][0]))
        for (way, size), values in theirs.items():
            self.add("crate", way, size, 1, of_pairs(values), of_pairs(own[way, size]),
                     note="its packet functions alone; ours is the whole worker with its ports (bench_pipeline)")


def kind_of_memory():
    return "small" if bench_ports.Contender.huge is False else "any"


def of_pairs(pairs):
    """Summary of medians whose minimum is that of the minima beside them."""
    return {**summary([median for median, _ in pairs]), "min": min(least for _, least in pairs)}
