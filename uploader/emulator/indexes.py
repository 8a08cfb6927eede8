"""The nouns of vector stores, and their rows."""

import dataclasses
import json
from dataclasses import asdict, dataclass
from sqlite3 import Connection, Row
from typing import Final, Literal

from uploader.emulator.answers import Document
from uploader.emulator.store import insert

SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS vector_stores (
        number          INTEGER PRIMARY KEY,
        id              TEXT NOT NULL UNIQUE,
        created_at      REAL NOT NULL,
        last_active_at  REAL NOT NULL,
        name            TEXT,
        description     TEXT,
        expires_after   TEXT NOT NULL,
        metadata        TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS indexed_files (
        number             INTEGER PRIMARY KEY,
        file_id            TEXT NOT NULL,
        store_id           TEXT NOT NULL,
        batch_id           TEXT,
        attached_at        REAL NOT NULL,
        size               INTEGER NOT NULL,
        ready_at           REAL NOT NULL,
        polls_left         INTEGER NOT NULL,
        ending             TEXT NOT NULL,
        error              TEXT NOT NULL,
        chunking_strategy  TEXT NOT NULL,
        attributes         TEXT NOT NULL,
        UNIQUE (store_id, file_id)
    );
    CREATE TABLE IF NOT EXISTS file_batches (
        id          TEXT PRIMARY KEY,
        store_id    TEXT NOT NULL,
        created_at  REAL NOT NULL
    )
"""

Status = Literal["in_progress", "completed", "failed", "cancelled"]

OVERHEAD: Final = 1024
"""What an index needs besides the bytes of its file (recording: 21 became 1045)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorStore:
    """A store; *expires_after* is as it was asked for."""

    id: str
    created_at: float
    last_active_at: float
    name: str | None
    description: str | None
    expires_after: Document | None
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedFile:
    """A file in a store.

    How its indexing ends is settled when it is attached.  It is in progress until
    *ready_at* and until it was asked for so many times.
    """

    file_id: str
    store_id: str
    batch_id: str | None
    attached_at: float
    size: int
    ready_at: float
    polls_left: int
    ending: Status
    error: str
    chunking_strategy: Document
    attributes: Document

    def status(self, now: float) -> Status:
        is_ready = self.polls_left <= 0 and now >= self.ready_at
        return self.ending if is_ready else "in_progress"

    def usage(self, now: float) -> int:
        return self.size + OVERHEAD if self.status(now) == "completed" else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBatch:
    """Files that were attached together."""

    id: str
    store_id: str
    created_at: float


def stores(db: Connection) -> list[VectorStore]:
    """Every store, the oldest first."""
    return [_store(row) for row in db.execute(f"{STORES} ORDER BY created_at, number")]


def find_store(db: Connection, store_id: str) -> VectorStore | None:
    row = db.execute(f"{STORES} WHERE id = ?", [store_id]).fetchone()
    return None if row is None else _store(row)


STORES: Final = (
    "SELECT id, created_at, last_active_at, name, description, expires_after,"
    " metadata FROM vector_stores"
)


def _store(row: Row) -> VectorStore:
    parsed = {name: json.loads(row[name]) for name in ("expires_after", "metadata")}
    return VectorStore(**{**row, **parsed})


def put_store(db: Connection, store: VectorStore) -> None:
    row = {
        **asdict(store),
        "expires_after": json.dumps(store.expires_after),
        "metadata": json.dumps(store.metadata),
    }
    changes = ", ".join(f"{column} = excluded.{column}" for column in row)
    columns, marks = ", ".join(row), ", ".join(f":{column}" for column in row)
    db.execute(
        f"INSERT INTO vector_stores ({columns}) VALUES ({marks})"
        f" ON CONFLICT (id) DO UPDATE SET {changes}",
        row,
    )


def delete_store(db: Connection, store_id: str) -> None:
    db.execute("DELETE FROM vector_stores WHERE id = ?", [store_id])
    for table in ("indexed_files", "file_batches"):
        db.execute(f"DELETE FROM {table} WHERE store_id = ?", [store_id])


def files_of(
    db: Connection, store_id: str, *, batch_id: str | None = None
) -> list[IndexedFile]:
    """The files of a store, or of one batch of it, in the order of attaching."""
    rows = db.execute(
        f"{FILES} WHERE store_id = :store AND (:batch IS NULL OR batch_id = :batch)"
        " ORDER BY number",
        {"store": store_id, "batch": batch_id},
    )
    return [_file(row) for row in rows]


def find_file(db: Connection, store_id: str, file_id: str) -> IndexedFile | None:
    row = db.execute(
        f"{FILES} WHERE store_id = ? AND file_id = ?", [store_id, file_id]
    ).fetchone()
    return None if row is None else _file(row)


FILES: Final = (
    "SELECT file_id, store_id, batch_id, attached_at, size, ready_at, polls_left,"
    " ending, error, chunking_strategy, attributes FROM indexed_files"
)


def _file(row: Row) -> IndexedFile:
    parsed = {
        name: json.loads(row[name]) for name in ("chunking_strategy", "attributes")
    }
    return IndexedFile(**{**row, **parsed})


def add_file(db: Connection, file: IndexedFile) -> None:
    row = {
        **asdict(file),
        "chunking_strategy": json.dumps(file.chunking_strategy),
        "attributes": json.dumps(file.attributes),
    }
    insert(db, "indexed_files", row)


def replace_file(db: Connection, file: IndexedFile) -> None:
    """Write what may change of a file that stays where it is in the list."""
    db.execute(
        "UPDATE indexed_files SET polls_left = ?, ready_at = ?, ending = ?,"
        " attributes = ? WHERE store_id = ? AND file_id = ?",
        [
            file.polls_left,
            file.ready_at,
            file.ending,
            json.dumps(file.attributes),
            file.store_id,
            file.file_id,
        ],
    )


def polled(db: Connection, file: IndexedFile) -> None:
    left = max(0, file.polls_left - 1)
    replace_file(db, dataclasses.replace(file, polls_left=left))


def delete_file(db: Connection, store_id: str, file_id: str) -> None:
    db.execute(
        "DELETE FROM indexed_files WHERE store_id = ? AND file_id = ?",
        [store_id, file_id],
    )


def add_batch(db: Connection, batch: FileBatch) -> None:
    insert(db, "file_batches", asdict(batch))


def find_batch(db: Connection, store_id: str, batch_id: str) -> FileBatch | None:
    row = db.execute(
        "SELECT * FROM file_batches WHERE store_id = ? AND id = ?",
        [store_id, batch_id],
    ).fetchone()
    return None if row is None else FileBatch(**row)
