#!/usr/bin/env python3
"""The demo itself; tools/demo prepares the machine and starts this."""

import argparse
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "support"))

import netlab  # noqa: E402
import observe  # noqa: E402
import traffic  # noqa: E402
from netlab import LabError  # noqa: E402

DRIVER_NAMES = {"af_xdp": "AF_XDP", "af_packet": "AF_PACKET"}
SESSION = "office"
# 255 epochs are all there are: at about one a second the whole demo uses less than half of them.
REKEY_INTERVAL = "1s"
JUMP = 3
UDP_SHARE = 0.4           # of what TCP reached: both hosts and both gateways share the machine's processors
MOST_UDP_BITS = 400e6
LEAST_UDP_BITS = 2e6
UDP_TRIES = 4
FILE_SHARE = 0.6          # of what TCP reached: leaves room for the counted flows beside it
COUNTED_RATE = 1000       # packets a second, each direction, while it roams
ROAM_ADDRESS = "192.0.2.77"
ROAM_TIMEOUT_S = 5
MIB = 1 << 20


class Summary:
    """What the demo found out, for people and as JSON."""

    def __init__(self):
        self.checks = []
        self.facts = {}

    def check(self, name, passed, detail=""):
        self.checks.append({"name": name, "ok": bool(passed), "detail": detail})
        print(f"  {'ok  ' if passed else 'FAIL'}  {name}" + (f": {detail}" if detail else ""), flush=True)

    def passed(self):
        return bool(self.checks) and all(check["ok"] for check in self.checks)

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"ok": self.passed(), **self.facts, "checks": self.checks}, file, indent=2)
            file.write("\n")


def say(text):
    print(f"demo: {text}", flush=True)


def rate(bits):
    return f"{bits / 1e6:.1f} Mbit/s"


# --- start -----------------------------------------------------------------------------------------------------------

class Pair:
    """Both gateways over one driver, with ids and secrets of their own."""

    def __init__(self, network, driver):
        tunnel = netlab.Tunnel(network, [{"name": SESSION, "options": {
            "mss_clamp": True, "rekey": {"interval": REKEY_INTERVAL}}}])
        self.network = network
        configs = {site.letter: tunnel.config(site, suffix=driver) for site in (network.a, network.b)}
        configs["a"]["port"][1]["addresses"].append(f"{ROAM_ADDRESS}/24")
        self.gateways = [netlab.Gateway(network, site, configs[site.letter], netlab.gateway_binary(), driver)
                         for site in (network.a, network.b)]

    def start(self):
        for gateway in self.gateways:
            gateway.init_state()
            gateway.launch()
        for gateway in self.gateways:
            gateway.wait_ready()
        return self

    def carries_packets(self):
        """Starting is not enough: small and large packets must pass, both families, none lost."""
        a, b = self.network.a, self.network.b
        for address in (b.host4, b.host6):
            if traffic.wait_for_ping(a, address, 12) is None:
                return f"no answer from {address}"
            sent, received, _ = traffic.ping(a, address, count=20, interval_s=0.02, size=1300)
            if sent != received:
                return f"{received} of {sent} large packets came through"
        return ""

    def stop(self):
        return [gateway.stop() for gateway in self.gateways]


def start_pair(network, drivers):
    for driver in drivers:
        pair = Pair(network, driver)
        try:
            problem = pair.start().carries_packets()
        except LabError as error:
            problem = str(error)
        if not problem:
            return pair
        for gateway in pair.gateways:
            if gateway.alive():
                gateway.kill()
        say(f"{DRIVER_NAMES[driver]} does not work here: {problem.strip().splitlines()[-1]}")
    raise LabError("no driver carries packets between the two gateways")


# --- traffic ---------------------------------------------------------------------------------------------------------

def pings(summary, network, count):
    for near, far in ((network.a, network.b), (network.b, network.a)):
        for family, address in (("ping", far.host4), ("ping6", far.host6)):
            sent, received, _ = traffic.ping(near, address, count=count, interval_s=0.05)
            summary.check(f"{family} {near.letter}->{far.letter}", sent == received, f"{received} of {sent} answered")


def tcp_runs(summary, network, seconds):
    slowest = None
    for near, far, address in ((network.a, network.b, network.b.host4), (network.b, network.a, network.a.host6)):
        found = traffic.iperf(near, far, address, seconds)
        name = f"iperf3 TCP {near.letter}->{far.letter} {'IPv6' if ':' in address else 'IPv4'}"
        summary.facts.setdefault("throughput", {})[name] = found
        summary.check(name, found["bits_per_second"] > 0,
                      f"{rate(found['bits_per_second'])}, {found['retransmits']} retransmitted")
        slowest = min(slowest or found["bits_per_second"], found["bits_per_second"])
    return slowest


def udp_runs(summary, network, pair, seconds, bits):
    """The rate is halved where the machine itself (sockets, queues of the interfaces) could not hold it."""
    for near, far, address in ((network.a, network.b, network.b.host4), (network.b, network.a, network.a.host6)):
        name = f"iperf3 UDP {near.letter}->{far.letter} {'IPv6' if ':' in address else 'IPv4'}"
        attempts = []
        for _ in range(UDP_TRIES):
            before = [observe.keying_losses(gateway) for gateway in pair.gateways]
            found = traffic.iperf(near, far, address, seconds, udp_bits=bits)
            keying = sum(observe.keying_losses(gateway) - old for gateway, old in zip(pair.gateways, before))
            attempts.append({**found, "asked_bits_per_second": bits, "keying_losses": keying})
            if found["lost"] == 0 or keying or bits / 2 < LEAST_UDP_BITS:
                break
            say(f"{name}: the machine does not hold {rate(bits)} ({found['lost']} lost outside the keys); trying half")
            bits /= 2
        summary.facts["throughput"][name] = {**found, "attempts": attempts}
        summary.check(name + " without loss", found["lost"] == 0,
                      f"{rate(found['bits_per_second'])}, {found['packets']} packets, {found['lost']} lost")
    return bits


def counted_runs(summary, network, pair, seconds, packets_per_second):
    """Both directions at once, every packet accounted for, and a jump of three epochs in the middle."""
    results = {}

    def one(name, near, far, address, port):
        try:
            results[name] = traffic.counted_udp(near, far, address, packets_per_second, seconds, port=port)
        except (LabError, OSError, ValueError) as error:
            results[name] = {"error": str(error)}

    a, b = network.a, network.b
    runs = [("a->b IPv4", a, b, b.host4, 7001), ("b->a IPv6", b, a, a.host6, 7002)]
    threads = [threading.Thread(target=one, args=run) for run in runs]
    with observe.running(threads):
        time.sleep(seconds / 2)
        before = [observe.session(gateway, SESSION) for gateway in pair.gateways]
        refused = observe.rekey(pair.gateways[0], SESSION, JUMP)
    for name, *_ in runs:
        found = results.get(name, {"error": "did not run"})
        ok = "error" not in found and found["sent"] == found["received"] and found["sent"] > 0
        text = found.get("error") or f"{found['sent']} sent, {found['received']} received, {found['duplicates']} twice"
        summary.check(f"counted UDP {name}, with {JUMP} epochs at a jump", ok, text)
        summary.facts.setdefault("counted_udp", {})[name] = found
    caught = observe.catch_ups(pair.gateways[1], SESSION) - before[1]["catch_ups"]
    summary.check(f"the peer caught up after the jump of {JUMP}", not refused and caught >= 1,
                  refused or f"{caught} catch-up, in {seconds / 2:.0f} s")


class Background(threading.Thread):
    """Work beside the rest; its result, or its error, is asked for later."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.found, self.error = work, None, None
        self.start()

    def run(self):
        try:
            self.found = self.work()
        except (LabError, OSError, ValueError) as error:
            self.error = error

    def result(self):
        self.join()
        if self.error:
            raise self.error
        return self.found


def roam(pair, address):
    """Gateway a moves to this address of its own; milliseconds until both use it, or None."""
    near, far = pair.gateways
    end, start = f"{address}:{netlab.Tunnel.PORT}", time.monotonic()
    near.ctl("path", "migrate", SESSION, "--local", end)

    def moved():
        return (near.call("path.show", session=SESSION)["paths"][0]["local"] == end and
                far.call("path.show", session=SESSION)["paths"][0]["peer"] == end)

    return (time.monotonic() - start) * 1000 if netlab.wait_until(moved, ROAM_TIMEOUT_S, 0.01) else None


def roaming_run(summary, network, pair, size, bits):
    """A file; while it is on its way gateway a changes its address, and goes back. Counted flows beside it tell what
    was lost."""
    a, b = network.a, network.b
    flows = [(source, traffic.UdpSink(sink, address, port), traffic.UdpSource(source, address, port, COUNTED_RATE))
             for source, sink, address, port in ((a, b, b.host4, 7003), (b, a, a.host6, 7004))]
    file = Background(lambda: traffic.send_file(a, b, b.host4, size, timeout_s=120, bits=bits))
    times = []
    for address in (ROAM_ADDRESS, a.wan4):
        time.sleep(0.8)
        times.append(roam(pair, address) if file.is_alive() else None)
    during = file.is_alive()
    say(f"a file of {size // MIB} MiB is on its way; gw-a moved from {a.wan4} to {ROAM_ADDRESS} and back")
    found = file.result()
    sent = [source.result()["sent"] for _, _, source in flows]
    received = [sink.result()["received"] for _, sink, _ in flows]
    summary.facts["file"] = found
    summary.facts["roaming"] = {"milliseconds": times, "sent": sent, "received": received}
    summary.check("roamed during the download, there and back", during and None not in times,
                  " and ".join("did not move" if one is None else f"{one:.0f} ms" for one in times))
    same = found["sent_sha256"] == found["received_sha256"] and found["bytes"] == size
    summary.check(f"file of {size // MIB} MiB, SHA-256 the same", same,
                  f"{found['received_sha256'][:16]}…, {rate(found['bits_per_second'])}")
    lost = sum(sent) - sum(received)
    summary.check("roaming lost no packet", lost == 0, f"{sum(sent)} sent both ways, "
                  + ("nothing lost" if lost == 0 else f"{lost} lost"))


# --- verdict ---------------------------------------------------------------------------------------------------------

def verdict(summary, pair, seconds, sessions_before):
    for gateway, before in zip(pair.gateways, sessions_before):
        found = observe.report(gateway, SESSION)
        summary.facts.setdefault("gateways", {})[gateway.name] = found
        moved = found["session"]["epoch"] - before["epoch"]
        summary.check(f"{gateway.name} rekeyed about once a second", seconds / 3 <= moved <= 3 * seconds,
                      f"{moved} epochs in {seconds:.0f} s, now at {found['session']['epoch']}")
        lost = observe.keying_losses(gateway)
        summary.check(f"{gateway.name} lost no packet to rekeying", lost == 0, f"{lost} packets")
        books = found["books"]
        summary.check(f"{gateway.name} books: rx + originated = tx + drops + consumed + held", books["balanced"],
                      observe.books_text(books))


def end(summary, pair):
    for gateway, code in zip(pair.gateways, pair.stop()):
        summary.check(f"{gateway.name} ended cleanly", code == 0, f"exit code {code}")


def print_table(summary):
    gateways = summary.facts.get("gateways", {})
    rows = [("", *gateways)]
    for title, pick in observe.TABLE_ROWS:
        rows.append((title, *(pick(found) for found in gateways.values())))
    for reason in sorted({reason for found in gateways.values() for reason in found["drops"]}):
        rows.append((f"dropped: {reason}", *(str(found["drops"].get(reason, 0)) for found in gateways.values())))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    print()
    for name, found in summary.facts.get("throughput", {}).items():
        print(f"  {name:<28} {rate(found['bits_per_second']):>16}")
    print()
    for row in rows:
        print("  " + row[0].ljust(widths[0]) + "".join("  " + cell.rjust(width) for cell, width in zip(row[1:], widths[1:])))
    print(flush=True)


def demonstrate(lab, options, summary):
    network = netlab.Network(lab)
    pair = start_pair(network, [options.driver] if options.driver else ["af_xdp", "af_packet"])
    huge = "hugepages" if pair.gateways[0].huge else "ordinary memory (--no-huge)"
    say(f"two gateways over {DRIVER_NAMES[pair.gateways[0].driver]}, {huge}, rekeying every {REKEY_INTERVAL}")
    summary.facts["driver"] = pair.gateways[0].driver
    summary.facts["hugepages"] = pair.gateways[0].huge
    started, before = time.monotonic(), [observe.session(gateway, SESSION) for gateway in pair.gateways]
    seconds = 3 if options.quick else 6
    try:
        pings(summary, network, 10 if options.quick else 40)
        reached = tcp_runs(summary, network, seconds)
        udp_runs(summary, network, pair, seconds, min(MOST_UDP_BITS, max(LEAST_UDP_BITS, UDP_SHARE * reached)))
        counted_runs(summary, network, pair, seconds, 2000)
        size = (32 if options.quick else 256) * MIB
        # At least so long that both moves fall into it, whatever the machine could do.
        roaming_run(summary, network, pair, size, min(FILE_SHARE * reached, 8 * size / (seconds + 1)))
        time.sleep(0.5)
        verdict(summary, pair, time.monotonic() - started, before)
        end(summary, pair)
    except (LabError, OSError, KeyError, TypeError, ValueError) as error:
        summary.check("the demo ran to its end", False, f"{type(error).__name__}: {error}")
        for gateway in pair.gateways:
            print(f"--- last lines of {gateway.name}\n{gateway.tail()}", flush=True)
    print_table(summary)


def main():
    parser = argparse.ArgumentParser(prog="tools/demo")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--driver", choices=sorted(DRIVER_NAMES))
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    reason = netlab.missing_rights()
    if reason:
        sys.exit(f"demo: error: {reason}; run it as root, or through tools/demo, which can use a user namespace")
    summary = Summary()
    try:
        with netlab.Lab() as lab:
            demonstrate(lab, options, summary)
    except LabError as error:
        summary.check("the demo started", False, str(error))
    except KeyboardInterrupt:
        say("interrupted; everything it made is gone")
        sys.exit(130)
    if options.json:
        summary.write(options.json)
    failed = sum(not check["ok"] for check in summary.checks)
    say(f"{len(summary.checks) - failed} checks passed, {failed} failed")
    sys.exit(0 if summary.passed() else 1)


if __name__ == "__main__":
    main()
