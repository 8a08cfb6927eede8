"""Which part next, and how many at once: one scheduler for all open uploads."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from typing import Any

from uploader.errors import Interrupted, UploaderError
from uploader.model import Part

SendPart = Callable[[Part], Coroutine[Any, Any, object]]
Urgent = Callable[[], bool]


class Slots:
    """So many parts in flight, and no more.

    Whoever runs out of time is served first, then whoever waits longest: uploads
    that wait for one slot at a time take turns.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.in_flight = 0
        self._waiting: list[tuple[asyncio.Future[None], Urgent]] = []

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        grown = limit > self._limit
        self._limit = limit
        if grown:
            self._hand_out()

    async def acquire(self, urgent: Urgent) -> None:
        if self.in_flight < self.limit:
            self.in_flight += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, urgent))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The slot was handed over in the very moment of being cancelled.
                self.release()
            raise

    def release(self) -> None:
        self.in_flight -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        self._waiting = [entry for entry in self._waiting if not entry[0].done()]
        while self._waiting and self.in_flight < self.limit:
            first = next((e for e in self._waiting if e[1]()), self._waiting[0])
            self._waiting.remove(first)
            self.in_flight += 1
            first[0].set_result(None)


class Scheduler:
    """One per `Uploader`."""

    def __init__(self) -> None:
        self._draining = asyncio.Event()

    @property
    def is_draining(self) -> bool:
        return self._draining.is_set()

    def drain(self) -> None:
        """Take no new part.  Those in flight go on."""
        self._draining.set()

    async def drained(self) -> None:
        """Return when `drain` was asked for."""
        await self._draining.wait()

    async def send_parts(
        self, parts: Iterable[Part], send: SendPart, slots: Slots, *, urgent: Urgent
    ) -> None:
        """Send every part, each as soon as a slot is free.

        A part's task starts only when it has its slot, so an upload of ten thousand
        parts holds a handful of tasks.  The first part to fail stops the others; what
        they recorded stays recorded.  Raises `Interrupted` when draining left parts.
        """
        left = False
        async with together() as group:
            for part in parts:
                await slots.acquire(urgent)
                if self.is_draining:
                    slots.release()
                    left = True
                    break
                task = group.create_task(send(part), name=f"part {part.number}")
                task.add_done_callback(lambda _: slots.release())
        if left:
            raise Interrupted("stopped before all parts were sent")


@contextlib.asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group that fails with one error.

    Its tasks fail together, and a caller wants to know of one cause: the first
    expected error, unless there is a bug among them.
    """
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as failures:
        flat = list(_flatten(failures))
        bugs = [error for error in flat if not isinstance(error, UploaderError)]
        error = (bugs or flat)[0]
        raise error from error.__cause__


def _flatten(
    failures: BaseExceptionGroup[BaseException],
) -> Iterator[BaseException]:
    for error in failures.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flatten(error)
        else:
            yield error
