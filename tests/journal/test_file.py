"""The file: whose it is, who may read it, what survives, what is refused."""

from __future__ import annotations

import re
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.journal.nouns import begin, open_journal, open_upload, sent
from tests.journal.process import Process
from uploader.errors import JournalError
from uploader.journal import SqliteJournal, queries, schema

Start = Callable[[], Process]
Seal = Callable[[Path], None]

ONLY_UNFINISHED = r"SCAN (\w+) USING (COVERING )?INDEX \1_unfinished"


def run(path: Path, script: str) -> None:
    """Do *script* to a file that no journal has open."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def make(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def content(path: Path) -> bytes:
    """What is in the file, which is all that there is."""
    assert list(path.parent.iterdir()) == [path]
    return path.read_bytes()


def damage(path: Path) -> None:
    intact = path.read_bytes()
    path.write_bytes(intact[:4096] + b"\xff" * (len(intact) - 4096))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def refusal(path: Path) -> JournalError:
    with pytest.raises(JournalError) as raised:
        await open_journal(path)
    assert raised.value.hint is not None
    return raised.value


async def test_a_commit_survives_a_power_cut(journal: SqliteJournal) -> None:
    settings = await journal._writer.read(
        lambda db: [
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "fullfsync")
        ]
    )

    assert settings == ["wal", 2, 1]


async def test_nobody_else_may_read_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "state" / "uploader" / "journal.db"
    journal = await open_journal(path)
    await begin(journal)

    assert mode_of(path.parent) == 0o700
    assert {entry.name: oct(mode_of(entry)) for entry in path.parent.iterdir()} == {
        "journal.db": "0o600",
        "journal.db-wal": "0o600",
        "journal.db-shm": "0o600",
        "journal.db.owners": "0o700",
    }
    [lock] = path.with_name("journal.db.owners").iterdir()
    assert mode_of(lock) == 0o600
    await journal.aclose()


async def test_what_was_recorded_is_there_after_opening_again(path: Path) -> None:
    journal = await open_journal(path)
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.record_part(lease, sent(1))
    await journal.release(lease)
    before = await journal.uploads()
    await journal.aclose()

    again = await open_journal(path)

    assert await again.uploads() == before
    await again.aclose()


async def test_an_empty_file_is_ours_to_fill(path: Path) -> None:
    make(path, b"")

    journal = await open_journal(path)

    await begin(journal)
    await journal.aclose()


@pytest.mark.parametrize("text", [b"x", b"dear diary\n" * 999], ids=["short", "long"])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(
    path: Path, text: bytes
) -> None:
    make(path, text)

    error = await refusal(path)

    assert "not a journal, not even a database" in str(error)
    assert content(path) == text


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("CREATE TABLE theirs (x)", id="with tables"),
        pytest.param("PRAGMA application_id = 42", id="with an id"),
    ],
)
async def test_a_database_of_another_application_is_refused_and_left_alone(
    path: Path, script: str
) -> None:
    run(path, script)
    before = content(path)

    error = await refusal(path)

    assert "another application" in str(error)
    assert content(path) == before


async def test_a_newer_journal_is_refused_with_both_versions(path: Path) -> None:
    await (await open_journal(path)).aclose()
    run(
        path,
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('uploader', 'from_the_future', '2099-01-01')",
    )

    error = await refusal(path)

    known = schema.SCHEMA_VERSION
    assert f"has schema version {known + 1}; this program knows" in str(error)
    assert f"versions up to {known}" in str(error)
    assert "upgrade uploader" in str(error.hint)


async def test_the_schema_version_counts_the_migrations(path: Path) -> None:
    with closing(schema.open_database(path)) as db:
        assert len(schema.MIGRATIONS.applied(db)) == schema.SCHEMA_VERSION


async def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert "is a directory" in str(await refusal(tmp_path))


async def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "file" in str(await refusal(tmp_path / "file" / "journal.db"))


async def test_a_journal_that_cannot_be_written_is_refused(
    path: Path, seal: Seal
) -> None:
    await (await open_journal(path)).aclose()
    seal(path)

    assert "cannot be written" in str(await refusal(path))


async def test_a_directory_that_cannot_be_written_is_refused(
    path: Path, seal: Seal
) -> None:
    seal(path.parent)

    assert str(path) in str(await refusal(path))


async def test_a_journal_in_a_sealed_directory_is_refused(
    path: Path, seal: Seal
) -> None:
    await (await open_journal(path)).aclose()
    path.with_name("journal.db.owners").mkdir(exist_ok=True)
    seal(path.parent)

    assert str(path) in str(await refusal(path))


async def test_a_damaged_journal_is_said(path: Path) -> None:
    await (await open_journal(path)).aclose()
    damage(path)

    assert "it is damaged" in str(await refusal(path))


async def test_processes_that_make_the_journal_together_all_succeed(
    tmp_path: Path, start: Start
) -> None:
    processes = [start() for _ in range(4)]

    for attempt in range(20):
        path = tmp_path / f"{attempt}.db"
        for process in processes:
            process.tell(f"open {path}")
        assert [process.hear() for process in processes] == ["opened"] * 4
        ids = {process.do(f"begin {process.pid}") for process in processes}
        assert len(ids) == 4
        for process in processes:
            assert process.do("close") == "closed"


async def test_one_upload_is_begun_by_one_of_many_processes(
    path: Path, start: Start
) -> None:
    processes = [start() for _ in range(4)]
    for process in processes:
        process.do(f"open {path}")

    for attempt in range(10):
        for process in processes:
            process.tell(f"begin {attempt}")
        answers = [process.hear() for process in processes]
        assert answers.count("UploadOwned") == 3


@pytest.mark.parametrize(
    "query",
    [
        "ONE_UPLOAD",
        "PARTS_OF_ONE",
        "UNFINISHED_UPLOADS",
        "PARTS_OF_UNFINISHED",
        "NAMED",
        "ONE_ATTACHMENT",
        "MEMBERS_OF_ONE",
        "UNFINISHED_ATTACHMENTS",
        "MEMBERS_OF_UNFINISHED",
        "ATTACHMENTS_NAMED",
    ],
)
async def test_no_query_about_few_looks_at_all(path: Path, query: str) -> None:
    sql = getattr(queries, query)
    values = {"local": "a", "name": "a", "limit": 1} if ":local" in sql else ["a"]
    with closing(schema.open_database(path)) as db:
        parameters = values if ":" in sql or "?" in sql else []
        steps = db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()

    scans = [step["detail"] for step in steps if step["detail"].startswith("SCAN")]
    assert all(re.fullmatch(ONLY_UNFINISHED, scan) for scan in scans)
