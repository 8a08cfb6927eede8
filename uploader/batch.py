"""Many files: queued first, then opened by priority, as many as can be kept busy.

    async with Uploader() as u:
        async for outcome in upload_many(u, [Item(path=path) for path in paths]):
            print(outcome.path, outcome.error or outcome.file.file_id)

Whatever becomes of one, the others go on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from uploader import events, preflight
from uploader.carrier import HandOver
from uploader.engine import Uploader
from uploader.errors import (
    CredentialsRefused,
    Interrupted,
    JournalError,
    LeaseLost,
    PreflightFailed,
    Unreachable,
    UploaderError,
    UploadOwned,
)
from uploader.intake import Item
from uploader.model import BatchId, LocalId, Queued
from uploader.pacing import has_room
from uploader.queue import Added
from uploader.result import UploadedFile
from uploader.scheduler import together

__all__ = ["Feeder", "Item", "Outcome", "go_on", "restart_failed", "upload_many"]

LOOK_AHEAD = 16
"""Rows of the queue that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one upload of a list: its *file*, or the *error* that stopped it."""

    upload: LocalId
    path: Path
    batch: BatchId | None
    tag: str | None
    priority: int
    size: int
    file: UploadedFile | None = None
    error: UploaderError | None = None


Tell = Callable[[Outcome], None]


@dataclass(slots=True)
class _Opened:
    """An upload under way, and how many of its parts are still to be sent."""

    queued: Queued
    parts: int
    missing: int


class Feeder:
    """Takes uploads off the queue and carries them on, whatever becomes of each.

    *tell* hears of every outcome.  A service that refuses the credentials, or cannot
    be reached, is paused: what waits for it stays queued.  With *stay* the feeder does
    not end when the queue is empty, but waits for `wake`.  *hand_over* takes each result
    before it counts as delivered.
    """

    def __init__(
        self,
        uploader: Uploader,
        tell: Tell,
        *,
        batch: BatchId | None = None,
        stay: bool = False,
        hand_over: HandOver | None = None,
    ) -> None:
        self.paused: dict[str, UploaderError | None] = {}
        """Services that are left alone, and why."""
        self._uploader = uploader
        self._tell = tell
        self._batch = batch
        self._stay = stay
        self._hand_over = hand_over
        self._opened: dict[LocalId, _Opened] = {}
        self._elsewhere: set[LocalId] = set()
        """Another process is at these."""
        self._news = asyncio.Event()
        self._is_empty = False
        self._interrupted: Interrupted | None = None
        self._stopping = False

    @property
    def opened(self) -> int:
        """Uploads under way."""
        return len(self._opened)

    def wake(self) -> None:
        """Something was queued, or can be opened by now."""
        self._is_empty = False
        self._elsewhere.clear()
        self._news.set()

    def pause(self, service: str, reason: UploaderError | None = None) -> None:
        """Open nothing more for *service*; what is under way goes on."""
        self.paused[service] = reason

    def unpause(self, service: str) -> None:
        self.paused.pop(service, None)
        self.wake()

    def stop(self) -> None:
        """Open nothing more, and end when what is under way has ended."""
        self._stopping = True
        self._news.set()

    async def run(self) -> None:
        """Work until the queue is empty.  Raises `Interrupted`, and `JournalError`.

        What another process is at is left to it; of a *batch* that is told.
        """
        with self._uploader.observed(self._follow):
            async with together() as group:
                while True:
                    self._news.clear()
                    if not self._stopping and not self._is_empty:
                        await self._open(group)
                    if not self._opened and not self._has_more():
                        break
                    await self._news.wait()
        if self._interrupted is not None:
            raise self._interrupted

    def _has_more(self) -> bool:
        if self._stopping:
            return False
        return self._stay or not self._is_empty

    async def _open(self, group: asyncio.TaskGroup) -> None:
        """Open what comes next, as long as there is room where it goes."""
        full: set[str] = set()
        while not self._stopping:
            found = await self._uploader.queue.next(
                batch=self._batch,
                but={*full, *self.paused},
                # What was opened just now is queued until it is claimed.
                limit=LOOK_AHEAD + len(self._opened) + len(self._elsewhere),
            )
            known = self._elsewhere | self._opened.keys()
            fresh = [queued for queued in found if queued.id not in known]
            if not fresh:
                self._is_empty = not full
                return
            for queued in fresh:
                if queued.service in full | self.paused.keys():
                    continue
                if not await self._uploader.queue.reaches(queued.service):
                    self.pause(queued.service)
                elif not await self._has_room(queued.service):
                    full.add(queued.service)
                else:
                    self._opened[queued.id] = _Opened(
                        queued, queued.parts, queued.parts
                    )
                    group.create_task(self._carry(queued), name=f"upload {queued.id}")

    async def _has_room(self, service: str) -> bool:
        here = [
            each for each in self._opened.values() if each.queued.service == service
        ]
        return has_room(
            missing=sum(each.missing for each in here),
            opened=len(self._opened),
            slots=await self._uploader.queue.slots(service),
        )

    async def _carry(self, queued: Queued) -> None:
        try:
            file = await self._begin(queued)
        except UploadOwned as error:
            # Another process was quicker, and may even be at it since before.
            self._elsewhere.add(queued.id)
            if self._batch is not None:
                self._tell(_outcome(queued, error=error))
        except Interrupted as error:
            self._interrupted = error
            self._stopping = True
        except UploaderError as error:
            if isinstance(error, JournalError) and not isinstance(error, LeaseLost):
                raise
            if isinstance(error, CredentialsRefused | Unreachable):
                self.pause(queued.service, error)
            self._tell(_outcome(queued, error=error))
        else:
            self._tell(_outcome(queued, file=file))
        finally:
            del self._opened[queued.id]
            self._news.set()

    async def _begin(self, queued: Queued) -> UploadedFile:
        queue = self._uploader.queue
        if queued.preflight:
            try:
                await preflight.check(
                    queued.path, purpose=queued.purpose, filename=queued.filename
                )
            except PreflightFailed as error:
                await queue.refuse(queued, error)
                raise
        return await queue.carry(queued, hand_over=self._hand_over)

    def _follow(self, event: events.Event) -> None:
        """Know how many parts are still to be sent."""
        if not isinstance(event, events.UploadEvent):
            return
        opened = self._opened.get(event.upload)
        if opened is None:
            return
        match event:
            case events.UploadStarted():
                opened.parts = event.parts
                opened.missing = event.parts - event.recorded_parts
            case events.PartSent():
                opened.missing -= 1
            case events.UploadRestarted():
                opened.missing = opened.parts
            case events.CompleteAsked():
                opened.missing = 0
            case _:
                return
        if not self._is_empty:
            self._news.set()


async def upload_many(
    uploader: Uploader, items: Iterable[Item]
) -> AsyncGenerator[Outcome, None]:
    """Queue all *items*, then upload them; one outcome for each, as they end.

    When this is left early, or the process dies, what is left stays in the queue, and
    `go_on` in any process takes it up.  Raises `UsageError` for an empty list, and
    `Interrupted` after `Uploader.drain`.
    """
    added = await uploader.queue.add(items)
    async for outcome in _results(uploader, added):
        yield outcome


async def go_on(
    uploader: Uploader, *, batch: BatchId | None = None
) -> AsyncGenerator[Outcome, None]:
    """Upload what waits in the queue, of one batch or of all."""
    async for outcome in _stream(uploader, batch):
        yield outcome


async def restart_failed(
    uploader: Uploader, *, batch: BatchId | None = None, preflight: bool = True
) -> AsyncGenerator[Outcome, None]:
    """Begin anew what failed, and go on with what a failure stopped.

    They stay in their batch.
    """
    for added in await uploader.queue.restart(batch, preflight=preflight):
        async for outcome in _results(uploader, added):
            yield outcome


async def _results(uploader: Uploader, added: Added) -> AsyncGenerator[Outcome, None]:
    began = time.monotonic()
    for id_, entry in zip(added.ids, added.entries, strict=True):
        if entry.failure is not None:
            yield Outcome(
                upload=id_,
                path=entry.identity.path,
                batch=added.batch,
                tag=entry.tag,
                priority=entry.priority,
                size=entry.spec.size,
                error=entry.failure,
            )
    async for outcome in _stream(uploader, added.batch):
        yield outcome
    await uploader.queue.finish(added.batch, seconds=time.monotonic() - began)


async def _stream(
    uploader: Uploader, batch: BatchId | None
) -> AsyncGenerator[Outcome, None]:
    """The outcomes of a feeder, which ends with the one who listens."""
    outcomes: asyncio.Queue[Outcome | None] = asyncio.Queue()
    feeder = Feeder(uploader, outcomes.put_nowait, batch=batch)
    working = asyncio.create_task(feeder.run(), name="feeder")
    working.add_done_callback(lambda _: outcomes.put_nowait(None))
    try:
        while (outcome := await outcomes.get()) is not None:
            yield outcome
        await working
    finally:
        working.cancel()
        await asyncio.wait({working})


def _outcome(
    queued: Queued,
    *,
    file: UploadedFile | None = None,
    error: UploaderError | None = None,
) -> Outcome:
    return Outcome(
        upload=queued.id,
        path=queued.path,
        batch=queued.batch,
        tag=queued.tag,
        priority=queued.priority,
        size=queued.size,
        file=file,
        error=error,
    )
