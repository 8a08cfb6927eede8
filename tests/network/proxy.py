"""A proxy of our own, which fails below HTTP, where no emulator can."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

STEP = 16 * 1024


@dataclass(slots=True)
class Exchange:
    """One request on its way through, its head read and nothing forwarded yet."""

    head: bytes
    client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    service: asyncio.StreamReader
    to_service: asyncio.StreamWriter
    ending: asyncio.Event
    _begun: bool = False
    _left: int = field(init=False)

    def __post_init__(self) -> None:
        self._left = length_of(self.head)

    @property
    def size(self) -> int:
        """Of the request's body, in bytes."""
        return length_of(self.head)

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    async def forward(self, count: int | None = None) -> None:
        """Let the head through, and *count* bytes of the body, or all that is left."""
        if not self._begun:
            self.to_service.write(self.head)
            self._begun = True
        count = self._left if count is None else count
        while count:
            piece = await self.client.read(min(STEP, count))
            if not piece:
                raise ConnectionResetError
            self.to_service.write(piece)
            await self.to_service.drain()
            count -= len(piece)
            self._left -= len(piece)

    async def answer(self) -> bytes:
        """The whole answer of the service."""
        head = await self.service.readuntil(b"\r\n\r\n")
        if b"chunked" in head.lower():
            body = b""
            while not body.endswith(b"0\r\n\r\n"):
                body += await self.service.readuntil(b"\r\n")
            return head + body
        return head + await self.service.readexactly(length_of(head))

    async def pass_on(self) -> None:
        """What a proxy without faults does."""
        await self.forward()
        self.to_client.write(await self.answer())
        await self.to_client.drain()

    def reset(self) -> None:
        """End it with RST instead of FIN."""
        opened = self.to_client.get_extra_info("socket")
        linger = struct.pack("ii", 1, 0)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        raise ConnectionResetError

    async def silence(self) -> None:
        """Read and say nothing more, and close nothing, until the test is over."""
        await self.ending.wait()
        raise ConnectionResetError


Fault = Callable[[Exchange], Awaitable[None]]


@dataclass(slots=True)
class Script:
    """Which requests are hit: the *nth* whose path ends in *suffix*, *times* times."""

    fault: Fault
    suffix: str = ""
    nth: int = 1
    times: int = 1
    seen: int = 0
    hits: int = 0

    def takes(self, exchange: Exchange) -> bool:
        if not exchange.path.endswith(self.suffix):
            return False
        self.seen += 1
        due = self.nth <= self.seen < self.nth + self.times
        self.hits += due
        return due


@asynccontextmanager
async def proxy(port: int, *scripts: Script) -> AsyncIterator[str]:
    """The base URL of a proxy for the service at *port*."""
    ending = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(
        client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        service, to_service = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                head = await client.readuntil(b"\r\n\r\n")
                exchange = Exchange(
                    head, client, to_client, service, to_service, ending
                )
                due = [one for one in scripts if one.takes(exchange)]
                await (due[0].fault(exchange) if due else exchange.pass_on())
        except (OSError, EOFError):
            pass
        finally:
            for writer in (to_client, to_service):
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            tasks.discard(task)

    # A small buffer, so that a proxy which does not read is soon felt.
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    server = await asyncio.start_server(serve, sock=listener, limit=STEP)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        server.close()
        ending.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def length_of(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0
