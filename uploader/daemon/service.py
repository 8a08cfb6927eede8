"""The daemon itself: it looks, carries, reloads, drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from uploader.clock import SystemClock
from uploader.config import Settings
from uploader.daemon import aside, systemd
from uploader.daemon.arrivals import Arrival, Arrivals, arrival_id
from uploader.daemon.courier import Courier
from uploader.daemon.desk import Desk
from uploader.daemon.lookout import Lookout
from uploader.daemon.metrics import Metrics
from uploader.daemon.notifying import Notifier
from uploader.daemon.rules import Orders, Rule, Ways, read_orders
from uploader.daemon.turns import Turns
from uploader.daemon.watching import watch
from uploader.daemon.web import Door
from uploader.engine import Uploader
from uploader.errors import SomeFailed, UploaderError, UsageError
from uploader.events import Observer
from uploader.message import Attachment
from uploader.model import Fingerprint, Unfinished, Upload
from uploader.scheduler import together

logger = logging.getLogger("uploader")

TICK: Final = 1.0
LAST_WORDS: Final = 5.0
"""Seconds that notifications get when the daemon ends."""

ONCE_PATIENCE: Final = 150.0
"""With `--once` a file that grows is waited for so long, and no longer."""

NOTHING: Final = Fingerprint(size=0, mtime_ns=0, ctime_ns=0, device=0, inode=0)


class Daemon:
    """Whatever arrives in the folders of *file*'s rules is uploaded."""

    def __init__(
        self,
        settings: Settings,
        file: Path,
        *,
        say: Callable[[str], None],
        observers: tuple[Observer, ...] = (),
        once: bool = False,
        overrides: dict[str, object] | None = None,
    ) -> None:
        self._settings = settings
        self._file = file
        self._say = say
        self._observers = observers
        self._once = once
        self._overrides = overrides or {}
        self.orders = self._read()
        self._clock = SystemClock()
        self.arrivals = Arrivals(self._clock)
        self.metrics = Metrics(
            self.arrivals, self._clock, lambda: self.desk.turns.paused_services()
        )
        self.desk: Desk
        self.lookout = Lookout(
            self.orders, self.arrivals, self._clock, settings.backend
        )
        self._notifier = Notifier(
            self._clock,
            told=lambda outcome: self.metrics.notifications.labels(outcome).inc(),
        )
        self._notifier.notify = self.orders.notify
        self._news = asyncio.Event()
        self._dirty = True
        self._stopping = False
        self._watches: list[asyncio.Task[None]] = []
        self.is_ready = False
        self._limit_rate = settings.limit_rate

    async def run(self) -> None:
        """Until a signal, or with *once* until there is nothing left to do.

        Raises `SomeFailed` when a file failed for good in a single run.
        """
        observers: tuple[Observer, ...] = (
            self.arrivals,
            self.metrics,
            *self._observers,
        )
        async with Uploader(self._settings, observers=observers) as uploader:
            self.desk = self._desk(uploader)
            async with (
                together() as group,
                self._company(group),
                self._signals(uploader),
            ):
                await self._prepare(uploader)
                self._say_ready()
                await self._work(group)
                self._say("ending")
                systemd.notify(STOPPING=1)
                uploader.drain()
                while self.desk.tasks:
                    await asyncio.wait(self.desk.tasks.values())
                await self._notifier.drain(LAST_WORDS)
        if self._once and self.desk.failed:
            raise SomeFailed(f"{self.desk.failed} failed, and are in quarantine")

    def _desk(self, uploader: Uploader) -> Desk:
        return Desk(
            courier=Courier(uploader, self.orders, self._notifier),
            turns=Turns(self.arrivals, self._clock),
            arrivals=self.arrivals,
            metrics=self.metrics,
            notifier=self._notifier,
            clock=self._clock,
            wake=self._news.set,
            forget=self.lookout.forget,
        )

    # -- what the page and the API ask ----------------------------------------------

    @property
    def now(self) -> float:
        return self._clock.wall()

    @property
    def limit_rate(self) -> int | None:
        return self._limit_rate

    def set_rate(self, rate: int | None) -> None:
        """Bytes per second over all uploads.  Raises `ValueError`."""
        self.desk.courier.uploader.limit_rate(rate)
        self._limit_rate = rate

    def services(self) -> set[str]:
        """Of the rules, and of what is under way."""
        ruled = {self.lookout.service_of(rule) for rule in self.orders.rules}
        return ruled | {arrival.service for arrival in self.arrivals}

    def submit(self, path: Path, rule: Rule) -> Arrival:
        return self.desk.take(path, rule, self.lookout.service_of(rule))

    # -- the loop -----------------------------------------------------------------

    async def _work(self, group: asyncio.TaskGroup) -> None:
        began = rescanned = self._clock.elapsed()
        wait: float | None = 0.0
        look_at = began
        while not self._stopping:
            self._news.clear()
            now = self._clock.elapsed()
            overdue = now - rescanned >= self.orders.ways.rescan
            if self._dirty or overdue or now >= look_at:
                self._dirty = False
                rescanned = now
                wait = await self.lookout.look()
                self.metrics.scans.inc()
                look_at = now + (self.orders.ways.rescan if wait is None else wait)
            self.desk.fill(group, at_once=self.orders.ways.at_once)
            if self._once and self._is_through(now - began):
                return
            await self._news_within(max(0.05, look_at - self._clock.elapsed()))

    def _is_through(self, seconds: float) -> bool:
        if self.desk.tasks:
            return False
        if self.lookout.is_growing and seconds < ONCE_PATIENCE:
            return False
        now = self._clock.wall()
        return self.desk.turns.pick(now=now) is None

    async def _news_within(self, seconds: float) -> None:
        at = self.desk.turns.next_at()
        if at is not None:
            seconds = min(seconds, max(0.05, at - self._clock.wall()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def changed(self) -> None:
        """Something happened in a folder."""
        self._dirty = True
        self._news.set()

    # -- beginning ----------------------------------------------------------------

    async def _prepare(self, uploader: Uploader) -> None:
        """Take up what an earlier run left, before anything new."""
        for rule in self.orders.rules:
            if not rule.folder.is_dir():
                self._say(f"{rule.folder} is not there; it is waited for")
            await asyncio.to_thread(aside.sweep, rule.folder, recursive=rule.recursive)
        try:
            left = await uploader.resumable()
        except UsageError:
            left = []  # Nothing, and no key for the default service either.
        for unfinished in left:
            arrival = await self._arrival_of(uploader, unfinished)
            if arrival is not None:
                self.arrivals.add(arrival)

    async def _arrival_of(
        self, uploader: Uploader, unfinished: Unfinished
    ) -> Arrival | None:
        noun: Upload | Attachment
        if unfinished.is_attachment:
            noun = await uploader.find_attachment(unfinished.id)
            members = [name for name in noun.spec.members if isinstance(name, str)]
            upload = await uploader.find(members[0]) if members else None
            path = upload.identity.path if upload else Path(f"/{noun.spec.target}")
            service = noun.spec.service
        else:
            noun = upload = await uploader.find(unfinished.id)
            path, service = noun.identity.path, noun.identity.service
        return Arrival(
            id=arrival_id(path),
            path=path,
            rule=self.orders.rule_of(path),
            service=service.split()[0],
            size=upload.spec.size if upload else 0,
            sent=upload.sent_bytes if upload else 0,
            fingerprint=upload.fingerprint if upload else NOTHING,
            arrived_at=noun.created_at,
            resume=noun.id,
            upload=upload.id if upload else None,
        )

    def _say_ready(self) -> None:
        self.is_ready = True
        count = len(self.orders.rules)
        self._say(f"watching for {count} rule{'s' * (count > 1)}")
        systemd.notify(READY=1, STATUS=f"{count} rules")

    # -- company --------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _company(self, group: asyncio.TaskGroup) -> AsyncIterator[None]:
        """Watches, notifications, the chart and the door; all end with the block."""
        company = [
            group.create_task(self._notifier.run()),
            group.create_task(self._tick()),
        ]
        if not self._once:
            self._watch(group)
        ways = self.orders.ways
        door = Door(self, ways.listen, ways.token_file) if ways.listen else None
        try:
            if door is not None:
                await door.open(self._say)
            yield
        finally:
            self.is_ready = False
            if door is not None:
                await door.close()
            for task in (*company, *self._watches):
                task.cancel()

    def _watch(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        for task in self._watches:
            task.cancel()
        folders = {rule.folder: False for rule in self.orders.rules}
        for rule in self.orders.rules:
            folders[rule.folder] |= rule.recursive
        self._watches = [
            group.create_task(
                watch(folder, self.changed, self._clock, recursive=recursive)
            )
            for folder, recursive in folders.items()
        ]

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(TICK)
            self.arrivals.tick()

    # -- signals ----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _signals(self, uploader: Uploader) -> AsyncIterator[None]:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop() -> None:
            if self._stopping:
                task.cancel()
            self._stopping = True
            self._say("draining; once more stops at once")
            uploader.drain()
            self._news.set()

        handlers = {signal.SIGTERM: stop, signal.SIGINT: stop}
        if hasattr(signal, "SIGHUP"):
            handlers[signal.SIGHUP] = self.reload
        for number, handler in handlers.items():
            with contextlib.suppress(NotImplementedError):
                loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                with contextlib.suppress(NotImplementedError):
                    loop.remove_signal_handler(number)

    def reload(self) -> None:
        """Read the rules again; a broken file is refused, and the old ones stay."""
        systemd.reloading()
        try:
            orders = self._read()
        except UploaderError as error:
            self.metrics.reloads.labels("refused").inc()
            self._say(f"the old rules stay: {error}")
            systemd.notify(READY=1)
            return
        self.metrics.reloads.labels("done").inc()
        self.orders = self.desk.courier.orders = self.lookout.orders = orders
        self._notifier.notify = orders.notify
        self.desk.turns.ask_again()
        if not self._once:
            self._watch(self._group)
        self.changed()
        self._say_ready()

    def _read(self) -> Orders:
        orders = read_orders(self._file, self._settings)
        ways: Ways = replace(orders.ways, **self._overrides)  # type: ignore[arg-type]
        return replace(orders, ways=ways)
