#!/usr/bin/env python3
"""tools/decode and the Wireshark dissector say the same of captures that were made here: well-formed packets, every kind of
malformed ones, VLANs, fragments; and nothing that is cut or random brings decode down."""

import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

from netlab import ROOT  # noqa: E402
from systest import Report  # noqa: E402

DECODE = os.path.join(ROOT, "tools", "decode")
LUA = os.path.join(ROOT, "tools", "phantom.lua")
PORT = 4500
SESSION = bytes(range(32))
FIELDS = {"phantom.session": "session", "phantom.stream": "stream", "phantom.sequence": "sequence", "phantom.flags": "flags",
          "phantom.ack_delay": "ack_delay_us", "phantom.epoch": "epoch", "phantom.path": "path",
          "phantom.payload_length": "payload_bytes", "phantom.extension_length": "extension_bytes"}
EXPERTS = ("phantom.short", "phantom.payload_length.bad", "phantom.extension_length.bad", "phantom.tag.missing")
GARBAGE_ROUNDS = 200


def phantom(stream=1, sequence=7, flags=0x28, epoch=3, path=9, payload=bytes(40), extension=b"", delay=12, trailing=b"",
            payload_length=None, extension_length=None):
    size = len(payload) if payload_length is None else payload_length
    more = len(extension) if extension_length is None else extension_length
    return (b"\x02" + SESSION + struct.pack("!HIHHBB", stream, sequence, flags, delay, epoch, path) + struct.pack("!I", size) +
            payload + struct.pack("!I", more) + extension + trailing)


def udp(payload):
    return struct.pack("!HHHH", 40000, PORT, 8 + len(payload), 0) + payload


def frame4(payload, fragment=0, protocol=17):
    body = udp(payload) if protocol == 17 else payload
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, fragment, 64, protocol, 0) + bytes([192, 0, 2, 1, 192, 0, 2, 2])
    return bytes(12) + b"\x08\x00" + ip + body


def frame6(payload):
    body = udp(payload)
    ends = bytes.fromhex("20010db8" + "0" * 23 + "1") + bytes.fromhex("20010db8" + "0" * 23 + "2")
    return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 17, 64) + ends + body


def vlan(frame):
    return frame[:12] + b"\x81\x00\x00\x05" + frame[12:]


# Name, frame, what decode must call it: "" well-formed, a word of the malformed text, or None when it is not Phantom.
CASES = [
    ("IPv4", frame4(phantom()), ""),
    ("IPv6", frame6(phantom(stream=65535, sequence=2**32 - 1, epoch=255, path=255, delay=65535)), ""),
    ("VLAN", vlan(frame4(phantom(flags=0x220, stream=0))), ""),
    ("every flag", frame4(phantom(flags=0xfff)), ""),
    ("extensions", frame4(phantom(extension=b"more")), ""),
    ("trailing bytes", frame4(phantom(trailing=b"rest")), ""),
    ("plain payload", frame4(phantom(flags=0x08, payload=b"plain")), ""),
    ("empty plain payload", frame4(phantom(flags=0x08, payload=b"")), ""),
    ("payload beyond the datagram", frame4(phantom(payload_length=5000)), "payload of 5000"),
    ("payload of 2^32-1", frame4(phantom(payload_length=2**32 - 1)), "payload of 4294967295"),
    ("extension beyond the datagram", frame4(phantom(extension_length=9)), "extensions of 9"),
    ("sealed without room for a tag", frame4(phantom(payload=bytes(15))), "tag alone"),
    ("cut header", frame4(phantom()[:44]), "44 bytes"),
    ("one byte", frame4(b"\x02"), "1 bytes"),
    ("another version", frame4(b"\x03" + phantom()[1:]), None),
    ("unknown flag", frame4(phantom(flags=0x1028)), None),
    ("DNS", frame4(b"\x12\x34\x01\x00" + bytes(40)), None),
    ("first fragment", frame4(phantom(), fragment=0x2000), None),
    ("later fragment", frame4(phantom(), fragment=0x00b9), None),
    ("TCP", frame4(bytes(40), protocol=6), None),
    ("ARP", bytes(12) + b"\x08\x06" + bytes(28), None),
]


def pcap(frames, order="<", magic=0xa1b2c3d4):
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    for i, frame in enumerate(frames):
        out += struct.pack(order + "IIII", 1000 + i, i, len(frame), len(frame)) + frame
    return out


def block(order, kind, body):
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def option(order, code, value):
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def pcapng(frames, order="<", comment=b""):
    out = block(order, 0x0a0d0d0a, struct.pack(order + "IHHq", 0x1a2b3c4d, 1, 0, -1))
    out += block(order, 1, struct.pack(order + "HHI", 1, 0, 65535) + option(order, 9, b"\x09") + option(order, 0, b""))
    for i, frame in enumerate(frames):
        at = (1000 + i) * 10**9 + i
        body = struct.pack(order + "IIIII", 0, at >> 32, at & 0xffffffff, len(frame), len(frame)) + frame
        body += bytes(-len(body) % 4)
        if comment:
            body += option(order, 1, comment) + option(order, 0, b"")
        out += block(order, 6, body)
    return out


def run(data, *arguments):
    done = subprocess.run([DECODE, *arguments, "-"], input=data, capture_output=True, timeout=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def packets(data, *arguments):
    code, out, _ = run(data, "--json", "--port", str(PORT), *arguments)
    return code, [json.loads(line) for line in out.splitlines()]


def formats(report):
    frames = [frame for _, frame, _ in CASES]
    wanted = [(name, malformed) for name, _, malformed in CASES if malformed is not None]
    seen = None
    for name, data in (("pcap", pcap(frames)), ("pcap, big-endian", pcap(frames, ">")), ("pcapng", pcapng(frames)),
                       ("pcapng, big-endian", pcapng(frames, ">"))):
        code, found = packets(data)
        if not report.check(f"{name}: as many packets as are Phantom", code == 0 and len(found) == len(wanted),
                            f"{len(found)} of {len(wanted)}, exit code {code}"):
            continue
        wrong = [case for (case, malformed), packet in zip(wanted, found)
                 if (malformed == "") != (packet["malformed"] == "") or malformed not in packet["malformed"]]
        report.check(f"{name}: malformed ones are named", not wrong, str(wrong))
        without_time = [{**packet, "time_ns": 0} for packet in found]
        seen = seen or without_time
        report.check(f"{name}: says the same as the first", without_time == seen)
    first = packets(pcapng(frames, comment=b"a remark"))[1][0]
    values = (first["session"], first["stream"], first["sequence"], first["flags"], first["epoch"], first["path"],
              first["payload_bytes"], first["ack_delay_us"], first["comment"], first["time_ns"], first["source"])
    report.check("every field has its value", values == (SESSION.hex(), 1, 7, 0x28, 3, 9, 40, 12, "a remark", 1000 * 10**9,
                                                         "192.0.2.1:40000"), str(values))
    nano = packets(pcap(frames[:2], magic=0xa1b23c4d))[1][1]["time_ns"]
    micro = packets(pcap(frames[:2]))[1][1]["time_ns"]
    report.check("times in micro- and nanoseconds", (nano, micro) == (1001 * 10**9 + 1, 1001 * 10**9 + 1000), f"{nano} {micro}")


def filters(report):
    data = pcap([frame for _, frame, _ in CASES])
    for name, arguments, wanted in (("--stream", ["--stream", "65535"], 1), ("--flags", ["--flags", "path_validation,encrypted"], 2),
                                    ("--session", ["--session", "000102"], 12), ("another session", ["--session", "ff"], 0),
                                    ("--malformed", ["--malformed"], 6)):
        found = packets(data, *arguments)[1]
        report.check(f"{name} chooses", len(found) == wanted, f"{len(found)} of {wanted}")
    code, out, _ = run(data, "--summary")
    line = next((line for line in out.splitlines() if line.startswith(SESSION.hex())), "")
    report.check("--summary counts by session", code == 0 and "packets 12" in line and "epochs 3 to 255" in line, out)
    code, out, _ = run(data, "--all")
    report.check("--all shows fragments and others", "fragment of a UDP datagram" in out and "not Phantom" in out, out[-200:])
    code, _, text = run(data, "--flags", "SHINY")
    report.check("an unknown flag is refused with the names", code == 2 and "ENCRYPTED" in text, text)


def damage(report):
    for name, data in (("pcap", pcap([frame4(phantom())] * 2)), ("pcapng", pcapng([frame4(phantom())] * 2))):
        wrong = [end for end in range(len(data)) if not calm(*run_inside(data[:end]))]
        report.check(f"{name} cut anywhere is a message with the place, never a traceback", not wrong, f"at {wrong[:5]}")
    chance = random.Random(5)
    whole = pcapng([frame for _, frame, _ in CASES])
    wrong = []
    for i in range(GARBAGE_ROUNDS):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 20)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if not calm(*run_inside(bytes(data))):
            wrong.append(i)
    report.check(f"{GARBAGE_ROUNDS} damaged files bring no traceback", not wrong, f"rounds {wrong[:5]}")
    code, _, text = run(b"neither")
    report.check("what is no capture is refused", code == 1 and "neither pcap nor pcapng" in text, text)


def run_inside(data):
    """Without a process for each: exit code, and the exception that must not come."""
    module = run_inside.module
    try:
        for time_ns, link, packet, comment in module.packets_of(module.Reader(io.BytesIO(data), "it")):
            found = module.describe(time_ns, link, packet, comment, PORT)
            if found:
                module.line_of(found)
    except module.CaptureError as error:
        return 1, str(error)
    except Exception as error:  # pylint: disable=broad-except  # that is what is asked
        return 70, repr(error)
    return 0, ""


def calm(code, text):
    return code in (0, 1) and (code == 0 or text.startswith("it: "))


def load_decode():
    from importlib.machinery import SourceFileLoader
    from importlib.util import module_from_spec, spec_from_loader
    sys.dont_write_bytecode = True
    loader = SourceFileLoader("decode", DECODE)
    run_inside.module = module_from_spec(spec_from_loader("decode", loader))
    loader.exec_module(run_inside.module)


def wireshark(report):
    if not shutil.which("tshark"):
        report.skip("the dissector says what decode says", "no tshark here")
        return
    frames = [frame for _, frame, malformed in CASES if malformed is not None]
    with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
        file.write(pcap(frames))
        file.flush()
        command = ["tshark", "-X", f"lua_script:{LUA}", "-r", file.name, "-T", "fields", "-e", "frame.number"]
        for field in FIELDS:
            command += ["-e", field]
        for field in EXPERTS:
            command += ["-e", field]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    ours = packets(pcap(frames))[1]
    if not report.check("tshark reads them all", done.returncode == 0 and len(rows) == len(ours), f"{len(rows)} rows"):
        return
    wrong = [f"frame {row[0]} {field}: {value} and {packet.get(name)}" for row, packet in zip(rows, ours)
             for (field, name), value in zip(FIELDS.items(), row[1:]) if not same(value, packet.get(name))]
    report.check("the dissector says what decode says, field by field", not wrong, "; ".join(wrong[:4]))
    errors = [any(row[-len(EXPERTS):]) for row in rows]
    report.check("both call the same packets malformed", errors == [bool(packet["malformed"]) for packet in ours], str(errors))


def same(theirs, ours):
    if ours is None or theirs == "":
        return ours is None and theirs == ""
    return theirs == ours if isinstance(ours, str) else int(theirs, 0) == ours


def main():
    report = Report()
    load_decode()
    formats(report)
    filters(report)
    damage(report)
    wireshark(report)
    sys.exit(1 if report.failed else 0)


main()
