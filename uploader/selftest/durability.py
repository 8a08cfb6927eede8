"""A process that records parts is killed; what it was told to be recorded is there."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Final

from uploader.config import Settings
from uploader.engine import open_journal
from uploader.errors import JournalError
from uploader.journal.health import examine
from uploader.selftest.ground import PATIENCE, last_error
from uploader.selftest.report import Broken, Check, Say

ROUNDS: Final = 3
ENOUGH: Final = 40
"""Acknowledged records of a process before it is killed."""


async def _run(directory: Path, say: Say) -> str:
    journal = directory / "journal.db"
    health = examine(journal)
    if not health.is_durable:
        raise Broken(
            f"journal_mode is {health.mode} and synchronous {health.synchronous}"
            " here; it takes wal and FULL to survive a power cut"
        )
    acknowledged, seconds = 0, 0.0
    for number in range(1, ROUNDS + 1):
        start = time.monotonic()
        told = await _killed_recorder(journal, first=acknowledged + 1)
        seconds += time.monotonic() - start
        acknowledged = max(told)
        recorded = await _recorded(journal)
        if missing := set(range(1, acknowledged + 1)) - recorded:
            raise Broken(f"{len(missing)} acknowledged records are gone after SIGKILL")
        say(f"killed {number} of {ROUNDS} times")
    if not examine(journal).sound:
        raise Broken("SQLite finds the journal damaged after SIGKILL")
    return (
        f"{health.mode}, synchronous={health.synchronous}; {acknowledged} of"
        f" {acknowledged} acknowledged records survived {ROUNDS} SIGKILLs"
    )


DURABILITY: Final = Check("journal", _run)


async def _killed_recorder(journal: Path, first: int) -> list[int]:
    """The numbers that a process printed, each after its record was durable."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader.selftest.recorder", str(journal), str(first)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    told: list[int] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while len(told) < ENOUGH and (line := await process.stdout.readline()):
                told.append(int(line))
        if process.returncode is None and len(told) == ENOUGH:
            process.kill()
        rest, complaint = await process.communicate()
    except TimeoutError:
        raise Broken(f"only {len(told)} records in {PATIENCE:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    # What it printed before it was killed counts; a line that was cut off does not.
    told += [int(line) for line in rest.split(b"\n")[:-1]]
    if process.returncode != -9:
        raise JournalError(f"nothing more could be recorded: {last_error(complaint)}")
    return told


async def _recorded(path: Path) -> set[int]:
    journal = await open_journal(Settings(journal=path))
    try:
        [upload] = await journal.uploads()
    finally:
        await journal.aclose()
    return {*upload.parts}
