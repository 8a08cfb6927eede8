"""Random faults at random requests, as long as somebody likes; the seed repeats them."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import Any, Final

from uploader.emulator import Fault
from uploader.selftest.ground import ground
from uploader.selftest.killing import PART_SIZE
from uploader.selftest.report import Broken, Check, Say

KINDS: Final = ("any", "create", "part", "complete", "file_get", "file_list")
STATUSES: Final = (408, 429, 500, 502, 503, 504)
FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"do": "kill"},
    {"do": "kill"},
    {"do": "reset"},
    {"do": "truncate"},
    {"do": "slow", "rate": 500_000.0},
    {"do": "stall", "seconds": 0.2},
    *({"do": "status", "status": status} for status in STATUSES),
)
MOST_PARTS: Final = 8
MOST_FAULTS: Final = 5
MOST_RUNS: Final = 3 * MOST_FAULTS
"""Each fault ends a run at most once, and a run that got no answer gives up."""


def chaos_check(seconds: float, seed: int | None = None) -> Check:
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)

    async def run(directory: Path, say: Say) -> str:
        say(f"seed {seed}, for {seconds:.0f} s")
        until, uploads, faults, runs = time.monotonic() + seconds, 0, 0, 0
        told = time.monotonic()
        while uploads == 0 or time.monotonic() < until:
            uploads += 1
            draw = random.Random(f"{seed}/{uploads}")
            try:
                hit, ran = await _one(directory / str(uploads), draw)
            except Broken as broken:
                raise Broken(f"seed {seed}, upload {uploads}: {broken}") from None
            shutil.rmtree(directory / str(uploads))
            faults, runs = faults + hit, runs + ran
            if time.monotonic() - told > 10:
                told = time.monotonic()
                say(f"{uploads} uploads, {faults} faults, {runs} runs")
        return (
            f"seed {seed}: {uploads} uploads with {faults} faults in {runs} runs; every"
            " file is there once and identical, and no recorded part was sent again"
        )

    return Check("chaos", run)


def random_faults(draw: random.Random, requests: int) -> list[Fault]:
    return [
        Fault(
            kind=draw.choice(KINDS),
            nth=draw.randint(1, requests),
            when=draw.choice(("before", "after")),
            **draw.choice(FAULTS),
        )
        for _ in range(draw.randint(1, MOST_FAULTS))
    ]


async def _one(scratch: Path, draw: random.Random) -> tuple[int, int]:
    """How many faults struck, and how many processes it took."""
    scratch.mkdir()
    parts = draw.randint(1, MOST_PARTS)
    content = os.urandom(parts * PART_SIZE - draw.randrange(PART_SIZE))
    faults = random_faults(draw, requests=parts + 2)
    async with ground(scratch, content, PART_SIZE) as site:
        for fault in faults:
            site.emulator.add_fault(fault)
        ended = await site.upload()
        for run in range(1, MOST_RUNS + 1):
            if ended.code == 0:
                left = site.emulator.account().faults_left
                site.emulator.clear_faults()
                await site.check_file()
                return len(faults) - len(left), run
            # Killed, or the service was not there for it: both may be resumed.
            if ended.code not in (-9, 5):
                raise Broken(f"it ended with {ended.code}: {ended.complaint}")
            recorded, before = await site.recorded(), len(site.received())
            # To upload it again is to resume it, if the journal knew of it already.
            ended = await site.upload()
            if recorded.intersection(site.received()[before:]):
                raise Broken("recorded parts were sent again")
    raise Broken(f"it was not done after {MOST_RUNS} runs: {ended.complaint}")
