"""One emulator in this process, one journal, one source in a few parts."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.command import KEY, files_at
from tests.fakes import Told
from uploader import Settings, UploadedFile, Uploader
from uploader.clock import Clock
from uploader.config import RetryPolicy, Timeouts
from uploader.emulator import Emulator
from uploader.events import Observer

PART_SIZE = 4096
PARTS = 6


@dataclass
class Site:
    """Where a test happens."""

    emulator: Emulator
    settings: Settings
    source: Path
    told: Told

    async def upload(
        self,
        *observers: Observer,
        clock: Clock | None = None,
        **changes: Any,
    ) -> UploadedFile:
        settings = replace(self.settings, **changes)
        async with Uploader(
            settings, observers=[self.told, *observers], clock=clock
        ) as uploader:
            return await uploader.upload(self.source, purpose="assistants")

    async def files(self) -> dict[str, bytes]:
        return await files_at(self.emulator.url)

    def received(self) -> int:
        """How many parts the service stored."""
        return sum(r.stored for r in self.emulator.account().receptions)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    source = tmp_path / "source.bin"
    source.write_bytes(random.Random(5).randbytes(PARTS * PART_SIZE - 100))
    async with Emulator(tmp_path / "service") as emulator:
        settings = Settings(
            base_url=emulator.url,
            api_key=KEY,
            journal=tmp_path / "state" / "journal.db",
            part_size=PART_SIZE,
            parallel=1,
            retry=RetryPolicy(backoff_initial=0.001, backoff_max=0.001, max_attempts=4),
            timeouts=Timeouts(settle=0.0),
        )
        yield Site(emulator, settings, source, Told())
