"""Forwarders beside one another on the same kind of virtual ports, for the peers of tools/bench.

Every contender is a process of its own that takes packets from a pcap file in a loop (net_pcap, infinite_rx) and sends
what it made of them to a sink (net_null), with one control core and one worker. All are started and stopped
(SIGSTOP), then each runs alone for a fraction of a second, in turns: so a core that gets slower does so for all.
"""

import contextlib
import glob
import os
import secrets
import signal
import struct
import time

import bench_numbers
import netlab

READY_S = 60
WARM_S, WINDOW_S = 0.04, 0.25
PROCESS_MB = 640
LEAST_HUGEPAGES = 500  # of 2 MiB: testpmd, an ipsec-secgw, and a gateway or bench_pipeline
# What these drivers call their first port; frames are addressed to it.
PCAP_MAC = bytes((0x02, 0x70, 0x63, 0x61, 0x70, 0x00))
HOST_MAC = bytes((0x02, 0x50, 0x54, 0x02, 0x00, 0x01))
NEXT_MAC = "02:50:54:02:00:02"
LEAST_PACKETS = 64  # of a loop; with more sessions one for each


class PortsError(Exception):
    """A contender that could not run; the text says why."""


def mac_text(mac):
    return ":".join(f"{byte:02x}" for byte in mac)


def cpus():
    """Control and worker CPU."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise PortsError("it takes two CPUs: one for the control core, one for the worker")
    return usable[-2], usable[-1]


# --- frames ----------------------------------------------------------------------------------------------------------

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def near_host(number):
    return f"10.1.{number // 250}.{number % 250 + 1}"


def far_host(number):
    return f"10.2.{number // 250}.{number % 250 + 1}"


def packed(address):
    return bytes(map(int, address.split(".")))


def plain_frame(number, size):
    """Ethernet, then an IPv4 packet of `size` bytes (UDP without a checksum) into session `number`."""
    payload = bytes(range(256)) * (size // 256 + 1)
    udp = struct.pack("!4H", 4000, 5000, size - 20, 0) + payload[:size - 28]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, number & 0xffff, 0, 64, 17, 0, packed(near_host(number)),
                     packed(far_host(number)))
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    return PCAP_MAC + HOST_MAC + b"\x08\x00" + ip + udp


def write_pcap(path, frames):
    with open(path, "wb") as file:
        file.write(struct.pack("=IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        for frame in frames:
            file.write(struct.pack("=IIII", 0, 0, len(frame), len(frame)) + frame)


def read_pcap(path, most):
    """The first frames of a file that may have been cut off."""
    frames = []
    with open(path, "rb") as file:
        file.read(24)
        while len(frames) < most:
            head = file.read(16)
            if len(head) < 16:
                break
            frame = file.read(struct.unpack("=IIII", head)[2])
            if len(frame) < struct.unpack("=IIII", head)[2]:
                break
            frames.append(frame)
    return frames


def plain_loop(path, size, sessions):
    """One packet of each session in turn, neighbours far apart (7 is prime to their number)."""
    write_pcap(path, [plain_frame(i * 7 % sessions, size) for i in range(packets_of(sessions))])


def packets_of(sessions):
    return max(LEAST_PACKETS, sessions)


def source(path):
    return f"net_pcap0,rx_pcap={path},infinite_rx=1"


SINK = "net_null0,no-rx=1"


# --- contenders ------------------------------------------------------------------------------------------------------

class Contender:
    """One forwarder: how it is started, and what it sent."""

    huge = None  # whether they have hugepages, decided once

    def __init__(self, lab, name, sink_port):
        self.lab, self.name, self.sink_port = lab, name, sink_port
        self.prefix = f"{netlab.TAG}-{os.getpid()}-{name}"
        self.log = os.path.join(lab.folder, f"{name}.log")
        self.process = None
        self.rates = []

    def eal(self):
        control, worker = cpus()
        return self.memory(["--no-pci", "--lcores", f"0@{control},1@{worker}"])

    def memory(self, words):
        """All contenders have the same kind of memory; in hugepages each takes what it needs."""
        if Contender.huge is None:
            Contender.huge = netlab.free_hugepages() >= LEAST_HUGEPAGES
        kind = [] if Contender.huge else ["--no-huge", "-m", str(PROCESS_MB)]
        return [*words, "--file-prefix", self.prefix, *kind]

    def launch(self, *command):
        with contextlib.suppress(OSError):
            os.unlink(f"{netlab.RUNTIME}/{self.prefix}/dpdk_telemetry.v2")
        self.process = self.lab.start(list(command), log=self.log)
        if not netlab.wait_until(lambda: self.process.poll() is not None or self._ready(), READY_S):
            self.stop()
            raise PortsError(f"{self.name} forwarded nothing within {READY_S} s: {self.last_line()}")
        if self.process.poll() is not None:
            raise PortsError(f"{self.name} ended with exit code {self.process.returncode}: {self.last_line()}")

    def _ready(self):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            return self.sent() > 10000
        return False

    def sent(self):
        with contextlib.closing(netlab.Telemetry(self.prefix)) as telemetry:
            return telemetry.ask(f"/ethdev/stats,{self.sink_port}")["opackets"]

    def last_line(self):
        with contextlib.suppress(OSError), open(self.log, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
            blamed = [line for line in lines if "Cause:" in line or "rror" in line]
            return (blamed or lines or ["it printed nothing"])[-1][-200:]
        return "it has no log"

    def hold(self):
        self.process.send_signal(signal.SIGSTOP)

    def turn(self):
        """Runs alone for a moment; packets that reached the sink, by a second that its core worked for it."""
        self.process.send_signal(signal.SIGCONT)
        try:
            time.sleep(WARM_S)
            with contextlib.closing(netlab.Telemetry(self.prefix)) as telemetry:
                ask = lambda: telemetry.ask(f"/ethdev/stats,{self.sink_port}")["opackets"]  # noqa: E731
                before, began = ask(), self.worked()
                time.sleep(WINDOW_S)
                after, ended = ask(), self.worked()
        finally:
            self.hold()
        if after <= before:
            raise PortsError(f"{self.name} forwards nothing any more: {self.last_line()}")
        self.rates.append((after - before) / max(ended[thread] - began[thread] for thread in began.keys() & ended.keys()))

    def worked(self):
        """Seconds that each thread has had a CPU. The one that polls had most: what others took from it on a machine
        that is shared is not counted."""
        found = {"wall": 0.0}
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat"):
            with contextlib.suppress(OSError, ValueError, IndexError), open(path, encoding="ascii") as file:
                found[path] = int(file.read().split()[0]) / 1e9
        return found if len(found) > 1 else {"wall": time.monotonic()}

    def cycles(self, tsc_hz):
        return bench_numbers.summary([tsc_hz / rate for rate in self.rates])

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=10)


@contextlib.contextmanager
def held(contenders):
    """Each is stopped as soon as it forwards; all end with the block."""
    try:
        for contender in contenders:
            contender.start()
            contender.hold()
        yield
    finally:
        for contender in contenders:
            contender.stop()


def take_turns(contenders, rounds):
    for turn in range(rounds):
        for contender in contenders[turn % len(contenders):] + contenders[:turn % len(contenders)]:
            contender.turn()


class Testpmd(Contender):
    """dpdk-testpmd that forwards without looking: what the ports alone cost."""

    def __init__(self, lab, name, loop):
        super().__init__(lab, name, 1)
        self.loop = loop

    def start(self):
        self.launch("dpdk-testpmd", *self.eal(), "--vdev", source(self.loop), "--vdev", SINK, "--", "--forward-mode=io",
                    "--auto-start", "--nb-cores=1", "--burst=32", "--total-num-mbufs=16384", "--no-mlockall",
                    "--stats-period=3600")


class Gateway(Contender):
    """Ours, sealing: plain packets come on the LAN port, sealed ones leave the WAN port."""

    def __init__(self, lab, name, program, loop, sessions):
        super().__init__(lab, name, 1)
        self.program, self.loop, self.sessions = program, loop, sessions

    def config(self, folder):
        port = {"rx_descriptors": 1024, "tx_descriptors": 1024}
        lan = {"name": "lan", "device": source(self.loop), "role": "lan", "addresses": ["10.99.0.1/24"], **port,
               "neighbours": [{"address": "10.99.0.2", "mac": mac_text(HOST_MAC)}]}
        wan = {"name": "wan", "device": SINK, "role": "wan", "addresses": ["192.0.2.1/24"], "mtu": 1600, **port,
               "neighbours": [{"address": "192.0.2.2", "mac": NEXT_MAC}]}
        sessions = [{"name": f"s{i}", "id": secrets.token_hex(32), "secret_file": netlab.write_secret(f"{folder}/secret-{i}"),
                     "role": "initiator", "local": "192.0.2.1:4500", "peer": "192.0.2.2:4500", "streams": 1}
                    for i in range(self.sessions)]
        routes = [{"prefix": f"{far_host(i)}/32", "session": f"s{i}"} for i in range(self.sessions)]
        room = self.sessions + 64
        return {"gateway": {"name": "bench", "state_dir": f"{folder}/state", "log_level": "warn"},
                "cores": {"workers": 1}, "eal": {"args": self.eal()},
                "limits": {"sessions": room, "keys": 6 * room, "windows": 4 * room, "window_bits": 1024},
                "port": [lan, wan], "session": sessions,
                "route": routes + [{"prefix": "10.1.0.0/16", "lan_gateway": "10.99.0.2"}]}

    def start(self):
        folder = os.path.join(self.lab.folder, self.name)
        os.mkdir(folder, 0o700)
        path = os.path.join(folder, "gateway.toml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(netlab.toml(self.config(folder)))
        netlab.run(self.program, path, "--init-state")
        self.launch(self.program, path)


class Secgw(Contender):
    """DPDK's ipsec-secgw. Port 0 is its protected side, port 1 the one of sealed packets."""

    # How it may call the cipher: its own code over cryptodev, librte_ipsec over cryptodev, librte_ipsec on this core.
    MODES = {"legacy": ([], ""), "library": (["-l"], ""), "cpu-crypto": (["-l"], " type cpu-crypto")}

    def __init__(self, lab, name, program, loop, sessions, mode, way):
        super().__init__(lab, name, 1 if way == "seal" else 0)
        self.program, self.loop, self.sessions, self.mode, self.way = program, loop, sessions, mode, way
        self.capture = None  # a pcap file for what it seals, instead of the sink

    def config(self):
        words = self.MODES[self.mode][1]
        ports = "sport 0:65535 dport 0:65535"
        key = ":".join(["5a"] * 36)  # 32 bytes and the salt
        lines = []
        for i in range(self.sessions):
            spi = 1000 + i
            lines += [f"sp ipv4 {way} esp protect {spi} pri 1 dst {far_host(i)}/32 {ports}" for way in ("out", "in")]
            lines += [f"sa {way} {spi} aead_algo aes-256-gcm aead_key {key} mode ipv4-tunnel src 172.16.1.5 dst 172.16.2.5"
                      f"{words}" for way in ("out", "in")]
        lines += ["rt ipv4 dst 172.16.2.5/32 port 1", "rt ipv4 dst 10.2.0.0/16 port 0",
                  f"neigh port 0 {NEXT_MAC}", f"neigh port 1 {NEXT_MAC}"]
        return "\n".join(lines) + "\n"

    def devices(self):
        if self.way == "open":
            return [SINK, source(self.loop)]
        return [source(self.loop), f"net_pcap1,tx_pcap={self.capture}" if self.capture else SINK]

    def start(self):
        path = os.path.join(self.lab.folder, f"{self.name}.cfg")
        with open(path, "w", encoding="ascii") as file:
            file.write(self.config())
        vdevs = [word for device in self.devices() + ["crypto_aesni_gcm0"] for word in ("--vdev", device)]
        # Its only core: it wants a transmit queue of every port for each core it is given, and these ports have one.
        eal = self.memory(["--no-pci", "--lcores", f"0@{cpus()[1]}"])
        self.launch(self.program, *eal, *vdevs, "--", "-P", "-p", "0x3", "-u", "0x2", "-s", "16384",
                    "--config", "(0,0,0),(1,0,0)", "--rxoffload", "0x0", "--txoffload", "0x0", "-f", path,
                    *self.MODES[self.mode][0])


def sealed_loop(lab, program, path, size, sessions):
    """A loop of packets that ipsec-secgw itself sealed, one of every SA in turn."""
    plain, capture = os.path.join(lab.folder, "to-seal.pcap"), os.path.join(lab.folder, "sealed.pcap")
    plain_loop(plain, size, sessions)
    maker = Secgw(lab, "secgw-maker", program, plain, sessions, "legacy", "seal")
    maker.capture = capture
    try:
        maker.start()
    finally:
        maker.stop()
    wanted = packets_of(sessions)
    frames = read_pcap(capture, wanted)
    os.unlink(capture)
    if len(frames) < wanted:
        raise PortsError(f"ipsec-secgw sealed {len(frames)} packets of {wanted}: {maker.last_line()}")
    write_pcap(path, [PCAP_MAC + frame[6:] for frame in frames])
