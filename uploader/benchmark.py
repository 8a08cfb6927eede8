"""How fast it goes on this machine and link, what limits it, and what would help."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from uploader import events
from uploader.config import Settings
from uploader.digest import new_digest
from uploader.engine import Uploader
from uploader.model import MIB
from uploader.tables import size as text

SAMPLE: Final = 64 * MIB
"""What disk and digests are measured with."""

BUSY: Final = 0.85
"""A share of a limit that counts as reaching it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Rates are bytes per second; *limit* is the number of parts at once it came to."""

    rate: float
    limit: int
    most: int
    size: int
    processor: float
    """Share of one processor that was used while sending."""
    disk: float
    md5: float | None
    """None when the service is told no MD5."""
    throttled: int = 0
    retried: int = 0


@dataclass(slots=True)
class Watch:
    """An observer that counts what went wrong."""

    throttled: int = 0
    retried: int = 0
    failures: list[str] = field(default_factory=list)

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.BackingOff):
            self.retried += 1
            self.throttled += "HTTP 429" in event.reason


async def measure(settings: Settings, *, size: int, directory: Path) -> Measures:
    """Upload *size* random bytes from a file in *directory*; both are removed again."""
    watch = Watch()
    with tempfile.NamedTemporaryFile(dir=directory, suffix=".bin") as file:
        _fill(Path(file.name), size)
        disk = _rate(lambda: _read(Path(file.name)))
        async with Uploader(settings, observers=[watch]) as uploader:
            processor, start = time.process_time(), time.perf_counter()
            done = await uploader.upload(file.name, purpose="user_data")
            seconds = time.perf_counter() - start
            processor = time.process_time() - processor
            machine = await uploader.machine()
            await machine.backend.delete_file(done.file_id)
    return Measures(
        rate=size / seconds,
        limit=machine.slots.limit,
        most=settings.parallel,
        size=size,
        processor=processor / seconds,
        disk=disk,
        md5=_rate(lambda: _digest("md5")) if settings.md5 != "off" else None,
        throttled=watch.throttled,
        retried=watch.retried,
    )


def advise(measures: Measures) -> tuple[str, str]:
    """What limits the rate, and what follows from it."""
    rate = measures.rate
    if measures.throttled:
        return (
            f"the service: it asked for less {measures.throttled} times",
            "nothing on this side helps; fewer uploads at the same time may",
        )
    if measures.md5 is not None and rate >= BUSY * measures.md5:
        return (
            f"the MD5 of the whole file: {text(measures.md5)}/s on this processor",
            "--md5 off is faster, and gives up the service's own check of the content",
        )
    if rate >= BUSY * measures.disk:
        return (
            f"the disk: {text(measures.disk)}/s",
            "upload from a faster disk",
        )
    if measures.processor >= BUSY:
        return (
            f"the processor: {100 * measures.processor:.0f} % of one was used",
            "--digest off, or uvloop, costs less; a second process uses a second one",
        )
    if measures.limit >= measures.most:
        each = text(rate / measures.limit)
        return (
            f"the rate of each connection: {each}/s, and {measures.most} are allowed",
            f"--parallel {2 * measures.most} may help",
        )
    if measures.retried:
        return (
            f"the link loses connections: {measures.retried} parts were repeated",
            "smaller parts lose less: --part-size 4MiB",
        )
    return (
        f"the link, or the service: {measures.limit} parts at once are enough for it",
        "nothing on this side helps",
    )


def report(measures: Measures) -> Iterator[str]:
    """The measures for people, one line each."""
    what, advice = advise(measures)
    yield f"{'rate':<14}{text(measures.rate)}/s over {text(measures.size)}"
    yield f"{'at once':<14}{measures.limit} parts (at most {measures.most})"
    yield f"{'processor':<14}{100 * measures.processor:.0f} % of one"
    yield f"{'disk':<14}{text(measures.disk)}/s, as far as it is not cached"
    if measures.md5 is not None:
        yield f"{'md5':<14}{text(measures.md5)}/s"
    yield f"{'retries':<14}{measures.retried}, of them {measures.throttled} for a 429"
    yield f"{'limited by':<14}{what}"
    yield f"{'advice':<14}{advice}"


def _fill(path: Path, size: int) -> None:
    with path.open("wb") as file:
        block = os.urandom(min(size, 8 * MIB))
        for left in range(size, 0, -len(block)):
            file.write(block[:left])


def _rate(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    count = work()
    return count / max(time.perf_counter() - start, 1e-9)


def _read(path: Path) -> int:
    count = 0
    with path.open("rb", buffering=0) as file:
        while count < SAMPLE and (piece := file.read(MIB)):
            count += len(piece)
    return count


def _digest(name: str) -> int:
    digest, piece = new_digest(name), bytes(MIB)
    for _ in range(SAMPLE // MIB):
        digest.update(piece)
    return SAMPLE
