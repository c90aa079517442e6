"""What a running gateway says about itself, in the form the demo and the system tests ask for."""

import contextlib
import time

# Reasons that can only come from keys: none may ever count up while honest gateways rekey.
KEYING = ("epoch_behind", "epoch_too_far", "epoch_ahead_budget", "epoch_ahead_forged", "auth", "replay_duplicate",
          "replay_too_old", "no_send_key", "sequence_unreserved", "aead_limit", "epoch_exhausted")

TABLE_ROWS = (
    ("packets received", lambda found: str(found["books"]["rx"])),
    ("packets sent", lambda found: str(found["books"]["tx"])),
    ("sealed", lambda found: str(found["session"]["tx_pkts"])),
    ("opened", lambda found: str(found["session"]["rx_pkts"])),
    ("epoch", lambda found: str(found["session"]["epoch"])),
    ("rekeys of its own", lambda found: str(found["session"]["rekeys"])),
    ("followed the peer", lambda found: str(found["session"]["followed"])),
    ("catch-ups", lambda found: str(found["session"]["catch_ups"])),
    ("packets of the epoch before", lambda found: str(found["session"]["grace_accepts"])),
)


def drops(gateway):
    """Every reason that is not 0."""
    return dict(gateway.ask("/phantom/drops") or {})


def keying_losses(gateway):
    found = drops(gateway)
    return sum(found.get(reason, 0) for reason in KEYING)


def session(gateway, name):
    return gateway.ask(f"/phantom/session,{name}")


def catch_ups(gateway, name):
    return session(gateway, name)["catch_ups"]


def books(gateway, timeout_s=2):
    """Counters are read while workers run, so a packet between two of them (made, not yet sent) is missing for as long
    as its worker rests: sessions probe and report even without traffic. What is lost stays missing."""
    found = gateway.ask("/phantom/books")
    end = time.monotonic() + timeout_s
    while not found["balanced"] and time.monotonic() < end:
        time.sleep(0.02)
        found = gateway.ask("/phantom/books")
    return found


def books_text(found):
    return (f"{found['rx']} + {found['originated']} = {found['tx']} + {found['drops']} + {found['consumed']} + "
            f"{found['held']}")


def report(gateway, name):
    return {"books": books(gateway), "drops": drops(gateway), "session": session(gateway, name)}


def rekey(gateway, name, steps=1):
    """Asks for new epochs; the reason of a refusal, or nothing."""
    result = (gateway.ask(f"/phantom/rekey,{name},{steps}") or {}).get("result", "no answer")
    return "" if result == "ok" else result


@contextlib.contextmanager
def running(threads):
    """Threads that run beside the block and are waited for at its end."""
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def listed(answer):
    """The entries of an answer that is keyed by position."""
    return list(answer.values())


def work(gateway):
    """Packets and busy cycles of all workers."""
    workers = listed(gateway.ask("/phantom/workers"))
    return {name: sum(worker[key] for worker in workers) for name, key in (("packets", "rx_pkts"), ("busy_tsc", "busy_tsc"))}


def leftovers(name, summary):
    """What is wrong with the final summary of a gateway: buffers not in their pool, books that don't balance."""
    problems = [] if summary["books"]["balanced"] else [f"{name}: books {summary['books']}"]
    return problems + ([] if summary.get("pools_full") is True else [f"{name}: packet buffers are missing"])
