"""The daemon killed again and again: each good file once, each bad one put away."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import random
import signal
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemon.conftest import Yard, until

KIB, MIB = 1024, 1024 * 1024


def broken(number: int, chance: random.Random) -> bytes:
    """A batch that a service would refuse: not JSON, a line twice, or nothing."""
    line = json.dumps(
        {"custom_id": f"{number}", "method": "POST", "url": "/v1/x", "body": {}}
    ).encode()
    return chance.choice([b"", b"{not json\n", line + b"\n" + line + b"\n"])


def fill(yard: Yard, count: int, total: int, largest: int) -> list[Path]:
    """Drop *count* files, log-uniform in size, of *total* bytes in all."""
    chance = random.Random(11)
    sizes = [
        int(math.exp(chance.uniform(math.log(KIB), math.log(largest))))
        for _ in range(count)
    ]
    share = min(1.0, total / sum(sizes))
    sizes = [max(64, int(size * share)) for size in sizes]
    good: list[Path] = []
    for number, size in enumerate(sizes):
        if number % 15 == 7:
            yard.drop(f"{number}.jsonl", broken(number, chance))
        elif number % 15 == 11:
            # The same name and content in another folder.
            other = good[chance.randrange(len(good))]
            good.append(yard.drop(f"again-{number}/{other.name}", other.read_bytes()))
        else:
            good.append(yard.drop(f"{number}.bin", chance.randbytes(size)))
    return good


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def kill_again_and_again(yard: Yard, kills: int, every: int) -> None:
    """Kill at every so many requests, in whatever state that is."""
    for _ in range(kills):
        goal = len(yard.emulator.account().requests) + every
        async with yard.running() as daemon:
            await _asked(yard, goal)
            await daemon.kill()


async def _asked(yard: Yard, requests: int) -> None:
    await until(lambda: len(yard.emulator.account().requests) >= requests, seconds=600)


async def check(yard: Yard, count: int, total: int, largest: int, kills: int) -> None:
    jsonl = yard.rule(
        name="batches", pattern="*.jsonl", purpose="batch", recursive=True
    )
    rest = yard.rule(name="rest", recursive=True, reuse=True)
    yard.write(jsonl, rest)
    good = fill(yard, count, total, largest)
    wanted = {digest_of(path) for path in good}
    names = {path.relative_to(yard.inbox) for path in good}

    await kill_again_and_again(yard, kills, every=max(10, count // kills))
    async with yard.running() as daemon:
        await until(
            lambda: not [path for path in yard.inbox.rglob("*") if path.is_file()],
            seconds=1800,
        )
        before = Held.by(daemon.process.pid)
        yard.drop("one more.bin", b"more")
        await until(lambda: (yard.done / "one more.bin").exists())
        after = Held.by(daemon.process.pid)
        daemon.send(signal.SIGTERM)
        assert await daemon.ended() == 0

    sent = Counter(await yard.digests())
    assert set(sent) == wanted | {hashlib.sha256(b"more").hexdigest()}
    assert max(sent.values()) == 1
    moved = {path.relative_to(yard.done) for path in yard.done.rglob("*.bin")}
    assert moved == names | {Path("one more.bin")}
    assert len(yard.reasons()) == len([n for n in range(count) if n % 15 == 7])
    assert all(reason["error"] for reason in yard.reasons().values())
    assert not list(yard.inbox.rglob(".*"))
    assert after.descriptors <= before.descriptors + 8
    assert after.memory < 300 * MIB


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds: open files, and bytes of memory at most so far."""

    descriptors: int
    memory: int

    @classmethod
    def by(cls, pid: int) -> Held:
        status = Path(f"/proc/{pid}/status").read_text()
        (peak,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return cls(fds, int(peak.split()[1]) * KIB)


async def test_sixty_files_and_three_kills(yard: Yard) -> None:
    await check(yard, 60, 6 * MIB, 1 * MIB, 3)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_two_thousand_files_of_three_gibibytes_and_ten_kills(yard: Yard) -> None:
    await check(yard, 2000, 3 * 1024 * MIB, 100 * MIB, 10)


async def test_a_result_that_was_not_delivered_yet_comes_again(yard: Yard) -> None:
    """Killed while `complete` is answered: nothing is sent twice."""
    yard.drop("a.bin", b"x" * 1000)
    async with yard.running() as daemon:
        yard.emulator.client_pid = daemon.process.pid
        yard.emulator.add_entries([{"kind": "complete", "do": "kill", "when": "after"}])
        assert await daemon.ended() == -9
    yard.emulator.client_pid = None
    async with asyncio.timeout(60):
        done = await yard.once()

    assert done.returncode == 0, done
    assert await yard.contents() == [b"x" * 1000]
    assert [path.name for path in yard.done.iterdir()] == ["a.bin"]
