"""A queue of 100,000 uploads: how long start, list and pick-next take.

python -m benchmarks.queue [ROWS]
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from uploader.clock import SystemClock
from uploader.journal import SqliteJournal
from uploader.model import Fingerprint, Identity, Plan, UploadSpec
from uploader.record import Entry

ROWS: Final = 100_000
SERVICE: Final = "openai https://api.openai.com/v1"
MONTH: Final = 30 * 86_400.0
LIMIT: Final = 1.0
"""Seconds that none of the looks may take."""


def entry(number: int) -> Entry:
    path = Path(f"/data/incoming/{number % 100:02}/request-{number:06}.jsonl")
    size = 1024 + number
    return Entry(
        identity=Identity(
            service=SERVICE, path=path, purpose="batch", filename=path.name
        ),
        spec=UploadSpec(
            filename=path.name, purpose="batch", size=size, mime_type="text/jsonl"
        ),
        fingerprint=Fingerprint(
            size=size, mtime_ns=number, ctime_ns=number, device=1, inode=number
        ),
        plan=Plan.of_sizes([size]),
        priority=number % 5,
    )


@dataclass(slots=True)
class Figures:
    """Seconds by the clock, and of processor time: on a busy machine the latter tells."""

    taken: dict[str, tuple[float, float]] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        began, used = time.perf_counter(), processor_time()
        yield
        self.taken[name] = time.perf_counter() - began, processor_time() - used


def processor_time() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


async def measure(path: Path, rows: int) -> Figures:
    figures = Figures()

    async def opened() -> SqliteJournal:
        return await SqliteJournal.open(
            path, clock=SystemClock(), lease_ttl=30.0, keep_finished=MONTH
        )

    journal = await opened()
    entries = [entry(number) for number in range(rows)]
    with figures.of("queue all in one go"):
        batch, _ = await journal.enqueue(entries, now=time.time())
    await journal.aclose()

    with figures.of("start"):
        journal = await opened()
        await journal.uploads(unfinished=True, queued=False)
    with figures.of("pick next"):
        [first] = await journal.next_queued()
    with figures.of("pick and claim next"):
        await journal.take((await journal.next_queued(batch=batch))[0].id, now=0.0)
    with figures.of("pick next, its service paused"):
        await journal.next_queued(but=[first.service])
    with figures.of("sum the batch up"):
        await journal.batch(batch)
    await journal.aclose()
    return figures


def listed(journal: Path, *arguments: str) -> None:
    environ = {**os.environ, "UPLOADER_JOURNAL": str(journal)}
    subprocess.run(
        [sys.executable, "-m", "uploader", "list", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env=environ,
    )


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal.db"
        figures = asyncio.run(measure(path, rows))
        with figures.of("uploader list"):
            listed(path)
        with figures.of("uploader list --batches"):
            listed(path, "--batches")
        with figures.of("uploader list --json"):
            listed(path, "--json")
        size = path.stat().st_size
    print(f"{rows} rows, {size / 1e6:.0f} MB")
    print(f"{'':<32}{'by the clock':>14}{'processor':>14}")
    for name, (elapsed, used) in figures.taken.items():
        print(f"{name:<32}{elapsed:>12.3f} s{used:>12.3f} s")
    # Writing all of them down, or out, is not a look.
    looks = figures.taken.keys() - {"queue all in one go", "uploader list --json"}
    if slow := [name for name in sorted(looks) if figures.taken[name][1] > LIMIT]:
        sys.exit(f"over {LIMIT:g} s: {', '.join(slow)}")


if __name__ == "__main__":
    main()
