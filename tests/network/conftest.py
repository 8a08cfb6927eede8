"""An emulator, and an upload to it through something in between."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import Command, Done, files_at
from uploader.emulator import Emulator

PART_SIZE = 64 * 1024
PARTS = 4

IMPATIENT = {
    "UPLOADER_TIMEOUTS_PROGRESS": "0.5",
    "UPLOADER_TIMEOUTS_ANSWER": "0.5",
    "UPLOADER_TIMEOUTS_SETTLE": "0",
    "UPLOADER_RETRY_BACKOFF_INITIAL": "0.01",
    "UPLOADER_RETRY_BACKOFF_MAX": "0.05",
}
PATIENT = {**IMPATIENT, "UPLOADER_TIMEOUTS_ANSWER": "30"}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a test happens; *directory* is free for the one in between."""

    emulator: Emulator
    source: Path
    directory: Path

    @property
    def port(self) -> int:
        return int(self.emulator.origin.rpartition(":")[2])

    def command(self, url: str) -> Command:
        return Command(url, self.directory / "state" / "journal.db")

    async def upload(self, url: str, *options: str, **environ: str) -> Done:
        if "--part-size" not in options:
            options = (*options, "--part-size", str(PART_SIZE))
        return await self.command(url).tell(
            *("upload", str(self.source), *options), **{**IMPATIENT, **environ}
        )

    async def resume(self, url: str, **environ: str) -> Done:
        return await self.command(url).tell("resume", **{**IMPATIENT, **environ})

    async def assert_identical(self, done: Done) -> None:
        """It finished, and the service has this one file."""
        assert done.returncode == 0, done
        files = await files_at(self.emulator.url)
        assert files == {done.last_line: self.source.read_bytes()}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    source = tmp_path / "source.bin"
    source.write_bytes(random.Random(5).randbytes(PARTS * PART_SIZE - 1000))
    async with Emulator(tmp_path / "service") as emulator:
        yield Site(emulator, source, tmp_path)
