"""Networks of kernel hosts and gateways in namespaces, for the demo and the system tests.

    host-a --- gw-a --- wan (a bridge) --- gw-b --- host-b

Every namespace, run-time folder and temporary folder carries the pid of the script that made it. It removes them when
it ends; when it is killed, a watcher that holds the other end of a pipe does; when both are, the next start does.
Children die with the script. Python's standard library only.
"""

import contextlib
import ctypes
import glob
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import control

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TAG = "phantom-lab"
NAMESPACES = "/run/netns"
RUNTIME = "/var/run/dpdk"  # of a process with user id 0
PR_SET_PDEATHSIG = 1
COMMAND_TIMEOUT_S = 30
PACKET_RING = 4096  # frames: what comes while a busy machine lets a worker wait; the driver's default is 512

_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Something the lab itself could not do; the text says what to do about it."""


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(*command, check=True, timeout=COMMAND_TIMEOUT_S, **options):
    """Runs a command to its end; its output as text. A failure is an error unless check is off."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=timeout, preexec_fn=_die_with_parent, **options)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(command)}: exit code {done.returncode}: {done.stdout.strip()}")
    return done.stdout


def wait_until(condition, timeout_s, step_s=0.05):
    """True as soon as the condition holds, False when it didn't in time."""
    end = time.monotonic() + timeout_s
    while True:
        if condition():
            return True
        if time.monotonic() > end:
            return False
        time.sleep(step_s)


# --- what is needed --------------------------------------------------------------------------------------------------

def missing_rights():
    """Why namespaces can't be made here, or nothing."""
    if os.geteuid() != 0:
        return "not root"
    done = subprocess.run(["unshare", "-n", "true"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return "" if done.returncode == 0 else f"no network namespaces: {done.stderr.strip()}"


def free_hugepages():
    with contextlib.suppress(OSError, ValueError):
        if not os.access("/dev/hugepages", os.W_OK):
            return 0
        with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", encoding="ascii") as file:
            return int(file.read())
    return 0


# --- cleaning up -----------------------------------------------------------------------------------------------------

def _owner(name):
    found = re.match(re.escape(TAG) + r"-(\d+)(-|$)", os.path.basename(name))
    return int(found.group(1)) if found else None


def _remove(pid):
    """Everything that carries this pid: processes in its namespaces, namespaces, folders."""
    for path in glob.glob(f"{NAMESPACES}/{TAG}-{pid}-*"):
        name = os.path.basename(path)
        for line in run("ip", "netns", "pids", name, check=False).split():
            with contextlib.suppress(ValueError, ProcessLookupError, PermissionError):
                os.kill(int(line), signal.SIGKILL)
        run("ip", "netns", "del", name, check=False)
    for path in glob.glob(f"{RUNTIME}/{TAG}-{pid}-*") + glob.glob(f"{tempfile.gettempdir()}/{TAG}-{pid}-*"):
        for mount in _mounts_below(path):
            run("umount", "-l", mount, check=False)
        shutil.rmtree(path, ignore_errors=True)
    for path in glob.glob(f"/dev/hugepages/{TAG}-{pid}-*"):
        with contextlib.suppress(OSError):
            os.unlink(path)


def _mounts_below(path):
    with open("/proc/mounts", encoding="utf-8") as file:
        return [line.split()[1] for line in file if line.split()[1].startswith(path + "/")]


def sweep():
    """Removes what labs left behind whose script was killed together with its watcher."""
    paths = (glob.glob(f"{NAMESPACES}/{TAG}-*") + glob.glob(f"{RUNTIME}/{TAG}-*") +
             glob.glob(f"{tempfile.gettempdir()}/{TAG}-*"))
    for pid in {_owner(path) for path in paths} - {None, os.getpid()}:
        if not os.path.exists(f"/proc/{pid}"):
            _remove(pid)


def _watch(pid, pipe):
    """Life of the watcher: waits until the script is gone, then cleans up after it."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.read(pipe, 1)
    _remove(pid)
    os._exit(0)


# --- namespaces ------------------------------------------------------------------------------------------------------

class Namespace:
    def __init__(self, lab, name):
        self.lab = lab
        self.name = f"{TAG}-{os.getpid()}-{name}"
        self.path = f"{NAMESPACES}/{self.name}"
        run("ip", "netns", "add", self.name)
        self.ip("link", "set", "lo", "up")

    def prefix(self):
        return ["nsenter", f"--net={self.path}", "--"]

    def run(self, *command, **options):
        return run(*self.prefix(), *command, **options)

    def ip(self, *words):
        # Not `ip -n`, which also makes a mount namespace and fails in a chroot, whose root is no mount point.
        return self.run("ip", *words)

    def start(self, *command, **options):
        """Starts a process that ends with the lab."""
        return self.lab.start(self.prefix() + list(command), **options)

    def write_sysctl(self, name, value):
        # Read-only in some containers, where the default is what we want anyway.
        self.run("sh", "-c", f"echo {value} > /proc/sys/net/{name} 2>/dev/null || true")

    def quiet_offloads(self, interface):
        """Packets carry complete checksums and their real size: AF_PACKET and AF_XDP hand them on as they are."""
        self.run("ethtool", "-K", interface, "tx", "off", "gso", "off", "tso", "off", "gro", "off", check=False)

    def snmp(self, table):
        """Counters of one table of /proc/net/snmp, e.g. Udp."""
        rows = [line.split() for line in self.run("cat", "/proc/net/snmp").splitlines() if line.startswith(table + ":")]
        return dict(zip(rows[0][1:], map(int, rows[1][1:]))) if len(rows) == 2 else {}

    @contextlib.contextmanager
    def entered(self):
        """Sockets made inside belong to this namespace; threads started inside do too."""
        with open("/proc/thread-self/ns/net", "rb") as before, open(self.path, "rb") as inside:
            _enter(inside.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())


def _enter(fd):
    clone_newnet = 0x40000000
    if _libc.setns(fd, clone_newnet) != 0:
        raise LabError(f"setns: {os.strerror(ctypes.get_errno())}")


class Lab:
    """Owner of namespaces, folders and processes; use it as a context manager."""

    def __init__(self):
        self.processes = []
        self.namespaces = {}
        self.closed = False
        sweep()
        self.folder = tempfile.mkdtemp(prefix=f"{TAG}-{os.getpid()}-")
        read_end, self.pipe = os.pipe()
        sys.stdout.flush()
        self.watcher = os.fork()
        if self.watcher == 0:
            os.close(self.pipe)
            _watch(os.getppid(), read_end)
        os.close(read_end)

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(143))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.closed:
            return
        self.closed = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
        _remove(os.getpid())
        os.close(self.pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.watcher, 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)

    def start(self, command, log=None, env=None, **options):
        out = open(log, "ab") if log else options.pop("stdout", subprocess.DEVNULL)
        error = subprocess.STDOUT if log else options.pop("stderr", subprocess.DEVNULL)
        try:
            process = subprocess.Popen(command, stdin=options.pop("stdin", subprocess.DEVNULL), stdout=out, stderr=error,
                                       preexec_fn=_die_with_parent, env={**os.environ, **(env or {})}, **options)
        finally:
            if log:
                out.close()
        self.processes.append(process)
        return process

    def namespace(self, name):
        self.namespaces[name] = Namespace(self, name)
        return self.namespaces[name]

    def cable(self, left, left_name, right, right_name, mtu=1500):
        left.ip("link", "add", left_name, "mtu", str(mtu), "type", "veth", "peer", "name", right_name, "mtu", str(mtu),
                "netns", right.name)
        for space, name in ((left, left_name), (right, right_name)):
            space.quiet_offloads(name)


# --- the network -----------------------------------------------------------------------------------------------------

class Site:
    """One side: a host and the numbers of its gateway."""

    def __init__(self, letter, number):
        self.letter = letter
        self.host4, self.host6 = f"10.{number}.0.2", f"fd00:{number}::2"
        self.lan4, self.lan6 = f"10.{number}.0.1", f"fd00:{number}::1"
        self.net4, self.net6 = f"10.{number}.0.0/24", f"fd00:{number}::/64"
        self.wan4, self.wan6 = f"192.0.2.{number}", f"2001:db8::{number}"
        self.host = self.gateway_space = None


class Network:
    """Two sites and the link between them. Gateways start with add_gateway."""

    def __init__(self, lab):
        self.lab = lab
        self.a, self.b = Site("a", 1), Site("b", 2)
        self.wan = lab.namespace("wan")
        self.wan.ip("link", "add", "bridge", "type", "bridge", "mcast_snooping", "0")
        self.wan.write_sysctl("ipv6/conf/bridge/disable_ipv6", 1)
        for site in (self.a, self.b):
            self._build(site)
        self.wan.ip("link", "set", "bridge", "up")

    def other(self, site):
        return self.b if site is self.a else self.a

    def _build(self, site):
        site.host = self.lab.namespace(f"host-{site.letter}")
        site.gateway_space = self.lab.namespace(f"gw-{site.letter}")
        self.lab.cable(site.host, "eth0", site.gateway_space, "lan")
        self.lab.cable(site.gateway_space, "wan", self.wan, f"port-{site.letter}")
        self._dress_host(site)
        for name in ("lan", "wan"):
            self._mute(site.gateway_space, name)
            site.gateway_space.ip("link", "set", name, "up")
        port = f"port-{site.letter}"
        self._mute(self.wan, port)
        self.wan.ip("link", "set", port, "master", "bridge")
        self.wan.ip("link", "set", port, "up")

    @staticmethod
    def _mute(space, interface):
        """The kernel sends nothing of its own on this interface."""
        space.write_sysctl(f"ipv6/conf/{interface}/disable_ipv6", 1)
        space.ip("link", "set", interface, "addrgenmode", "none")

    @staticmethod
    def _dress_host(site):
        host = site.host
        host.write_sysctl("ipv6/conf/eth0/accept_dad", 0)
        host.write_sysctl("ipv6/conf/eth0/accept_ra", 0)
        host.write_sysctl("ipv6/conf/eth0/router_solicitations", 0)
        host.ip("addr", "add", f"{site.host4}/24", "dev", "eth0")
        host.ip("addr", "add", f"{site.host6}/64", "dev", "eth0", "nodad")
        host.ip("link", "set", "eth0", "up")
        host.ip("route", "add", "default", "via", site.lan4)
        host.ip("-6", "route", "add", "default", "via", site.lan6)


# --- gateways --------------------------------------------------------------------------------------------------------

def toml_value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return json.dumps(value)


def toml(config):
    """A configuration as text: dictionaries are tables, lists of dictionaries are arrays of tables."""
    lines = []
    for name, table in config.items():
        for one in table if isinstance(table, list) else [table]:
            lines.append(f"[[{name}]]" if isinstance(table, list) else f"[{name}]")
            lines += [f"{key} = {toml_value(value)}" for key, value in one.items()]
            lines.append("")
    return "\n".join(lines)


def lcores(second):
    """Main and worker lcore over the processors we may use; the two gateways are laid out crosswise."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) >= 4:
        main, worker = cpus[2 * second], cpus[2 * second + 1]
    else:
        main, worker = cpus[second % len(cpus)], cpus[(1 - second) % len(cpus)]
    return f"0@{main},1@{worker}"


def _may_lock_memory():
    """True outside user namespaces, where the locked rings of AF_PACKET may be larger than 8 MiB."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return os.geteuid() == 0 and file.read().split() == ["0", "0", "4294967295"]


class Telemetry:
    """One connection to the telemetry socket of a DPDK process."""

    def __init__(self, prefix, timeout_s=3):
        self.path = f"{RUNTIME}/{prefix}/dpdk_telemetry.v2"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(self.path)
            self.limit = json.loads(self.socket.recv(1024))["max_output_len"]
        except BaseException:
            self.socket.close()
            raise

    def ask(self, command):
        self.socket.send(command.encode())
        answer = json.loads(self.socket.recv(self.limit + 1024))
        return answer.get(command.split(",")[0])

    def close(self):
        self.socket.close()


class Gateway:
    """A phantom-gateway process in the gateway namespace of a site. In values of env, {launch} becomes its count."""

    def __init__(self, network, site, config, binary, driver="af_packet", env=None, huge=None):
        self.network, self.site = network, site
        self.binary, self.driver, self.env = binary, driver, env or {}
        self.huge = free_hugepages() >= 128 if huge is None else huge
        self.name = f"gw-{site.letter}"
        self.prefix = f"{TAG}-{os.getpid()}-{self.name}"
        self.log = os.path.join(network.lab.folder, f"{self.name}.log")
        self.file = os.path.join(network.lab.folder, f"{self.name}.toml")
        self.summary = os.path.join(network.lab.folder, f"{self.name}.json")
        self.socket = os.path.join(network.lab.folder, f"{self.name}.sock")
        self.state_dir = config["gateway"]["state_dir"]
        self.process = None
        self.launches = 0
        self.config = config
        config["eal"] = {"args": self._eal_args()}
        config["control"] = {"socket": self.socket}
        for port, device in zip(config["port"], ("lan", "wan")):
            port["device"] = f"net_{driver}_{device}"
        self.write()

    def _eal_args(self):
        args = ["--no-pci", "--lcores", lcores(int(self.site.letter == "b")), "--file-prefix", self.prefix]
        args += [] if self.huge else ["--no-huge", "-m", "512"]
        more = f",framecnt={PACKET_RING}" if self.driver == "af_packet" and _may_lock_memory() else ""
        return args + [f"--vdev=net_{self.driver}_{name},iface={name}{more}" for name in ("lan", "wan")]

    def write(self):
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(toml(self.config))

    def command(self, *more):
        return [self.binary, self.file, "--json", self.summary, *more]

    def run_to_end(self, *more, timeout=30):
        """For runs that are expected to end by themselves: exit code and output."""
        done = subprocess.run(self.site.gateway_space.prefix() + self.command(*more), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout,
                              preexec_fn=_die_with_parent, env=dict(os.environ))
        return done.returncode, done.stdout

    def start(self, ready_timeout_s=30):
        self.launch()
        self.wait_ready(ready_timeout_s)
        return self

    def launch(self):
        with contextlib.suppress(OSError):
            os.unlink(f"{RUNTIME}/{self.prefix}/dpdk_telemetry.v2")
        self.launches += 1
        env = {name: value.format(launch=self.launches) for name, value in self.env.items()}
        self.process = self.site.gateway_space.start(*self.command(), log=self.log, env=env)

    def init_state(self):
        """Makes the state store, as an operator does once for a gateway."""
        code, output = self.run_to_end("--init-state")
        if code != 0:
            raise LabError(f"{self.name} --init-state: exit code {code}: {output}")

    def wait_ready(self, timeout_s=30):
        def answers():
            if self.process.poll() is not None:
                raise LabError(f"{self.name} ended with exit code {self.process.returncode}:\n{self.tail()}")
            with contextlib.suppress(OSError, ValueError):
                return self.ask("/phantom/summary") is not None
            return False

        if not wait_until(answers, timeout_s):
            raise LabError(f"{self.name} did not become ready within {timeout_s} s:\n{self.tail()}")

    def ask(self, command):
        with contextlib.closing(Telemetry(self.prefix)) as telemetry:
            return telemetry.ask(command)

    def call(self, method, **params):
        """One request over the control socket; its result."""
        return control.call(self.socket, method, **params)

    def ctl(self, *words):
        """What an operator types: phantomctl with these words; its output. A refusal is an error."""
        return run(phantomctl_binary(), "--socket", self.socket, *words)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, number=signal.SIGTERM, timeout_s=20):
        """Asks it to end; the exit code, or None when it had to be killed."""
        if self.process is None:
            return None
        self.process.send_signal(number)
        try:
            return self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self):
        self.process.kill()
        self.process.wait(timeout=20)

    def tail(self, lines=25):
        with contextlib.suppress(OSError), open(self.log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])
        return ""


def write_secret(path, text=None):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="ascii") as file:
        file.write((text or secrets.token_hex(32)) + "\n")
    return path


class Tunnel:
    """What two gateways agree on: ids, secrets and outer addresses of their sessions."""

    PORT = 4500

    def __init__(self, network, sessions=None):
        self.network = network
        self.sessions = sessions or [{"name": "office"}]
        for session in self.sessions:
            session["id"] = session.get("id") or secrets.token_hex(32)
            session["secret"] = session.get("secret") or secrets.token_hex(32)
            session.setdefault("outer", 4)

    def config(self, site, port_options=None, suffix=""):
        """The configuration of the gateway of `site`; devices and EAL arguments are filled in by Gateway. A suffix
        gives it a state store of its own."""
        folder = self.network.lab.folder
        other = self.network.other(site)
        letter = site.letter
        config = {
            "gateway": {"name": f"gw-{letter}", "state_dir": os.path.join(folder, f"state-{letter}{suffix}")},
            "cores": {"workers": 1, "idle_backoff": True},
            "port": [
                {"name": "lan", "device": "", "role": "lan", "addresses": [f"{site.lan4}/24", f"{site.lan6}/64"]},
                {"name": "wan", "device": "", "role": "wan", "addresses": [f"{site.wan4}/24", f"{site.wan6}/64"]},
            ],
            "session": [],
            "route": [],
        }
        for port in config["port"]:
            port.update(port_options or {})
        for index, session in enumerate(self.sessions):
            self._add(config, index, session, site, other)
        return config

    def _add(self, config, index, session, site, other):
        folder, letter, port = self.network.lab.folder, site.letter, self.PORT + index
        secret = write_secret(os.path.join(folder, f"{session['name']}-{letter}.secret"), session["secret"])
        ends = [end.wan4 if session["outer"] == 4 else f"[{end.wan6}]" for end in (site, other)]
        entry = {
            "name": session["name"],
            "id": session["id"],
            "secret_file": secret,
            "role": "initiator" if letter == "a" else "responder",
            "suite": session.get("suite", "aes-256-gcm"),
            "local": f"{ends[0]}:{port}",
            "peer": f"{ends[1]}:{port}",
        }
        entry.update(session.get("options", {}))
        config["session"].append(entry)
        for prefix in session.get("prefixes", lambda end: [end.net4, end.net6])(other):
            config["route"].append({"prefix": prefix, "session": session["name"]})


def built(*words, variable="PHANTOM_BUILD_DIR", default="build"):
    """The path of something that was built."""
    return os.path.join(os.path.abspath(os.environ.get(variable) or os.path.join(ROOT, default)), *words)


def gateway_binary(variable="PHANTOM_BUILD_DIR", default="build"):
    return built("dataplane", "phantom-gateway", variable=variable, default=default)


def phantomctl_binary():
    return built("tools", "phantomctl")
