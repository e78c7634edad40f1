#!/usr/bin/env python3
"""Two TUN devices whose packets go to a program by UDP and come back from it when they are due.

    tun.py INNER OUTER PORT

A packet that a device gives is sent to 127.0.0.1:PORT behind one byte, 0 for INNER and 1 for OUTER; what comes back is given to the
device that its first byte names. Prints "ready" when both devices are there. They vanish when this ends.
"""

import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000


def device(name):
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return handle


def main():
    inner, outer, port = sys.argv[1:4]
    devices = [device(inner), device(outer)]
    program = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    program.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    program.connect(("127.0.0.1", int(port)))
    program.setblocking(False)
    program.send(b"\xff")
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([*devices, program], [], [])
        for number, handle in enumerate(devices):
            if handle in ready:
                for _ in range(64):
                    try:
                        packet = os.read(handle, 65536)
                    except BlockingIOError:
                        break
                    try:
                        program.send(bytes([number]) + packet)
                    except OSError:
                        # The program is gone or its buffer is full: the packet is lost.
                        pass
        if program in ready:
            for _ in range(64):
                try:
                    message = program.recv(65536)
                except BlockingIOError:
                    break
                except ConnectionRefusedError:
                    return
                try:
                    os.write(devices[message[0]], message[1:])
                except OSError:
                    # The device is not up yet.
                    pass


if __name__ == "__main__":
    main()
