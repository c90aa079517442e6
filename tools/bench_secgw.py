"""ipsec-secgw, an example of DPDK, built outside the tree from Debian's source package of the installed DPDK.

apt-get finds the package where the machine's own sources are, with lists of its own, so the machine's configuration
stays as it is; it checks the signatures as ever. Kept in ${XDG_CACHE_HOME:-~/.cache}/phantom-bench by version.
"""

import glob
import os
import re
import shutil
import subprocess

from bench_programs import last_line, run_group

FETCH_LIMIT_S, BUILD_LIMIT_S = 300, 300
# These ports check no checksums, which the example insists on; nothing else in it is changed.
OFFLOADS = re.compile(r"\.offloads\s*=\s*RTE_ETH_RX_OFFLOAD_CHECKSUM\b")
CHANGED = "built from Debian's source package; its demand that ports check checksums was taken out, as virtual ports don't"


class SecgwError(Exception):
    """Why it can't be had here."""


def output(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def cache_folder(version):
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "phantom-bench", f"dpdk-{version}")


def source_lines():
    """What the configured binary sources are, as lines for source packages."""
    fields = "$(SITE)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)|$(TRUSTED)"
    lines = set()
    for line in output("apt-get", "indextargets", "--format", fields, "Created-By: Packages").splitlines():
        site, release, component, signed, trusted = line.split("|")
        options = [f"signed-by={signed}"] if signed.startswith("/") else []
        options += ["trusted=yes"] if trusted == "yes" else []
        lines.add(f"deb-src {'[' + ' '.join(options) + '] ' if options else ''}{site} {release} {component}")
    if not lines:
        raise SecgwError("apt-get knows no package sources here")
    return sorted(lines)


def private_apt(folder):
    """Options with which apt-get keeps to a folder."""
    for name in ("lists/partial", "cache/archives/partial", "parts"):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
    with open(os.path.join(folder, "source.list"), "w", encoding="utf-8") as file:
        file.write("\n".join(source_lines()) + "\n")
    settings = {"Dir::Etc::sourcelist": f"{folder}/source.list", "Dir::Etc::sourceparts": f"{folder}/parts",
                "Dir::State::lists": f"{folder}/lists", "Dir::Cache": f"{folder}/cache", "APT::Sandbox::User": "root"}
    return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]


def fetch(folder, name, version, log):
    """The example's sources; returns its folder."""
    options = private_apt(folder)
    # The lists of other packages are not wanted, so errors of other sources are not ours.
    run_group(["apt-get", *options, "-q", "update"], FETCH_LIMIT_S, log)
    command = f'cd "$0" && exec apt-get "$@" -q source --download-only "{name}={version}"'
    if run_group(["bash", "-c", command, folder, *options], FETCH_LIMIT_S, log) != 0:
        raise SecgwError(f"the source package {name} {version} can't be had: {last_line(log)}")
    archives = glob.glob(os.path.join(folder, "*.orig.tar.*"))
    archives = [path for path in archives if not path.endswith(".asc")]
    if len(archives) != 1 or run_group(["tar", "-C", folder, "-xf", archives[0], "--wildcards", "*/examples/ipsec-secgw/*",
                                        "*/examples/common/*"], 120, log) != 0:
        raise SecgwError(f"the source package {name} {version} could not be unpacked: {last_line(log)}")
    found = glob.glob(os.path.join(folder, "*", "examples", "ipsec-secgw", "Makefile"))
    if not found:
        raise SecgwError(f"the source package {name} {version} has no examples/ipsec-secgw")
    return os.path.dirname(found[0])


def adapt(source):
    path = os.path.join(source, "ipsec-secgw.c")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(OFFLOADS.sub(".offloads = 0", text))


def program(folder_of_run, say):
    """Path of the program, built now if it has to be; SecgwError says why it can't."""
    name, version = (output("dpkg-query", "-W", "-f", "${source:Package} ${source:Version}", "libdpdk-dev").split() + ["", ""])[:2]
    if not version:
        raise SecgwError("DPDK is not a package here, so there is no source package of its version")
    kept = os.path.join(cache_folder(version), "ipsec-secgw")
    if os.access(kept, os.X_OK):
        return kept
    missing = [tool for tool in ("apt-get", "tar", "xz", "make", "cc", "pkg-config") if not shutil.which(tool)]
    if missing:
        raise SecgwError(f"{missing[0]} is missing")
    say(f"ipsec-secgw: fetching the source package of {name} {version}")
    folder, log = os.path.join(folder_of_run, "secgw"), os.path.join(folder_of_run, "secgw-build.log")
    os.makedirs(folder)
    source = fetch(folder, name, version, log)
    adapt(source)
    say("ipsec-secgw: building")
    if run_group(["make", "-C", source, "shared"], BUILD_LIMIT_S, log) != 0:
        raise SecgwError(f"it can't be built: {last_line(log)}")
    os.makedirs(os.path.dirname(kept), exist_ok=True)
    shutil.copy2(os.path.join(source, "build", "ipsec-secgw-shared"), kept + ".part")
    os.replace(kept + ".part", kept)
    return kept
