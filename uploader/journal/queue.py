"""What waits for its turn: queued in one go, taken by priority, then arrival.

Uploads that wait are uploads like any other: planned, and claimed by nobody yet.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Sequence
from typing import Final

from sqlite_utils import Database

from uploader.errors import UsageError
from uploader.journal.claims import (
    FIND_UNFINISHED,
    FIND_UNFINISHED_ATTACHMENT,
    INSERT_ATTACHMENT,
    INSERT_MEMBER,
    INSERT_UPLOAD,
)
from uploader.journal.leases import ALPHABET, new_subject
from uploader.journal.queries import read_upload
from uploader.journal.rows import (
    digest_of,
    identity_values,
    json_of,
    json_of_attachment,
    json_of_plan,
    prose_of,
    queued_of,
    text_of,
)
from uploader.message import AttachmentState
from uploader.model import Batch, BatchId, LocalId, Queued, Upload, UploadState
from uploader.record import Entry

BATCH = "SELECT 1 FROM batches WHERE id = ?"
INSERT_BATCH = "INSERT INTO batches (id, created_at) VALUES (?, ?)"

QUEUE = """
    UPDATE uploads
       SET priority = :priority, batch = :batch, tag = :tag, queued = 1,
           preflight = :preflight, reuse = :reuse
     WHERE id = :id
"""

# What could not even be planned is over, and stays to be shown and restarted.
REFUSE = """
    UPDATE uploads
       SET batch = :batch, tag = :tag, priority = :priority,
           failure = :failure, finished_at = :now
     WHERE id = :id
"""

# The row that replaces it is the batch's from now on.
LEAVE_BATCH = "UPDATE uploads SET batch = NULL WHERE id = ?"

# Its message would wait for it for ever.
LEAVE_MESSAGE = """
    UPDATE attachments SET state = 'failed', finished_at = :now
     WHERE finished_at IS NULL
       AND id IN (SELECT attachment FROM attachment_files WHERE upload = :upload)
"""

WAITING = """
    SELECT id, service, path, purpose, filename, target, size, plan, priority, batch,
           tag, preflight
      FROM uploads
     WHERE finished_at IS NULL AND queued = 1 {filters}
     ORDER BY priority DESC, created_at, rowid LIMIT :limit
"""
COUNT = """
    SELECT COUNT(*), TOTAL(size) FROM uploads
     WHERE finished_at IS NULL AND queued = 1
"""

BATCHES = """
    SELECT batches.id, batches.created_at,
           COUNT(*) FILTER (WHERE finished_at IS NULL AND queued = 1) AS queued,
           COUNT(*) FILTER (WHERE finished_at IS NULL AND queued = 0
                              AND failure IS NULL) AS begun,
           COUNT(*) FILTER (WHERE finished_at IS NULL AND queued = 0
                              AND failure IS NOT NULL) AS stopped,
           COUNT(*) FILTER (WHERE state = 'completed'
                              AND finished_at IS NOT NULL) AS completed,
           COUNT(*) FILTER (WHERE state = 'failed') AS failed,
           COUNT(*) FILTER (WHERE state = 'cancelled') AS cancelled,
           SUM(size) AS bytes,
           SUM(size) FILTER (WHERE state = 'completed') AS bytes_completed
      FROM batches JOIN uploads ON uploads.batch = batches.id
     {filters}
     GROUP BY batches.id ORDER BY batches.created_at, batches.id
"""

NAMED = "SELECT id FROM batches WHERE id >= :name AND id < :name || '~' LIMIT 2"

FAILED = """
    SELECT id FROM uploads
     WHERE batch IS NOT NULL AND (:batch IS NULL OR batch = :batch)
       AND (state = 'failed'
            OR (finished_at IS NULL AND queued = 0 AND failure IS NOT NULL))
     ORDER BY priority DESC, created_at, rowid
"""

REQUEUE = """
    UPDATE uploads SET queued = 1, failure = NULL WHERE id = ? AND finished_at IS NULL
"""

MESSAGES = """
    SELECT attachment FROM attachment_files
      JOIN attachments ON attachments.id = attachment_files.attachment
     WHERE upload = :upload AND (NOT :unfinished OR attachments.finished_at IS NULL)
     ORDER BY attachments.created_at, attachments.rowid
"""

ANY: Final = ""
"""No filter."""


def enqueue(
    db: Database, entries: Sequence[Entry], batch: BatchId | None, *, now: float
) -> tuple[BatchId, list[LocalId]]:
    """Queue all of them, or none; *batch* is one that gets more.

    An unfinished upload of the same identity is queued again as it was recorded.
    """
    if batch is None:
        batch = _new_batch(db, now)
    return batch, [_queue(db, entry, batch, now) for entry in entries]


def waiting(
    db: Database, *, batch: BatchId | None, but: Collection[str], limit: int
) -> list[Queued]:
    """The next ones; those of the services *but* are passed over."""
    filters, values = ANY, {"limit": limit}
    if batch is not None:
        filters += " AND batch = :batch"
        values["batch"] = batch  # type: ignore[assignment]
    if but:
        filters += " AND service NOT IN (SELECT value FROM json_each(:but))"
        values["but"] = json.dumps([*but])  # type: ignore[assignment]
    rows = db.execute(WAITING.format(filters=filters), values)
    return [queued_of(row) for row in rows]


def count(db: Database) -> tuple[int, int]:
    """How many wait, and how many bytes they have."""
    [[uploads, size]] = db.execute(COUNT).fetchall()
    return uploads, int(size)


def batches(db: Database, batch: BatchId | None = None) -> list[Batch]:
    filters = ANY if batch is None else "WHERE batches.id = :batch"
    rows = db.execute(BATCHES.format(filters=filters), {"batch": batch})
    return [
        Batch(**{**row, "bytes_completed": row["bytes_completed"] or 0})
        for row in map(dict, rows)
    ]


def one_batch(db: Database, name: str) -> Batch:
    """By its id, or the beginning of it.  Raises `UsageError`."""
    found = db.execute(NAMED, {"name": text_of(name.lower())}).fetchall()
    if not name or len(found) != 1:
        raise UsageError(
            f"{name!r} may be several batches" if found else f"no batch {name!r}",
            hint="`uploader list --batches` shows all",
        )
    [batch] = batches(db, BatchId(found[0]["id"]))
    return batch


def failed(db: Database, batch: BatchId | None) -> list[Upload]:
    """Those of a batch, or of all, that failed or were stopped by a failure."""
    rows = db.execute(FAILED, {"batch": batch}).fetchall()
    return [read_upload(db, row["id"]) for row in rows]


def messages_with(db: Database, upload: LocalId, *, unfinished: bool) -> list[LocalId]:
    """The attachments that an upload is for, oldest first."""
    values = {"upload": upload, "unfinished": unfinished}
    return [LocalId(row["attachment"]) for row in db.execute(MESSAGES, values)]


def _queue(db: Database, entry: Entry, batch: BatchId, now: float) -> LocalId:
    values = identity_values(entry.identity)
    known = db.execute(FIND_UNFINISHED, values).fetchone()
    if known is not None and entry.failure is None:
        upload = LocalId(known["id"])
    else:
        upload = _insert(db, entry, values, now)
    place = {
        "id": upload,
        "priority": entry.priority,
        "batch": batch,
        "tag": None if entry.tag is None else prose_of(entry.tag),
    }
    if entry.replaces is not None:
        db.execute(LEAVE_BATCH, [entry.replaces])
        db.execute(LEAVE_MESSAGE, {"upload": entry.replaces, "now": now})
    if entry.failure is not None:
        failure = prose_of(str(entry.failure))
        db.execute(REFUSE, {**place, "failure": failure, "now": now})
        _queue_message(db, entry, upload, now)
        db.execute(LEAVE_MESSAGE, {"upload": upload, "now": now})
        return upload
    how = {"preflight": entry.preflight, "reuse": entry.reuse}
    db.execute(QUEUE, {**place, **how})
    _queue_message(db, entry, upload, now)
    return upload


def _insert(
    db: Database, entry: Entry, identity: dict[str, object], now: float
) -> LocalId:
    upload = new_subject(db)
    is_good = entry.failure is None
    values = identity | {
        "id": upload,
        "size": entry.spec.size,
        "spec": json_of(entry.spec),
        "fingerprint": json_of(entry.fingerprint),
        "plan": json_of_plan(entry.plan),
        "state": UploadState.PLANNED if is_good else UploadState.FAILED,
        "now": now,
        "reuse": entry.reuse,
    }
    db.execute(INSERT_UPLOAD, values)
    return upload


def _queue_message(db: Database, entry: Entry, upload: LocalId, now: float) -> None:
    if entry.message is None:
        return
    spec = entry.message.of(upload)
    digest = digest_of(spec)
    if db.execute(FIND_UNFINISHED_ATTACHMENT, [digest]).fetchone() is not None:
        return
    attachment = new_subject(db)
    values = {
        "id": attachment,
        "service": spec.service,
        "spec": json_of_attachment(spec),
        "digest": digest,
        "state": AttachmentState.PLANNED,
        "now": now,
    }
    db.execute(INSERT_ATTACHMENT, values)
    db.execute(INSERT_MEMBER, [attachment, 1, upload, None])


def _new_batch(db: Database, now: float) -> BatchId:
    while True:
        name = "".join(secrets.choice(ALPHABET) for _ in range(6))
        if db.execute(BATCH, [name]).fetchone() is None:
            db.execute(INSERT_BATCH, [name, now])
            return BatchId(name)
