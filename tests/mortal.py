"""Owners that die, or are stopped, at a chosen await, and the time that they live in.

A death here is what SIGKILL leaves: nothing more is done or cleaned up, connections
break, what was committed stays, and the kernel frees the lock of the owner.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import inspect
import itertools
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final, ParamSpec, TypeVar

from uploader import engine, outbox
from uploader.clock import Clock
from uploader.config import Settings
from uploader.journal import SqliteJournal
from uploader.record import Journal
from uploader.targets import open_target

P = ParamSpec("P")
T = TypeVar("T")

HEARTBEAT: Final = 7.5
"""Seconds between two heartbeats with the default lease."""


class Died(BaseException):
    """What everything raises in an owner that is dead."""


class Fate:
    """When an owner dies, or is stopped: counted in awaits of journal, service, clock."""

    def __init__(self, *, dies_at: int = 0, stops_at: int = 0) -> None:
        self.is_dead = False
        self.stopped = asyncio.Event()
        """Set when it has come to where it stops."""
        self.sent: list[tuple[str, int]] = []
        """Each part that was asked to be stored: upload id and number."""
        self.resent: list[tuple[str, int]] = []
        """Those among them that this owner had recorded before."""
        self.recorded: set[tuple[str, int]] = set()
        self.task: asyncio.Task[Any] | None = None
        self._dies_at = dies_at
        self._stops_at = stops_at
        self._steps = 0
        self._going_on = asyncio.Event()
        self._going_on.set()

    def go_on(self) -> None:
        """Let a stopped owner wake up, as SIGCONT does."""
        self._stops_at = 0
        self._going_on.set()

    async def step(self) -> None:
        self._steps += 1
        if self._steps == self._dies_at:
            self.is_dead = True
        if self._steps == self._stops_at:
            self._going_on.clear()
            self.stopped.set()
        await self._going_on.wait()
        if self.is_dead:
            # Some tasks of libraries keep what ends them to themselves.
            task, self.task = self.task, None
            if task is not None and task is not asyncio.current_task():
                task.cancel()
            raise Died


FATE: ContextVar[Fate] = ContextVar("fate")


class Mortal:
    """Something asynchronous that stops to answer an owner at the owner's death."""

    def __init__(self, inner: object, fate: Fate) -> None:
        self.inner = inner
        self.fate = fate

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not inspect.iscoroutinefunction(found):
            return found

        @functools.wraps(found)
        async def mortal(*args: Any, **kwargs: Any) -> Any:
            await self.fate.step()
            result = await found(*args, **kwargs)
            await self.fate.step()
            return result

        return mortal

    async def aclose(self) -> None:
        # The kernel closes what a dead process had open.
        inner: Any = self.inner
        await inner.aclose()


class MortalBackend(Mortal):
    """A backend that keeps account of the parts that it was given."""

    async def put_part(self, spec: Any, opened: Any, part: Any, body: Any) -> Any:
        await self.fate.step()
        name = (opened.upload_id, part.number)
        self.fate.sent.append(name)
        if name in self.fate.recorded:
            self.fate.resent.append(name)
        inner: Any = self.inner
        result = await inner.put_part(spec, opened, part, body)
        await self.fate.step()
        return result


class MortalJournal(Mortal):
    """A journal whose owner may die without letting go of anything."""

    async def record_part(self, lease: Any, part: Any) -> None:
        await self.fate.step()
        inner: Any = self.inner
        await inner.record_part(lease, part)
        upload = await inner.find(lease.upload)
        if upload.opened is not None:
            self.fate.recorded.add((upload.opened.upload_id, part.number))
        await self.fate.step()

    async def aclose(self) -> None:
        journal = self.inner
        assert isinstance(journal, SqliteJournal)
        if not self.fate.is_dead:
            await journal.aclose()
            return
        await journal._writer.aclose()
        if journal._owner._lock is not None:
            # Freed, but its file stays, as after any sudden death.
            journal._owner._lock.release()


async def _open_journal(settings: Settings, clock: Clock | None = None) -> Journal:
    fate, journal = FATE.get(), await engine_open_journal(settings, clock)
    mortal: Any = MortalJournal(journal, fate)
    return mortal  # type: ignore[no-any-return]


def _open_target(name: str, settings: Settings) -> Any:
    return Mortal(open_target(name, settings), FATE.get())


engine_open_journal: Final = engine.open_journal
PATCHES: Final = (
    (engine, "open_journal", _open_journal),
    (outbox, "open_target", _open_target),
)
"""Where the engine opens for itself what has to be mortal."""


class Time:
    """The clock of a machine and of its service; who sleeps moves it, and waits not.

    Heartbeats alone wait: they come when others have moved the time so far.
    """

    def __init__(self, move_service: Callable[[float], None]) -> None:
        self.skew = 0.0
        """By how much the wall clock of the machine is wrong."""
        self._move_service = move_service
        self._ahead = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def wall(self) -> float:
        return time.time() + self._ahead + self.skew

    def elapsed(self) -> float:
        return time.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
        self._move_service(seconds)
        while self._sleepers and self._sleepers[0][0] <= self._ahead:
            *_, sleeper = heapq.heappop(self._sleepers)
            if not sleeper.done():
                sleeper.set_result(None)

    async def sleep(self, seconds: float) -> None:
        if seconds != HEARTBEAT:
            self.advance(seconds)
            await asyncio.sleep(0)
            return
        sleeper: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self._ahead + seconds, next(self._numbers), sleeper)
        heapq.heappush(self._sleepers, entry)
        await sleeper


class OwnersClock:
    """The same time for all; but who is dead or stopped does not wake up in it."""

    def __init__(self, time: Time, fate: Fate) -> None:
        self._time = time
        self._fate = fate

    def wall(self) -> float:
        return self._time.wall()

    def elapsed(self) -> float:
        return self._time.elapsed()

    async def sleep(self, seconds: float) -> None:
        await self._time.sleep(seconds)
        await self._fate.step()


async def living(fate: Fate, life: Callable[[], Awaitable[T]]) -> T | None:
    """What came of *life* under *fate*; None when it ended in death."""
    FATE.set(fate)
    task = fate.task = asyncio.current_task()
    assert task is not None
    try:
        return await life()
    except (Died, asyncio.CancelledError):
        if not fate.is_dead:
            raise
        return None
    finally:
        fate.task = None
        while fate.is_dead and task.cancelling():
            task.uncancel()


def quietly(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An exception handler: nobody hears what a death breaks."""
    if not isinstance(context.get("exception"), Died):
        loop.default_exception_handler(context)
