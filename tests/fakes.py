"""What tests put in place of time, of a part's bytes, an observer and a service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import web
from aiohttp.test_utils import TestServer

from uploader.events import Event

E = TypeVar("E", bound=Event)

EPOCH = 1_700_000_000.0
"""What a `FakeClock` shows at its beginning."""


class FakeClock:
    """A clock that a test moves; who sleeps moves it at once, and yields once."""

    def __init__(self, wall: float = EPOCH) -> None:
        self.slept: list[float] = []
        self._start = wall
        self._elapsed = 0.0

    def wall(self) -> float:
        return self._start + self._elapsed

    def elapsed(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        self._elapsed += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)


class FakeBody:
    """A part's bytes from memory; with *failure* they end in the middle."""

    def __init__(self, *chunks: bytes, failure: Exception | None = None) -> None:
        self.size = sum(map(len, chunks)) + (failure is not None)
        self.readings = 0
        self.pending: Callable[[], int] = lambda: 0
        self._chunks = chunks
        self._failure = failure

    async def chunks(self) -> AsyncIterator[bytes | bytearray]:
        self.readings += 1
        for chunk in self._chunks:
            yield chunk
        if self._failure is not None:
            raise self._failure


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A service on loopback that answers every request with *handler*."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app) as server:
        yield f"http://127.0.0.1:{server.port}/v1"


@asynccontextmanager
async def listening(handler: RawHandler) -> AsyncIterator[str]:
    """A service on loopback that does to its connections what *handler* likes."""

    async def accept(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()


async def read_head(reader: asyncio.StreamReader) -> Mapping[str, str]:
    """The headers of a request, its body still unread."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[1:-1]
    pairs = (line.split(":", 1) for line in lines)
    return {name.lower(): value.strip() for name, value in pairs}
