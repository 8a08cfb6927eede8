"""How a part's bytes reach the socket: the cheapest way that is right.

Over plain TCP the kernel takes them from the page cache itself (`sendfile`): no copy,
and an eighth of the processor time of reading and writing (see `benchmarks/`).  Under
TLS, and wherever there is no `sendfile`, they pass through fresh buffers (see `body`).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Final, TypeGuard

from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload

from uploader.backend import TURN, Body, PageBody
from uploader.errors import BackendUnavailable
from uploader.model import KIB, MIB
from uploader.multipart import Envelope, Form

try:
    from fcntl import ioctl
    from termios import TIOCOUTQ
except ImportError:  # Windows does not tell.
    ioctl = None  # type: ignore[assignment]

WATER: Final = 128 * KIB
"""What one connection may hold back: asyncio's half mebibyte under TLS is no faster, and
falls out of the cache.
"""

BITE: Final = MIB
"""What one turn of the event loop sends of a part; then others get theirs."""

SMALL: Final = 64 * KIB
"""A body that goes out in one piece, form and all: any other way costs more."""


class PartPayload(Payload):
    """A whole multipart body with one file field, sent as it is read.

    Its size is known beforehand, so it goes out with a Content-Length: aiohttp's
    own form data would be chunked, or hold the part in memory.
    """

    _autoclose = True

    def __init__(self, operation: str, body: Body, form: Form, progress: float) -> None:
        envelope = Envelope(form)
        super().__init__(body, content_type=envelope.content_type)
        self._head, self._tail = envelope.head, envelope.tail
        self._size = len(self._head) + body.size + len(self._tail)
        self._operation = operation
        self._body = body
        self._progress = progress
        self._rescheduled_at = 0.0
        self.failure: Exception | None = None
        """What ended the body; aiohttp hides it in an error of its own."""
        self.on_sent: Callable[[], None] = lambda: None
        """Called when the body is sent, or given up because the answer is there."""

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        try:
            async with asyncio.timeout(self._progress) as stall:
                await self._send(writer, stall)
        except TimeoutError:
            if stall.expired():
                self.failure = BackendUnavailable(
                    f"{self._operation}: nothing moved for {self._progress:g} s;"
                    " the connection was given up"
                )
            raise
        finally:
            self.on_sent()

    async def _send(self, writer: AbstractStreamWriter, stall: asyncio.Timeout) -> None:
        chunks = self._body.chunks()
        if self._body.size <= SMALL:
            content = bytearray()
            while chunk := await self._next(chunks, stall):
                content += chunk
            await writer.write(self._head + content + self._tail)
            return
        await writer.write(self._head)
        # What aiohttp's writer has, though its abstract base does not say so.
        transport: asyncio.Transport | None = getattr(writer, "transport", None)
        if transport is not None:
            self._body.pending = partial(_pending, transport)
        if _takes_pages(transport) and isinstance(self._body, PageBody):
            await self._send_pages(writer, transport, self._body, stall)
        else:
            if transport is not None:
                transport.set_write_buffer_limits(high=WATER)
            while chunk := await self._next(chunks, stall):
                await writer.write(chunk)
        await writer.write(self._tail)

    async def _next(
        self, chunks: AsyncIterator[bytes | bytearray], stall: asyncio.Timeout
    ) -> bytes | bytearray:
        """The next chunk; nothing at the end."""
        try:
            chunk = await anext(chunks, b"")
        except Exception as error:
            self.failure = error
            raise
        self._moved(stall)
        return chunk

    async def _send_pages(
        self,
        writer: AbstractStreamWriter,
        transport: asyncio.Transport,
        body: PageBody,
        stall: asyncio.Timeout,
    ) -> None:
        # Nothing of the head may be left in user space when the kernel takes over.
        transport.set_write_buffer_limits(high=0)
        await writer.drain()
        # add_writer() refuses the number that the transport itself uses.
        out = os.dup(transport.get_extra_info("socket").fileno())

        async def send(file: int, offset: int, count: int) -> int:
            sent = await _sendfile(out, file, offset, count)
            self._moved(stall)
            return sent

        try:
            await body.send_pages(send)
        except OSError:
            # The connection's: what fails below a file is no OSError any more.
            raise
        except Exception as error:
            self.failure = error
            raise
        finally:
            os.close(out)
            transport.set_write_buffer_limits()

    def _moved(self, stall: asyncio.Timeout) -> None:
        now = asyncio.get_running_loop().time()
        # A timer for each chunk would cost more than it tells.
        if now >= self._rescheduled_at + min(1.0, self._progress / 10):
            self._rescheduled_at = now
            stall.reschedule(now + self._progress)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a part is never held in memory")


async def _sendfile(out: int, file: int, offset: int, count: int) -> int:
    """Send up to *count* bytes, for a `TURN` at most; return how many, 0 at the end.

    One callback stays registered all the while: a future for each wake-up would cost
    more than the sending.  Reading goes on, so an early answer is seen.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[int] = loop.create_future()
    until = loop.time() + TURN
    sent = 0

    def push() -> None:
        nonlocal sent
        if done.done():
            return
        try:
            moved = os.sendfile(out, file, offset + sent, min(BITE, count - sent))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            done.set_exception(error)
            return
        sent += moved
        if moved == 0 or sent == count or loop.time() >= until:
            done.set_result(sent)

    loop.add_writer(out, push)
    try:
        return await done
    finally:
        loop.remove_writer(out)


def _pending(transport: asyncio.Transport) -> int:
    """Bytes that the peer did not acknowledge yet, as far as the system tells.

    A new connection takes megabytes at once into its buffers: that is no rate.
    """
    held = transport.get_write_buffer_size()
    if ioctl is None:
        return held
    try:
        opened = transport.get_extra_info("socket")
        queued = ioctl(opened.fileno(), TIOCOUTQ, bytes(4))
    except (AttributeError, OSError, RuntimeError, ValueError):
        # There is no socket, or it is closed; then the next write says so.
        return held
    return held + int.from_bytes(queued, sys.byteorder)


def _takes_pages(transport: asyncio.Transport | None) -> TypeGuard[asyncio.Transport]:
    """Whether the kernel may write to its socket beside it."""
    return (
        transport is not None
        and hasattr(os, "sendfile")
        and transport.get_extra_info("sslcontext") is None
        and transport.get_extra_info("socket") is not None
    )
