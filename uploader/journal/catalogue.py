"""Which content is at which service already, and under which file id."""

from __future__ import annotations

from sqlite_utils import Database

from uploader.journal.rows import text_of
from uploader.model import FileId, Upload

SAME = """
    service = :service AND purpose = :purpose AND filename = :filename
    AND expires_after = :expires_after AND size = :size
"""

KNOWN = f"SELECT digest, file_id FROM catalogue WHERE {SAME}"

RECORD = """
    INSERT OR REPLACE INTO catalogue (
        service, purpose, filename, expires_after, size, digest, file_id
    ) VALUES (
        :service, :purpose, :filename, :expires_after, :size, :digest, :file_id
    )
"""

FORGET = f"DELETE FROM catalogue WHERE {SAME} AND digest = :digest"


def known(db: Database, upload: Upload) -> dict[str, FileId]:
    """The digests of files with the name, purpose, life and size of *upload*."""
    rows = db.execute(KNOWN, _values(upload))
    return {row["digest"]: FileId(row["file_id"]) for row in rows}


def record(db: Database, upload: Upload, digest: str, file_id: FileId) -> None:
    db.execute(RECORD, {**_values(upload), "digest": digest, "file_id": file_id})


def forget(db: Database, upload: Upload, digest: str) -> None:
    db.execute(FORGET, {**_values(upload), "digest": digest})


def _values(upload: Upload) -> dict[str, object]:
    identity = upload.identity
    never = -1
    return {
        "service": identity.service,
        "purpose": identity.purpose,
        "filename": text_of(identity.filename),
        "expires_after": (
            never if identity.expires_after is None else identity.expires_after
        ),
        "size": upload.spec.size,
    }
