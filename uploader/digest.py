"""Reading and digesting off the event loop."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import aiofiles.os

from uploader.errors import SourceError, UsageError
from uploader.model import KIB

PIECE: Final = 256 * KIB
"""Stays in the processor's cache between reading and digesting."""

SMALL: Final = 64 * KIB
"""What is digested sooner than a thread could be asked to."""


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


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Tell a disk that fails from a connection that does."""
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror}",
            hint="look after the disk, then `uploader resume`",
        ) from error


async def digest_range(fd: int, offset: int, size: int, hashes: list[Digest]) -> int:
    """Feed a range to *hashes*; return how much of it there was."""
    if size <= SMALL and is_cached(fd, offset + size - 1):
        return _read_into(fd, offset, size, hashes)
    return await _read_in_thread(fd, offset, size, hashes)


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


def _read_into(fd: int, offset: int, size: int, hashes: list[Digest]) -> int:
    done, buffer = 0, memoryview(bytearray(min(PIECE, size)))
    while done < size:
        count = os.preadv(fd, [buffer[: size - done]], offset + done)
        if not count:
            break
        for digest in hashes:
            digest.update(buffer[:count])
        done += count
    return done


_read_in_thread = aiofiles.os.wrap(_read_into)
