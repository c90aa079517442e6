"""What a report says of the machine it was made on, and of what the programs were made with."""

import json
import os
import platform
import re
import shutil
import subprocess
import time

# What decides which kernels of ipsec-mb run, and what a clock is worth.
FLAGS = ("aes", "pclmulqdq", "avx2", "avx512f", "avx512bw", "vaes", "vpclmulqdq", "sha_ni", "constant_tsc", "nonstop_tsc",
         "hypervisor")
LIMIT_S = 20


def text_of(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def output(*command):
    """What a command printed, or nothing."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=LIMIT_S, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""
    except (OSError, subprocess.SubprocessError):
        return ""


def tsc_hz():
    """Ticks of the time stamp counter a second: half of the BogoMIPS, which Linux derives from it on x86-64."""
    found = re.search(r"^bogomips\s*:\s*([\d.]+)", text_of("/proc/cpuinfo"), re.MULTILINE | re.IGNORECASE)
    return round(float(found.group(1)) * 1e6 / 2) if found else None


def kind_of(flags):
    """Machines whose figures compare: by the kernels that ipsec-mb picks for GCM."""
    if "vaes" in flags and "avx512f" in flags:
        return "vaes-avx512"
    return "vaes-avx2" if "vaes" in flags else "no-vaes"


def package(name):
    return output("dpkg-query", "-W", "-f", "${Version}", name)


def versions(build):
    """Of the compiler, options and libraries behind the programs in a build folder."""
    found = {"dpdk": output("pkg-config", "--modversion", "libdpdk"), "ipsec-mb": package("libipsec-mb-dev"),
             "openssl": package("openssl"), "google benchmark": package("libbenchmark-dev"),
             "commit": output("git", "-c", "safe.directory=*", "describe", "--always", "--dirty", "--abbrev=12")}
    info = os.path.join(build, "meson-info")
    try:
        with open(os.path.join(info, "intro-compilers.json"), encoding="utf-8") as file:
            compiler = json.load(file)["host"]["cpp"]
        found["compiler"] = f"{compiler['id']} {compiler['full_version']}"
    except (OSError, ValueError, KeyError):
        found["compiler"] = output("c++", "--version").split("\n")[0]
    try:
        with open(os.path.join(info, "intro-buildoptions.json"), encoding="utf-8") as file:
            options = {option["name"]: option["value"] for option in json.load(file)}
        found["build"] = f"{options['buildtype']}, -O{options['optimization']}"
    except (OSError, ValueError, KeyError):
        pass
    return {name: value for name, value in found.items() if value}


def hugepages():
    found = dict(re.findall(r"^(HugePages_Total|HugePages_Free|Hugepagesize):\s+(\d+)", text_of("/proc/meminfo"),
                            re.MULTILINE))
    return {"total": int(found.get("HugePages_Total", 0)), "free": int(found.get("HugePages_Free", 0)),
            "kib": int(found.get("Hugepagesize", 0))}


def describe():
    info = text_of("/proc/cpuinfo")
    flags = (re.search(r"^flags\s*:\s*(.*)$", info, re.MULTILINE) or [None, ""])[1].split()
    named = dict(re.findall(r"^(model name|cpu family|model|stepping|cache size)\s*:\s*(.*)$", info, re.MULTILINE))
    memory = re.search(r"^MemTotal:\s+(\d+)", text_of("/proc/meminfo"), re.MULTILINE)
    return {
        "kind": kind_of(flags), "cpu": named.get("model name", "unknown"),
        "family": f"family {named.get('cpu family', '?')}, model {named.get('model', '?')}, stepping "
                  f"{named.get('stepping', '?')}",
        "cpus": len(os.sched_getaffinity(0)), "flags": [flag for flag in FLAGS if flag in flags],
        "lacks": [flag for flag in FLAGS if flag not in flags], "tsc_hz": tsc_hz(),
        "clock": text_of("/sys/devices/system/clocksource/clocksource0/current_clocksource").strip(),
        "governor": text_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or "not ours to see",
        "memory_mib": int(memory.group(1)) // 1024 if memory else None, "hugepages": hugepages(),
        "kernel": platform.release(), "system": system(), "load": os.getloadavg()[0],
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def system():
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', text_of("/etc/os-release"), re.MULTILINE)
    return found.group(1) if found else platform.system()


def missing(*programs):
    return [name for name in programs if not shutil.which(name)]
