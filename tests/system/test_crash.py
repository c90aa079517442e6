#!/usr/bin/env python3
"""kill -9 at random moments of either or both gateways, under traffic and rekeying. Traffic flows again by itself, no
(key, nonce) is ever used twice by all incarnations together, nothing sent before a crash is accepted after it, and a
state directory that can't be written stops new epochs but neither traffic nor safety.

PHANTOM_SOAK=1 runs ten times as many rounds. PHANTOM_CRASH_SEED repeats a run."""

import contextlib
import glob
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import inject  # noqa: E402
import netlab  # noqa: E402
import observe  # noqa: E402
import systest  # noqa: E402
import traffic  # noqa: E402
from netlab import ROOT, run, wait_until  # noqa: E402
from pair import SESSION, Pair  # noqa: E402

ROUNDS = 300 if systest.soak() else 30
LIMIT_S = 1700 if systest.soak() else 170
RECOVERY_S = 10
REKEY_INTERVAL = "2s"
LAST_EPOCH_OF_A_SECRET = 200
REPLAYED_PKTS = 4000
REPLAY_RATE = 8000
STALE_REASONS = ("epoch_behind", "replay_duplicate", "replay_too_old", "auth", "epoch_ahead_forged",
                 "epoch_ahead_budget", "unknown_session")
REFUSED = 3  # exit code: the state store can't be used


def audit_binary():
    """A gateway that records every nonce it uses; built here when tools/test hasn't."""
    folder = os.environ.get("PHANTOM_AUDIT_BUILD_DIR")
    if not folder:
        folder = os.path.join(ROOT, "build-audit")
        if not os.path.exists(os.path.join(folder, "build.ninja")):
            run("meson", "setup", folder, ROOT, "--buildtype=release", "-Dnonce_audit=true", "-Dtests=false",
                "-Dbench=false", timeout=120)
        run("ninja", "-C", folder, "dataplane/phantom-gateway", timeout=900)
    return os.path.join(os.path.abspath(folder), "dataplane", "phantom-gateway")


# --- crashes ---------------------------------------------------------------------------------------------------------

class Crashes:
    def __init__(self, pair, report, seed):
        self.pair, self.report, self.random = pair, report, random.Random(seed)
        self.slowest_s, self.kills = 0.0, 0

    def victims(self):
        return self.random.choice(["a", "b", "ab"])

    def round(self, number):
        pair = self.pair
        time.sleep(self.random.uniform(0.05, 0.8))
        if self.random.random() < 0.4:  # so that some crashes hit the middle of a rekey
            observe.rekey(pair.gateways[self.random.choice("ab")], SESSION, self.random.choice([1, 1, 3]))
            time.sleep(self.random.uniform(0, 0.03))
        victims = self.victims()
        for letter in victims:
            pair.gateways[letter].kill()
            self.kills += 1
        time.sleep(self.random.choice([0, 0, 0.2]))
        started = time.monotonic()
        pair.start(victims)
        recovered = pair.flows(more=30, timeout_s=RECOVERY_S)
        seconds = time.monotonic() - started
        self.slowest_s = max(self.slowest_s, seconds)
        return self.report.check(f"round {number} of {ROUNDS}, traffic flows again after kill -9 of {'+'.join(victims)}",
                                 recovered, f"in {seconds:.1f} s" if recovered else f"not within {RECOVERY_S} s: "
                                 f"{pair.received()} {[observe.drops(one) for one in pair.both()]}")


def replace_secret(pair):
    """What an operator does before the epochs of a secret end."""
    for gateway in pair.both():
        gateway.stop()
    pair.new_secret()
    pair.start()


def crash_rounds(pair, report, seed):
    crashes = Crashes(pair, report, seed)
    for number in range(1, ROUNDS + 1):
        if max(pair.epochs().values()) > LAST_EPOCH_OF_A_SECRET:
            replace_secret(pair)
        if not crashes.round(number):
            return False
    return report.check("all rounds recovered", True, f"{crashes.kills} kills, slowest start to traffic "
                        f"{crashes.slowest_s:.1f} s, epochs {pair.epochs()}")


# --- what was sent before --------------------------------------------------------------------------------------------

def replay_all(pair, report, captures):
    """Packets of all incarnations, sent again towards both gateways: none is opened, none delivered."""
    pair.stop_sources()
    time.sleep(0.5)
    for letter, capture in captures.items():
        packets = [frame for _, frame in inject.read_pcap(capture)]
        step = max(1, len(packets) // REPLAYED_PKTS)
        gateway, chosen = pair.gateways[letter], packets[::step]
        before, received = observe.drops(gateway), pair.received()
        opened = observe.session(gateway, SESSION)["rx_pkts"]
        injector = inject.Injector(pair.network.wan, f"port-{letter}")
        sent = injector.send(chosen, REPLAY_RATE)
        injector.close()

        def stale():
            now = observe.drops(gateway)
            return sum(now.get(reason, 0) - before.get(reason, 0) for reason in STALE_REASONS)

        wait_until(lambda: stale() >= sent, 3)
        report.check(f"gateway {letter} drops what was sent before the crashes", stale() >= 0.99 * sent > 0,
                     f"{stale()} of {sent} by name, of {len(packets)} captured")
        more = observe.session(gateway, SESSION)["rx_pkts"] - opened
        report.check(f"gateway {letter} opened none of them", more <= 2, f"{more} authentic packets meanwhile")  # probes
        time.sleep(0.2)
        report.check(f"gateway {letter} delivered none of them", pair.received() == received, str(pair.received()))
    for letter, sink in list(pair.sinks.items()):
        found = sink.result()
        report.check(f"no packet was delivered twice to host {letter}", found["duplicates"] == 0, str(found))
    pair.sinks = {}


# --- state directories that can't be written -------------------------------------------------------------------------

def fill(folder):
    with open(os.path.join(folder, "ballast"), "wb", buffering=0) as file:
        for size in (65536, 4096, 512, 64, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def refused_at_start(pair, report, what):
    code, text = pair.a.run_to_end(timeout=30)
    report.check(f"start with {what} is refused with exit code {REFUSED} and a remedy",
                 code == REFUSED and "state" in text, f"exit code {code}: {text.strip()[-250:]}".replace("\n", " | "))


def recorded(gateway):
    """The epoch on disk that this gateway may use at most; from a copy, for the gateway locks its store."""
    with tempfile.TemporaryDirectory(dir=gateway.network.lab.folder) as folder:
        for file in glob.glob(os.path.join(gateway.state_dir, "epochs.db*")):
            shutil.copy(file, folder)
        with contextlib.closing(sqlite3.connect(os.path.join(folder, "epochs.db"))) as store:
            return store.execute("SELECT max(taken) FROM sessions").fetchone()[0]


def store_fails(gateway):
    return bool(gateway.ask("/phantom/store")["failing"])


def rekey_until_store_fails(gateway):
    def failing():
        observe.rekey(gateway, SESSION, 1)
        return store_fails(gateway)

    return wait_until(failing, 10, 0.3)


def goes_on(pair, report, what, spoil, heal):
    """At run time: present keys go on, no epoch is handed out that was not recorded."""
    pair.start_traffic(rate=500)
    report.check(f"traffic before {what}", pair.flows(), str(pair.received()))
    spoil()
    report.check(f"the store says that it fails with {what}", rekey_until_store_fails(pair.a), "telemetry /phantom/store")
    for _ in range(3):
        observe.rekey(pair.a, SESSION, 1)
        time.sleep(0.2)
    report.check(f"traffic goes on with {what}", pair.flows(more=300), str(pair.received()))
    taken, epoch = recorded(pair.a), observe.session(pair.a, SESSION)["epoch"]
    report.check(f"no epoch beyond the recorded one with {what}", store_fails(pair.a) and epoch <= taken,
                 f"epoch {epoch}, recorded {taken}")
    heal()
    observe.rekey(pair.a, SESSION, 1)
    moved = wait_until(lambda: recorded(pair.a) > taken and not store_fails(pair.a), 15, 0.2)
    report.check(f"new epochs again after {what}", moved, f"recorded {recorded(pair.a)}")
    pair.a.kill()
    pair.start("a")
    report.check(f"traffic after kill -9 and {what}", pair.flows(timeout_s=RECOVERY_S), str(pair.received()))
    pair.stop_traffic()


def full_and_read_only(network, report, binary, env):
    folder = os.path.join(network.lab.folder, "small-disk")
    os.mkdir(folder)
    run("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", folder)
    ballast = os.path.join(folder, "ballast")
    pair = Pair(network, binary=binary, env=env, state_dirs={"a": os.path.join(folder, "state"),
                                                             "b": os.path.join(network.lab.folder, "state-b2")})
    pair.init_state().start().connected()
    goes_on(pair, report, "a full disk", lambda: fill(folder), lambda: os.unlink(ballast))
    read_only = ["mount", "-o", "remount,ro", folder]
    writable = ["mount", "-o", "remount,rw", folder]
    pair.a.stop()
    fill(folder)
    refused_at_start(pair, report, "a full disk")
    os.unlink(ballast)
    run(*read_only)
    refused_at_start(pair, report, "a read-only state directory")
    run(*writable)
    pair.start("a")
    report.check("traffic once the state directory can be written again", pair.connected() < RECOVERY_S, "both families")
    for gateway in pair.both():
        report.check(f"{gateway.name} ended cleanly", gateway.stop() == 0, "exit code 0")


# --- the whole -------------------------------------------------------------------------------------------------------

def no_nonce_twice(lab, report):
    files = sorted(glob.glob(os.path.join(lab.folder, "nonces-*.audit")))
    for file in files:  # kill -9 can cut the last record, whose packet was then never sealed
        os.truncate(file, os.path.getsize(file) // 32 * 32)
    files = [file for file in files if os.path.getsize(file)]
    done = subprocess.run([os.path.join(ROOT, "tools", "nonce-audit"), *files], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    size = sum(os.path.getsize(file) for file in files) // 32
    report.check("no (key, nonce) used twice by all incarnations of both gateways",
                 done.returncode == 0 and size > 1000, f"{size} seals: {done.stdout.strip()[-250:]}".replace("\n", " | "))


def body(lab, report):
    seed = int(os.environ.get("PHANTOM_CRASH_SEED") or time.time())
    print(f"seed {seed}", flush=True)
    env = {"PHANTOM_NONCE_AUDIT_FILE": os.path.join(lab.folder, "nonces-{letter}-{launch}.audit")}
    binary, network = audit_binary(), netlab.Network(lab)
    captures = {letter: os.path.join(lab.folder, f"to-{letter}.pcap") for letter in "ab"}
    tcpdumps = [inject.capture(network.wan, f"port-{letter}", path, f"udp and dst host {site.wan4}")
                for (letter, path), site in zip(captures.items(), (network.a, network.b))]
    pair = Pair(network, options={"rekey": {"interval": REKEY_INTERVAL}}, binary=binary, env=env).init_state().start()
    pair.connected()
    pair.start_traffic(rate=500)
    if pair.flows() and crash_rounds(pair, report, seed):
        for tcpdump in tcpdumps:
            tcpdump.terminate()
        pair.gateways["a"].kill()
        pair.gateways["b"].kill()
        pair.start()
        report.check("traffic after the last crash", pair.flows(timeout_s=RECOVERY_S), str(pair.received()))
        replay_all(pair, report, captures)
    for gateway in pair.both():
        gateway.stop()
    full_and_read_only(network, report, binary, env)
    no_nonce_twice(lab, report)


if __name__ == "__main__":
    systest.main("crash", body, LIMIT_S, binary=sys.executable)
