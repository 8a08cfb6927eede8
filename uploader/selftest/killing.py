"""A real process is killed at every request, before and after it took effect."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from uploader.emulator import Fault
from uploader.model import KIB
from uploader.selftest.ground import Ground, ground
from uploader.selftest.report import Broken, Check, Say

PART_SIZE: Final = 64 * KIB
PARTS: Final = 4
AT_ONCE: Final = 4

Case = tuple[int, Literal["before", "after"]]


def killing_check(parts: int = PARTS) -> Check:
    requests = 1 + parts + 1
    cases: list[Case] = [
        (nth, when) for nth in range(1, requests + 1) for when in ("before", "after")
    ]

    async def run(directory: Path, say: Say) -> str:
        await _all(directory, cases, parts, say)
        return (
            f"{len(cases)} of {len(cases)} uploads of {parts} parts; every file is"
            " identical, and no recorded part was sent again"
        )

    return Check("kill at every request, and resume", run)


async def _all(directory: Path, cases: Sequence[Case], parts: int, say: Say) -> None:
    places = asyncio.Semaphore(min(AT_ONCE, os.cpu_count() or 1))
    done = 0

    async def one(case: Case) -> None:
        nonlocal done
        async with places:
            nth, when = case
            scratch = directory / f"{nth}-{when}"
            try:
                await _one(scratch, case, parts)
            except Broken as broken:
                raise Broken(
                    f"killed at request {nth}, {when} it took effect: {broken}"
                ) from None
            shutil.rmtree(scratch)
            done += 1
            if done % 4 == 0:
                say(f"{done} of {len(cases)}")

    try:
        async with asyncio.TaskGroup() as group:
            for case in cases:
                group.create_task(one(case))
    except ExceptionGroup as several:
        # The first says enough; the others were stopped by it or fail alike.
        raise several.exceptions[0] from None


async def _one(scratch: Path, case: Case, parts: int) -> None:
    nth, when = case
    scratch.mkdir()
    content = os.urandom(parts * PART_SIZE - 1000)
    async with ground(scratch, content, PART_SIZE) as site:
        site.emulator.add_fault(Fault(kind="any", nth=nth, do="kill", when=when))
        killed = await site.upload()
        if killed.code != -9:
            raise Broken(
                f"it was not killed, but ended with {killed.code}: {killed.complaint}"
            )
        await resume_without_repeating(site)
        await site.check_file()


async def resume_without_repeating(site: Ground) -> None:
    """Resume once; what the journal holds must not be sent again."""
    recorded, before = await site.recorded(), len(site.received())
    resumed = await site.resume()
    if resumed.code != 0:
        raise Broken(f"resume ended with {resumed.code}: {resumed.complaint}")
    if again := recorded.intersection(site.received()[before:]):
        raise Broken(f"{len(again)} recorded parts were sent again")
