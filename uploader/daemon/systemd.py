"""Telling systemd that we are ready: `sd_notify`, as its manual page describes it."""

from __future__ import annotations

import contextlib
import os
import socket
import time


def notify(**states: str | int) -> bool:
    """Send `NAME=value` lines, if systemd wants to hear them; never fails.

    *notify(READY=1, STATUS="3 rules")*
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):
        # Linux's abstract names begin with a zero byte.
        address = f"\0{address[1:]}"
    lines = "\n".join(f"{name}={value}" for name, value in states.items())
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line,
    ):
        line.connect(address)
        line.sendall(lines.encode())
        return True
    return False


def reloading() -> bool:
    """To be followed by `READY=1`."""
    moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return notify(RELOADING=1, MONOTONIC_USEC=moment)
