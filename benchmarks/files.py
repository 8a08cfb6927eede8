"""The files that are uploaded: made once, kept until the run ends."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

BLOCK: Final = 16 * 1024 * 1024


class Files:
    """Files by size, in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def file(self, size: int, *, sparse: bool = False) -> Path:
        path = self._directory / f"{size}-{'sparse' if sparse else 'random'}.bin"
        if not path.exists():
            _make(path, size, sparse=sparse)
        return path

    def many(self, count: int, size: int) -> Path:
        """A directory of *count* files of *size*."""
        directory = self._directory / f"{count}-of-{size}"
        if not directory.exists():
            directory.mkdir()
            for number in range(count):
                _make(directory / f"{number:05}.bin", size, sparse=False)
        return directory


def wrong_parts(path: Path, parts: Sequence[tuple[int, str]]) -> int:
    """How many of *parts*, size and SHA-256 in order, are not what *path* holds.

    Bytes that are missing at the end count as one more.
    """
    wrong = 0
    with path.open("rb") as file:
        for size, sha256 in parts:
            wrong += hashlib.sha256(file.read(size)).hexdigest() != sha256
        wrong += file.read(1) != b""
    return wrong


def _make(path: Path, size: int, *, sparse: bool) -> None:
    with path.open("wb") as file:
        if sparse:
            file.truncate(size)
        else:
            # No two blocks alike: a part from the wrong place must not look right.
            for offset in range(0, size, BLOCK):
                file.write(os.urandom(min(BLOCK, size - offset)))
        # Its writing back must not fall into a measurement.
        file.flush()
        if size > BLOCK:
            os.fsync(file.fileno())
