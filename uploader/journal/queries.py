"""What the journal is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlite_utils import Database

from uploader.errors import UsageError
from uploader.journal.rows import (
    UPLOADS,
    parts_of,
    receipt_of,
    text_of,
    upload_of,
)
from uploader.model import FileId, LocalId, Receipt, Upload

ONE_UPLOAD = f"{UPLOADS} WHERE uploads.id = ?"
ALL_UPLOADS = f"{UPLOADS} ORDER BY uploads.created_at, uploads.rowid"
UNFINISHED_UPLOADS = f"""
    {UPLOADS} WHERE uploads.finished_at IS NULL
    ORDER BY uploads.created_at, uploads.rowid
"""

PARTS = """
    SELECT upload, number, part_id, digest, request_id, block_id, attempts, sent_at
"""
PARTS_OF_ONE = f"{PARTS} FROM parts WHERE upload = ?"
PARTS_OF_ALL = f"{PARTS} FROM parts"
# CROSS JOIN keeps the order: the few unfinished uploads first, then their parts.
PARTS_OF_UNFINISHED = f"""
    {PARTS} FROM uploads CROSS JOIN parts ON parts.upload = uploads.id
     WHERE uploads.finished_at IS NULL
"""

# "~" sorts behind everything that a local id is made of.
NAMED = """
    SELECT id FROM uploads WHERE id >= :local AND id < :local || '~'
    UNION
    SELECT upload FROM intents WHERE upload_id = :name
    LIMIT :limit
"""
NAMES_TO_SAY: Final = 4

FILES_OF_OTHERS = """
    SELECT files.id FROM files JOIN uploads ON uploads.id = files.upload
     WHERE uploads.service = :service AND uploads.id <> :but
"""

# A complete that was given up may have taken effect all the same.
UNPROVEN_TWINS = """
    SELECT DISTINCT intents.created_at
      FROM uploads AS this
      JOIN uploads AS twin USING (purpose, filename, size)
      JOIN intents ON intents.upload = twin.id
     WHERE this.id = :but AND twin.id <> :but AND twin.service = :service
       AND intents.kind = 'complete' AND intents.created_at IS NOT NULL
       AND (intents.outcome IS NULL OR intents.outcome = 'given up')
"""

RECEIPT = "SELECT receipt FROM receipts WHERE upload = ?"
RATE = "SELECT rate FROM services WHERE service = ?"


def read_upload(db: Database, upload: LocalId) -> Upload:
    row = db.execute(ONE_UPLOAD, [upload]).fetchone()
    parts = parts_of(db.execute(PARTS_OF_ONE, [upload]))
    return upload_of(row, parts.get(upload, {}))


def uploads(db: Database, *, unfinished: bool) -> list[Upload]:
    """Two queries, however many uploads there are."""
    rows = db.execute(UNFINISHED_UPLOADS if unfinished else ALL_UPLOADS)
    parts = parts_of(db.execute(PARTS_OF_UNFINISHED if unfinished else PARTS_OF_ALL))
    return [upload_of(row, parts.get(row["id"], {})) for row in rows]


def find(db: Database, name: str) -> Upload:
    values = {
        "local": text_of(name.lower()),
        "name": text_of(name),
        "limit": NAMES_TO_SAY,
    }
    found = [row["id"] for row in db.execute(NAMED, values)]
    if not name or not found:
        raise UsageError(f"no upload {name!r}", hint="`uploader list` shows all")
    if len(found) > 1:
        raise UsageError(
            f"{name!r} may be any of {', '.join(found)}", hint="type more of its id"
        )
    return read_upload(db, found[0])


def claimed_files(
    db: Database, service: str, but: LocalId
) -> tuple[frozenset[FileId], frozenset[int]]:
    values = {"service": service, "but": but}
    files = db.execute(FILES_OF_OTHERS, values)
    unproven = db.execute(UNPROVEN_TWINS, values)
    return frozenset(row[0] for row in files), frozenset(row[0] for row in unproven)


def receipt(db: Database, upload: LocalId) -> Receipt | None:
    row = db.execute(RECEIPT, [upload]).fetchone()
    return None if row is None else receipt_of(row["receipt"])


def rate(db: Database, service: str) -> float | None:
    row: Sequence[float] | None = db.execute(RATE, [service]).fetchone()
    return None if row is None else row[0]
