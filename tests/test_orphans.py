"""`uploader orphans`: what may be left open at a service."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.command import Command, finish
from tests.fakes import FakeClock
from uploader import Settings, Uploader
from uploader.config import RetryPolicy
from uploader.emulator import Emulator, Fault
from uploader.errors import BackendError, UsageError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and modes")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(bytes(100_000))
    return path


@pytest.fixture
def settings(emulator: Emulator, tmp_path: Path) -> Settings:
    return Settings(
        base_url=emulator.url,
        api_key="sk-test-0123456789",
        journal=tmp_path / "state" / "journal.db",
        retry=RetryPolicy(backoff_initial=0.001, backoff_max=0.001, max_attempts=2),
    )


async def restarted(command: Command, emulator: Emulator, source: Path) -> str:
    """Upload with one restart in the middle; the upload id that it gave up."""
    emulator.add_fault(Fault(kind="part", do="status", status=410))
    done = await command.tell("upload", str(source))
    assert done.returncode == 0, done
    first, _ = [
        request.path.split("/")[3]
        for request in emulator.account().requests
        if request.kind == "part"
    ]
    return first


async def test_nothing_is_open_after_an_upload(command: Command, source: Path) -> None:
    await command.tell("upload", str(source))

    done = await command.tell("orphans")

    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing is left open" in done.stderr


async def test_a_create_whose_process_was_killed_is_one_and_cannot_be_cancelled(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="create", do="kill", when="after"))
    process = await command.start("upload", str(source))
    emulator.client_pid = process.pid
    await finish(process)

    listed = await command.tell("orphans")
    found = json.loads((await command.tell("orphans", "--json")).stdout)
    cancelled = await command.tell("orphans", "--cancel")

    assert "(unknown)" in listed.last_line
    assert "created without an answer" in listed.last_line
    assert str(source) in listed.last_line
    assert found["opened"] is None
    assert found["expires_at"] == pytest.approx(found["asked_at"] + 3600)
    assert cancelled.returncode == 0
    assert "(unknown)" in cancelled.stdout
    assert emulator.account().counts["cancel"] == 0


async def test_what_a_restart_abandoned_is_cancelled_and_then_gone(
    command: Command, emulator: Emulator, source: Path
) -> None:
    abandoned = await restarted(command, emulator, source)

    listed = await command.tell("orphans")
    cancelled = await command.tell("orphans", "--cancel")
    after = await command.tell("orphans")

    assert abandoned in listed.last_line
    assert "abandoned: it expired at the service" in listed.last_line
    assert cancelled.returncode == 0
    assert f"cancelled {abandoned}" in cancelled.stderr
    assert emulator.account().counts["cancel"] == 1
    assert after.stdout == ""


async def test_one_that_is_no_longer_pending_counts_as_settled(
    command: Command, emulator: Emulator, source: Path
) -> None:
    await restarted(command, emulator, source)
    emulator.add_fault(Fault(kind="cancel", do="status", status=400))

    cancelled = await command.tell("orphans", "--cancel")

    assert cancelled.returncode == 0
    assert (await command.tell("orphans")).stdout == ""


async def test_one_that_the_service_will_not_cancel_stays_and_is_said(
    command: Command, emulator: Emulator, source: Path
) -> None:
    abandoned = await restarted(command, emulator, source)
    emulator.add_fault(Fault(kind="cancel", do="status", status=401))

    cancelled = await command.tell("orphans", "--cancel")

    assert cancelled.returncode == 10
    assert abandoned in cancelled.stdout


async def test_one_of_another_service_is_not_asked_for_here(
    command: Command, emulator: Emulator, source: Path
) -> None:
    await restarted(command, emulator, source)

    elsewhere = await command.tell(
        "orphans", "--cancel", OPENAI_BASE_URL="http://127.0.0.1:9/v1"
    )

    assert elsewhere.returncode == 2
    assert emulator.url in elsewhere.stderr


async def test_an_upload_that_can_be_resumed_is_no_orphan(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="part", do="status", status=400))
    assert (await command.tell("upload", str(source))).returncode == 4

    assert (await command.tell("orphans")).stdout == ""


async def test_it_is_no_orphan_any_more_when_it_expired(
    settings: Settings, emulator: Emulator, source: Path, clock: FakeClock
) -> None:
    emulator.add_fault(Fault(kind="create", times=9, do="reset", when="after"))
    async with Uploader(settings, clock=clock) as uploader:
        with pytest.raises(BackendError):
            await uploader.upload(source)
        before = await uploader.orphans()
        clock.advance(3600)
        after = await uploader.orphans()

    assert len(before) == 2
    assert after == []


@pytest.mark.parametrize("status", [400, 401, 429])
async def test_a_create_that_was_refused_left_nothing_open(
    settings: Settings, emulator: Emulator, source: Path, status: int, clock: FakeClock
) -> None:
    emulator.add_fault(
        Fault(
            kind="create",
            times=9,
            do="status",
            status=status,
            body={"error": {"code": "insufficient_quota"}},
        )
    )
    async with Uploader(settings, clock=clock) as uploader:
        with pytest.raises(BackendError):
            await uploader.upload(source)

        assert await uploader.orphans() == []


async def test_one_without_an_id_is_refused_by_the_library(
    settings: Settings, emulator: Emulator, source: Path, clock: FakeClock
) -> None:
    emulator.add_fault(Fault(kind="create", do="reset", when="after"))
    async with Uploader(settings, clock=clock) as uploader:
        await uploader.upload(source)
        [orphan] = await uploader.orphans()

        with pytest.raises(UsageError, match="nobody heard the id"):
            await uploader.cancel_orphan(orphan)
