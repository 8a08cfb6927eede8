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
from uploader.journal.ownership import refuse_foreign

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

SCHEMA_VERSION: Final = 2
"""How many steps there are."""


@MIGRATIONS()
def uploads_and_attachments(db: Database) -> None:
    db.executescript(
        """
        -- Each upload and each attachment has a row here as long as it exists, so
        -- that no id stands for one of each.
        CREATE TABLE leases (
            subject         TEXT PRIMARY KEY NOT NULL,
            owner           TEXT,           -- NULL: nobody works on it
            host            TEXT,
            pid             INTEGER,
            epoch           INTEGER NOT NULL DEFAULT 0,
            expires_at      REAL
        ) WITHOUT ROWID;
        CREATE INDEX leases_held ON leases (owner) WHERE owner IS NOT NULL;

        CREATE TABLE batches (
            id              TEXT PRIMARY KEY NOT NULL,
            created_at      REAL NOT NULL
        ) WITHOUT ROWID;

        CREATE TABLE uploads (
            id              TEXT PRIMARY KEY NOT NULL
                                REFERENCES leases ON DELETE CASCADE,
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
            scope           TEXT,           -- JSON
            failure         TEXT,
            priority        INTEGER NOT NULL DEFAULT 0,
            batch           TEXT REFERENCES batches,
            tag             TEXT,
            queued          INTEGER NOT NULL DEFAULT 0,  -- 1: nobody has begun it
            preflight       INTEGER NOT NULL DEFAULT 0,
            reuse           INTEGER NOT NULL DEFAULT 0
        );
        CREATE INDEX uploads_unfinished ON uploads (created_at)
            WHERE finished_at IS NULL;
        -- A hundred thousand may wait, and only a few are under way.
        CREATE INDEX uploads_begun ON uploads (created_at)
            WHERE finished_at IS NULL AND queued = 0;
        CREATE INDEX uploads_queued ON uploads (priority DESC, created_at, service, size)
            WHERE finished_at IS NULL AND queued = 1;
        CREATE INDEX uploads_queued_by_batch ON uploads (batch, priority DESC, created_at)
            WHERE finished_at IS NULL AND queued = 1;
        CREATE INDEX uploads_by_batch ON uploads (batch, state)
            WHERE batch IS NOT NULL;
        CREATE INDEX uploads_unfinished_by_path ON uploads (path)
            WHERE finished_at IS NULL;
        CREATE INDEX uploads_finished ON uploads (finished_at)
            WHERE finished_at IS NOT NULL;

        CREATE TABLE parts (
            upload      TEXT NOT NULL REFERENCES uploads ON DELETE CASCADE,
            number      INTEGER NOT NULL,
            part_id     TEXT NOT NULL,
            digest      TEXT,
            request_id  TEXT,
            details     TEXT NOT NULL,      -- JSON
            attempts    INTEGER NOT NULL,
            sent_at     REAL NOT NULL,
            PRIMARY KEY (upload, number)
        ) WITHOUT ROWID;

        CREATE TABLE intents (
            id          INTEGER PRIMARY KEY,
            upload      TEXT NOT NULL REFERENCES uploads ON DELETE CASCADE,
            kind        TEXT NOT NULL CHECK (kind IN ('create', 'put', 'complete')),
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
        CREATE UNIQUE INDEX open_puts ON intents (upload)
            WHERE kind = 'put' AND outcome IS NULL;

        CREATE TABLE files (
            upload      TEXT PRIMARY KEY NOT NULL REFERENCES uploads ON DELETE CASCADE,
            id          TEXT NOT NULL,
            file        TEXT NOT NULL       -- JSON
        ) WITHOUT ROWID;
        CREATE INDEX files_by_id ON files (id);

        CREATE TABLE receipts (
            upload      TEXT PRIMARY KEY NOT NULL REFERENCES uploads ON DELETE CASCADE,
            receipt     TEXT NOT NULL       -- JSON
        ) WITHOUT ROWID;

        CREATE TABLE services (
            service     TEXT PRIMARY KEY NOT NULL,
            rate        REAL,               -- bytes per second
            measured_at REAL,
            quiet_until REAL                -- no request before; a 429 asked for it
        ) WITHOUT ROWID;

        CREATE TABLE catalogue (
            service     TEXT NOT NULL,
            purpose     TEXT NOT NULL,
            filename    TEXT NOT NULL,      -- a BLOB when it is not UTF-8
            expires_after INTEGER NOT NULL, -- -1: never
            size        INTEGER NOT NULL,
            digest      TEXT NOT NULL,      -- of the whole content
            file_id     TEXT NOT NULL,
            PRIMARY KEY (service, purpose, filename, expires_after, size, digest)
        ) WITHOUT ROWID;

        CREATE TABLE attachments (
            id          TEXT PRIMARY KEY NOT NULL REFERENCES leases ON DELETE CASCADE,
            service     TEXT NOT NULL,
            spec        TEXT NOT NULL,      -- JSON, without the members
            digest      TEXT NOT NULL,      -- of the spec and its members
            state       TEXT NOT NULL,
            created_at  REAL NOT NULL,
            finished_at REAL,               -- NULL: resume has something to do
            delivered_at REAL,
            scope       TEXT,               -- JSON
            cursor      TEXT,
            asked_at    REAL,
            response_id TEXT,
            attached    TEXT,               -- JSON
            failure     TEXT
        );
        CREATE INDEX attachments_unfinished ON attachments (created_at)
            WHERE finished_at IS NULL;
        CREATE UNIQUE INDEX attachments_unfinished_by_digest ON attachments (digest)
            WHERE finished_at IS NULL;
        CREATE INDEX attachments_finished ON attachments (finished_at)
            WHERE finished_at IS NOT NULL;

        CREATE TABLE attachment_files (
            attachment  TEXT NOT NULL REFERENCES attachments ON DELETE CASCADE,
            position    INTEGER NOT NULL,
            upload      TEXT,               -- its id stays when it is pruned
            file        TEXT,               -- JSON, of a file that existed already
            PRIMARY KEY (attachment, position),
            CHECK ((upload IS NULL) <> (file IS NULL))
        ) WITHOUT ROWID;
        CREATE INDEX attachment_files_by_upload ON attachment_files (upload)
            WHERE upload IS NOT NULL;

        CREATE TABLE conversations (
            service         TEXT NOT NULL,
            conversation_id TEXT NOT NULL,
            message_id      TEXT NOT NULL,  -- the last one of the assistant
            PRIMARY KEY (service, conversation_id)
        ) WITHOUT ROWID;
        """
    )


@MIGRATIONS()
def twins_by_name(db: Database) -> None:
    """Before each create somebody asks for uploads that would look the same."""
    db.execute("CREATE INDEX uploads_by_name ON uploads (filename, size)")


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
        _refuse_newer(path, _noted_version(db))
        _migrate(db)
        _refuse_newer(path, len(MIGRATIONS.applied(db)))
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
    refuse_foreign(path)
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


def _noted_version(db: Database) -> int:
    [[version]] = db.execute("PRAGMA user_version").fetchall()
    return int(version)


def _refuse_newer(path: Path, version: int) -> None:
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"{path} has schema version {version}; this program knows"
            f" versions up to {SCHEMA_VERSION}",
            hint="upgrade uploader; nothing in the journal was touched",
        )
