"""What waits together is committed together, and nothing is half recorded."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
from sqlite_utils import Database

from tests.journal.nouns import (
    NOW,
    SCOPE,
    TTL,
    begin,
    begin_attachment,
    named,
    open_journal,
    open_upload,
    sent,
)
from uploader.errors import JournalError, LeaseLost
from uploader.journal import SqliteJournal
from uploader.journal.writer import Work, Writer


@pytest.fixture
async def writer(path: Path) -> AsyncIterator[Writer]:
    writer = Writer(path)
    await writer.write(lambda db: db.execute("CREATE TABLE notes (note UNIQUE)"))
    yield writer
    await writer.aclose()


async def statements(writer: Writer) -> list[str]:
    """Everything that SQLite is told from now on."""
    told: list[str] = []
    await writer.read(lambda db: db.conn.set_trace_callback(told.append))
    told.clear()
    return told


def note(text: str) -> Work[object]:
    return lambda db: db.execute("INSERT INTO notes VALUES (?)", [text])


def notes(db: Database) -> list[str]:
    return [row["note"] for row in db.execute("SELECT note FROM notes ORDER BY note")]


async def test_parts_that_wait_together_are_one_commit(journal: SqliteJournal) -> None:
    lease = (await begin(journal)).lease
    told = await statements(journal._writer)

    await asyncio.gather(*(journal.record_part(lease, sent(n)) for n in range(1, 33)))

    assert told.count("COMMIT") == 1
    assert told.count("BEGIN IMMEDIATE") == 1
    assert len((await journal.find(lease.upload)).parts) == 32


async def test_facts_about_uploads_and_attachments_are_one_commit(
    journal: SqliteJournal,
) -> None:
    upload = (await begin(journal)).lease
    await journal.intend_put(upload, now=NOW)
    attachment = await begin_attachment(journal)
    told = await statements(journal._writer)

    await asyncio.gather(
        journal.record_part(upload, sent(1)),
        journal.record_scope(attachment, SCOPE),
        journal.intend_attach(attachment, cursor=None, now=NOW),
    )

    assert told.count("COMMIT") == 1
    assert (await journal.find(upload.upload)).put_asked_at is None
    assert (await journal.find_attachment(attachment.upload)).asked_at == NOW


async def test_what_is_submitted_during_a_commit_is_the_next_one(
    writer: Writer,
) -> None:
    told = await statements(writer)
    gate, entered = Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(db: Database) -> None:
        loop.call_soon_threadsafe(entered.set)
        gate.wait()

    first = writer.submit(hold)
    await entered.wait()
    rest = [writer.submit(note(f"{n}")) for n in range(9)]
    gate.set()
    await asyncio.gather(first, *rest)

    assert told.count("COMMIT") == 2


async def test_one_that_fails_takes_nobody_along(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    lost = (await begin(journal)).lease
    await other.take(lost.upload, now=NOW + TTL)
    mine = (await begin(journal, named("other"))).lease

    first, refused, last = await asyncio.gather(
        journal.record_part(mine, sent(1)),
        journal.record_part(lost, sent(2)),
        journal.record_part(mine, sent(3)),
        return_exceptions=True,
    )

    assert isinstance(refused, LeaseLost)
    assert (first, last) == (None, None)
    assert set((await journal.find(mine.upload)).parts) == {1, 3}


async def test_what_a_failing_item_did_before_it_failed_is_undone(
    writer: Writer,
) -> None:
    def fails_late(db: Database) -> None:
        note("of the one that fails")(db)
        raise LookupError

    results = await asyncio.gather(
        writer.write(note("kept")),
        writer.write(fails_late),
        return_exceptions=True,
    )

    assert isinstance(results[1], LookupError)
    assert await writer.read(notes) == ["kept"]


async def test_when_sqlite_gives_up_the_transaction_everybody_is_told_why(
    writer: Writer,
) -> None:
    await writer.write(note("once"))

    results = await asyncio.gather(
        writer.write(note("with it")),
        writer.write(
            lambda db: db.execute("INSERT OR ROLLBACK INTO notes VALUES ('once')")
        ),
        return_exceptions=True,
    )

    assert all("UNIQUE constraint failed" in str(result) for result in results)
    assert await writer.read(notes) == ["once"]


async def test_no_error_of_sqlite_leaves_the_package(writer: Writer) -> None:
    await writer.write(note("once"))

    with pytest.raises(JournalError) as raised:
        await writer.write(note("once"))

    assert isinstance(raised.value.__cause__, sqlite3.IntegrityError)


async def test_a_cancelled_waiters_write_is_committed(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    lease = (await begin(journal)).lease
    recording = asyncio.create_task(journal.record_part(lease, sent(1)))
    await asyncio.wait([recording], timeout=0)

    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording
    await journal.rate("anything")

    assert (await other.find(lease.upload)).parts == {1: sent(1)}


async def test_closing_commits_what_waits(writer: Writer, path: Path) -> None:
    waiting = [writer.submit(note(f"{n}")) for n in range(3)]

    await writer.aclose()
    await asyncio.gather(*waiting)

    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM notes").fetchone() == (3,)
    connection.close()


async def test_a_closed_journal_says_so(journal: SqliteJournal) -> None:
    await journal.aclose()

    with pytest.raises(JournalError, match="closed"):
        await journal.uploads()
    await journal.aclose()


async def test_a_read_does_not_wait_for_another_writer(
    journal: SqliteJournal, path: Path
) -> None:
    upload = (await begin(journal)).upload
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")

    assert await journal.uploads() == [upload]

    locker.close()


async def test_a_locked_journal_is_said_and_works_again_afterwards(
    writer: Writer, path: Path
) -> None:
    await writer.read(lambda db: db.execute("PRAGMA busy_timeout = 0"))
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN IMMEDIATE")

    with pytest.raises(JournalError, match="another process keeps it locked"):
        await writer.write(note("too early"))
    locker.close()

    await writer.write(note("in time"))
    assert await writer.read(notes) == ["in time"]


async def test_on_a_full_disk_exactly_what_was_confirmed_is_recorded(
    journal: SqliteJournal,
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    size = await journal._writer.read(page_count)
    await journal._writer.read(lambda db: limit(db, size + 2))

    results = await asyncio.gather(
        *(journal.record_part(lease, sent(n)) for n in range(1, 200)),
        return_exceptions=True,
    )

    confirmed = {n for n, result in enumerate(results, start=1) if result is None}
    assert set((await journal.find(lease.upload)).parts) == confirmed
    refused = [result for result in results if isinstance(result, JournalError)]
    assert len(refused) == 199 - len(confirmed) > 0
    assert "the disk is full" in str(refused[0])
    assert refused[0].hint is not None

    await journal._writer.read(lambda db: limit(db, size + 1000))
    await journal.record_part(lease, sent(200))
    assert 200 in (await journal.find(lease.upload)).parts


async def test_a_commit_that_fails_fails_everybody_and_records_nothing(
    journal: SqliteJournal, path: Path
) -> None:
    lease = (await begin(journal)).lease

    with no_file_may_grow_beyond(path.with_name("journal.db-wal").stat().st_size):
        results = await asyncio.gather(
            *(journal.record_part(lease, sent(n)) for n in (1, 2, 3)),
            return_exceptions=True,
        )

    assert [type(result) for result in results] == [JournalError] * 3
    assert (await journal.find(lease.upload)).parts == {}

    await journal.record_part(lease, sent(1))
    assert set((await journal.find(lease.upload)).parts) == {1}


async def test_a_journal_that_lost_its_name_takes_no_more_facts(path: Path) -> None:
    journal = await open_journal(path)
    lease = (await begin(journal)).lease
    away = path.with_name("away")
    rename(path, away)

    with pytest.raises(JournalError, match="disappeared"):
        await journal.record_part(lease, sent(1))

    rename(away, path)
    await journal.record_part(lease, sent(2))
    assert set((await journal.find(lease.upload)).parts) == {2}
    await journal.aclose()


def rename(path: Path, to: Path) -> None:
    path.rename(to)


def page_count(db: Database) -> int:
    [[pages]] = db.execute("PRAGMA page_count").fetchall()
    return int(pages)


def limit(db: Database, pages: int) -> None:
    db.execute(f"PRAGMA max_page_count = {pages}")


@contextmanager
def no_file_may_grow_beyond(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
