"""Holding one upload: the heartbeat, and the fence before every byte."""

from __future__ import annotations

from dataclasses import dataclass, field

from uploader.clock import Clock
from uploader.errors import LeaseLost
from uploader.model import Lease
from uploader.record import Journal

HEARTBEATS = 4
"""Renewals within the life of a lease: three may be late."""


class CancelRequested(Exception):
    """Somebody asked for this upload to be cancelled; not an error."""


@dataclass(slots=True)
class Hold:
    """One lease, as long as it is known to be ours.

    A process that was stopped, or a machine that was suspended, wakes up with a lease
    that may be another's by now.  `confirm` notices that by a clock that did not
    stop, and asks the journal before anything more is sent.
    """

    lease: Lease
    journal: Journal
    clock: Clock
    life: float
    """Seconds; the journal gives the lease away when it was not renewed for so long."""
    is_cancelling: bool = False
    """What others ask for is being done; a cancel that takes long is not begun twice."""
    is_over: bool = False
    """It is let go, or about to be."""
    _good_until: float = field(init=False)

    def __post_init__(self) -> None:
        self._good_until = self.clock.elapsed() + self.life

    async def confirm(self) -> None:
        """Return at once while the lease is fresh.  Raises `LeaseLost`."""
        if self.clock.elapsed() >= self._good_until:
            await self.renew()

    async def renew(self) -> None:
        """Raises `LeaseLost`, or `CancelRequested` when somebody asked for that."""
        if self.is_over:
            return
        # Counted from before the journal is asked: it may take its time.
        asked_at = self.clock.elapsed()
        heard = await self.journal.renew([self.lease], now=self.clock.wall())
        if self.lease.upload in heard.lost:
            raise LeaseLost(self.lease.upload)
        self._good_until = asked_at + self.life
        if self.lease.upload in heard.cancel_requested and not self.is_cancelling:
            raise CancelRequested

    async def keep(self) -> None:
        """Renew until it is over, or cancelled."""
        while not self.is_over:
            await self.clock.sleep(self.life / HEARTBEATS)
            await self.renew()
