"""Packets put on a wire of the lab as they are: read from a capture, or made up, and sent in bursts."""

import contextlib
import ctypes
import os
import socket
import struct
import time

PHANTOM_OFFSET_V4 = 14 + 20 + 8  # Ethernet, IPv4 without options, UDP
EPOCH_OFFSET = 43                # of the Phantom header (session/wire.h)
PAYLOAD_OFFSET = 49
SOL_PACKET = 263
PACKET_QDISC_BYPASS = 20
BURST = 256


def read_pcap(path):
    """(seconds, frame) of every complete packet of a capture that may still be written."""
    packets = []
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 24:
        return packets
    at = 24
    while at + 16 <= len(data):
        seconds, micros, kept, size = struct.unpack_from("<IIII", data, at)
        if at + 16 + kept > len(data):
            break
        if kept == size:
            packets.append((seconds + micros / 1e6, data[at + 16:at + 16 + kept]))
        at += 16 + kept
    return packets


def capture(space, interface, path, expression):
    """tcpdump in the background, every packet written at once. Ends with the lab."""
    process = space.start("tcpdump", "-i", interface, "-n", "-U", "-B", "32768", "-s", "0", "-Z", "root", "-w", path,
                          *expression.split())
    end = time.monotonic() + 10
    while not (os.path.exists(path) and os.path.getsize(path) >= 24) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)
    return process


class _Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Message(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("name_length", ctypes.c_uint), ("iov", ctypes.POINTER(_Iovec)),
                ("iov_count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
                ("flags", ctypes.c_int)]


class _MessageOut(ctypes.Structure):
    _fields_ = [("message", _Message), ("sent", ctypes.c_uint)]


class Injector:
    """A raw socket on an interface of a namespace. Bursts go out by sendmmsg, one system call each."""

    def __init__(self, space, interface):
        with space.entered():
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self.socket.bind((interface, 0))
        self.socket.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        self.libc = ctypes.CDLL(None, use_errno=True)

    def close(self):
        self.socket.close()

    def send(self, frames, packets_per_second):
        """Each frame once, in order, at about this rate; how many left."""
        sent, start = 0, time.monotonic()
        for frame in frames:
            while sent > (time.monotonic() - start) * packets_per_second:
                time.sleep(0.001)
            with contextlib.suppress(OSError):
                self.socket.send(frame)
                sent += 1
        return sent

    def flood(self, frames, seconds, packets_per_second=None):
        """The frames over and over for so long, at the given rate or as fast as it goes; how many left."""
        buffers = [ctypes.create_string_buffer(frame, len(frame)) for frame in frames[:BURST]]
        vectors = (_Iovec * len(buffers))(*[_Iovec(ctypes.addressof(one), len(one)) for one in buffers])
        messages = (_MessageOut * len(buffers))()
        for index in range(len(buffers)):
            messages[index].message.iov = ctypes.pointer(vectors[index])
            messages[index].message.iov_count = 1
        sent, start = 0, time.monotonic()
        while (elapsed := time.monotonic() - start) < seconds:
            if packets_per_second and sent > elapsed * packets_per_second:
                time.sleep(0.0005)
                continue
            sent += max(0, self.libc.sendmmsg(self.socket.fileno(), messages, len(buffers), 0))
        return sent


def forged_ahead(frame, epochs, count):
    """Packets like this live one (IPv4 outside), so many epochs ahead, with ciphertext and tag made up."""
    forged = []
    for _ in range(count):
        copy = bytearray(frame)
        epoch = PHANTOM_OFFSET_V4 + EPOCH_OFFSET
        copy[epoch] = min(255, copy[epoch] + epochs)
        payload = PHANTOM_OFFSET_V4 + PAYLOAD_OFFSET
        copy[payload:-4] = os.urandom(len(copy) - 4 - payload)
        copy[40:42] = b"\0\0"  # UDP over IPv4 may do without a checksum
        forged.append(bytes(copy))
    return forged
