"""The bytes of one part, as they go to the service."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from uploader.backend import TURN, SendRange
from uploader.digest import digest_range, is_cached, new_digest, readable
from uploader.errors import SourceChanged
from uploader.model import KIB, MIB, Part

CHUNK: Final = 64 * KIB
"""Larger chunks fall out of the processor's cache on their way through TLS, and from
128 KiB on the allocator maps, and the kernel clears, new memory for each."""

STRETCH: Final = MIB
"""What is had in the page cache before it is sent, and sent before others get a turn."""

Grant = Callable[[int, int], Awaitable[int]]
"""Told the bytes handed out so far, and how many of them are still on their way, says
how many may follow before it is asked again.

Awaited at the beginning, at the end, and at least every `TURN`.
"""


class SourceBody:
    """A part of an open file; `uploader.backend.PageBody`."""

    def __init__(
        self, path: Path, fd: int, part: Part, digest: str | None, grant: Grant
    ) -> None:
        self.size = part.size
        self.digest: str | None = None
        """`name:hex` of what the last complete reading gave."""
        self.pending: Callable[[], int] = lambda: 0
        self._path = path
        self._fd = fd
        self._part = part
        self._digest_name = digest
        self._grant = grant

    async def chunks(self) -> AsyncIterator[bytes | bytearray]:
        """Each chunk is new: transports keep views of what they could not send yet, so
        a buffer that is used again corrupts parts silently.
        """
        digest = new_digest(self._digest_name) if self._digest_name else None
        now, part, due = asyncio.get_running_loop().time, self._part, 0.0
        granted = warmed = offset = part.offset
        with readable(self._path):
            while offset < part.end:
                if offset >= granted or now() >= due:
                    granted = offset + await self._ask(offset)
                    due = now() + TURN
                if offset >= warmed:
                    # While the connection takes everything at once nothing here
                    # waits, and no other part, signal or timer would get its turn.
                    await asyncio.sleep(0)
                    warmed = min(offset + STRETCH, part.end)
                    await warm(self._fd, warmed - offset, offset)
                end = min(offset + CHUNK, granted, part.end)
                chunk = os.pread(self._fd, end - offset, offset)
                if not chunk:
                    raise SourceChanged(self._path, "it became shorter")
                if digest is not None:
                    digest.update(chunk)
                offset += len(chunk)
                yield chunk
        await self._ask(offset)
        if digest is not None:
            self.digest = f"{self._digest_name}:{digest.hexdigest()}"

    async def send_pages(self, send: SendRange) -> None:
        """Let *send* take range after range from the file.

        The bytes never pass through here, so the digest is read afterwards; that the
        file was the same all the while is the fingerprint's to show.
        """
        offset = self._part.offset
        while offset < self._part.end:
            count = min(await self._ask(offset), self._part.end - offset)
            with readable(self._path):
                await warm(self._fd, count, offset)
            sent = await self._sent(send, offset, count)
            if sent == 0:
                raise SourceChanged(self._path, "it became shorter")
            offset += sent
        await self._ask(offset)
        if self._digest_name:
            digest = new_digest(self._digest_name)
            with readable(self._path):
                await digest_range(self._fd, self._part.offset, self.size, [digest])
            self.digest = f"{self._digest_name}:{digest.hexdigest()}"

    async def _ask(self, offset: int) -> int:
        return await self._grant(offset - self._part.offset, self.pending())

    async def _sent(self, send: SendRange, offset: int, count: int) -> int:
        try:
            return await send(self._fd, offset, count)
        except OSError as error:
            if error.errno == errno.EIO:
                with readable(self._path):
                    raise
            raise


async def warm(fd: int, size: int, offset: int) -> None:
    """Have a range in the page cache: a disk must not hold up the event loop."""
    if not is_cached(fd, offset + size - 1):
        await digest_range(fd, offset, size, [])
