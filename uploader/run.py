"""One claimed upload in this process, and what it shares with all others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from uploader import events
from uploader.backend import Backend
from uploader.clock import Clock
from uploader.config import Settings
from uploader.errors import (
    BackendUnavailable,
    Interrupted,
    JournalError,
    Throttled,
    Unreachable,
)
from uploader.lease import Hold
from uploader.model import Lease, Upload
from uploader.pacing import Allowance
from uploader.record import Journal
from uploader.retry import Retry
from uploader.scheduler import Scheduler, Slots, together

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What all uploads of one `Uploader` share."""

    settings: Settings
    backend: Backend
    journal: Journal
    scheduler: Scheduler
    slots: Slots
    """For parts to this service; how many there are is the climb's to find."""
    retry: Retry
    clock: Clock
    observe: events.Observer
    allowance: Allowance = field(default_factory=Allowance)
    """Shared by the machines of all services."""


@contextlib.asynccontextmanager
async def holding(machine: Machine, lease: Lease) -> AsyncIterator[Hold]:
    """A lease with its heartbeat, let go in any case when the block ends.

    Whatever did not drain in time after that was asked for is cut off with
    `Interrupted`.
    """
    timeouts = machine.settings.timeouts
    hold = Hold(lease, machine.journal, machine.clock, timeouts.lease)

    async def cut_off() -> None:
        await machine.scheduler.drained()
        await machine.clock.sleep(timeouts.drain)
        raise Interrupted("stopped before it was complete")

    try:
        async with together() as group:
            company = [group.create_task(hold.keep()), group.create_task(cut_off())]
            yield hold
            for task in company:
                task.cancel()
    finally:
        if not hold.is_over:
            await asyncio.shield(machine.journal.release(lease))


@dataclass(slots=True)
class Run:
    """An upload while this process holds it; *upload* is what the journal last said."""

    machine: Machine
    upload: Upload
    hold: Hold

    async def reload(self) -> Upload:
        self.upload = await self.machine.journal.find(self.upload.id)
        return self.upload

    def observe(self, kind: type[events.UploadEvent], **fields: Any) -> None:
        self.machine.observe(
            kind(upload=self.upload.id, path=self.upload.identity.path, **fields)
        )

    def backed_off(
        self, operation: str, attempt: int, delay: float, error: BackendUnavailable
    ) -> None:
        self.observe(
            events.BackingOff,
            operation=operation,
            attempt=attempt,
            delay=delay,
            reason=str(error),
            cause=cause_of(error),
        )

    async def deliver(self) -> None:
        """The caller has the result; nothing more is to be done."""
        # Before the journal is told: a heartbeat would find the lease gone.
        self.hold.is_over = True
        now = self.machine.clock.wall()
        try:
            await self.machine.journal.deliver(self.hold.lease, now=now)
        except JournalError:
            self.hold.is_over = False
            raise

    async def ask(self, operation: str, request: Callable[[], Awaitable[T]]) -> T:
        """Ask the service something that may be asked twice."""

        async def on_backoff(*failure: Any) -> None:
            self.backed_off(operation, *failure)

        return await self.machine.retry(request, on_backoff=on_backoff)

    async def restart(self, reason: str, *, orphans: bool = False) -> None:
        """Give up all that was sent, and say so."""
        self.upload = await self.machine.journal.restart(
            self.hold.lease, reason, orphans=orphans
        )
        self.observe(events.UploadRestarted, reason=reason)


def cause_of(error: BackendUnavailable) -> str:
    """Why it is tried again, in a word that can be counted."""
    match error:
        case Throttled():
            return "throttled"
        case Unreachable():
            return "unreachable"
        case _ if error.status is not None:
            return f"status {error.status}"
        case _:
            return "connection"
