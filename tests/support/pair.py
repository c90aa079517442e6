"""Two gateways over AF_PACKET as the system tests use them: started, killed, restarted, with traffic both ways."""

import contextlib
import os
import shutil

import netlab
import observe
import traffic
from netlab import LabError, wait_until

SESSION = "office"
FLOW_PORTS = {"a": 7001, "b": 7002}  # where the host of that side listens


class Pair:
    def __init__(self, network, sessions=None, options=None, binary=None, env=None, driver="af_packet", state_dirs=None):
        self.network = network
        self.sites = {"a": network.a, "b": network.b}
        self.tunnel = netlab.Tunnel(network, sessions or [{"name": SESSION, "options": options or {}}])
        self.gateways = {}
        for letter, site in self.sites.items():
            config = self.tunnel.config(site)
            if letter in (state_dirs or {}):
                config["gateway"]["state_dir"] = state_dirs[letter]
            own = {name: value.replace("{letter}", letter) for name, value in (env or {}).items()}
            self.gateways[letter] = netlab.Gateway(network, site, config, binary or netlab.gateway_binary(), driver, own)
        self.sinks, self.sources = {}, {}

    @property
    def a(self):
        return self.gateways["a"]

    @property
    def b(self):
        return self.gateways["b"]

    def both(self):
        return list(self.gateways.values())

    def init_state(self):
        for gateway in self.both():
            gateway.init_state()
        return self

    def start(self, letters="ab", timeout_s=30):
        for letter in letters:
            self.gateways[letter].launch()
        for letter in letters:
            self.gateways[letter].wait_ready(timeout_s)
        return self

    def connected(self, timeout_s=15):
        """Seconds until both families work through the tunnel."""
        total = 0.0
        for address in (self.network.b.host4, self.network.b.host6):
            seconds = traffic.wait_for_ping(self.network.a, address, timeout_s)
            if seconds is None:
                raise LabError(f"no answer from {address} within {timeout_s} s")
            total += seconds
        return total

    def new_secret(self):
        """Both gateways stopped: the next start uses a new secret and id, hence epoch 0."""
        fresh = netlab.Tunnel(self.network, [{**one, "id": None, "secret": None} for one in self.tunnel.sessions])
        self.tunnel = fresh
        for letter, gateway in self.gateways.items():
            config = fresh.config(self.sites[letter])
            gateway.config["session"] = config["session"]
            gateway.write()

    # ---- traffic in the background

    def start_traffic(self, rate=1000, size=200):
        """Counted UDP, a to b in IPv4 and b to a in IPv6, until stop_traffic."""
        a, b = self.network.a, self.network.b
        for source, sink, address in ((a, b, b.host4), (b, a, a.host6)):
            port = FLOW_PORTS[sink.letter]
            status = os.path.join(self.network.lab.folder, f"flow-{sink.letter}.status")
            self.sinks[sink.letter] = traffic.UdpSink(sink, address, port, status)
            self.sources[source.letter] = traffic.UdpSource(source, address, port, rate, 0, size)

    def received(self):
        return {letter: sink.now()["received"] for letter, sink in self.sinks.items()}

    def flows(self, more=20, timeout_s=15):
        """True once each direction delivered this many packets from now on."""
        before = self.received()

        def grown():
            now = self.received()
            return all(now[letter] >= before[letter] + more for letter in now)

        return wait_until(grown, timeout_s)

    def stop_sources(self):
        sent = {letter: source.result() for letter, source in self.sources.items()}
        self.sources = {}
        return sent

    def stop_traffic(self):
        """By sink letter: sent, received, lost, duplicates."""
        sent = self.stop_sources()
        results = {}
        for letter, sink in self.sinks.items():
            found = {**sent["b" if letter == "a" else "a"], **sink.result()}
            found["lost"] = found["sent"] - found["received"]
            results[letter] = found
        self.sinks = {}
        return results

    def epochs(self):
        return {letter: observe.session(gateway, SESSION)["epoch"] for letter, gateway in self.gateways.items()}


def remove_state(gateway):
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(gateway.state_dir)
