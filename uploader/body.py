"""The bytes of one part, as they go to the service."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from uploader.backend import SendRange
from uploader.digest import digest_range, new_digest, pread, readable
from uploader.errors import SourceChanged
from uploader.model import KIB, MIB, Part

CHUNK: Final = 256 * KIB
"""Larger chunks fall out of the processor's cache on their way through TLS."""

RANGE: Final = 2 * MIB
"""What the kernel is asked to send at once, and has in its cache before."""

OnChunk = Callable[[int], Awaitable[None]]
"""Awaited before each chunk and after the last, with the bytes handed out so far."""


class SourceBody:
    """A part of an open file; `uploader.backend.PageBody`."""

    def __init__(
        self, path: Path, fd: int, part: Part, digest: str | None, on_chunk: OnChunk
    ) -> None:
        self.size = part.size
        self.digest: str | None = None
        """`name:hex` of what the last complete reading gave."""
        self._path = path
        self._fd = fd
        self._part = part
        self._digest_name = digest
        self._on_chunk = on_chunk

    async def chunks(self) -> AsyncIterator[bytes | bytearray]:
        digest = new_digest(self._digest_name) if self._digest_name else None
        offset = self._part.offset
        while offset < self._part.end:
            await self._on_chunk(offset - self._part.offset)
            with readable(self._path):
                chunk = await read_chunk(
                    self._fd, min(CHUNK, self._part.end - offset), offset
                )
            if not chunk:
                raise SourceChanged(self._path, "it became shorter")
            if digest is not None:
                digest.update(chunk)
            offset += len(chunk)
            yield chunk
            if offset % MIB == 0:
                # While the connection takes everything at once nothing here waits,
                # and no other part, signal or timer would get its turn.
                await asyncio.sleep(0)
        await self._on_chunk(self.size)
        if digest is not None:
            self.digest = f"{self._digest_name}:{digest.hexdigest()}"

    async def send_pages(self, send: SendRange) -> None:
        """Let *send* take range after range from the file.

        The bytes never pass through here, so the digest is read afterwards; that the
        file was the same all the while is the fingerprint's to show.
        """
        offset = self._part.offset
        while offset < self._part.end:
            await self._on_chunk(offset - self._part.offset)
            count = min(RANGE, self._part.end - offset)
            with readable(self._path):
                await warm(self._fd, count, offset)
            sent = await self._sent(send, offset, count)
            if sent == 0:
                raise SourceChanged(self._path, "it became shorter")
            offset += sent
        await self._on_chunk(self.size)
        if self._digest_name:
            digest = new_digest(self._digest_name)
            with readable(self._path):
                await digest_range(self._fd, self._part.offset, self.size, [digest])
            self.digest = f"{self._digest_name}:{digest.hexdigest()}"

    async def _sent(self, send: SendRange, offset: int, count: int) -> int:
        try:
            return await send(self._fd, offset, count)
        except OSError as error:
            if error.errno == errno.EIO:
                with readable(self._path):
                    raise
            raise


async def read_chunk(fd: int, size: int, offset: int) -> bytes | bytearray:
    """Up to *size* bytes; at once when the page cache has them, else through a thread.

    The buffer is new each time: transports keep views of what they could not send
    yet, so a buffer that is used again corrupts parts silently.
    """
    if is_cached(fd, offset + size - 1):
        return os.pread(fd, size, offset)
    return await pread(fd, size, offset)


async def warm(fd: int, size: int, offset: int) -> None:
    """Have a range in the page cache: a disk must not hold up the event loop."""
    if not is_cached(fd, offset + size - 1):
        await digest_range(fd, offset, size, [])


def is_cached(fd: int, offset: int) -> bool:
    """Whether the byte at *offset* can be read without waiting for a disk.

    Where nobody can tell, or there is no such byte, it is not.
    """
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        return os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except OSError:
        return False
