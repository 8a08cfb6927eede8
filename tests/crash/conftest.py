"""One emulator in this process, one journal, and a source in twelve parts."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import Command, files_at
from uploader.emulator import Emulator, Reception, Request

PART_SIZE = 64 * 1024
PARTS = 12


@dataclass(frozen=True, slots=True)
class Site:
    """Where a test happens."""

    emulator: Emulator
    command: Command
    source: Path

    def part_digests(self) -> dict[int, str]:
        """The SHA-256 of each part of the source, by its number."""
        content = self.source.read_bytes()
        return {
            number: hashlib.sha256(
                content[(number - 1) * PART_SIZE : number * PART_SIZE]
            ).hexdigest()
            for number in range(1, PARTS + 1)
        }

    def parts_received(self) -> list[Reception]:
        return [r for r in self.emulator.account().receptions if r.upload_id]

    def parts_asked(self) -> list[Request]:
        """Every request to store a part, answered or not."""
        return [r for r in self.emulator.account().requests if r.kind == "part"]

    async def files(self) -> dict[str, bytes]:
        """Every file at the service, with its content."""
        return await files_at(self.emulator.url)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    source = tmp_path / "source.bin"
    # The last part is shorter, as it is in most files.
    source.write_bytes(random.Random(7).randbytes(PARTS * PART_SIZE - 1000))
    async with Emulator(tmp_path / "service") as emulator:
        command = Command(emulator.url, tmp_path / "state" / "journal.db")
        yield Site(emulator, command, source)
