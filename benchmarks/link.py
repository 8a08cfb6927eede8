"""A link of known rate, delay and loss, between two network namespaces.

`link.c` carries the packets; this makes the namespaces, and removes them.  It is
used on every machine, also where the kernel has `netem`: that knows no rate for each
connection, and what was measured by two methods cannot be compared.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

SOURCE: Final = Path(__file__).with_name("link.c")
SERVER: Final = "10.77.0.2"
CLIENT: Final = "10.77.0.1"
MBIT: Final = 125_000
"""Bytes per second in a Mbit/s."""

PAYLOAD: Final = 1448 / 1500
"""What TCP with timestamps leaves of a packet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a link does to packets.  Rates are bytes per second, times seconds."""

    rate: float
    round_trip: float
    loss: float = 0.0
    flow_rate: float = 0.0
    """For each connection; 0: no limit of its own."""
    queue: float = 0.04

    @property
    def goodput(self) -> float:
        """The most payload that fits in a second."""
        return self.rate * PAYLOAD


class Link:
    """A context manager; needs root.  Makes two namespaces and leaves none."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._resources = ExitStack()
        self._client = f"uploader-{os.getpid()}-client"
        self._server = f"uploader-{os.getpid()}-server"
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            for namespace in (self._client, self._server):
                _ip("netns", "add", namespace)
                undo.callback(_ip, "netns", "delete", namespace)
            self._process = undo.enter_context(self._carrier(undo))
            assert self._process.stdin is not None
            undo.callback(self._process.stdin.close)
            self._answer()
            for namespace, address in (
                (self._client, CLIENT),
                (self._server, SERVER),
            ):
                _configure(namespace, address)
            self._resources = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def at_client(self, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self._client, *command]

    def at_server(self, command: list[str]) -> list[str]:
        return ["ip", "netns", "exec", self._server, *command]

    def forget(self) -> None:
        """Let the kernel forget what earlier connections taught it."""
        _ip("-n", self._client, "tcp_metrics", "flush")

    def counters(self) -> dict[str, int]:
        """Packets and bytes that the client sent since the last call, and losses."""
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        counted: dict[str, int] = json.loads(self._answer())
        return counted

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise OSError(f"the link ended with {self._process.wait()}")
        return line

    def _carrier(self, undo: ExitStack) -> subprocess.Popen[str]:
        shape = self._shape
        numbers = (
            shape.round_trip / 2,
            shape.rate,
            shape.flow_rate,
            shape.queue,
            shape.loss,
        )
        directory = undo.enter_context(tempfile.TemporaryDirectory())
        return subprocess.Popen(
            [_compile(directory), self._client, self._server, *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def missing() -> str | None:
    """What a link would need and this machine has not; None when it has all."""
    if os.geteuid() != 0:
        return "needs root, for network namespaces"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    for program in ("ip", "cc"):
        if shutil.which(program) is None:
            return f"needs the program {program}"
    return None


def _compile(directory: str) -> str:
    binary = str(Path(directory) / "link")
    subprocess.run(["cc", "-O2", "-o", binary, str(SOURCE)], check=True)
    return binary


def _configure(namespace: str, address: str) -> None:
    for command in (
        f"addr add {address}/24 dev link0",
        # A short queue here would drop what the shape does not speak of.
        "link set link0 up mtu 1500 txqueuelen 10000",
        "link set lo up",
        # What most users have, whatever this machine's default is.
        f"route replace 10.77.0.0/24 dev link0 src {address} congctl cubic",
    ):
        _ip("-n", namespace, *command.split())


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
