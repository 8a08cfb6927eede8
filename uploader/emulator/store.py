"""What survives a kill: one SQLite database and the received bytes beside it.

Several emulators may serve one directory at the same time, and each may be
killed at any moment.  So nothing that matters stays in memory between two
requests, a transaction never spans an `await`, and bytes get their final name
only when they are complete.
"""

import sqlite3
import threading
import time
import uuid
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

BUSY_TIMEOUT: Final = 30.0
ABANDONED_AFTER: Final = 3600.0
"""Seconds without a byte after which nobody is receiving some content any more."""


class Store:
    """The directory of an emulator."""

    def __init__(self, directory: Path, schemas: Iterable[str]) -> None:
        self._arriving = directory / "arriving"
        self._content = directory / "content"
        self._arriving.mkdir(parents=True, exist_ok=True)
        self._content.mkdir(exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            directory / "emulator.db",
            timeout=BUSY_TIMEOUT,
            isolation_level=None,
            check_same_thread=False,
        )
        self._db.row_factory = sqlite3.Row
        self._prepare(schemas)

    def _prepare(self, schemas: Iterable[str]) -> None:
        self._use_wal()
        # What the kernel has survives a killed process; only a power cut needs more.
        self._db.execute("PRAGMA synchronous = OFF")
        with self.transaction() as db:
            for schema in schemas:
                for statement in schema.split(";"):
                    db.execute(statement)

    def _use_wal(self) -> None:
        # Changing the journal mode does not wait for a lock, so of two emulators
        # that start at once in a new directory one would fail.
        give_up = time.monotonic() + BUSY_TIMEOUT
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.01)
            else:
                return

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write, alone among all emulators of the directory; all or nothing."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def rows(self, query: str, values: Iterable[object] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(query, tuple(values)).fetchall()

    def arriving(self) -> Path:
        """Return a new name for bytes that are still on their way."""
        return self._arriving / uuid.uuid4().hex

    def keep(self, arriving: Path) -> str:
        """Give arrived bytes their final name and return it."""
        arriving.replace(self._content / arriving.name)
        return arriving.name

    def keep_nothing(self) -> str:
        """Keep no bytes at all, under a name like all others."""
        path = self.arriving()
        path.touch()
        return self.keep(path)

    def content(self, name: str) -> Path:
        return self._content / name

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            self.content(name).unlink(missing_ok=True)

    def sweep(self, needed: Container[str]) -> None:
        """Remove what killed emulators left: content that is not *needed*."""
        oldest = time.time() - ABANDONED_AFTER
        for path in (*self._arriving.iterdir(), *self._content.iterdir()):
            # Another emulator may keep or drop it at this moment.
            with suppress(FileNotFoundError):
                if path.name not in needed and path.stat().st_mtime < oldest:
                    path.unlink()


def insert(db: sqlite3.Connection, table: str, row: Mapping[str, object]) -> int:
    """Insert *row* and return its rowid."""
    columns = ", ".join(row)
    marks = ", ".join(f":{column}" for column in row)
    cursor = db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", dict(row))
    assert cursor.lastrowid is not None
    return cursor.lastrowid
