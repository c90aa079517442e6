"""A gateway with stream services and phantom-cat as the far end of their session; backends beside the gateway."""

import contextlib
import hashlib
import os
import socket
import subprocess
import threading

import netlab
from netlab import wait_until
from relay import Relay

SESSION = "files"
PORT = 4500
FAR_PORT = 4600


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Backend:
    """A server on a loopback address of a namespace; `serve(connection)` runs in a thread each."""

    def __init__(self, space, serve, port=0, path=None):
        with space.entered():
            if path:
                self.listener = socket.socket(socket.AF_UNIX)
                self.listener.bind(path)
                self.listener.listen(256)
            else:
                self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.port = port if path else self.listener.getsockname()[1]
        self.serve, self.count = serve, 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        with connection, contextlib.suppress(OSError):
            self.serve(connection)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # or the thread in accept() keeps it
        self.listener.close()


def echo(connection):
    while data := connection.recv(1 << 18):
        connection.sendall(data)


class Services:
    """One gateway (site a of a network) whose session SESSION carries streams; its far end is not started yet."""

    def __init__(self, lab, services, options=None, pools=None, workers=1, log="info", relay_seed=None):
        self.lab, self.network = lab, netlab.Network(lab)
        self.near, self.far = self.network.a.gateway_space, self.network.b.gateway_space
        for space in (self.near, self.far):
            space.ip("link", "set", "lo", "up")
        self.far.ip("addr", "add", f"{self.network.b.wan4}/24", "dev", "wan")
        self.relay, self.far_local = None, f"{self.network.b.wan4}:{FAR_PORT}"
        self.far_peer, outside = f"{self.network.a.wan4}:{PORT}", self.far_local
        if relay_seed is not None:  # between the two, in the far namespace
            self.relay, self.far_local = Relay(self.far, seed=relay_seed), f"127.0.0.1:{FAR_PORT}"
            outside, self.far_peer = self.relay.path("p", f"{self.network.b.wan4}:0", "127.0.0.1:0", self.far_local,
                                                     f"{self.network.a.wan4}:{PORT}")
        self.tunnel = netlab.Tunnel(self.network, [{"name": SESSION, "options": options or {}, "prefixes": lambda _: []}])
        config = self.tunnel.config(self.network.a)
        config["session"][0]["peer"] = outside
        config["cores"]["workers"] = workers
        config["service"] = [{**({} if "group" in service else {"session": SESSION}), **service} for service in services]
        config["gateway"]["log_level"] = log
        if pools:
            config["pools"] = pools
        self.gateway = netlab.Gateway(self.network, self.network.a, config, netlab.gateway_binary())
        self.agreed = self.tunnel.sessions[0]
        self.secret = netlab.write_secret(os.path.join(lab.folder, "far.secret"), self.agreed["secret"])

    def start(self):
        self.gateway.init_state()
        self.gateway.start()
        return self

    def cat_command(self, *more):
        return [netlab.built("tools", "phantom-cat"), "--id", self.agreed["id"], "--secret-file", self.secret,
                "--role", "responder", "--local", self.far_local, "--peer", self.far_peer,
                "--state", os.path.join(self.lab.folder, "state-far"), *more]

    def cat(self, *more, stdin=None, stdout=None):
        """The far end, running; its messages are in cat.log."""
        log = open(os.path.join(self.lab.folder, "cat.log"), "ab")
        source = open(stdin, "rb") if stdin else subprocess.DEVNULL
        sink = open(stdout, "wb") if stdout else subprocess.DEVNULL
        return self.far.start(*self.cat_command(*more), stdin=source, stdout=sink, stderr=log)

    def service(self, name):
        shown = self.gateway.call("service.show")["services"]
        return next(one for one in shown if one["name"] == name)

    def forwarded(self, port, timeout_s=10):
        """True once phantom-cat listens on this port in the far namespace."""
        def listens():
            with contextlib.suppress(OSError), self.far.entered():
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return True
            return False
        return wait_until(listens, timeout_s)

    def connect(self, port, timeout_s=20):
        with self.far.entered():
            return socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
