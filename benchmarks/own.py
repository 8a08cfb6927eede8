"""`uploader` as a library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import crowd
from benchmarks.measure import Figures, Meter
from benchmarks.task import KEY, Task
from uploader import Event, Settings, Uploader, events

BEAT: Final = 0.002
"""Seconds between two beats of the heart that shows how late the loop is."""

FILES_AT_ONCE: Final = 32


class Progress:
    """An observer that knows what a progress bar has to know."""

    def __init__(self) -> None:
        self.sent: dict[int, int] = {}
        self.parts = 0
        self.backoffs = 0
        self.payload = 0
        self.journal_cpu = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case events.PartProgressed():
                self.sent[event.number] = event.sent
            case events.PartSent():
                self.parts += 1
            case events.BackingOff():
                self.backoffs += 1

    @property
    def figures(self) -> Figures:
        return {
            "parts": float(self.parts),
            "payload": float(self.payload),
            "backoffs": float(self.backoffs),
            "journal_cpu": self.journal_cpu,
        }


class Heart:
    """Beats as often as it may, and notes how long it had to wait."""

    def __init__(self) -> None:
        self._late: list[float] = []

    async def beat(self) -> None:
        while True:
            due = time.perf_counter() + BEAT
            await asyncio.sleep(BEAT)
            self._late.append(time.perf_counter() - due)

    @property
    def figures(self) -> Figures:
        if not self._late:
            return {}
        return {"lag_max": max(self._late), "lag_median": median(self._late)}


def shipped(task: Task, meter: Meter) -> Figures:
    """Journal, digests and progress on."""
    return _run(task, lambda settings: _send(task, settings))


def digests_off(task: Task, meter: Meter) -> Figures:
    return _run(task, lambda settings: _send(task, settings), digest="off", md5="off")


def stopped(task: Task, meter: Meter) -> Figures:
    """Half of it in a process that dies, and then the rest, which is what counts."""
    with tempfile.TemporaryDirectory() as state:
        journal = str(Path(state) / "journal.db")
        if (first := os.fork()) == 0:
            _run(task, lambda settings: _send_half(task, settings), journal=journal)
            os._exit(1)
        _, status = os.waitpid(first, 0)
        assert status == 0, "it ended before it was stopped"
        meter.start()
        return _run(task, lambda settings: _send(task, settings), journal=journal)


def plan_resume(task: Task, meter: Meter) -> Figures:
    """Find what is to be resumed among 100,000 parts of 12,500 uploads."""

    async def work(settings: Settings) -> Figures:
        async with Uploader(settings) as one:
            await one.upload(task.path)
            crowd.multiply(settings.journal)
            meter.start()
            uploads = await one.resumable()
            planned = meter.read()["wall"]
        # A figure about a journal that was read as something else is worth nothing.
        assert len(uploads) == crowd.UPLOADS, f"{len(uploads)} uploads found"
        return {"planned": planned}

    return _run(task, work)


def _run(
    task: Task, work: Callable[[Settings], Coroutine[Any, Any, Figures]], **given: Any
) -> Figures:
    with tempfile.TemporaryDirectory() as state:
        own: dict[str, Any] = {
            "base_url": task.url,
            "api_key": KEY,
            "ca_bundle": task.ca,
            "journal": str(Path(state) / "journal.db"),
            "part_size": task.part_size,
            "parallel": task.parallel,
        }
        settings = Settings.load(file=Path(os.devnull), environ={}, **(own | given))
        factory = import_module("uvloop").new_event_loop if task.uvloop else None
        with asyncio.Runner(loop_factory=factory) as runner:
            figures = runner.run(work(settings))
    return figures


async def _send(task: Task, settings: Settings) -> Figures:
    progress, heart = Progress(), Heart()
    async with Uploader(settings, observers=[progress]) as one:
        beating = asyncio.create_task(heart.beat()) if task.lag else None
        slots = asyncio.Semaphore(FILES_AT_ONCE)

        async def send(path: Path) -> None:
            async with slots:
                file = await one.upload(path)
                progress.payload += file.receipt.bytes_sent

        await asyncio.gather(*map(send, task.paths))
        if beating is not None:
            beating.cancel()
        # Soon after this its thread, and what it cost, is gone.
        progress.journal_cpu = _cpu_of_thread("journal")
    return progress.figures | heart.figures


async def _send_half(task: Task, settings: Settings) -> Figures:
    sent = 0

    def die_at_half(event: Event) -> None:
        nonlocal sent
        if isinstance(event, events.PartSent):
            sent += event.size
            if sent >= task.size / 2:
                os._exit(0)

    async with Uploader(settings, observers=[die_at_half]) as one:
        await one.upload(task.path)
    return {}


def _cpu_of_thread(name: str) -> float:
    """Seconds that the threads of this name ran; 0 where the system does not tell."""
    spent = 0.0
    for thread in threading.enumerate():
        if thread.name == name:
            with contextlib.suppress(OSError):
                path = Path(f"/proc/self/task/{thread.native_id}/schedstat")
                spent += int(path.read_text().split()[0]) / 1e9
    return spent
