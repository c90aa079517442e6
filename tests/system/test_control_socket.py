#!/usr/bin/env python3
"""A running gateway is asked and told over its control socket: every command of phantomctl, as table and as JSON; what
malformed requests, other users, second gateways and killed ones do to it; traffic that goes on meanwhile."""

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import netlab  # noqa: E402
import observe  # noqa: E402
import systest  # noqa: E402
from control import Control, Refused  # noqa: E402
from netlab import wait_until  # noqa: E402
from pair import SESSION, Pair  # noqa: E402

LIMIT_S = 170
NOBODY = 65534
MOST_LINE = 1 << 20
PARSE, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602
NOT_FOUND, EXISTS = -32001, -32002


def ctl(gateway, *words, env=None):
    """Exit code, stdout, stderr of phantomctl."""
    done = subprocess.run([netlab.phantomctl_binary(), "--socket", gateway.socket, *words], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout, done.stderr


def shows(report, gateway, words, columns, key, least=1):
    """A show command as a table with these columns, and as JSON with a list of so many under this key."""
    name = " ".join(words)
    code, out, err = ctl(gateway, *words)
    lines = out.splitlines()
    report.check(f"{name} as a table", code == 0 and lines and all(column in lines[0] for column in columns) and
                 len(lines) > least, f"{code}: {(out + err)[:300]}")
    code, out, err = ctl(gateway, *words, "--json")
    with contextlib.suppress(ValueError):
        found = json.loads(out)
        return report.check(f"{name} as JSON", code == 0 and len(found[key]) >= least, out[:300])
    return report.check(f"{name} as JSON", False, f"{code}: {(out + err)[:300]}")


def does(report, gateway, *words, says=""):
    code, out, err = ctl(gateway, *words)
    done = code == 0 and re.search(says, out)
    return report.check(" ".join(words[:2]) + " is carried out", done, f"{code}: {out}{err}")


def refuses(report, gateway, what, *words, says, code=1):
    got, out, err = ctl(gateway, *words)
    return report.check(f"{what} is refused", got == code and re.search(says, err), f"{got}: {out}{err}")


def error_code(connection, method, **params):
    try:
        connection.call(method, **params)
    except Refused as refused:
        return refused.code
    return 0


# --- what is shown ---------------------------------------------------------------------------------------------------

def check_shows(pair, report):
    a = pair.a
    shows(report, a, ["session", "show"], ["SESSION", "STATE", "EPOCH", "PEER"], "sessions")
    shows(report, a, ["session", "show", SESSION], ["FIELD", "VALUE"], "sessions")
    shows(report, a, ["path", "show"], ["SESSION", "PATH", "STATE", "RTT MS"], "paths")
    shows(report, a, ["path", "show", SESSION], ["SESSION", "PATH", "STATE", "RTT MS"], "paths")
    shows(report, a, ["route", "show"], ["PREFIX", "VIA", "TARGET"], "routes", least=2)
    shows(report, a, ["stats"], ["gateway gw-a"], "ports")
    shows(report, a, ["version"], ["phantom-gateway"], "version", least=0)
    shows(report, a, ["methods"], ["METHOD", "PARAMETERS", "DOES"], "methods", least=10)
    shows(report, a, ["events"], [], "events", least=0)
    code, out, _ = ctl(a, "call", "session.show", '{"name": "office"}')
    report.check("call calls a method", code == 0 and json.loads(out)["sessions"][0]["name"] == SESSION, out[:200])
    code, out, err = ctl(a, "stats", env={"PHANTOM_SOCKET": "/nowhere"})
    report.check("--socket stands over PHANTOM_SOCKET", code == 0, err)
    secret = open(pair.a.config["session"][0]["secret_file"], encoding="ascii").read().strip()
    shown = "".join(ctl(a, *words, "--json")[1] for words in (["session", "show"], ["stats"], ["events"]))
    report.check("no secret is shown", secret not in shown and len(shown) > 500)


# --- what is done ----------------------------------------------------------------------------------------------------

def session_file(pair, letter, name, tunnel, port, more=""):
    """The file an operator writes for one more session, with its secret beside it."""
    site, other = pair.sites[letter], pair.network.other(pair.sites[letter])
    folder = pair.network.lab.folder
    netlab.write_secret(os.path.join(folder, f"{name}-{letter}.secret"), tunnel["secret"])
    path = os.path.join(folder, f"{name}-{letter}.toml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'[[session]]\nname = "{name}"\nid = "{tunnel["id"]}"\nsecret_file = "{name}-{letter}.secret"\n'
                   f'role = "{"initiator" if letter == "a" else "responder"}"\nlocal = "{site.wan4}:{port}"\n'
                   f'peer = "{other.wan4}:{port}"\n{more}')
    return path


def new_tunnel():
    return {"id": os.urandom(32).hex(), "secret": os.urandom(32).hex()}


def names(gateway):
    return {one["name"] for one in gateway.call("session.show")["sessions"]}


def prefixes(gateway):
    return {one["prefix"]: one.get("session") for one in gateway.call("route.show")["routes"]}


def check_sessions(pair, report):
    tunnel = new_tunnel()
    files = {letter: session_file(pair, letter, "branch", tunnel, 4600,
                                  '[[route]]\nprefix = "10.77.0.0/16"\nsession = "branch"\n') for letter in "ab"}
    for letter in "ab":
        does(report, pair.gateways[letter], "session", "add", files[letter], says="branch added")
    report.check("the new session and its route are there", "branch" in names(pair.a) and
                 prefixes(pair.a).get("10.77.0.0/16") == "branch", str(prefixes(pair.a)))
    heard = wait_until(lambda: all(observe.session(gateway, "branch").get("heard") for gateway in pair.both()), 20)
    report.check("the two ends of the new session hear each other", heard, str(observe.session(pair.a, "branch")))
    does(report, pair.a, "session", "rekey", "branch", says="rekeys")
    replacement = {letter: session_file(pair, letter, "branch2", new_tunnel(), 4601) for letter in "a"}
    does(report, pair.a, "session", "replace", "branch", replacement["a"], "--drain", "1s", says="takes over")
    report.check("the replacement stands beside the old session", {"branch", "branch2"} <= names(pair.a),
                 str(names(pair.a)))
    does(report, pair.a, "session", "remove", "branch2", "--now", says="removed")
    gone = wait_until(lambda: "branch2" not in names(pair.a), 10)
    report.check("a removed session is gone", gone, str(names(pair.a)))
    does(report, pair.b, "session", "remove", "branch", "--drain", "1s", says="removed")
    gone = wait_until(lambda: "branch" not in names(pair.b) and "10.77.0.0/16" not in prefixes(pair.b), 15)
    report.check("a drained session is gone with its routes", gone, str(names(pair.b)))


def check_session_mistakes(pair, report):
    a, folder = pair.a, pair.network.lab.folder
    office = a.config["session"][0]
    clash = session_file(pair, "a", "clash", {"id": office["id"], "secret": new_tunnel()["secret"]}, 4602)
    refuses(report, a, "an id that is in use", "session", "add", clash, says="id|exists|already")
    missing = session_file(pair, "a", "missing", new_tunnel(), 4603)
    os.unlink(os.path.join(folder, "missing-a.secret"))
    refuses(report, a, "a session without its secret", "session", "add", missing,
            says=r"missing-a\.toml:4: session\[0\]\.secret_file: .*No such file")
    typing = session_file(pair, "a", "typing", new_tunnel(), 4604, "steams = 4\n")
    refuses(report, a, "an unknown key", "session", "add", typing,
            says=r'typing-a\.toml:\d+: session\[0\]\.steams: .*did you mean "streams"')
    refuses(report, a, "an unknown session", "session", "remove", "nobody", says="nobody")
    refuses(report, a, "an unknown session to rekey", "session", "rekey", "nobody", says="nobody")
    refuses(report, a, "an unknown session to show", "session", "show", "offise", says='did you mean "office"')
    refuses(report, a, "a file that is not there", "session", "add", "/none.toml", says="none.toml", code=2)
    refuses(report, a, "a wrong command", "session", "ad", says="", code=2)


def check_paths_and_routes(pair, report):
    a = pair.a
    does(report, a, "path", "probe", SESSION, says="probed")
    answered = wait_until(lambda: (a.call("path.show", session=SESSION)["paths"][0]["srtt_ms"] or -1) >= 0, 10)
    report.check("a probe brings a round trip", answered, str(a.call("path.show", session=SESSION)))
    refuses(report, a, "a migration to nowhere", "path", "migrate", SESSION, says="local, peer or both")
    refuses(report, a, "an address that is not ours", "path", "migrate", SESSION, "--local", "203.0.113.9:4500",
            says="203.0.113.9|local")
    refuses(report, a, "a path of an unknown session", "path", "migrate", "nobody", "--peer", "192.0.2.2:4501",
            says="nobody")
    does(report, a, "path", "migrate", SESSION, "--peer", f"{pair.sites['b'].wan4}:4599", says="validated")
    does(report, a, "route", "add", "10.88.0.0/16", "--session", SESSION, says="added")
    report.check("the new route is there", prefixes(a).get("10.88.0.0/16") == SESSION, str(prefixes(a)))
    refuses(report, a, "a route that is there", "route", "add", "10.88.0.0/16", "--session", SESSION, says="10.88")
    refuses(report, a, "a route to nowhere", "route", "add", "10.89.0.0/16", "--session", "nobody", says="nobody")
    does(report, a, "route", "remove", "10.88.0.0/16", says="removed")
    report.check("the route is gone", "10.88.0.0/16" not in prefixes(a), str(prefixes(a)))
    refuses(report, a, "an unknown route", "route", "remove", "10.88.0.0/16", says="10.88")


def check_events(pair, report):
    a = pair.a
    with open(os.path.join(pair.network.lab.folder, "events.txt"), "w+", encoding="utf-8") as out:
        command = [netlab.phantomctl_binary(), "--socket", a.socket, "events", "--follow"]
        follower = pair.network.lab.start(command, stdout=out)
        time.sleep(0.5)
        does(report, a, "session", "rekey", SESSION, says="rekeys")

        def seen():
            with open(out.name, encoding="utf-8") as file:
                return re.search(rf"{SESSION}\s+\S*rekey", file.read())

        report.check("events --follow sees a rekey", wait_until(seen, 10), a.tail())
        follower.kill()
        follower.wait(timeout=10)
    code, text, _ = ctl(a, "events", "--json")
    events = json.loads(text)["events"]
    report.check("events are numbered", code == 0 and [one["number"] for one in events] ==
                 list(range(events[0]["number"], events[0]["number"] + len(events))))
    last = events[-1]["number"]
    code, text, _ = ctl(a, "events", "--since", str(last - 1), "--json")
    first = json.loads(text)["events"][0]["number"]
    report.check("events --since begins there", code == 0 and first == last, text[:200])


# --- bad input -------------------------------------------------------------------------------------------------------

def check_bad_requests(pair, report):
    with contextlib.closing(Control(pair.a.socket)) as connection:
        def raw(line):
            connection.socket.sendall(line + b"\n")
            return json.loads(connection.file.readline())

        report.check("nonsense gets a parse error", raw(b"nonsense")["error"]["code"] == PARSE)
        report.check("bytes that are no UTF-8 get a parse error", raw(b'{"a": "\xff"}')["error"]["code"] == PARSE)
        report.check("deep nesting gets a parse error", raw(b"[" * 500_000)["error"]["code"] == PARSE)
        report.check("an array of nothing is no request", raw(b"[]")["error"]["code"] == INVALID_REQUEST)
        report.check("an unknown method is named", error_code(connection, "session.explode") == NO_METHOD)
        report.check("an unknown parameter is an error", error_code(connection, "stats", all=True) == INVALID_PARAMS)
        report.check("an unknown session is not found", error_code(connection, "session.rekey", name="x") == NOT_FOUND)
        batch = [{"jsonrpc": "2.0", "id": number, "method": "version"} for number in range(3000)]
        answer = raw(json.dumps(batch).encode())
        report.check("a large batch is answered in order", [one["id"] for one in answer] == list(range(3000)))
        report.check("the connection is still good", connection.call("version")["program"] == "phantom-gateway")


def check_oversized(pair, report):
    with contextlib.closing(Control(pair.a.socket)) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.socket.sendall(b"x" * (3 * MOST_LINE))
        answer = json.loads(connection.file.readline())
        report.check("an oversized line is answered", answer["error"]["code"] == INVALID_REQUEST, str(answer))
        rest = ""
        with contextlib.suppress(ConnectionResetError):  # what it did not read any more
            rest = connection.file.readline()
        report.check("the connection is closed then", rest == "", rest[:200])


def check_many_clients(pair, report):
    idle = []
    try:
        for _ in range(16):
            idle.append(Control(pair.a.socket))
            idle[-1].call("version")
        refuses(report, pair.a, "a 17th client", "version", says="16 clients")
    finally:
        for one in idle:
            one.close()
    report.check("a client is taken once others left", wait_until(lambda: ctl(pair.a, "version")[0] == 0, 5))


def check_hoarder(pair, report):
    """A client that asks and never reads is dropped, in bounded memory."""
    with contextlib.closing(Control(pair.a.socket)) as connection:
        request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "methods"}).encode() + b"\n"
        with contextlib.suppress(OSError):
            for _ in range(40):
                connection.socket.sendall(request * 100)
        dropped = wait_until(lambda: pair.a.call("stats")["control_socket"]["dropped_slow"] == 1, 10)
    report.check("a client that reads nothing is dropped", dropped, str(pair.a.call("stats")["control_socket"]))


# --- who gets in -----------------------------------------------------------------------------------------------------

def connects_as(uid, path):
    """What connecting as this user gives: "answered", "refused", or the name of the error."""
    pid = os.fork()
    if pid == 0:
        code = 3
        try:
            os.setuid(uid)
            with contextlib.closing(Control(path)) as connection:
                line = connection.file.readline() if uid == NOBODY else ""
                code = 1 if "may not" in line else 0
        except PermissionError:
            code = 2
        except OSError:
            code = 3
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {0: "answered", 1: "refused", 2: "no permission"}.get(code, "failed")


def check_permissions(pair, report):
    mode = stat.S_IMODE(os.stat(pair.a.socket).st_mode)
    report.check("the socket has mode 0600", mode == 0o600, oct(mode))
    report.check("root gets in", connects_as(0, pair.a.socket) == "answered")
    report.check("another user does not", connects_as(NOBODY, pair.a.socket) == "no permission")
    folder = os.path.dirname(pair.a.socket)
    os.chmod(folder, 0o711)  # as if someone opened it by mistake
    os.chmod(pair.a.socket, 0o666)
    try:
        report.check("another user is told so where modes let it in", connects_as(NOBODY, pair.a.socket) == "refused")
        code, out = pair.a.run_to_end("--check")
        report.check("--check names an open folder", code == 2 and "chmod 700" in out, f"{code}: {out}")
    finally:
        os.chmod(folder, 0o700)
        os.chmod(pair.a.socket, 0o600)


def check_second_gateway(pair, report):
    """Another gateway with the same path is refused and leaves the socket alone."""
    lab = pair.network.lab
    config = json.loads(json.dumps(pair.b.config))
    config["gateway"].update(name="thief", state_dir=os.path.join(lab.folder, "state-thief"))
    config["control"]["socket"] = pair.a.socket
    file = os.path.join(lab.folder, "thief.toml")
    with open(file, "w", encoding="utf-8") as out:
        out.write(netlab.toml(config))
    outcome = []
    for words in (["--init-state"], []):
        done = subprocess.run([netlab.gateway_binary(), file, *words], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=30)
        outcome.append((done.returncode, done.stderr))
    told = f"in use by process {pair.a.process.pid}" in outcome[1][1]
    report.check("a second gateway with this socket is refused", [one[0] for one in outcome] == [0, 1] and told,
                 str(outcome))
    report.check("the first one keeps it", ctl(pair.a, "version")[0] == 0)


def check_leftovers(pair, report):
    a = pair.a
    a.kill()
    report.check("SIGKILL leaves the socket", os.path.exists(a.socket))
    refuses(report, a, "a socket that nobody serves", "stats", says="is gone; start it again", code=3)
    a.start()
    report.check("a new gateway takes its place", ctl(a, "version")[0] == 0, a.tail())
    report.check("the new socket has mode 0600", stat.S_IMODE(os.stat(a.socket).st_mode) == 0o600)


def check_end(pair, report):
    for gateway in pair.both():
        code = gateway.stop(signal.SIGTERM)
        with open(gateway.summary, encoding="utf-8") as file:
            problems = observe.leftovers(gateway.name, json.load(file))
        report.check(f"{gateway.name} ends well", code == 0 and not problems, f"{code}: {problems}")
        report.check(f"{gateway.name} removes its socket", not os.path.exists(gateway.socket) and
                     not os.path.exists(gateway.socket + ".lock"))
    refuses(report, pair.a, "a gateway that ended", "stats", says="is the gateway running", code=3)
    code, _, err = ctl(pair.a, "--timeout", "x", "stats")
    report.check("wrong usage has its own exit code", code == 2, f"{code}: {err}")
    frozen = socket.socket(socket.AF_UNIX)
    with contextlib.closing(frozen):
        frozen.bind(pair.a.socket)
        frozen.listen(1)
        refuses(report, pair.a, "a gateway that does not answer", "--timeout", "0.3", "stats",
                says="no answer in time", code=3)


def body(lab, report):
    pair = Pair(netlab.Network(lab)).init_state()
    pair.start()
    pair.connected()
    pair.start_traffic(rate=500)
    report.check("traffic flows", pair.flows(), str(pair.received()))
    check_shows(pair, report)
    check_permissions(pair, report)
    check_bad_requests(pair, report)
    check_oversized(pair, report)
    check_many_clients(pair, report)
    check_hoarder(pair, report)
    check_events(pair, report)
    check_sessions(pair, report)
    check_session_mistakes(pair, report)
    check_paths_and_routes(pair, report)
    check_second_gateway(pair, report)
    found = pair.stop_traffic()
    report.check("no packet was lost meanwhile", all(one["lost"] == 0 for one in found.values()), str(found))
    check_leftovers(pair, report)
    check_end(pair, report)


if __name__ == "__main__":
    systest.main("control socket", body, LIMIT_S)
