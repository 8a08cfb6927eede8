"""Real processes killed at random instants, and many small files with many faults."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import random
import sqlite3
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from tests.command import KEY, Command, finish
from uploader import Settings, Uploader
from uploader.config import RetryPolicy, Timeouts
from uploader.emulator import Emulator, Fault
from uploader.errors import UploaderError
from uploader.model import KIB, MIB

# -- kills --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Killing:
    """One upload that is killed so often."""

    kills: int
    size: int
    part_size: int
    rate: float
    """Bytes per second of one part: slow enough that no life is the last one."""
    most: int
    """Parts that are begun in one life, at most, before it may be killed."""


QUICK = Killing(kills=5, size=8 * MIB, part_size=128 * KIB, rate=MIB / 2, most=6)
LONG = Killing(kills=100, size=512 * MIB, part_size=MIB, rate=4.0 * MIB, most=8)


@pytest.mark.parametrize(
    "killing",
    [
        pytest.param(QUICK, id="5 kills of 8 MiB"),
        pytest.param(
            LONG,
            id="100 kills of 512 MiB",
            marks=[pytest.mark.long, pytest.mark.timeout(1800)],
        ),
    ],
)
async def test_killed_at_random_instants_it_ends_identical_and_sends_nothing_again(
    tmp_path: Path, killing: Killing, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source.bin"
    digests = make(source, killing)
    draw = random.Random(killing.kills)
    journal = tmp_path / "state" / "journal.db"
    seen: list[tuple[int, set[str]]] = []

    async with Emulator(tmp_path / "service") as emulator:
        command = Command(emulator.url, journal)
        slow = Fault(kind="part", do="slow", times=10**6, rate=killing.rate)
        emulator.add_fault(slow)
        size = ("--part-size", str(killing.part_size), "--parallel", "4")
        while len(seen) < killing.kills:
            process = await command.start("upload", str(source), *size)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(process.wait(), draw.uniform(0.2, 1.0))
            if draw.random() < 0.8:
                # Not always while it starts.
                more = draw.randint(1, killing.most)
                await asked_for_more(tmp_path / "service", more, process)
                await asyncio.sleep(draw.uniform(0.0, 0.4))
            assert process.returncode is None, "it was done before its last kill"
            process.kill()
            assert (await finish(process)).returncode == -9
            received = max((r.number for r in emulator.account().receptions), default=0)
            held = {digests[number] for number in recorded(journal)}
            seen.append((received, held))
        emulator.clear_faults()
        done = await command("resume", UPLOADER_TIMEOUTS_SETTLE="0")

        assert done.returncode == 0, done
        assert await contents(emulator.url) == {done.last_line: digest_of(source)}
        account = emulator.account()
    for received, held in seen:
        again = {r.sha256 for r in account.receptions if r.number > received} & held
        assert not again, "a part that the journal held was received again"
    assert len(seen[-1][1]) > 0
    stored = sum(r.bytes for r in account.receptions if r.stored)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{killing.kills} kills of {killing.size // MIB} MiB in"
            f" {len(digests)} parts: {len(seen[-1][1])} held at the last kill,"
            f" {stored / killing.size:.3f} of the file received in all"
        )


async def asked_for_more(service: Path, count: int, process: Process) -> None:
    """Return when so many more parts are, or were, being sent, or *process* ended."""
    query = "SELECT count(*) FROM requests WHERE kind = 'part'"
    with closing(sqlite3.connect(service / "emulator.db")) as db:
        ((before,),) = ((now,),) = db.execute(query).fetchall()
        while now < before + count and process.returncode is None:
            await asyncio.sleep(0.02)
            ((now,),) = db.execute(query).fetchall()


def make(path: Path, killing: Killing) -> dict[int, str]:
    """Write a source of parts that are all different; return their digests."""
    digests, body = {}, random.Random(1).randbytes(killing.part_size)
    with path.open("wb") as file:
        for number in range(1, killing.size // killing.part_size + 1):
            part = number.to_bytes(8, "big") + body[8:]
            file.write(part)
            digests[number] = hashlib.sha256(part).hexdigest()
    return digests


def recorded(journal: Path) -> set[int]:
    """The parts that the journal holds."""
    if not journal.exists():
        return set()
    with closing(sqlite3.connect(journal)) as db:
        try:
            return {number for (number,) in db.execute("SELECT number FROM parts")}
        except sqlite3.OperationalError:
            # It was killed before it had made its tables.
            return set()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def contents(url: str) -> dict[str, str]:
    """Every file of the service, with the digest of its content."""
    found = {}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{url}/files") as answer:
            ids = [file["id"] for file in (await answer.json())["data"]]
        for file_id in ids:
            digest = hashlib.sha256()
            async with session.get(f"{url}/files/{file_id}/content") as answer:
                async for chunk in answer.content.iter_chunked(MIB):
                    digest.update(chunk)
            found[file_id] = digest.hexdigest()
    return found


# -- many small files ---------------------------------------------------------

BATCH = 100
REQUESTS = 4
"""Of each file: create, part, complete, and a look at what came of it."""


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(200, id="200 files"),
        pytest.param(
            10_000,
            id="10,000 files",
            marks=[pytest.mark.long, pytest.mark.timeout(3600)],
        ),
    ],
)
async def test_of_many_small_files_none_is_lost_or_doubled_and_nothing_grows(
    tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """With faults at five of a hundred requests."""
    draw = random.Random(count)
    place = tmp_path / "sources"
    place.mkdir()
    used: list[tuple[float, int]] = []
    faults = 0

    async with uploading(tmp_path) as (emulator, uploader):
        slots = asyncio.Semaphore(16)

        async def upload(path: Path) -> None:
            async with slots:
                for _ in range(20):
                    try:
                        await uploader.upload(path)
                    except UploaderError:
                        continue
                    return
                raise AssertionError(f"{path.name} was never uploaded")

        for start in range(0, count, BATCH):
            paths = [place / f"{start + number}.bin" for number in range(BATCH)]
            for path in paths:
                path.write_bytes(f"content of {path.name}".encode() * 20)
            script = [random_fault(draw) for _ in range(BATCH * REQUESTS // 20)]
            faults += len(script)
            emulator.add_entries(script)
            async with asyncio.TaskGroup() as group:
                for path in paths:
                    group.create_task(upload(path))
            emulator.clear_faults()
            gc.collect()
            used.append((resident(), descriptors()))
        made = made_files(tmp_path / "service")

    assert made == {
        f"{number}.bin": [f"content of {number}.bin".encode() * 20]
        for number in range(count)
    }
    # Caches fill up in the beginning.
    early, late = used[len(used) // 5], used[-1]
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{count} files, {faults} faults: resident {early[0]:.1f} →"
            f" {late[0]:.1f} MiB, descriptors {early[1]} → {late[1]}"
        )
    assert late[0] - early[0] < 24
    assert late[1] <= early[1] + 32


@asynccontextmanager
async def uploading(directory: Path) -> AsyncIterator[tuple[Emulator, Uploader]]:
    async with Emulator(directory / "service") as emulator:
        settings = Settings(
            base_url=emulator.url,
            api_key=KEY,
            journal=directory / "state" / "journal.db",
            retry=RetryPolicy(backoff_initial=0.001, backoff_max=0.002, max_attempts=4),
            timeouts=Timeouts(settle=0.0),
        )
        async with Uploader(settings) as uploader:
            yield emulator, uploader


def random_fault(draw: random.Random) -> dict[str, object]:
    return {
        "kind": draw.choice(["create", "part", "complete", "file_get"]),
        "nth": draw.randint(1, BATCH),
        "do": draw.choice(["status", "reset", "truncate"]),
        "when": draw.choice(["before", "after"]),
        "status": draw.choice([408, 429, 500, 502, 503]),
    }


def made_files(service: Path) -> dict[str, list[bytes]]:
    """The contents of all files at the service, by name."""
    found: dict[str, list[bytes]] = {}
    with closing(sqlite3.connect(service / "emulator.db")) as db:
        rows = db.execute(
            "SELECT filename, content FROM files"
            " JOIN pieces ON pieces.file_id = files.id"
        )
        for name, content in rows:
            body = (service / "content" / content).read_bytes()
            found.setdefault(name, []).append(body)
    return found


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident() -> float:
    """MiB of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB
