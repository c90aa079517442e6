#!/usr/bin/env python3
"""Measures how fast this data plane is on this machine. tools/bench starts this.

Builds the release programs, runs the benchmark programs of bench/ in turns, so that a machine whose cores get slower
and faster treats all alike, and writes one report: machine and versions, the targets with what was measured, tables
with median, minimum and spread, and a picture (SVG). The text is printed; text, JSON and picture are written beside
one another, into the build folder or where --json says.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import time

TOOLS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TOOLS)
sys.path.insert(0, os.path.join(ROOT, "tests", "support"))

import bench_machine  # noqa: E402
import bench_numbers  # noqa: E402
import bench_peers  # noqa: E402
import bench_picture  # noqa: E402
import bench_programs  # noqa: E402
import bench_targets  # noqa: E402
import bench_text  # noqa: E402
import netlab  # noqa: E402
from bench_programs import ProgramError, Turns  # noqa: E402

FORMAT = 1
QUICK_PROGRAMS_S, QUICK_PEERS_S = 6 * 60, 6 * 60  # at most; building and installing come on top
FULL_PROGRAMS_S, FULL_PEERS_S = 45 * 60, 45 * 60
BUILD_LIMIT_S = 1800
SETUP_LIMIT_S = 1800
README_PICTURE = os.path.join("bench", "report.svg")
BESIDE_PEERS = ("dataplane/phantom-gateway", "bench/bench_aead", "bench/bench_pipeline")
COULD_NOT = 2
PEERS = bench_peers.NAMES


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def positive(text):
    value = int(text)
    if not 1 <= value <= 99:
        raise argparse.ArgumentTypeError(f"{text} is not 1 to 99")
    return value


def parse(words):
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Exit code 0: it measured, whatever the targets; 2: something could not run.")
    names = bench_programs.sources(ROOT)
    parser.add_argument("--quick", action="store_true", help="in less than 15 minutes on 2 cores; figures are rougher")
    parser.add_argument("--peers", action="store_true",
                        help="what Debian has, beside ours; installs what that needs (see bench/README.md)")
    parser.add_argument("--json", metavar="FILE", help="all of it; text and picture go beside it, as FILE.md and FILE.svg")
    parser.add_argument("--readme", action="store_true", help="put the figures into the marked section of README.md")
    parser.add_argument("--only", action="append", metavar="NAME",
                        help=f"only this benchmark ({', '.join(names)}) or peer ({', '.join(PEERS)}); may be repeated")
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of every program (default: 5 quick, else 9)")
    parser.add_argument("--no-setup", action="store_true", help="don't install anything")
    parser.add_argument("--no-build", action="store_true", help="use the programs that are there (PHANTOM_BUILD_DIR)")
    options = parser.parse_args(words)
    options.programs, options.peer_names = chosen(parser, options, names)
    return options


def chosen(parser, options, names):
    """Which benchmarks and which peers this run has."""
    wanted = [name.removeprefix(bench_programs.PREFIX) for name in options.only or []]
    unknown = [name for name in wanted if name not in names and name not in PEERS]
    if unknown:
        parser.error(f"no benchmark and no peer is called {unknown[0]}; there are {', '.join(names + list(PEERS))}")
    if any(name in PEERS for name in wanted) and not options.peers:
        parser.error(f"{next(name for name in wanted if name in PEERS)} is a peer: it needs --peers")
    if not wanted:
        return names, list(PEERS) if options.peers else []
    return [name for name in names if name in wanted], [name for name in PEERS if name in wanted]


def place_of_report(options, build):
    """Path of the JSON; the others have other endings."""
    if not options.json:
        return os.path.join(build, "bench-report.json")
    return os.path.join(os.environ.get("PHANTOM_CALLED_FROM", os.getcwd()), options.json)


def command_of(options):
    """What makes the same report again, wherever it is written."""
    words = ["tools/bench"] + [f"--{name}" for name in ("quick", "peers", "readme") if getattr(options, name)]
    words += [word for name in options.only or [] for word in ("--only", name)]
    return words + (["--rounds", str(options.rounds)] if options.rounds else [])


def writable(path):
    """Before an hour is spent: that the report can be written."""
    folder = os.path.dirname(path)
    if os.path.isdir(path) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise ProgramError(f"{path} can't be written: is {folder} a folder of yours?")


def prepare(lab, options, build):
    """Installs and builds; the programs that this tree or build does not have."""
    log = os.path.join(lab.folder, "build.log")
    if not options.no_setup:
        words = [] if os.geteuid() == 0 else ["--check", "--no-huge"]
        say("tools/setup")
        if bench_programs.run_group([os.path.join(TOOLS, "setup"), *words], SETUP_LIMIT_S, log) != 0:
            raise ProgramError(f"tools/setup failed: {bench_programs.last_line(log)}")
    wanted = [f"bench/{bench_programs.PREFIX}{name}" for name in options.programs]
    if options.peer_names:
        wanted += [name for name in BESIDE_PEERS if name not in wanted]
    if not options.no_build:
        say(f"building {len(wanted)} programs in {build}")
        bench_programs.build_programs(ROOT, build, wanted, log, BUILD_LIMIT_S)
    return [name for name in wanted if not os.access(os.path.join(build, name), os.X_OK)]


def run(lab, options, build, command):
    """Everything, once; the report."""
    machine, began = bench_machine.describe(), time.monotonic()
    missing = prepare(lab, options, build)
    measuring = time.monotonic()
    turns = Turns(lab, build, options.quick, say)
    for name in [name for name in missing if name.startswith("bench/")]:
        turns.problem(name.removeprefix("bench/" + bench_programs.PREFIX), f"there is no program {name} in {build}")
    there = [name for name in options.programs if f"bench/{bench_programs.PREFIX}{name}" not in missing]
    rounds = options.rounds or bench_programs.ROUNDS[options.quick]
    turns.run(there, rounds, measuring + (QUICK_PROGRAMS_S if options.quick else FULL_PROGRAMS_S))
    rows = turns.rows.listed()
    peers = bench_peers.Peers(lab, build, options, machine["tsc_hz"], say)
    if options.peer_names:
        peers.run(QUICK_PEERS_S if options.quick else FULL_PEERS_S)
    problems = turns.problems + peers.problems + [{"what": f"{row['program']} {row['name']}", "why": row["error"]}
                                 for row in rows if "error" in row]
    return {"format": FORMAT, "command": command, "quick": options.quick, "rounds": rounds,
            "seconds": round(time.monotonic() - measuring, 1), "seconds_before": round(measuring - began, 1),
            "machine": machine, "versions": bench_machine.versions(build), "context": turns.rows.context, "rows": rows,
            "ratios": bench_numbers.ratios(rows), "peers": peers.entries, "problems": problems,
            "targets": bench_targets.measure(rows, peers.entries, problems)}


def write(path, text):
    """Whole or not at all."""
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".part", path)


def deliver(report, path, readme):
    stem = os.path.splitext(path)[0]
    write(path, json.dumps(report, indent=1) + "\n")
    text, picture = bench_text.whole(report), bench_picture.draw(report)
    write(stem + ".md", text)
    if picture:
        write(stem + ".svg", picture)
    print(text)
    print(f"{path}, {stem}.md" + (f", {stem}.svg" if picture else "; nothing in it to draw"))
    if readme:
        if not bench_text.rewrite(os.path.join(ROOT, "README.md"), report, README_PICTURE if picture else None):
            raise ProgramError(f"README.md has no section between {bench_text.BEGIN} and {bench_text.END}")
        if picture:
            write(os.path.join(ROOT, README_PICTURE), picture)


def main():
    options = parse(sys.argv[1:])
    build = os.path.abspath(os.environ.get("PHANTOM_BUILD_DIR") or os.path.join(ROOT, "build"))
    command = shlex.join(command_of(options))
    path = place_of_report(options, build)
    try:
        if options.json:
            writable(path)
        with netlab.Lab() as lab:
            report = run(lab, options, build, command)
            deliver(report, path, options.readme)
    except (ProgramError, netlab.LabError, OSError, subprocess.SubprocessError) as error:
        say(f"error: {error}")
        sys.exit(COULD_NOT)
    except KeyboardInterrupt:
        sys.exit(130)
    for problem in report["problems"]:
        say(f"could not run: {problem['what']}: {problem['why']}")
    say(bench_text.summary_line(report["targets"]))
    sys.exit(COULD_NOT if report["problems"] else 0)


if __name__ == "__main__":
    main()
