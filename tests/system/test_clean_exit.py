#!/usr/bin/env python3
"""Gateways that are told to end in the middle of traffic: exit code 0, every packet buffer back in its pool, books
balanced, 20 times in a row."""

import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import netlab  # noqa: E402
import observe  # noqa: E402
import systest  # noqa: E402
from pair import Pair  # noqa: E402

LIMIT_S = 165
ROUNDS = 20
MOST_EXIT_S = 8


def one_round(pair, report, number):
    pair.start()
    if not pair.flows(more=100):
        report.check(f"round {number} has traffic in flight", False, str(pair.received()))
        return False
    name = "SIGINT" if number % 2 else "SIGTERM"
    asked = time.monotonic()
    for gateway in pair.both():
        gateway.process.send_signal(getattr(signal, name))
    problems = []
    for gateway in pair.both():
        code = gateway.stop(signal.SIGCONT, MOST_EXIT_S)  # already asked; this only waits
        if code != 0:
            problems.append(f"{gateway.name} ended with {code}")
            continue
        with open(gateway.summary, encoding="utf-8") as file:
            problems += observe.leftovers(gateway.name, json.load(file))
        os.unlink(gateway.summary)
    return report.check(f"round {number} of {ROUNDS} ends cleanly after {name}", not problems,
                        "; ".join(problems) or f"in {time.monotonic() - asked:.1f} s")


def body(lab, report):
    pair = Pair(netlab.Network(lab)).init_state()
    pair.start_traffic(rate=3000, size=600)
    for number in range(1, ROUNDS + 1):
        if not one_round(pair, report, number):
            break


if __name__ == "__main__":
    systest.main("clean exit", body, LIMIT_S)
