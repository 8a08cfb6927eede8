"""The nouns of Uploads and Files, and their rows."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from sqlite3 import Connection
from typing import Final, Literal

from uploader.emulator.store import insert

SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS uploads (
        id          TEXT PRIMARY KEY,
        size        INTEGER,
        created_at  INTEGER NOT NULL,
        expires_at  INTEGER NOT NULL,
        filename    TEXT NOT NULL,
        purpose     TEXT NOT NULL,
        keep_for    INTEGER,
        status      TEXT NOT NULL,
        file_id     TEXT
    );
    CREATE TABLE IF NOT EXISTS parts (
        number      INTEGER PRIMARY KEY,
        id          TEXT NOT NULL,
        upload_id   TEXT NOT NULL,
        created_at  INTEGER NOT NULL,
        size        INTEGER NOT NULL,
        content     TEXT NOT NULL,
        block_id    TEXT NOT NULL,
        UNIQUE (upload_id, id)
    );
    CREATE TABLE IF NOT EXISTS files (
        number      INTEGER PRIMARY KEY,
        id          TEXT NOT NULL UNIQUE,
        size        INTEGER NOT NULL,
        created_at  INTEGER NOT NULL,
        made_at     REAL NOT NULL,
        expires_at  INTEGER,
        filename    TEXT NOT NULL,
        purpose     TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS pieces (
        file_id   TEXT NOT NULL,
        position  INTEGER NOT NULL,
        content   TEXT NOT NULL,
        size      INTEGER NOT NULL,
        PRIMARY KEY (file_id, position)
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload; a seeded one has no size and takes whatever comes."""

    id: str
    size: int | None
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    keep_for: int | None
    """Seconds that the file is kept, counted from `created_at`; None means for ever."""
    status: Literal["pending", "completed", "cancelled"] = "pending"
    file_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stored part; *content* names its bytes in the store."""

    id: str
    upload_id: str
    created_at: int
    size: int
    content: str
    block_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file.  It is as old as its upload (recording), but was made at *made_at*."""

    id: str
    size: int
    created_at: int
    made_at: float
    expires_at: int | None
    filename: str
    purpose: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a file: a part of it, or all."""

    content: str
    size: int


def find_upload(db: Connection, upload_id: str) -> Upload | None:
    row = db.execute("SELECT * FROM uploads WHERE id = ?", [upload_id]).fetchone()
    return None if row is None else Upload(**row)


def add_upload(db: Connection, upload: Upload) -> None:
    insert(db, "uploads", asdict(upload))


def replace_upload(db: Connection, upload: Upload) -> None:
    db.execute("DELETE FROM uploads WHERE id = ?", [upload.id])
    add_upload(db, upload)


def set_status(
    db: Connection, upload_id: str, status: str, file_id: str | None = None
) -> None:
    db.execute(
        "UPDATE uploads SET status = ?, file_id = ? WHERE id = ?",
        [status, file_id, upload_id],
    )


def parts_of(db: Connection, upload_id: str) -> list[Part]:
    """The parts of an upload in the order in which they arrived."""
    rows = db.execute(
        "SELECT id, upload_id, created_at, size, content, block_id FROM parts"
        " WHERE upload_id = ? ORDER BY number",
        [upload_id],
    )
    return [Part(**row) for row in rows]


def number_and_size_of_parts(db: Connection, upload_id: str) -> tuple[int, int]:
    row = db.execute(
        "SELECT count(*), coalesce(sum(size), 0) FROM parts WHERE upload_id = ?",
        [upload_id],
    ).fetchone()
    return row[0], row[1]


def add_part(db: Connection, part: Part) -> None:
    insert(db, "parts", asdict(part))


def forget_parts(db: Connection, upload_id: str) -> None:
    db.execute("DELETE FROM parts WHERE upload_id = ?", [upload_id])


def needed_content(db: Connection) -> set[str]:
    """The names of everything that a part or a file consists of."""
    rows = db.execute("SELECT content FROM parts UNION SELECT content FROM pieces")
    return {row["content"] for row in rows}


def expired_content(db: Connection, now: float) -> list[str]:
    """Forget the parts of expired uploads and return the names of their content."""
    expired = "SELECT id FROM uploads WHERE status = 'pending' AND expires_at <= :now"
    rows = db.execute(
        f"DELETE FROM parts WHERE upload_id IN ({expired}) RETURNING content",
        {"now": now},
    )
    return [row["content"] for row in rows]


def find_file(db: Connection, file_id: str, now: float) -> File | None:
    """Return the file, unless it is deleted or expired."""
    found = [file for file in _files(db, "id = ?", [file_id]) if not _gone(file, now)]
    return found[0] if found else None


def all_files(db: Connection, now: float) -> list[File]:
    """Every file that has not expired, the oldest first."""
    return [file for file in _files(db, "true", []) if not _gone(file, now)]


def _files(db: Connection, condition: str, values: list[object]) -> list[File]:
    rows = db.execute(
        "SELECT id, size, created_at, made_at, expires_at, filename, purpose"
        f" FROM files WHERE {condition} ORDER BY created_at, number",
        values,
    )
    return [File(**row) for row in rows]


def _gone(file: File, now: float) -> bool:
    return file.expires_at is not None and file.expires_at <= now


def add_file(db: Connection, file: File, pieces: Iterable[Piece]) -> None:
    insert(db, "files", asdict(file))
    for position, piece in enumerate(pieces):
        insert(
            db, "pieces", {"file_id": file.id, "position": position, **asdict(piece)}
        )


def pieces_of(db: Connection, file_id: str) -> list[Piece]:
    rows = db.execute(
        "SELECT content, size FROM pieces WHERE file_id = ? ORDER BY position",
        [file_id],
    )
    return [Piece(**row) for row in rows]


def delete_file(db: Connection, file_id: str) -> list[str]:
    """Delete the file and return the names of its content."""
    db.execute("DELETE FROM files WHERE id = ?", [file_id])
    rows = db.execute(
        "DELETE FROM pieces WHERE file_id = ? RETURNING content", [file_id]
    )
    return [row["content"] for row in rows]
