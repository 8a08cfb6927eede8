"""What a 429 asked for concerns every process that asks the same service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from uploader.clock import Clock
from uploader.record import Journal

LOOK: Final = 1.0
"""Seconds between two looks into the journal."""


@dataclass(slots=True)
class Quiet:
    """The wish of one service, by way of the journal."""

    journal: Journal
    service: str
    clock: Clock
    _looked_at: float = float("-inf")

    async def asked(self) -> float:
        """Seconds that another process was asked to be quiet for; mostly not looked up."""
        if self.clock.elapsed() - self._looked_at < LOOK:
            return 0.0
        self._looked_at = self.clock.elapsed()
        until = await self.journal.quiet_until(self.service)
        return 0.0 if until is None else max(0.0, until - self.clock.wall())

    async def ask(self, seconds: float) -> None:
        """Pass the wish on."""
        until = self.clock.wall() + seconds
        await self.journal.keep_quiet(self.service, until)
