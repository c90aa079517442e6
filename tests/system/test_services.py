#!/usr/bin/env python3
# timeout: 2000
"""Stream services: streams of a session that end in a gateway and go on to local sockets, with phantom-cat at the far
end: files over a bad network with a rekey every second, ten thousand streams, backends that stall, refuse, reset or are
not there, datagrams, both ends of a half-closed connection, and who is told when it all ends."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

import netlab  # noqa: E402
import observe  # noqa: E402
import services  # noqa: E402
import systest  # noqa: E402
from netlab import wait_until  # noqa: E402

ECHO_SERVER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support", "echo_server.py")
MIB = 1 << 20
FILE_MIB = 1024 if systest.soak() else 96
STREAMS = 10_000
STALL_S = 10
STALLED_MIB = 24  # more than all buffers on the way hold
WEB, SINK, STALLS, REFUSES, RESETS = 9001, 9002, 9003, 9004, 9005


def ended(process, timeout_s):
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "still running"


def random_file(lab, name, size):
    path = os.path.join(lab.folder, name)
    with open(path, "wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    return path


def read_all(connection):
    parts = []
    while part := connection.recv(1 << 18):
        parts.append(part)
    return b"".join(parts)


def check_end(report, what, lab_services):
    """Books, and a clean exit."""
    gateway = lab_services.gateway
    found = observe.books(gateway)
    report.check(f"{what}, books balance", found["balanced"], observe.books_text(found))
    code = gateway.stop()
    report.check(f"{what}, the gateway ends cleanly", code == 0, f"exit code {code}")


# --- a file each way -------------------------------------------------------------------------------------------------

def big_file(lab, report):
    """Through a relay that loses 1 %, reorders and delays, with a rekey every second."""
    got, size = os.path.join(lab.folder, "got"), FILE_MIB * MIB
    source = random_file(lab, "source", size)

    def keep(connection):
        with open(got, "wb") as file:
            while data := connection.recv(1 << 18):
                file.write(data)
        with open(source, "rb") as file:  # half-closed by now: the other direction goes on
            connection.sendfile(file, 0, size // 4)

    lab_services = services.Services(lab, [{"name": "sink", "target": f"tcp:127.0.0.1:{SINK}"}], relay_seed=7,
                                     options={"rekey": {"interval": "1s"}})
    backend = services.Backend(lab_services.near, keep, SINK)
    lab_services.start()
    lab_services.relay.set("p", loss="1%", reorder="2%", delay="2ms")
    back = os.path.join(lab.folder, "back")
    begin = time.monotonic()
    code = ended(lab_services.cat(stdin=source, stdout=back), 1200 if systest.soak() else 90)
    took = time.monotonic() - begin
    rate = size / MIB / took
    report.check("file: phantom-cat ends well", code == 0, f"exit code {code}, {took:.1f} s, {rate:.1f} MiB/s")
    report.check("file: what went in came out at the backend", services.digest(source) == services.digest(got),
                 f"{FILE_MIB} MiB, SHA-256 {services.digest(got)[:16]}...")
    with open(source, "rb") as file:
        same = os.path.getsize(back) == size // 4 and file.read(size // 4) == open(back, "rb").read()
    report.check("file: what the backend sent after our end came back", same, f"{os.path.getsize(back) // MIB} MiB")
    lost = sum(lab_services.relay.stats("p")[way]["lost"] for way in ("ab", "ba"))
    report.check("file: the network was bad", lost > FILE_MIB, f"{lost} datagrams lost")
    session = observe.session(lab_services.gateway, services.SESSION)
    report.check("file: it rekeyed about every second", session["epoch"] >= took / 2 - 2, f"epoch {session['epoch']}")
    drops = observe.drops(lab_services.gateway)  # duplicates: what was repeated because its acknowledgement was lost
    report.check("file: nothing but repetitions was dropped", set(drops) <= {"replay_duplicate", "martian"}, str(drops))
    service = lab_services.service("sink")
    report.check("file: the service counted it", service["to_backend_bytes"] == size and
                 service["from_backend_bytes"] == size // 4 and service["opened"] == 1, str(service))
    report.check("file: nothing is left open", wait_until(lambda: lab_services.service("sink")["open"] == 0, 5))
    check_end(report, "file", lab_services)
    backend.close()


# --- many streams ----------------------------------------------------------------------------------------------------

async def one_stream(make, i, all_open):
    """Connects, says something, waits until all others did, says something again."""
    reader, writer = await make()
    text = b"stream %d " % i * 20
    writer.write(text)
    good = await reader.readexactly(len(text)) == text
    await all_open()
    writer.write(text[::-1])
    writer.write_eof()
    good = await reader.read(-1) == text[::-1] and good
    writer.close()
    return good


async def many(space, port, count):
    opened, everyone = 0, asyncio.Event()

    async def all_open():
        nonlocal opened
        opened += 1
        if opened == count:
            everyone.set()
        await asyncio.wait_for(everyone.wait(), 60)

    slots = asyncio.Semaphore(256)  # connections being made at a time

    async def make():
        async with slots:
            with space.entered():
                end = socket.socket()
            end.setblocking(False)
            await asyncio.get_running_loop().sock_connect(end, ("127.0.0.1", port))
            return await asyncio.open_connection(sock=end)

    results = await asyncio.gather(*(one_stream(make, i, all_open) for i in range(count)), return_exceptions=True)
    return opened, sum(result is True for result in results), [r for r in results if r is not True][:2]


def many_streams(lab, report):
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    lab_services = services.Services(
        lab, [{"name": "web", "target": f"tcp:127.0.0.1:{WEB}", "connections": STREAMS + 100}])
    server = lab_services.near.start(sys.executable, ECHO_SERVER, str(WEB), stdout=subprocess.PIPE, text=True)
    server.stdout.readline()
    lab_services.start()
    cat = lab_services.cat("-L", "8080", "--streams", str(STREAMS + 100))
    report.check("many: phantom-cat forwards", lab_services.forwarded(8080))
    begin, most = time.monotonic(), 0
    watching = threading.Event()

    def watch():
        nonlocal most
        while not watching.wait(0.2):
            most = max(most, lab_services.service("web")["open"])

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    opened, good, bad = asyncio.run(many(lab_services.far, 8080, STREAMS))
    watching.set()
    watcher.join()
    took = time.monotonic() - begin
    report.check(f"many: {STREAMS} streams at once, each echoed before and after", good == STREAMS,
                 f"{opened} opened, {good} good in {took:.1f} s, at most {most} open, {bad}")
    report.check("many: they were open at one time", most >= STREAMS, str(most))
    report.check("many: all of them end", wait_until(lambda: lab_services.service("web")["open"] == 0, 10),
                 str(lab_services.service("web")))
    cat.send_signal(signal.SIGTERM)
    report.check("many: phantom-cat ends on a signal", ended(cat, 10) == 0)
    server.kill()
    check_end(report, "many", lab_services)


# --- backends that do not behave --------------------------------------------------------------------------------------

def through(lab_services, port, data, timeout_s=30):
    """What comes back of `data` sent through a forwarded port; the error's text."""
    try:
        with lab_services.connect(port, timeout_s) as connection:
            threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(socket.SHUT_WR)),
                             daemon=True).start()
            return read_all(connection)
    except OSError as error:
        return f"{type(error).__name__}"


def round_trip(connection, data):
    begin = time.monotonic()
    connection.sendall(data)
    got = b""
    while len(got) < len(data):
        part = connection.recv(len(data) - len(got))
        if not part:
            return None
        got += part
    return time.monotonic() - begin if got == data else None


def stall(connection):
    time.sleep(STALL_S)
    services.echo(connection)


def reset(connection):
    connection.recv(100)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def bad_backends(lab, report):
    allowed = [f"127.0.0.1/32:{port}" for port in (WEB, STALLS, REFUSES, RESETS)]
    lab_services = services.Services(lab, [{"name": "forward", "target": "forward", "allow": allowed, "connections": 40}])
    backends = [services.Backend(lab_services.near, serve, port)
                for serve, port in ((services.echo, WEB), (stall, STALLS), (reset, RESETS))]
    lab_services.start()
    ports = {8081: WEB, 8082: STALLS, 8083: REFUSES, 8084: RESETS, 8085: 22}
    words = [word for near, far in ports.items() for word in ("-L", f"{near}:127.0.0.1:{far}")]
    cat = lab_services.cat(*words)
    report.check("backends: phantom-cat forwards", lab_services.forwarded(8081))
    data, slow = os.urandom(STALLED_MIB * MIB), []
    waiting = threading.Thread(target=lambda: slow.append(through(lab_services, 8082, data, 60)), daemon=True)
    waiting.start()
    worst, end = 0.0, time.monotonic() + STALL_S - 2
    with lab_services.connect(8081) as connection:
        while time.monotonic() < end and worst is not None:
            took = round_trip(connection, os.urandom(1000))
            worst = None if took is None else max(worst, took)
            time.sleep(0.01)
    report.check("backends: another stream does not feel the one that stalls", worst is not None and worst < 2,
                 "lost" if worst is None else f"longest round trip {worst * 1000:.0f} ms")
    for port, what, name in ((8083, "refuses", "refused"), (8084, "resets", "broken"), (8085, "is not allowed", "forbidden")):
        before = lab_services.service("forward")["ended"][name]
        answer = through(lab_services, port, b"hello" * 100)
        after = lab_services.service("forward")["ended"][name]
        report.check(f"backends: one that {what} ends the connection, by name", answer in (b"", "ConnectionResetError") and
                     after == before + 1, f"{answer!r}, {name} {after}")
    waiting.join(60)
    report.check("backends: the one that stalled goes on", bool(slow) and slow[0] == data, f"{STALLED_MIB} MiB there and back")
    held = []
    for _ in range(60):
        with contextlib.suppress(OSError):  # those beyond the limit may be reset by then
            held.append(lab_services.connect(8081))
            held[-1].sendall(b"x")
    wait_until(lambda: lab_services.service("forward")["refused"] >= 20, 10)
    shown = lab_services.service("forward")
    report.check("backends: streams beyond the limit are reset", shown["refused"] >= 20 and shown["open"] <= 40, str(shown))
    for connection in held:
        connection.close()
    lines = lab_services.gateway.tail(200)
    report.check("backends: the log says why", "refused" in lines and "forbidden" in lines and "broken" in lines)
    lab_services.gateway.call("session.remove", name=services.SESSION, drain="0s")
    report.check("backends: a removed session ends its connections",
                 wait_until(lambda: lab_services.service("forward")["open"] == 0, 5), str(lab_services.service("forward")))
    check_end(report, "backends", lab_services)
    cat.kill()
    for backend in backends:
        backend.close()


# --- the end ----------------------------------------------------------------------------------------------------------

def gateway_ends(lab, report):
    """A gateway that ends tells the peer; one that is killed and comes back does not confuse it."""
    path = os.path.join(lab.folder, "backend.sock")
    lab_services = services.Services(lab, [{"name": "local", "target": f"unix:{path}", "streams": "1-100"}])
    code, output = lab_services.gateway.run_to_end("--check")
    report.check("end: a socket that is not there is an error of --check", code != 0 and "service[0].target" in output,
                 output.strip().splitlines()[-1] if output.strip() else str(code))
    backend = services.Backend(lab_services.near, services.echo, path=path)
    lab_services.start()
    cat = lab_services.cat("-L", "8080")
    report.check("end: phantom-cat forwards", lab_services.forwarded(8080))
    with lab_services.connect(8080) as connection:
        report.check("end: a Unix socket answers", round_trip(connection, b"hello") is not None)
        begin = time.monotonic()
        code = lab_services.gateway.stop()
        connection.settimeout(5)
        try:
            answer = connection.recv(10)
        except OSError as error:
            answer = type(error).__name__
        took = time.monotonic() - begin
        report.check("end: the peer's connections end with the gateway", code == 0 and answer in (b"", "ConnectionResetError"),
                     f"{answer!r} after {took:.1f} s")
    lab_services.gateway.start()
    with lab_services.connect(8080) as connection:
        report.check("end: after a restart it goes on", round_trip(connection, b"again") is not None)
        lab_services.gateway.kill()
        lab_services.gateway.start()
    with lab_services.connect(8080) as connection:
        report.check("end: and after a kill", round_trip(connection, b"and again") is not None)
    cat.send_signal(signal.SIGTERM)
    ended(cat, 10)
    check_end(report, "end", lab_services)
    backend.close()


def body(lab, report):
    for part in (big_file, many_streams, bad_backends, gateway_ends):
        with netlab.Lab() as own:
            try:
                part(own, report)
            except Exception:
                systest.show_logs(own)
                raise
    del lab


if __name__ == "__main__":
    systest.main("stream services", body, 1900 if systest.soak() else 240, netlab.built("tools", "phantom-cat"))
