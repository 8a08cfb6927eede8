"""Real processes, killed by the service at a chosen request."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Command, finish
from tests.crash.conftest import PART_SIZE, PARTS, Site
from uploader.clock import SystemClock
from uploader.emulator import Fault
from uploader.journal import SqliteJournal
from uploader.model import Upload

REQUESTS = 1 + PARTS + 1
"""Create, the parts, complete."""


async def recorded(journal: Path) -> Upload:
    """The only upload of the journal, as a crash left it."""
    opened = await SqliteJournal.open(
        journal, clock=SystemClock(), lease_ttl=30.0, keep_finished=3600.0
    )
    try:
        (upload,) = await opened.uploads()
    finally:
        await opened.aclose()
    return upload


async def upload_until_killed(site: Site, fault: Fault) -> Upload:
    site.emulator.add_fault(fault)
    process = await site.command.start(
        "upload", str(site.source), "--part-size", str(PART_SIZE), "--parallel", "3"
    )
    site.emulator.client_pid = process.pid
    done = await finish(process)
    assert done.returncode == -9, done
    site.emulator.client_pid = None
    return await recorded(site.command.journal)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, REQUESTS + 1))
async def test_killed_at_any_request_it_resumes_without_sending_a_recorded_part_again(
    site: Site, nth: int, when: str
) -> None:
    left = await upload_until_killed(
        site,
        Fault(kind="any", nth=nth, do="kill", when=when),  # type: ignore[arg-type]
    )
    before = len(site.parts_received())

    done = await site.command("resume", UPLOADER_TIMEOUTS_SETTLE="0")

    assert done.returncode == 0, done
    digests = site.part_digests()
    kept = {digests[number] for number in left.parts}
    sent_again = {r.sha256 for r in site.parts_received()[before:]}
    assert sent_again == set(digests.values()) - kept
    files = await site.files()
    assert files == {done.last_line: site.source.read_bytes()}
    assert site.emulator.account().faults_left == ()


@pytest.mark.parametrize(
    "switches",
    [
        pytest.param({}, id="that expired"),
        pytest.param({"expired": "404"}, id="that expired and is unknown"),
        pytest.param({"forgets": "completed"}, id="that the service forgot"),
        pytest.param({"complete_twice": "409"}, id="that conflicts"),
        pytest.param({"complete_twice": "replay"}, id="that answers as before"),
    ],
)
@pytest.mark.parametrize("hours", [0, 1])
async def test_a_completed_upload_is_found_again(
    site: Site, switches: dict[str, object], hours: int
) -> None:
    await upload_until_killed(site, Fault(kind="complete", do="kill", when="after"))
    site.emulator.advance(hours * 3600)
    site.emulator.switches = site.emulator.switches.with_values(switches)

    done = await site.command("resume")

    assert done.returncode == 0, done
    assert await site.files() == {done.last_line: site.source.read_bytes()}


async def test_a_result_that_was_never_delivered_is_returned_not_sent_again(
    site: Site,
) -> None:
    await upload_until_killed(site, Fault(kind="complete", do="kill", when="after"))
    sent = len(site.parts_received())

    done = await site.command("upload", str(site.source), "--part-size", str(PART_SIZE))
    again = await site.command("upload", str(site.source))

    assert done.returncode == again.returncode == 0
    files = await site.files()
    assert list(files.values()) == [site.source.read_bytes()] * 2
    assert sent == PARTS
    assert again.last_line != done.last_line


async def test_the_journal_may_be_moved_between_crash_and_resume(
    site: Site, tmp_path: Path
) -> None:
    await upload_until_killed(site, Fault(kind="part", nth=5, do="kill"))
    moved = tmp_path / "elsewhere" / "j.db"
    moved.parent.mkdir()
    for file in site.command.journal.parent.glob("journal.db*"):
        if file.is_file():
            file.rename(moved.with_name(file.name.replace("journal.db", "j.db")))

    done = await Command(site.command.base_url, moved)("resume")

    assert done.returncode == 0, done
    assert await site.files() == {done.last_line: site.source.read_bytes()}
