"""The local file: fingerprint, byte ranges, digests.

A source is one open descriptor.  Names are only looked at to say that they lead
elsewhere by now.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from uploader.body import Grant, SourceBody
from uploader.digest import Digest, digest_range, new_digest, readable
from uploader.errors import SourceChanged, SourceError
from uploader.model import MIB, Fingerprint, Part, Plan, SentPart

NO_LINK: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
"""A real path that ends in a symlink was replaced in this moment."""

STRIDE: Final = 8 * MIB
"""What one trip to a thread digests: long enough to be cheap, short enough to stop."""


class Source:
    """An open file, and what it was when it was opened."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.fingerprint = self._look()
        self.touched = False
        """Its metadata moved while its size and modification time did not."""

    @classmethod
    def open(cls, path: Path, *, follow_links: bool = True) -> Self:
        """Open a regular file for reading.  Raises `SourceError`.

        Without *follow_links* a path through a symlink is refused.
        """
        real = Path(os.path.realpath(path))
        if not follow_links and real != path:
            raise SourceError(f"{path} leads through a symlink", hint=f"name it {real}")
        try:
            # Before opening: to open a FIFO is to wait for its writer.
            mode = real.stat().st_mode
            if not stat.S_ISREG(mode):
                raise SourceError(
                    f"{path} is {_kind(mode)}, not a regular file",
                    hint="name files one by one; what has no size cannot be resumed",
                )
            fd = os.open(real, os.O_RDONLY | NO_LINK)
        except FileNotFoundError:
            raise SourceError(f"no such file: {path}", hint="check the path") from None
        except OSError as error:
            raise SourceError(
                f"{path} cannot be opened: {error.strerror}",
                hint="check its permissions, and those of the folders above it",
            ) from None
        return cls(real, fd)

    def fileno(self) -> int:
        return self._fd

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

    def body(self, part: Part, digest: str | None, grant: Grant) -> SourceBody:
        """The bytes of *part*, as they will go to the service."""
        return SourceBody(self.path, self._fd, part, digest, grant)

    async def digest(
        self,
        plan: Plan,
        recorded: Mapping[int, SentPart],
        *,
        md5: bool,
        also: Digest | None = None,
    ) -> bytes | None:
        """Read the file once: its MD5, and whether the recorded digests still hold.

        Without *md5* only the recorded parts are read, unless *also* is given: another
        digest to be fed with the whole file.  Raises `SourceChanged` when a
        part has other content than was sent.
        """
        whole = hashlib.md5(usedforsecurity=False) if md5 else None
        for part in plan.parts:
            sent = recorded.get(part.number)
            expected = sent.digest if sent is not None else None
            hashes = [digest for digest in (whole, also) if digest is not None]
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
            with readable(self.path):
                count = await digest_range(self._fd, offset, size, hashes)
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


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"
