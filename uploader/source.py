"""The local file: fingerprint, byte ranges, digests.

A source is one open descriptor.  Names are only looked at to say that they lead
elsewhere by now.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol, Self

import aiofiles.os

from uploader.errors import SourceChanged, SourceError, UsageError
from uploader.model import KIB, MIB, Fingerprint, Part, Plan, SentPart

CHUNK: Final = 256 * KIB
"""Larger chunks fall out of the processor's cache on their way through TLS."""

STRIDE: Final = 8 * MIB
"""What one trip to a thread digests: long enough to be cheap, short enough to stop."""

OnChunk = Callable[[int], Awaitable[None]]
"""Awaited before each chunk and after the last, with the bytes handed out so far."""


class Digest(Protocol):
    def update(self, data: bytes | bytearray | memoryview, /) -> object: ...
    def hexdigest(self) -> str: ...


def new_digest(name: str) -> Digest:
    """An empty digest of that algorithm.  Raises `UsageError` for an unknown one."""
    if name == "blake3":
        # It costs as much to import as hashlib, and not every run needs it.
        from blake3 import blake3

        return blake3()
    # SHAKE has no length of its own, so there is no plain hexdigest() of it.
    if not name.lower().startswith("shake"):
        with contextlib.suppress(ValueError):
            return hashlib.new(name, usedforsecurity=False)
    usable = {"blake3", *hashlib.algorithms_guaranteed} - {"shake_128", "shake_256"}
    raise UsageError(
        f"{name!r} is no digest known here",
        hint=f"choose one of {', '.join(sorted(usable))}, or off",
    )


class Source:
    """An open file, and what it was when it was opened."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.fingerprint = self._look()
        self.touched = False
        """Its metadata moved while its size and modification time did not."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a regular file for reading.  Raises `SourceError`."""
        real = Path(os.path.realpath(path))
        try:
            # Before opening: to open a FIFO is to wait for its writer.
            mode = real.stat().st_mode
            if not stat.S_ISREG(mode):
                raise SourceError(
                    f"{path} is {_kind(mode)}, not a regular file",
                    hint="name files one by one; what has no size cannot be resumed",
                )
            fd = os.open(real, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            raise SourceError(f"no such file: {path}", hint="check the path") from None
        except OSError as error:
            raise SourceError(
                f"{path} cannot be opened: {error.strerror}",
                hint="check its permissions, and those of the folders above it",
            ) from None
        return cls(real, fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check(self) -> None:
        """Raise `SourceChanged` unless the open file is still the same.

        A change time that moved alone is a rename, a link or a change of mode as a
        rule; it is noted in `touched`, and the digests are verified before complete.
        """
        now = self._look()
        if (now.size, now.mtime_ns) != (
            self.fingerprint.size,
            self.fingerprint.mtime_ns,
        ):
            difference = self.fingerprint.difference(now)
            raise SourceChanged(self.path, difference or "it moved")
        if now != self.fingerprint:
            self.touched = True
            self.fingerprint = now

    def is_replaced(self) -> bool:
        """Whether the name leads to another file, or nowhere, by now."""
        try:
            found = self.path.stat()
        except OSError:
            return True
        mine = self.fingerprint
        return (found.st_dev, found.st_ino) != (mine.device, mine.inode)

    def body(self, part: Part, digest: str | None, on_chunk: OnChunk) -> SourceBody:
        """The bytes of *part*, as they will go to the service."""
        return SourceBody(self, self._fd, part, digest, on_chunk)

    async def digest(
        self, plan: Plan, recorded: Mapping[int, SentPart], *, md5: bool
    ) -> bytes | None:
        """Read the file once: its MD5, and whether the recorded digests still hold.

        Without *md5* only the recorded parts are read.  Raises `SourceChanged` when a
        part has other content than was sent.
        """
        whole = hashlib.md5(usedforsecurity=False) if md5 else None
        for part in plan.parts:
            sent = recorded.get(part.number)
            expected = sent.digest if sent is not None else None
            hashes: list[Digest] = [whole] if whole is not None else []
            if expected is not None:
                name, _, expected = expected.partition(":")
                hashes.append(new_digest(name))
            if not hashes:
                continue
            await self._feed(part, hashes)
            if expected is not None and hashes[-1].hexdigest() != expected:
                raise SourceChanged(
                    self.path, f"part {part.number} has other content than was sent"
                )
        return whole.digest() if whole is not None else None

    async def _feed(self, part: Part, hashes: list[Digest]) -> None:
        for offset in range(part.offset, part.end, STRIDE):
            size = min(STRIDE, part.end - offset)
            with _readable(self.path):
                count = await _digest_range(self._fd, offset, size, hashes)
            if count < size:
                raise SourceChanged(self.path, "it became shorter")

    def _look(self) -> Fingerprint:
        found = os.fstat(self._fd)
        return Fingerprint(
            size=found.st_size,
            mtime_ns=found.st_mtime_ns,
            ctime_ns=found.st_ctime_ns,
            device=found.st_dev,
            inode=found.st_ino,
        )


class SourceBody:
    """A part's bytes; `uploader.backend.Body`."""

    def __init__(
        self,
        source: Source,
        fd: int,
        part: Part,
        digest: str | None,
        on_chunk: OnChunk,
    ) -> None:
        self.size = part.size
        self.digest: str | None = None
        """`name:hex` of what the last complete reading gave."""
        self._source = source
        self._fd = fd
        self._part = part
        self._digest_name = digest
        self._on_chunk = on_chunk

    async def chunks(self) -> AsyncIterator[bytes | bytearray]:
        digest = new_digest(self._digest_name) if self._digest_name else None
        offset = self._part.offset
        while offset < self._part.end:
            await self._on_chunk(offset - self._part.offset)
            with _readable(self._source.path):
                chunk = await read_chunk(
                    self._fd, min(CHUNK, self._part.end - offset), offset
                )
            if not chunk:
                raise SourceChanged(self._source.path, "it became shorter")
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


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Tell a disk that fails from a connection that does."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}",
            hint="look after the disk, then `uploader resume`",
        ) from error


async def read_chunk(fd: int, size: int, offset: int) -> bytes | bytearray:
    """Up to *size* bytes; at once when the page cache has them, else through a thread.

    The buffer is new each time: transports keep views of what they could not send
    yet, so a buffer that is used again corrupts parts silently.
    """
    if hasattr(os, "RWF_NOWAIT"):
        buffer = bytearray(size)
        try:
            count = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
        except OSError:
            # Not in the cache, or a file system that cannot tell.
            count = 0
        if count == size:
            return buffer
        if count > 0:
            return buffer[:count]
    return await _pread(fd, size, offset)


def _read_into(fd: int, offset: int, size: int, hashes: list[Digest]) -> int:
    """Feed a range to *hashes*; return how much of it there was."""
    done = 0
    while done < size:
        piece = os.pread(fd, min(MIB, size - done), offset + done)
        if not piece:
            break
        for digest in hashes:
            digest.update(piece)
        done += len(piece)
    return done


_pread = aiofiles.os.wrap(os.pread)
_digest_range = aiofiles.os.wrap(_read_into)


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
