"""One claimed upload in this process, and what it shares with all others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from uploader import events
from uploader.backend import Backend
from uploader.clock import Clock
from uploader.config import Settings
from uploader.errors import BackendUnavailable
from uploader.lease import Hold
from uploader.model import Upload
from uploader.record import Journal
from uploader.retry import Retry
from uploader.scheduler import Scheduler

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What all uploads of one `Uploader` share."""

    settings: Settings
    backend: Backend
    journal: Journal
    scheduler: Scheduler
    retry: Retry
    clock: Clock
    observe: events.Observer


@dataclass(slots=True)
class Run:
    """An upload while this process holds it; *upload* is what the journal last said."""

    machine: Machine
    upload: Upload
    hold: Hold

    async def reload(self) -> Upload:
        self.upload = await self.machine.journal.find(self.upload.id)
        return self.upload

    def observe(self, kind: type[events.Event], **fields: Any) -> None:
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
        )

    async def ask(self, operation: str, request: Callable[[], Awaitable[T]]) -> T:
        """Ask the service something that may be asked twice."""

        async def on_backoff(*failure: Any) -> None:
            self.backed_off(operation, *failure)

        return await self.machine.retry(request, on_backoff=on_backoff)

    async def restart(self, reason: str, *, orphans: bool = False) -> None:
        """Give up all that was sent, and say so."""
        await self.machine.journal.restart(self.hold.lease, reason, orphans=orphans)
        self.observe(events.UploadRestarted, reason=reason)
