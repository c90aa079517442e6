"""The control socket of a gateway: JSON-RPC 2.0, one JSON text a line."""

import contextlib
import json
import socket

TIMEOUT_S = 5


class Refused(Exception):
    """The gateway answered with an error."""

    def __init__(self, error):
        super().__init__(error.get("message", "no reason given"))
        self.code = error.get("code")


class Control:
    """One connection."""

    def __init__(self, path, timeout_s=TIMEOUT_S):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(path)
        except BaseException:
            self.socket.close()
            raise
        self.file = self.socket.makefile("r", encoding="utf-8")
        self.number = 0

    def call(self, method, **params):
        """The result; an error of the gateway is raised."""
        self.number += 1
        request = {"jsonrpc": "2.0", "id": self.number, "method": method, "params": params}
        self.socket.sendall((json.dumps(request) + "\n").encode())
        for line in self.file:
            answer = json.loads(line)
            if answer.get("id") != self.number:
                continue  # a notification
            if "error" in answer:
                raise Refused(answer["error"])
            return answer["result"]
        raise OSError("the gateway closed the connection")

    def close(self):
        self.file.close()
        self.socket.close()


def call(path, method, **params):
    with contextlib.closing(Control(path)) as control:
        return control.call(method, **params)
