"""The file itself: its tables, its settings, and whether it is ours at all.

What is searched for stands in a column.  Nouns that are kept whole are JSON.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sqlite_utils import Database, Migrations

from uploader.errors import JournalError
from uploader.journal.failures import explained, failure

APPLICATION_ID: Final = 0x75_70_6C_64
""""upld", in the file's header: this database is a journal of uploader."""

BUSY_TIMEOUT: Final = 30.0
"""Seconds to wait for another process; its transactions last milliseconds."""

SMALLEST_DATABASE: Final = 512
"""Bytes, one page.  SQLite takes a shorter file for an empty one, and overwrites it."""

SETTINGS: Final = (
    # A recorded part is not sent again, so it has to survive a power cut.
    "PRAGMA synchronous = FULL",
    # On macOS fsync alone leaves the data in the drive's cache.
    "PRAGMA fullfsync = ON",
    "PRAGMA foreign_keys = ON",
)

MIGRATIONS: Final = Migrations("uploader")
"""One function per step; a step that was released is never changed."""

SCHEMA_VERSION: Final = 1
"""How many steps there are."""


@MIGRATIONS()
def uploads_parts_intents_files(db: Database) -> None:
    db.executescript(
        """
        CREATE TABLE uploads (
            id              TEXT PRIMARY KEY NOT NULL,
            service         TEXT NOT NULL,
            path            TEXT NOT NULL,  -- a BLOB when it is not UTF-8
            purpose         TEXT NOT NULL,
            filename        TEXT NOT NULL,  -- likewise
            expires_after   INTEGER,
            target          TEXT,
            size            INTEGER NOT NULL,
            spec            TEXT NOT NULL,  -- JSON, as are the next two
            fingerprint     TEXT NOT NULL,
            plan            TEXT NOT NULL,  -- [[count, size], ...]
            state           TEXT NOT NULL,
            created_at      REAL NOT NULL,
            finished_at     REAL,           -- NULL: resume has something to do
            delivered_at    REAL,
            opening         INTEGER,        -- the intent: create that was answered
            completing      INTEGER,        -- the intent: complete that counts
            may_have_orphan_parts INTEGER NOT NULL DEFAULT 0,
            restarts        INTEGER NOT NULL DEFAULT 0,
            orphan_restarts INTEGER NOT NULL DEFAULT 0,
            cancel_requested INTEGER NOT NULL DEFAULT 0,
            failure         TEXT,
            lease_owner     TEXT,           -- NULL: nobody works on it
            lease_host      TEXT,
            lease_pid       INTEGER,
            lease_expires_at REAL,
            lease_epoch     INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX uploads_unfinished ON uploads (created_at)
            WHERE finished_at IS NULL;
        CREATE INDEX uploads_unfinished_by_path ON uploads (path)
            WHERE finished_at IS NULL;
        CREATE INDEX uploads_finished ON uploads (finished_at)
            WHERE finished_at IS NOT NULL;
        CREATE INDEX uploads_leased ON uploads (lease_owner)
            WHERE lease_owner IS NOT NULL;

        CREATE TABLE parts (
            upload      TEXT NOT NULL REFERENCES uploads ON DELETE CASCADE,
            number      INTEGER NOT NULL,
            part_id     TEXT NOT NULL,
            digest      TEXT,
            request_id  TEXT,
            block_id    TEXT,
            attempts    INTEGER NOT NULL,
            sent_at     REAL NOT NULL,
            PRIMARY KEY (upload, number)
        ) WITHOUT ROWID;

        CREATE TABLE intents (
            id          INTEGER PRIMARY KEY,
            upload      TEXT NOT NULL REFERENCES uploads ON DELETE CASCADE,
            kind        TEXT NOT NULL CHECK (kind IN ('create', 'complete')),
            asked_at    REAL NOT NULL,
            body        TEXT,               -- JSON, of complete
            answered_at REAL,
            outcome     TEXT,               -- NULL: nobody knows
            evidence    TEXT,
            upload_id   TEXT,               -- create's answer, complete's subject
            created_at  INTEGER,
            expires_at  INTEGER,
            request_id  TEXT
        );
        CREATE INDEX intents_by_upload ON intents (upload);
        CREATE INDEX intents_by_upload_id ON intents (upload_id)
            WHERE upload_id IS NOT NULL;
        CREATE INDEX creates_by_time ON intents (COALESCE(answered_at, asked_at))
            WHERE kind = 'create';

        CREATE TABLE files (
            upload      TEXT PRIMARY KEY NOT NULL REFERENCES uploads ON DELETE CASCADE,
            id          TEXT NOT NULL,
            file        TEXT NOT NULL       -- JSON
        ) WITHOUT ROWID;

        CREATE TABLE receipts (
            upload      TEXT PRIMARY KEY NOT NULL REFERENCES uploads ON DELETE CASCADE,
            receipt     TEXT NOT NULL       -- JSON
        ) WITHOUT ROWID;

        CREATE TABLE services (
            service     TEXT PRIMARY KEY NOT NULL,
            rate        REAL NOT NULL,      -- bytes per second
            measured_at REAL NOT NULL
        ) WITHOUT ROWID;
        """
    )


# POSIX drops every lock that a process has on a file as soon as it closes any
# descriptor of that file.  `_make` closes one, so no other journal of this process
# may be about to lock the same file.
_opening = threading.Lock()


def open_database(path: Path) -> Database:
    """Open the journal at *path*; make or migrate it as needed.

    A file that is not ours is left as it is.  Raises `JournalError`.
    """
    with explained(path), _opening, ExitStack() as undo:
        _make(path)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)
        undo.callback(connection.close)
        connection.row_factory = sqlite3.Row
        db = Database(connection, execute_plugins=False)
        _refuse_strangers(db, path)
        _write_ahead(db)
        for setting in SETTINGS:
            db.execute(setting)
        _migrate(db)
        _refuse_newer(db, path)
        undo.pop_all()
        return db


@contextmanager
def transaction(db: Database, *, writes: bool) -> Iterator[None]:
    """Commit everything inside at once, or nothing of it."""
    # One that reads before it writes cannot wait for another writer in between, so
    # whoever may write says so at once.
    db.execute("BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.conn.in_transaction:
            db.execute("ROLLBACK")


def _make(path: Path) -> None:
    """Make the file, for its owner alone; SQLite gives -wal and -shm the same mode."""
    if path.is_dir():
        raise JournalError(
            f"{path} is a directory", hint="name a file in it as journal"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        if not os.access(path, os.R_OK | os.W_OK):
            raise JournalError(
                f"{path} cannot be written",
                hint="the journal has to be yours, and its disk not read-only",
            ) from None
        if 0 < path.stat().st_size < SMALLEST_DATABASE:
            raise failure(sqlite3.SQLITE_NOTADB, path) from None


def _refuse_strangers(db: Database, path: Path) -> None:
    # In this order: a process that makes the journal just now commits its tables
    # together with the id, so tables without the id are not ours.
    [[objects]] = db.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
    [[application]] = db.execute("PRAGMA application_id").fetchall()
    is_empty = objects == 0 and application == 0
    if application != APPLICATION_ID and not is_empty:
        raise JournalError(
            f"{path} is a database of another application",
            hint="nothing in it was touched; name another file as journal",
        )


def _write_ahead(db: Database) -> None:
    """Switch to WAL, once in the life of the file.

    Here alone SQLite does not wait for another process that does the same.
    """
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > until:
                raise
        time.sleep(0.01)


def _migrate(db: Database) -> None:
    if not MIGRATIONS.pending(db):
        return
    # Two processes may both come here with a new file.  The second one waits, and
    # then finds nothing pending.
    with transaction(db, writes=True):
        MIGRATIONS.apply(db)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _refuse_newer(db: Database, path: Path) -> None:
    [[noted]] = db.execute("PRAGMA user_version").fetchall()
    applied = max(noted, len(MIGRATIONS.applied(db)))
    if applied > SCHEMA_VERSION:
        raise JournalError(
            f"{path} has schema version {applied}; this program knows"
            f" versions up to {SCHEMA_VERSION}",
            hint="upgrade uploader; nothing in the journal was touched",
        )
