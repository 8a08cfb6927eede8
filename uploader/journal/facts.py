"""What an owner records about its upload.

Each function is one fact, whole or not at all, and raises `LeaseLost` when another
owner has taken over.  States change as the table in `uploader.state` says.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlite_utils import Database

from uploader.journal.leases import HELD, LEASED, lost, release, values_of, write
from uploader.journal.queries import read_upload
from uploader.journal.rows import (
    json_of,
    json_of_body,
    json_of_details,
    json_of_receipt,
    prose_of,
)
from uploader.model import (
    CompleteIntent,
    File,
    Fingerprint,
    Lease,
    Opened,
    SentPart,
    Upload,
    UploadState,
)
from uploader.result import Receipt
from uploader.state import Event, IllegalTransition, advance

TWIN_GAP: Final = 1.0
"""Services tell the time of a create in whole seconds."""

ANSWER_DUE: Final = 5.0
"""So long the create of a live owner may be on its way; then its asking counts."""

STATE = f"SELECT state FROM uploads WHERE {HELD}"

# The time between two creates is from the answer of one to the asking of the next:
# the service made the first one before that, and makes the second one after it.
NEWEST_TWIN = """
    SELECT MAX(CASE WHEN answered_at IS NULL AND leases.expires_at > :now
                    THEN :now ELSE COALESCE(answered_at, asked_at) END)
      FROM uploads AS this
      JOIN uploads AS twin USING (service, purpose, filename, size)
      JOIN intents ON intents.upload = twin.id AND kind = 'create'
      JOIN leases ON leases.subject = twin.id
     WHERE this.id = :upload AND twin.id <> :upload
       AND +COALESCE(answered_at, asked_at) BETWEEN :now - :due AND :now + :gap
"""

INTEND_CREATE = """
    INSERT INTO intents (upload, kind, asked_at) VALUES (:upload, 'create', :now)
"""

ANSWER_CREATE = """
    UPDATE intents
       SET outcome = 'opened', answered_at = :now, upload_id = :upload_id,
           created_at = :created_at, expires_at = :expires_at, request_id = :request_id
     WHERE id = (SELECT MAX(id) FROM intents WHERE upload = :upload AND kind = 'create')
    RETURNING id
"""

WITHDRAW_CREATE = """
    UPDATE intents SET outcome = 'withdrawn', answered_at = :now
     WHERE id = (SELECT MAX(id) FROM intents WHERE upload = :upload AND kind = 'create')
       AND outcome IS NULL
"""

OPEN = f"UPDATE uploads SET state = :state, opening = :opening WHERE {HELD}"

# One statement checks the lease and records the part: this is the hot path.
RECORD_PART = f"""
    INSERT INTO parts (
        upload, number, part_id, digest, request_id, details, attempts, sent_at
    )
    SELECT subject, :number, :part_id, :digest, :request_id, :details, :attempts,
           :sent_at
      FROM leases WHERE {LEASED}
    ON CONFLICT DO UPDATE
       SET part_id = excluded.part_id, digest = excluded.digest,
           request_id = excluded.request_id, details = excluded.details,
           attempts = excluded.attempts, sent_at = excluded.sent_at
"""

INTEND_PUT = f"""
    INSERT INTO intents (upload, kind, asked_at)
    SELECT subject, 'put', :now FROM leases WHERE {LEASED}
    ON CONFLICT (upload) WHERE kind = 'put' AND outcome IS NULL
    DO UPDATE SET asked_at = excluded.asked_at
"""

# Nearly always there is no such intent; the index of open ones is empty then.
ANSWER_PUT = """
    UPDATE intents SET outcome = :outcome, answered_at = :now
     WHERE upload = :upload AND kind = 'put' AND outcome IS NULL
"""

FORGET_PART = "DELETE FROM parts WHERE upload = ? AND number = ?"
FORGET_PARTS = "DELETE FROM parts WHERE upload = :upload"

NOTE_ORPHAN_PARTS = f"UPDATE uploads SET may_have_orphan_parts = 1 WHERE {HELD}"
RECORD_FINGERPRINT = f"UPDATE uploads SET fingerprint = :fingerprint WHERE {HELD}"
NOTE_FAILURE = f"UPDATE uploads SET failure = :failure WHERE {HELD}"

INTEND_COMPLETE = """
    INSERT INTO intents (upload, kind, asked_at, body, upload_id, created_at)
    SELECT :upload, 'complete', :asked_at, :body, opening.upload_id, opening.created_at
      FROM uploads LEFT JOIN intents AS opening ON opening.id = uploads.opening
     WHERE uploads.id = :upload
    RETURNING id
"""

ASK_COMPLETE_AGAIN = """
    UPDATE intents SET asked_at = :asked_at, body = :body
     WHERE id = (SELECT completing FROM uploads WHERE id = :upload)
    RETURNING id
"""

COMPLETING = f"UPDATE uploads SET state = :state, completing = :completing WHERE {HELD}"

ANSWER_COMPLETE = """
    UPDATE intents SET outcome = :outcome, answered_at = :now, evidence = :evidence
     WHERE id = (SELECT completing FROM uploads WHERE id = :upload)
"""

SAY_YES = f"""
    UPDATE intents SET evidence = 'it said yes'
     WHERE id = (SELECT completing FROM uploads WHERE {HELD})
"""

REFUSE = f"UPDATE uploads SET state = :state, completing = NULL WHERE {HELD}"
COMPLETE = f"UPDATE uploads SET state = :state, failure = NULL WHERE {HELD}"
RECORD_FILE = "INSERT INTO files (upload, id, file) VALUES (:upload, :id, :file)"

RECORD_RECEIPT = f"""
    INSERT OR REPLACE INTO receipts (upload, receipt)
    SELECT subject, :receipt FROM leases WHERE {LEASED}
"""

# The creates stay: what they opened is an orphan at the service for its hour.
GIVE_UP_INTENTS = """
    UPDATE intents SET outcome = 'given up', evidence = :reason
     WHERE id IN (SELECT opening FROM uploads WHERE id = :upload
                  UNION SELECT completing FROM uploads WHERE id = :upload)
        OR (upload = :upload AND kind = 'put' AND outcome IS NULL)
"""

RESTART = f"""
    UPDATE uploads
       SET state = :state, opening = NULL, completing = NULL,
           may_have_orphan_parts = 0, failure = NULL,
           restarts = restarts + NOT :orphans,
           orphan_restarts = orphan_restarts + :orphans
     WHERE {HELD}
"""

FINISH = f"""
    UPDATE uploads SET state = :state, failure = :failure, finished_at = :now
     WHERE {HELD}
"""

DELIVER = f"UPDATE uploads SET delivered_at = :now, finished_at = :now WHERE {HELD}"


def intend_create(db: Database, lease: Lease, *, now: float) -> float:
    """Record that `create` is about to be asked, or return the seconds to wait."""
    _state(db, lease)
    values = {"upload": lease.upload, "now": now, "due": ANSWER_DUE, "gap": TWIN_GAP}
    [[newest]] = db.execute(NEWEST_TWIN, values).fetchall()
    if newest is not None and now - newest < TWIN_GAP:
        return float(TWIN_GAP - (now - newest))
    db.execute(INTEND_CREATE, values)
    return 0.0


def record_opened(db: Database, lease: Lease, opened: Opened, *, now: float) -> Upload:
    state = _advance(db, lease, Event.OPENED)
    answer = {
        "upload": lease.upload,
        "now": now,
        "upload_id": opened.upload_id,
        "created_at": opened.created_at,
        "expires_at": opened.expires_at,
        "request_id": opened.request_id,
    }
    [[intent]] = db.execute(ANSWER_CREATE, answer).fetchall()
    write(db, lease, OPEN, state=state, opening=intent)
    return read_upload(db, lease.upload)


def withdraw_create(db: Database, lease: Lease, *, now: float) -> None:
    _state(db, lease)
    db.execute(WITHDRAW_CREATE, {"upload": lease.upload, "now": now})


def record_part(db: Database, lease: Lease, part: SentPart) -> None:
    """Record *part*; if it was an effect that was intended, this is its outcome."""
    write(
        db,
        lease,
        RECORD_PART,
        number=part.number,
        part_id=part.part_id,
        digest=part.digest,
        request_id=part.request_id,
        details=json_of_details(part.details),
        attempts=part.attempts,
        sent_at=part.sent_at,
    )
    _answer_put(db, lease, "sent", part.sent_at)


def intend_put(db: Database, lease: Lease, *, now: float) -> None:
    """An intent whose outcome is not known is asked again, and stays one intent."""
    write(db, lease, INTEND_PUT, now=now)


def withdraw_put(db: Database, lease: Lease, *, now: float) -> None:
    _state(db, lease)
    _answer_put(db, lease, "withdrawn", now)


def forget_parts(db: Database, lease: Lease, numbers: Collection[int]) -> None:
    _state(db, lease)
    db.conn.executemany(FORGET_PART, [(lease.upload, number) for number in numbers])


def note_orphan_parts(db: Database, lease: Lease) -> None:
    write(db, lease, NOTE_ORPHAN_PARTS)


def record_fingerprint(db: Database, lease: Lease, fingerprint: Fingerprint) -> None:
    write(db, lease, RECORD_FINGERPRINT, fingerprint=json_of(fingerprint))


def intend_complete(db: Database, lease: Lease, intent: CompleteIntent) -> None:
    """An intent whose outcome is not known is asked again, and stays one intent."""
    before = _state(db, lease)
    state = advance(before, Event.COMPLETE_INTENDED)
    asked = {
        "upload": lease.upload,
        "asked_at": intent.asked_at,
        "body": json_of_body(intent),
    }
    again = before is UploadState.COMPLETING
    sql = ASK_COMPLETE_AGAIN if again else INTEND_COMPLETE
    [[completing]] = db.execute(sql, asked).fetchall()
    write(db, lease, COMPLETING, state=state, completing=completing)


def note_yes(db: Database, lease: Lease) -> None:
    write(db, lease, SAY_YES)


def record_refusal(db: Database, lease: Lease, evidence: str, *, now: float) -> None:
    state = _advance(db, lease, Event.REFUSED)
    _answer_complete(db, lease, "refused", evidence, now)
    write(db, lease, REFUSE, state=state)


def record_file(
    db: Database, lease: Lease, file: File, evidence: str, *, now: float
) -> Upload:
    state = _advance(db, lease, Event.COMPLETED)
    _answer_complete(db, lease, "completed", evidence, now)
    values = {"upload": lease.upload, "id": file.id, "file": json_of(file)}
    db.execute(RECORD_FILE, values)
    write(db, lease, COMPLETE, state=state)
    return read_upload(db, lease.upload)


def record_reused(db: Database, lease: Lease, file: File) -> Upload:
    """The service has the same file from an earlier upload; nothing was asked."""
    state = _advance(db, lease, Event.REUSED)
    values = {"upload": lease.upload, "id": file.id, "file": json_of(file)}
    db.execute(RECORD_FILE, values)
    write(db, lease, COMPLETE, state=state)
    return read_upload(db, lease.upload)


def record_receipt(db: Database, lease: Lease, receipt: Receipt) -> None:
    write(db, lease, RECORD_RECEIPT, receipt=json_of_receipt(receipt))


def restart(db: Database, lease: Lease, reason: str, *, orphans: bool) -> Upload:
    state = _advance(db, lease, Event.RESTARTED)
    upload = {"upload": lease.upload}
    db.execute(GIVE_UP_INTENTS, {**upload, "reason": prose_of(reason)})
    db.execute(FORGET_PARTS, upload)
    write(db, lease, RESTART, state=state, orphans=orphans)
    return read_upload(db, lease.upload)


def fail(db: Database, lease: Lease, failure: str, *, now: float) -> None:
    state = _advance(db, lease, Event.FAILED)
    write(db, lease, FINISH, state=state, failure=prose_of(failure), now=now)


def cancel(db: Database, lease: Lease, *, now: float) -> None:
    state = _advance(db, lease, Event.CANCELLED)
    write(db, lease, FINISH, state=state, failure=None, now=now)


def note_failure(db: Database, lease: Lease, failure: str) -> None:
    write(db, lease, NOTE_FAILURE, failure=prose_of(failure))


def deliver(db: Database, lease: Lease, *, now: float) -> None:
    if (state := _state(db, lease)) is not UploadState.COMPLETED:
        raise IllegalTransition(f"nothing can be delivered while {state}")
    write(db, lease, DELIVER, now=now)
    release(db, lease)


def _state(db: Database, lease: Lease) -> UploadState:
    """Check the lease, for the rest of the transaction, and say where the upload is."""
    row = db.execute(STATE, values_of(lease)).fetchone()
    if row is None:
        raise lost(db, lease)
    return UploadState(row["state"])


def _advance(db: Database, lease: Lease, event: Event) -> UploadState:
    return advance(_state(db, lease), event)


def _answer_complete(
    db: Database, lease: Lease, outcome: str, evidence: str, now: float
) -> None:
    answer = {"outcome": outcome, "evidence": prose_of(evidence), "now": now}
    db.execute(ANSWER_COMPLETE, {"upload": lease.upload, **answer})


def _answer_put(db: Database, lease: Lease, outcome: str, now: float) -> None:
    answer = {"upload": lease.upload, "outcome": outcome, "now": now}
    db.execute(ANSWER_PUT, answer)
