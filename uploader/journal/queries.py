"""What the journal is asked."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from sqlite_utils import Database

from uploader.errors import UsageError
from uploader.journal.rows import (
    ATTACHMENTS,
    UPLOADS,
    attachment_of,
    members_of,
    orphan_of,
    parts_of,
    receipt_of,
    text_of,
    upload_of,
)
from uploader.message import Attachment
from uploader.model import FileId, LocalId, Orphan, Unfinished, Upload
from uploader.result import Receipt

ONE_UPLOAD = f"{UPLOADS} WHERE uploads.id = ?"
ALL_UPLOADS = f"{UPLOADS} ORDER BY uploads.created_at, uploads.rowid"
UNFINISHED_UPLOADS = f"""
    {UPLOADS} WHERE uploads.finished_at IS NULL
    ORDER BY uploads.created_at, uploads.rowid
"""

BEGUN_UPLOADS = f"""
    {UPLOADS} WHERE uploads.finished_at IS NULL AND uploads.queued = 0
    ORDER BY uploads.created_at, uploads.rowid
"""

PARTS = """
    SELECT upload, number, part_id, digest, request_id, details, attempts, sent_at
"""
PARTS_OF_ONE = f"{PARTS} FROM parts WHERE upload = ?"
PARTS_OF_ALL = f"{PARTS} FROM parts"
# CROSS JOIN keeps the order: the few unfinished uploads first, then their parts.
PARTS_OF_UNFINISHED = f"""
    {PARTS} FROM uploads CROSS JOIN parts ON parts.upload = uploads.id
     WHERE uploads.finished_at IS NULL
"""

PARTS_OF_BEGUN = f"{PARTS_OF_UNFINISHED} AND uploads.queued = 0"

# "~" sorts behind everything that a local id is made of.
NAMED = """
    SELECT id FROM uploads WHERE id >= :local AND id < :local || '~'
    UNION
    SELECT upload FROM intents WHERE upload_id = :name
    LIMIT :limit
"""
ATTACHMENTS_NAMED = """
    SELECT id FROM attachments WHERE id >= :local AND id < :local || '~' LIMIT :limit
"""
NAMES_TO_SAY: Final = 4

ONE_ATTACHMENT = f"{ATTACHMENTS} WHERE attachments.id = ?"
ALL_ATTACHMENTS = f"{ATTACHMENTS} ORDER BY attachments.created_at, attachments.rowid"
UNFINISHED_ATTACHMENTS = f"""
    {ATTACHMENTS} WHERE attachments.finished_at IS NULL
    ORDER BY attachments.created_at, attachments.rowid
"""

# What waits for an upload that waits itself comes with that one.
BEGUN_ATTACHMENTS = f"""
    {ATTACHMENTS} WHERE attachments.finished_at IS NULL AND NOT EXISTS (
        SELECT 1 FROM attachment_files AS member
          JOIN uploads ON uploads.id = member.upload
         WHERE member.attachment = attachments.id AND uploads.queued = 1)
    ORDER BY attachments.created_at, attachments.rowid
"""

# Those that belong to a message are the message's.
UNFINISHED = """
    SELECT id, service, 0 AS is_attachment, created_at, rowid AS place
      FROM uploads
     WHERE finished_at IS NULL AND queued = 0 AND target IS NULL
     UNION ALL
    SELECT id, service, 1, created_at, rowid
      FROM attachments
     WHERE finished_at IS NULL AND NOT EXISTS (
           SELECT 1 FROM attachment_files AS member
             JOIN uploads ON uploads.id = member.upload
            WHERE member.attachment = attachments.id AND uploads.queued = 1)
     ORDER BY is_attachment, created_at, place
"""

MEMBERS = "SELECT attachment, upload, file FROM attachment_files"
MEMBERS_OF_ONE = f"{MEMBERS} WHERE attachment = ? ORDER BY position"
MEMBERS_OF_ALL = f"{MEMBERS} ORDER BY attachment, position"
MEMBERS_OF_UNFINISHED = """
    SELECT attachment, upload, file
      FROM attachments
     CROSS JOIN attachment_files ON attachment_files.attachment = attachments.id
     WHERE attachments.finished_at IS NULL
     ORDER BY attachment, position
"""

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

# What failed in `complete` is not open: the service made a file of it.  The newest
# create of a planned upload may be under way this moment; its owner is named.
ORPHANS = """
    SELECT uploads.id, uploads.service, uploads.path, uploads.size,
           intents.asked_at, intents.upload_id, intents.created_at AS opened_at,
           intents.expires_at, intents.request_id, intents.outcome, intents.evidence,
           CASE WHEN uploads.state = 'planned' AND intents.outcome IS NULL
                 AND intents.id = (SELECT MAX(id) FROM intents AS newest
                                    WHERE newest.upload = uploads.id
                                      AND newest.kind = 'create')
                THEN leases.owner END AS owner,
           leases.host, leases.pid
      FROM intents
      JOIN uploads ON uploads.id = intents.upload
      JOIN leases ON leases.subject = uploads.id
     WHERE intents.kind = 'create'
       AND COALESCE(intents.answered_at, intents.asked_at) > ?
       AND (intents.outcome IS NULL OR intents.outcome = 'given up'
            OR (intents.id = uploads.opening AND uploads.state = 'failed'
                AND intents.outcome = 'opened' AND uploads.completing IS NULL))
     ORDER BY intents.asked_at, intents.id
"""

MAKER = "SELECT upload FROM files WHERE id = ?"
RECEIPT = "SELECT receipt FROM receipts WHERE upload = ?"
RATE = "SELECT rate FROM services WHERE service = ?"
QUIET_UNTIL = "SELECT quiet_until FROM services WHERE service = ?"
LAST_MESSAGE = """
    SELECT message_id FROM conversations WHERE service = ? AND conversation_id = ?
"""


def read_upload(db: Database, upload: LocalId) -> Upload:
    return _with_parts(db, db.execute(ONE_UPLOAD, [upload]).fetchone())


def _with_parts(db: Database, row: sqlite3.Row) -> Upload:
    parts = parts_of(db.execute(PARTS_OF_ONE, [row["id"]]))
    return upload_of(row, parts.get(row["id"], {}))


def uploads(db: Database, *, unfinished: bool, queued: bool) -> list[Upload]:
    """Two queries, however many uploads there are."""
    rows_sql, parts_sql = ALL_UPLOADS, PARTS_OF_ALL
    if not queued:
        rows_sql, parts_sql = BEGUN_UPLOADS, PARTS_OF_BEGUN
    elif unfinished:
        rows_sql, parts_sql = UNFINISHED_UPLOADS, PARTS_OF_UNFINISHED
    rows = db.execute(rows_sql)
    parts = parts_of(db.execute(parts_sql))
    return [upload_of(row, parts.get(row["id"], {})) for row in rows]


def find(db: Database, name: str) -> Upload:
    row = db.execute(ONE_UPLOAD, [name]).fetchone()
    if row is not None:
        return _with_parts(db, row)
    if not (found := _named(db, NAMED, name)):
        raise no_upload(db, name)
    return read_upload(db, _only(found, name))


def no_upload(db: Database, name: str) -> UsageError:
    if _named(db, ATTACHMENTS_NAMED, name):
        return UsageError(
            f"{name!r} is an attachment, not an upload",
            hint="`uploader list` shows all of these",
        )
    return UsageError(f"no upload {name!r}", hint="`uploader list` shows all")


def read_attachment(db: Database, attachment: LocalId) -> Attachment:
    row = db.execute(ONE_ATTACHMENT, [attachment]).fetchone()
    members = members_of(db.execute(MEMBERS_OF_ONE, [attachment]))
    return attachment_of(row, members.get(attachment, ()))


def unfinished(db: Database) -> list[Unfinished]:
    """Of thousands only the names: what was sent of each is read when it goes on."""
    return [
        Unfinished(id_, service, is_attachment=bool(is_attachment))
        for id_, service, is_attachment, *_ in db.execute(UNFINISHED)
    ]


def attachments(db: Database, *, unfinished: bool, queued: bool) -> list[Attachment]:
    if not queued:
        begun = db.execute(BEGUN_ATTACHMENTS).fetchall()
        return [read_attachment(db, row["id"]) for row in begun]
    rows = db.execute(UNFINISHED_ATTACHMENTS if unfinished else ALL_ATTACHMENTS)
    members = members_of(
        db.execute(MEMBERS_OF_UNFINISHED if unfinished else MEMBERS_OF_ALL)
    )
    return [attachment_of(row, members.get(row["id"], ())) for row in rows]


def find_attachment(db: Database, name: str) -> Attachment:
    if not (found := _named(db, ATTACHMENTS_NAMED, name)):
        raise no_attachment(db, name)
    return read_attachment(db, _only(found, name))


def no_attachment(db: Database, name: str) -> UsageError:
    if _named(db, NAMED, name):
        return UsageError(
            f"{name!r} is an upload, not an attachment",
            hint="`uploader list` shows all of these",
        )
    return UsageError(f"no attachment {name!r}", hint="`uploader list` shows all")


def claimed_files(
    db: Database, service: str, but: LocalId
) -> tuple[frozenset[FileId], frozenset[int]]:
    values = {"service": service, "but": but}
    files = db.execute(FILES_OF_OTHERS, values)
    unproven = db.execute(UNPROVEN_TWINS, values)
    return frozenset(row[0] for row in files), frozenset(row[0] for row in unproven)


def find_file(db: Database, file_id: FileId) -> Upload | None:
    row = db.execute(MAKER, [file_id]).fetchone()
    return None if row is None else read_upload(db, row["upload"])


def orphans(db: Database, *, since: float) -> list[Orphan]:
    return [orphan_of(row) for row in db.execute(ORPHANS, [since])]


def receipt(db: Database, upload: LocalId) -> Receipt | None:
    row = db.execute(RECEIPT, [upload]).fetchone()
    return None if row is None else receipt_of(row["receipt"])


def rate(db: Database, service: str) -> float | None:
    row: Sequence[float] | None = db.execute(RATE, [service]).fetchone()
    return None if row is None else row[0]


def quiet_until(db: Database, service: str) -> float | None:
    row: Sequence[float] | None = db.execute(QUIET_UNTIL, [service]).fetchone()
    return None if row is None else row[0]


def last_message(db: Database, service: str, conversation_id: str) -> str | None:
    row = db.execute(LAST_MESSAGE, [service, conversation_id]).fetchone()
    return None if row is None else str(row["message_id"])


def _named(db: Database, sql: str, name: str) -> list[LocalId]:
    """Return the first ids that *name* may mean; an empty one means none."""
    values = {
        "local": text_of(name.lower()),
        "name": text_of(name),
        "limit": NAMES_TO_SAY,
    }
    return [row["id"] for row in db.execute(sql, values)] if name else []


def _only(found: Sequence[LocalId], name: str) -> LocalId:
    if len(found) > 1:
        raise UsageError(
            f"{name!r} may be any of {', '.join(found)}", hint="type more of its id"
        )
    return found[0]
