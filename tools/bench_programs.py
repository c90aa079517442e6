"""Runs the Google Benchmark programs of bench/ in turns, and keeps what each row of them said in each round."""

import collections
import json
import os
import re
import signal
import subprocess
import time

import bench_numbers
import netlab

PREFIX = "bench_"
PROGRAM_LIMIT_S = 240  # of one program in one round
# What Google Benchmark says of every row; anything else is a counter of ours.
STANDARD = {"name", "run_name", "run_type", "repetitions", "repetition_index", "threads", "iterations", "real_time",
            "cpu_time", "time_unit", "family_index", "per_family_instance_index", "label", "error_occurred", "error_message",
            "skipped", "skip_message", "aggregate_name", "aggregate_unit", "big_o", "rms"}
NS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
MODIFIERS = re.compile(r"/(manual_time|real_time|process_time|threads:\d+|iterations:\d+|min_time:[\d.]+|repeats:\d+)")

# seconds: of a row in a round. rounds: at most so many, for programs that sample in turns themselves or take long to
# build what they measure.
Plan = collections.namedtuple("Plan", "rows seconds rounds arguments", defaults=(".", 0.05, 99, ()))
AEAD_QUICK = r"^(seal|open)/gcm/.*/bytes:(64|512|1420)/keys:(1|65536)/batch:32$"
PIPELINE_QUICK = r"^(seal|open)/|^stages/.*/sessions:1$|^forged/.*/bytes:64/|^rekey/.*/bytes:64"
QUICK = {
    "aead": Plan(AEAD_QUICK, 0.05),
    "pipeline": Plan(PIPELINE_QUICK, 0.1),
    "control": Plan(r"sessions:1000/", rounds=3),
    "scale": Plan(seconds=0.1, rounds=2),
    "stream": Plan(seconds=0.03),
    "table": Plan(seconds=0.01, rounds=2),
}
FULL = {
    "aead": Plan(seconds=0.05, rounds=5),
    "control": Plan(r"sessions:(1000|100000)/", rounds=3),
    "pipeline": Plan(seconds=0.5),
    "scale": Plan(seconds=0.5, rounds=3),
    "table": Plan(seconds=0.05, rounds=5),
}
ROUNDS = {True: 5, False: 9}
QUICK_DEFAULT, FULL_DEFAULT = Plan(seconds=0.03), Plan(seconds=0.2)


class ProgramError(Exception):
    """One program could not measure; the text says why."""


def sources(root):
    """Names, without bench_, of the programs that the tree has."""
    return sorted(name[len(PREFIX):-len(".cc")] for name in os.listdir(os.path.join(root, "bench"))
                  if name.startswith(PREFIX) and name.endswith(".cc"))


def plan_of(name, quick):
    return QUICK.get(name, QUICK_DEFAULT) if quick else FULL.get(name, FULL_DEFAULT)


def path_of(build, name):
    return os.path.join(build, "bench", PREFIX + name)


def run_program(lab, program, plan, out, limit_s):
    """One program, once: its context and rows as Google Benchmark wrote them."""
    log = out + ".log"
    command = [program, f"--benchmark_filter={plan.rows}", f"--benchmark_min_time={plan.seconds}", f"--benchmark_out={out}",
               "--benchmark_out_format=json", *plan.arguments]
    process = lab.start(command, log=log)
    try:
        code = process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=10)
        raise ProgramError(f"{os.path.basename(program)} did not end within {limit_s:.0f} s") from None
    finally:
        lab.processes.remove(process)
    try:
        with open(out, encoding="utf-8") as file:
            found = json.load(file)
        os.unlink(out)
    except (OSError, ValueError):
        found = None
    if code != 0 or not found or "benchmarks" not in found:
        why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise ProgramError(f"{os.path.basename(program)}: {why}: {last_line(log)}")
    return found["context"], found["benchmarks"]


def last_line(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1][-300:] if lines else "it printed nothing"


def counters_of(row):
    found = {name: value for name, value in row.items()
             if name not in STANDARD and isinstance(value, (int, float)) and not isinstance(value, bool)}
    found["time_ns"] = row["real_time"] * NS[row["time_unit"]]
    return found


class Rows:
    """What all rounds said: of each row its counters, or why it has none."""

    def __init__(self):
        self.values, self.errors, self.context = {}, {}, {}

    def take(self, program, rows):
        for row in rows:
            key = (program, MODIFIERS.sub("", row["name"]))
            if row.get("run_type", "iteration") != "iteration":
                continue
            if row.get("error_occurred") or row.get("skipped"):
                self.errors.setdefault(key, []).append(row.get("error_message") or row.get("skip_message") or "no reason given")
                continue
            counters = self.values.setdefault(key, {})
            for name, value in counters_of(row).items():
                counters.setdefault(name, []).append(value)

    def listed(self):
        """One entry a row, in the order of the programs."""
        found = [{"program": program, "name": name,
                  "counters": {counter: bench_numbers.summary(values) for counter, values in counters.items()}}
                 for (program, name), counters in self.values.items()]
        for (program, name), whys in self.errors.items():  # also of one round alone: its figures are not to be trusted
            found = [row for row in found if (row["program"], row["name"]) != (program, name)]
            found.append({"program": program, "name": name, "counters": {}, "error": f"{whys[0]} (rounds: {len(whys)})"})
        return sorted(found, key=lambda row: row["program"])


class Turns:
    """Programs in turns: every round runs each once, starting with another one."""

    def __init__(self, lab, build, quick, say):
        self.lab, self.build, self.quick, self.say = lab, build, quick, say
        self.rows, self.problems = Rows(), []
        self.done = collections.Counter()

    def run(self, names, rounds, deadline):
        for turn in range(rounds):
            for name in names[turn % max(1, len(names)):] + names[:turn % max(1, len(names))]:
                if turn < plan_of(name, self.quick).rounds and not self._broken(name):
                    self._once(name, turn, deadline)

    def _broken(self, name):
        return any(problem["what"] == PREFIX + name for problem in self.problems)

    def _once(self, name, turn, deadline):
        left = deadline - time.monotonic()
        if left < 1:
            if turn == 0:
                self.problem(name, "there was no time left for it")
            return
        began = time.monotonic()
        try:
            context, rows = run_program(self.lab, path_of(self.build, name), plan_of(name, self.quick),
                                        os.path.join(self.lab.folder, f"{name}.json"), min(left, PROGRAM_LIMIT_S))
        except (ProgramError, OSError, subprocess.SubprocessError) as error:
            self.problem(name, str(error))
            return
        self.rows.take(PREFIX + name, rows)
        self.rows.context[PREFIX + name] = {key: value for key, value in context.items()
                                            if isinstance(value, str) and key not in ("date", "host_name", "executable")}
        self.done[name] += 1
        self.say(f"round {turn + 1}: {PREFIX}{name}, {len(rows)} rows in {time.monotonic() - began:.0f} s")

    def problem(self, name, why):
        self.problems.append({"what": PREFIX + name, "why": why})
        self.say(f"{PREFIX}{name} could not run: {why}")


# --- building --------------------------------------------------------------------------------------------------------

def run_group(command, limit_s, log):
    """A command that starts others: all of them end with it, also when this script is told to end. Its exit code."""
    with open(log, "ab") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                                   start_new_session=True, preexec_fn=netlab._die_with_parent)  # pylint: disable=protected-access
    try:
        return process.wait(timeout=limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=10)


def ninja_targets(build):
    done = subprocess.run(["ninja", "-C", build, "-t", "targets", "all"], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60, check=False)
    return {line.split(":")[0] for line in done.stdout.splitlines() if ":" in line}


def build_programs(root, build, wanted, log, limit_s):
    """Builds these ninja targets, those that this build folder knows; the ones it does not know."""
    if not os.path.exists(os.path.join(build, "build.ninja")):
        if run_group(["meson", "setup", build, root, "--buildtype=release"], 300, log) != 0:
            raise ProgramError(f"meson could not configure {build}: {last_line(log)}")
    elif run_group(["ninja", "-C", build, "build.ninja"], 300, log) != 0:
        raise ProgramError(f"meson could not configure {build} again: {last_line(log)}")
    known = ninja_targets(build)
    if run_group(["ninja", "-C", build, *[name for name in wanted if name in known]], limit_s, log) != 0:
        raise ProgramError(f"the programs could not be built: {last_line(log)}")
    return [name for name in wanted if name not in known]
