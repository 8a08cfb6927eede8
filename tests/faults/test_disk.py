"""The journal's disk: full, gone, read-only, cut off, torn, older, newer, killed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import PARTS, Site
from tests.journal.nouns import (
    COMPLETE,
    FILE,
    NOW,
    OPENED,
    RECEIPT,
    begin,
    named,
    open_journal,
    open_upload,
    sent,
)
from tests.journal.process import Process
from uploader.errors import JournalError
from uploader.events import Event, PartSent
from uploader.journal import SqliteJournal, schema
from uploader.model import Lease, PartId, Upload
from uploader.state import TRANSITIONS

FIXTURES = Path(__file__).parents[1] / "fixtures"
LONG = "x" * 20_000
"""More than any page has left."""

Step = Callable[[SqliteJournal, Lease], Awaitable[Any]]


async def _begin_another(journal: SqliteJournal, _: Lease) -> None:
    await begin(journal, named(LONG))


async def _intend_create(journal: SqliteJournal, lease: Lease) -> None:
    # The intent itself is short: many of them need a page.
    for second in range(0, 4000, 2):
        await journal.intend_create(lease, now=NOW + second)


STEPS: dict[str, Step] = {
    "intend create": _intend_create,
    "record opened": lambda journal, lease: journal.record_opened(
        lease, replace(OPENED, request_id=LONG), now=NOW
    ),
    "record part": lambda journal, lease: journal.record_part(
        lease, replace(sent(2), details={"block": LONG})
    ),
    "intend complete": lambda journal, lease: journal.intend_complete(
        lease, replace(COMPLETE, part_ids=(PartId(LONG),))
    ),
    "record file": lambda journal, lease: journal.record_file(
        lease, replace(FILE, filename=LONG), "answered"
    ),
    "record receipt": lambda journal, lease: journal.record_receipt(
        lease, replace(RECEIPT, filename=LONG)
    ),
    "begin another": _begin_another,
}


async def at(journal: SqliteJournal, step: str) -> Lease:
    """An upload that is just before *step*."""
    lease = (await begin(journal)).lease
    steps = list(STEPS)
    if step == "intend create":
        return lease
    assert await journal.intend_create(lease, now=NOW) == 0
    if step == "record opened":
        return lease
    await journal.record_opened(lease, OPENED, now=NOW + 1)
    await journal.record_part(lease, sent(1))
    if steps.index(step) > steps.index("intend complete"):
        await journal.intend_complete(lease, COMPLETE)
    if steps.index(step) > steps.index("record file"):
        await journal.record_file(lease, FILE, "answered")
    return lease


async def limit_pages(journal: SqliteJournal, more: int) -> None:
    def limit(db: Any) -> None:
        [[count]] = db.execute("PRAGMA page_count").fetchall()
        db.execute(f"PRAGMA max_page_count = {count + more}").fetchall()

    await journal._writer.write(limit)


# -- full ---------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
async def test_on_a_full_disk_each_statement_fails_whole_and_works_again_later(
    tmp_path: Path, step: str
) -> None:
    journal = await open_journal(tmp_path / "journal.db")
    lease = await at(journal, step)
    before = await journal.uploads()
    await limit_pages(journal, 0)

    with pytest.raises(JournalError, match="the disk is full") as raised:
        await STEPS[step](journal, lease)

    assert "make room" in str(raised.value.hint)
    assert await journal.uploads() == before
    await limit_pages(journal, 10_000)
    await STEPS[step](journal, lease)
    await journal.aclose()
    assert_healthy(tmp_path / "journal.db")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of eight MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode != 0:
        pytest.skip("nothing may be mounted here: root only, and not everywhere")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@pytest.mark.tools
@pytest.mark.parametrize("step", STEPS)
async def test_on_a_small_file_system_each_statement_fails_whole_and_works_again_later(
    small_disk: Path, step: str
) -> None:
    journal = await open_journal(small_disk / "journal.db")
    lease = await at(journal, step)
    before = await journal.uploads()
    filler = fill(small_disk)

    with pytest.raises(JournalError):
        await STEPS[step](journal, lease)

    assert await journal.uploads() == before
    filler.unlink()
    await STEPS[step](journal, lease)
    await journal.aclose()
    assert_healthy(small_disk / "journal.db")


@pytest.mark.tools
async def test_an_upload_whose_journal_s_disk_fills_up_stops_and_goes_on_later(
    site: Site, small_disk: Path
) -> None:
    journal = small_disk / "journal.db"

    def fill_up(event: Event) -> None:
        if isinstance(event, PartSent) and event.number == 2:
            fill(small_disk)

    with pytest.raises(JournalError):
        await site.upload(fill_up, journal=journal)
    (small_disk / "filler").unlink()
    recorded = {event.number for event in site.told.of(PartSent)}
    site.told.events.clear()

    file = await site.upload(journal=journal)

    assert {event.number for event in site.told.of(PartSent)}.isdisjoint(recorded)
    assert await site.files() == {file.file_id: site.source.read_bytes()}
    # The one part that was sent while nothing could be recorded came twice.
    assert site.received() <= PARTS + 1


# -- gone, read-only, cut off -------------------------------------------------


async def test_a_journal_that_disappears_stops_the_upload_and_brought_back_goes_on(
    site: Site, tmp_path: Path
) -> None:
    journal, hidden = site.settings.journal, tmp_path / "hidden"

    def hide(event: Event) -> None:
        if isinstance(event, PartSent) and event.number == 2:
            hidden.mkdir()
            for path in journal.parent.glob("journal.db*"):
                path.rename(hidden / path.name)

    with pytest.raises(JournalError, match="disappeared"):
        await site.upload(hide)
    assert site.emulator.account().counts["complete"] == 0
    for path in hidden.iterdir():
        target = journal.parent / path.name
        if target.is_dir():
            shutil.rmtree(target)
        path.replace(target)
    site.told.events.clear()

    file = await site.upload()

    assert len(site.told.of(PartSent)) == PARTS - 2
    assert await site.files() == {file.file_id: site.source.read_bytes()}


@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.99])
async def test_a_journal_that_was_cut_off_is_refused_or_whole(
    tmp_path: Path, part: float
) -> None:
    path = tmp_path / "journal.db"
    journal = await open_journal(path)
    for number in range(20):
        lease = (await begin(journal, named(str(number)))).lease
        await journal.record_part(lease, sent(1))
    await journal.aclose()
    os.truncate(path, int(path.stat().st_size * part))

    with pytest.raises(JournalError) as raised:
        await used(path)

    assert raised.value.hint


async def test_a_torn_wal_holds_what_was_recorded_before_the_tear(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.db"
    journal = await open_journal(path)
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    sizes = []
    wal = path.with_name("journal.db-wal")
    for number in range(1, 30):
        await journal.record_part(lease, sent(number))
        sizes.append(wal.stat().st_size)
    whole = wal.read_bytes()
    main = path.read_bytes()
    await journal.aclose()

    draw = random.Random(1)
    for attempt in range(40):
        place = tmp_path / f"{attempt}"
        place.mkdir(mode=0o700)
        copy = place / "journal.db"
        copy.write_bytes(main)
        tear = draw.randrange(sizes[0], len(whole))
        if attempt % 2:
            torn = bytearray(whole)
            torn[tear] ^= 0xFF
        else:
            torn = bytearray(whole[:tear])
        copy.with_name("journal.db-wal").write_bytes(torn)

        opened = await open_journal(copy)
        (upload,) = await opened.uploads()
        await opened.aclose()

        at_least = sum(size <= tear for size in sizes)
        assert sorted(upload.parts) == list(range(1, len(upload.parts) + 1))
        assert len(upload.parts) in (at_least, at_least + 1)


# -- older and newer ----------------------------------------------------------


async def used(path: Path) -> Sequence[Upload]:
    """What the journal at *path* knew before something new was begun."""
    journal = await open_journal(path)
    try:
        uploads = await journal.uploads()
        await begin(journal, named("new"))
    finally:
        with contextlib.suppress(JournalError):
            await journal.aclose()
    return uploads


def restored(name: str, tmp_path: Path) -> Path:
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript((FIXTURES / name).read_text())
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("version", range(1, schema.SCHEMA_VERSION + 1))
async def test_a_journal_of_every_version_opens_with_all_that_it_knew(
    tmp_path: Path, version: int
) -> None:
    journal = await open_journal(restored(f"journal-{version}.sql", tmp_path))

    (upload,) = await journal.uploads()
    claim = await journal.take(upload.id, now=NOW)
    await journal.record_part(claim.lease, sent(3))
    await journal.aclose()

    assert upload.state in TRANSITIONS
    assert sorted(upload.parts) == [1, 2]
    assert upload.opened == OPENED


@pytest.mark.parametrize("draft", [1, 2, 3, 4])
async def test_a_draft_of_the_schema_is_refused_in_words_or_keeps_all_that_it_knew(
    tmp_path: Path, draft: int
) -> None:
    """None was in a release; people who followed the repository may have them."""
    path = restored(f"journal-draft-{draft}.sql", tmp_path)

    error: JournalError | None = None
    try:
        (upload,) = await used(path)
    except JournalError as refused:
        error = refused

    if error is None:
        assert sorted(upload.parts) == [1, 2]
    else:
        assert "another version of uploader" in str(error)
        assert "finish its uploads with that version" in str(error.hint)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM parts").fetchone() == (2,)


async def test_the_newest_fixture_is_the_schema_as_it_is(tmp_path: Path) -> None:
    """Who changes a schema that landed has to write a migration, and a fixture."""
    made = tmp_path / "made.db"
    await (await open_journal(made)).aclose()

    kept = restored(f"journal-{schema.SCHEMA_VERSION}.sql", tmp_path)

    assert columns(kept) == columns(made)
    assert indexes(kept) == indexes(made)


@pytest.mark.parametrize("tables", range(1, schema.SCHEMA_VERSION + 1))
async def test_a_newer_journal_is_left_as_it_was(tmp_path: Path, tables: int) -> None:
    path = restored(f"journal-{tables}.sql", tmp_path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")
        before = list(db.iterdump())

    with pytest.raises(JournalError, match="this program knows versions up to"):
        await open_journal(path)

    with closing(sqlite3.connect(path)) as db:
        assert list(db.iterdump()) == before


def columns(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as db:
        tables = db.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall()
        return {
            name: db.execute("SELECT * FROM pragma_table_info(?)", [name]).fetchall()
            for (name,) in sorted(tables)
        }


def indexes(path: Path) -> set[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as db:
        return set(
            db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index'")
        )


# -- killed between statements ------------------------------------------------


@pytest.mark.parametrize("statements", range(5))
async def test_what_was_answered_before_a_sigkill_is_there(
    tmp_path: Path, statements: int
) -> None:
    path = tmp_path / "journal.db"
    with Process() as process:
        process.do(f"open {path}")
        process.do("begin source")
        for command in ("create x", "record 1", "record 2", "record 3")[:statements]:
            process.do(command)
        process.kill()

    journal = await open_journal(path)
    (upload,) = await journal.uploads()
    await journal.aclose()

    assert (upload.opened is not None) == (statements >= 1)
    assert sorted(upload.parts) == list(range(1, statements))
    assert_healthy(path)


@contextlib.contextmanager
def tracing(pid: int, log: Path) -> Iterator[None]:
    """Every fsync of a process, in *log*."""
    command = ["strace", "-f", "-e", "trace=fsync,fdatasync", "-o", str(log)]
    with subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE) as tracer:
        assert tracer.stderr is not None
        if b"attached" not in tracer.stderr.readline():
            pytest.skip("no process may be traced here")
        yield
        tracer.terminate()


@pytest.mark.tools
async def test_every_commit_is_one_fsync_before_it_is_answered(tmp_path: Path) -> None:
    """No kill can show it, only a power cut: so the system calls are counted."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    path, log = tmp_path / "journal.db", tmp_path / "log"
    with Process() as process:
        process.do(f"open {path}")
        process.do("begin source")
        process.do("create x")
        process.do("record 1")
        with tracing(process.pid, log):
            for number in range(2, 12):
                process.do(f"record {number}")

    calls = [line for line in log.read_text().splitlines() if "sync(" in line]
    assert len(calls) == 10


def assert_healthy(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
