"""What the hosts of a lab say to each other: ping, iperf3, counted UDP, files. Every call ends within its timeout."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

from netlab import LabError, wait_until

FLOW = os.path.join(os.path.dirname(os.path.abspath(__file__)), "flow.py")
SERVER_START_S = 10


def ping(site, address, count=5, interval_s=0.05, size=56, forbid_fragments=False, hops=None, wait_s=2):
    """(sent, received, text of the output)"""
    command = ["ping", "-6" if ":" in address else "-4", "-n", "-c", str(count), "-i", str(interval_s), "-s", str(size),
               "-W", str(wait_s)]
    command += ["-M", "do"] if forbid_fragments else []
    command += ["-t", str(hops)] if hops else []
    output = site.host.run(*command, address, check=False, timeout=count * (interval_s + wait_s) + 15)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", output)
    return (int(found.group(1)), int(found.group(2)), output) if found else (count, 0, output)


def wait_for_ping(site, address, timeout_s=20):
    """Seconds until the far host answered, or None."""
    start = time.monotonic()
    if wait_until(lambda: ping(site, address, count=1, wait_s=0.3)[1] == 1, timeout_s):
        return time.monotonic() - start
    return None


def _finish(process, timeout_s, what):
    try:
        output, error = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise LabError(f"{what} did not end within {timeout_s} s") from None
    return output, error


# --- iperf3 ----------------------------------------------------------------------------------------------------------

IPERF_PORT = 5201


def _listening(site, port):
    return f":{port} " in site.host.run("ss", "-Hltn", check=False)


def iperf(client, server, address, seconds, udp_bits=None, udp_bytes=1200, tcp_bits=None, flows=1, port=IPERF_PORT):
    """One iperf3 run from client to server: bits per second, and of a UDP run packets and lost packets. `tcp_bits`
    limits each flow of a TCP run."""
    listener = server.host.start("iperf3", "-s", "-1", "-p", str(port), "-J", stdout=subprocess.PIPE, text=True)
    try:
        if not wait_until(lambda: _listening(server, port), SERVER_START_S):
            raise LabError("iperf3 -s did not start to listen")
        command = ["iperf3", "-c", address, "-p", str(port), "-t", str(seconds), "-J", "--connect-timeout", "8000"]
        command += ["-P", str(flows)] if flows > 1 else []
        if udp_bits:
            command += ["-u", "-b", str(int(udp_bits)), "-l", str(udp_bytes), "-w", "4M"]
        elif tcp_bits:
            command += ["-b", str(int(tcp_bits))]
        text = client.host.run(*command, check=False, timeout=seconds + 30)
        return _iperf_result(text, bool(udp_bits))
    finally:
        with contextlib.suppress(LabError, ProcessLookupError):
            if listener.poll() is None:
                listener.send_signal(signal.SIGTERM)
            _finish(listener, 5, "iperf3 -s")


def _iperf_result(text, udp):
    try:
        report = json.loads(text)
    except ValueError:
        raise LabError(f"iperf3 printed no report: {text[:300]}") from None
    if "error" in report:
        raise LabError(f"iperf3: {report['error']}")
    end = report["end"]
    if not udp:
        return {"bits_per_second": end["sum_received"]["bits_per_second"],
                "retransmits": end["sum_sent"].get("retransmits", 0), "bytes": end["sum_received"]["bytes"],
                "seconds": end["sum_received"]["seconds"],
                "per_second": [round(one["sum"]["bits_per_second"]) for one in report["intervals"]]}
    total = end["sum"]
    received = end.get("sum_received", {}).get("bits_per_second") or total["bits_per_second"]
    return {"bits_per_second": received, "packets": total["packets"], "lost": total["lost_packets"],
            "jitter_ms": total.get("jitter_ms", 0)}


# --- counted UDP -----------------------------------------------------------------------------------------------------

class UdpSink:
    """Counts what udp senders send to it."""

    def __init__(self, site, address, port, status=None):
        self.status = status
        with contextlib.suppress(OSError, TypeError):
            os.unlink(status)
        self.process = site.host.start(sys.executable, FLOW, "udp-recv", address, str(port), stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True, env={"FLOW_STATUS": status or ""})
        if self.process.stdout.readline().strip() != "ready":
            raise LabError("the UDP receiver did not start")

    def now(self):
        with contextlib.suppress(OSError, ValueError), open(self.status, encoding="ascii") as file:
            return json.load(file)
        return {"received": 0, "duplicates": 0}

    def result(self):
        output, _ = _finish(self.process, 20, "the UDP receiver")
        return json.loads(output)


class UdpSource:
    def __init__(self, site, address, port, rate, seconds=0, size=200, flows=1):
        self.seconds = seconds
        self.process = site.host.start(sys.executable, FLOW, "udp-send", address, str(port), str(rate), str(seconds),
                                       str(size), str(flows), stdout=subprocess.PIPE, text=True)

    def result(self):
        if not self.seconds:
            self.process.terminate()
        output, _ = _finish(self.process, self.seconds + 20, "the UDP sender")
        return json.loads(output)


def counted_udp(source, sink, address, rate, seconds, size=200, port=7000, flows=1):
    """Sends a counted flow; sent, received, lost and what else the receiver saw."""
    receiver = UdpSink(sink, address, port)
    sender = UdpSource(source, address, port, rate, seconds, size, flows)
    sent = sender.result()
    result = {**sent, **receiver.result()}
    result["lost"] = result["sent"] - result["received"]
    return result


# --- files -----------------------------------------------------------------------------------------------------------

def send_file(source, sink, address, size_bytes, timeout_s, port=7100, bits=0):
    """Random bytes over TCP, at most `bits` per second unless 0; both digests and the rate."""
    receiver = sink.host.start(sys.executable, FLOW, "file-recv", address, str(port), stdout=subprocess.PIPE, text=True)
    if receiver.stdout.readline().strip() != "ready":
        raise LabError("the file receiver did not start")
    sender = source.host.start(sys.executable, FLOW, "file-send", address, str(port), str(size_bytes),
                               str(int(bits)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, error = _finish(sender, timeout_s, "the file transfer")
    if sender.returncode != 0:
        receiver.kill()
        receiver.communicate()
        raise LabError(f"the file could not be sent: {error.strip().splitlines()[-1:]}")
    sent = json.loads(output)
    received = json.loads(_finish(receiver, 20, "the file receiver")[0])
    return {"bytes": received["bytes"], "seconds": received["seconds"], "sent_sha256": sent["sha256"],
            "received_sha256": received["sha256"],
            "bits_per_second": 8 * received["bytes"] / max(received["seconds"], 1e-3)}
