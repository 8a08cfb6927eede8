"""Two processes, one upload."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.command import Done, finish
from tests.crash.conftest import PART_SIZE, PARTS, Site
from uploader.emulator import Fault

ARGUMENTS = ("--part-size", str(PART_SIZE), "--parallel", "2")


@asynccontextmanager
async def upload_that_hangs(
    site: Site, *, at_part: int, **environ: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process in the middle of an upload: the answer to one part does not come."""
    # Both parts in flight, or the one that is left.
    hung = min(2, PARTS + 1 - at_part)
    site.emulator.add_fault(Fault(kind="part", nth=at_part, times=hung, do="stall"))
    process = await site.command.start(
        "upload", str(site.source), *ARGUMENTS, **environ
    )
    try:
        while len(site.parts_asked()) < at_part - 1 + hung:
            await asyncio.sleep(0.01)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def lease_expires_at(site: Site) -> float:
    with contextlib.closing(sqlite3.connect(site.command.journal)) as db:
        ((expires_at,),) = db.execute("SELECT expires_at FROM leases")
    return float(expires_at)


async def upload_when_free(site: Site, **environ: str) -> Done:
    """Upload as soon as the lease of the other process is over."""
    while True:
        done = await site.command("upload", str(site.source), *ARGUMENTS, **environ)
        if done.returncode != 9:
            return done


async def test_the_second_process_says_who_uploads_and_goes_on_when_that_one_dies(
    site: Site,
) -> None:
    async with upload_that_hangs(site, at_part=4) as first:
        refused = await site.command("upload", str(site.source), *ARGUMENTS)
        listed = await site.command("list")

        assert refused.returncode == 9
        assert f"process {first.pid}" in refused.stderr
        assert f"process {first.pid}" in listed.stdout

        first.kill()
        await first.wait()
        done = await site.command("upload", str(site.source), *ARGUMENTS)

    assert done.returncode == 0, done
    assert "resumed with 3 of 12 parts" in done.stderr
    assert await site.files() == {done.last_line: site.source.read_bytes()}


async def test_an_owner_that_was_stopped_and_lost_its_lease_does_nothing_more(
    site: Site,
) -> None:
    short = {"UPLOADER_TIMEOUTS_LEASE": "1"}
    async with upload_that_hangs(site, at_part=4, **short) as first:
        first.send_signal(signal.SIGSTOP)
        done = await upload_when_free(site, **short)
        assert done.returncode == 0, done
        requests = len(site.emulator.account().requests)

        first.send_signal(signal.SIGCONT)
        woken = await finish(first)

    assert woken.returncode == 9
    assert "another process took over" in woken.stderr
    assert len(site.emulator.account().requests) == requests
    assert await site.files() == {done.last_line: site.source.read_bytes()}


async def test_an_owner_that_was_stopped_but_lost_nothing_goes_on(site: Site) -> None:
    async with upload_that_hangs(
        site, at_part=4, UPLOADER_TIMEOUTS_LEASE="0.4", UPLOADER_TIMEOUTS_ANSWER="1"
    ) as first:
        first.send_signal(signal.SIGSTOP)
        while lease_expires_at(site) > time.time():
            await asyncio.sleep(0.01)
        first.send_signal(signal.SIGCONT)
        done = await finish(first)

    assert done.returncode == 0, done
    assert await site.files() == {done.last_line: site.source.read_bytes()}


async def test_cancel_asks_the_process_that_uploads(site: Site) -> None:
    short = {"UPLOADER_TIMEOUTS_LEASE": "1"}
    async with upload_that_hangs(site, at_part=4, **short) as first:
        listed = await site.command("list")
        local_id = listed.last_line.split()[0]

        cancelled = await site.command("cancel", local_id, **short)
        stopped = await finish(first)

    assert cancelled.returncode == 0, cancelled
    assert stopped.returncode == 130, stopped
    assert site.emulator.account().counts["cancel"] == 1
    assert (await site.command("list")).stdout == ""


async def test_the_first_signal_drains_and_resume_goes_on(site: Site) -> None:
    async with upload_that_hangs(
        site, at_part=PARTS, UPLOADER_TIMEOUTS_DRAIN="0"
    ) as first:
        first.send_signal(signal.SIGTERM)
        drained = await finish(first)

    assert drained.returncode == 143, drained
    assert "uploader resume" in drained.stderr
    before = len(site.parts_received())
    done = await site.command("resume")
    assert done.returncode == 0, done
    assert len(site.parts_received()) - before == 1
    assert await site.files() == {done.last_line: site.source.read_bytes()}


async def test_a_second_signal_stops_at_once(site: Site) -> None:
    async with upload_that_hangs(
        site, at_part=4, UPLOADER_TIMEOUTS_DRAIN="600"
    ) as first:
        first.send_signal(signal.SIGINT)
        assert first.stderr is not None
        await first.stderr.readuntil(b"stopping")
        first.send_signal(signal.SIGINT)
        stopped = await finish(first)

    assert stopped.returncode == 130, stopped
    assert "Traceback" not in stopped.stderr
    done = await site.command("resume")
    assert await site.files() == {done.last_line: site.source.read_bytes()}
