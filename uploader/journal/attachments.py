"""What an owner records about its attachment.

Each function is one fact, whole or not at all, as in `facts`.
"""

from __future__ import annotations

from sqlite_utils import Database

from uploader.journal.leases import HELD, lost, values_of, write
from uploader.journal.rows import json_of, prose_of
from uploader.message import Attached, AttachmentState
from uploader.model import Lease, Scope
from uploader.state import AttachmentEvent, IllegalTransition, advance_attachment

STATE = f"SELECT state FROM attachments WHERE {HELD}"

RECORD_SCOPE = f"UPDATE attachments SET scope = :scope WHERE {HELD}"
RECORD_SCOPE_OF_UPLOAD = f"UPDATE uploads SET scope = :scope WHERE {HELD}"

# The first asking may have taken effect, so whoever looks for it has to look behind
# the cursor of that one.  Its response is no evidence about the asking that follows.
INTEND = f"""
    UPDATE attachments
       SET cursor = CASE state WHEN 'attaching' THEN cursor ELSE :cursor END,
           state = :state, asked_at = :now, response_id = NULL
     WHERE {HELD}
"""

RECORD_RESPONSE = f"UPDATE attachments SET response_id = :response_id WHERE {HELD}"

WITHDRAW = f"""
    UPDATE attachments
       SET state = :state, asked_at = NULL, cursor = NULL, response_id = NULL
     WHERE {HELD}
"""

RECORD_ATTACHED = f"""
    UPDATE attachments SET state = :state, attached = :attached, failure = NULL
     WHERE {HELD}
"""

REMEMBER_MESSAGE = f"""
    INSERT INTO conversations (service, conversation_id, message_id)
    SELECT service, :conversation_id, :message_id FROM attachments WHERE {HELD}
    ON CONFLICT DO UPDATE SET message_id = excluded.message_id
"""

FAIL = f"""
    UPDATE attachments SET state = :state, failure = :failure, finished_at = :now
     WHERE {HELD}
"""

NOTE_FAILURE = f"UPDATE attachments SET failure = :failure WHERE {HELD}"

DELIVER = f"UPDATE attachments SET delivered_at = :now, finished_at = :now WHERE {HELD}"

DELIVER_UPLOADS = """
    UPDATE uploads SET delivered_at = :now, finished_at = :now
     WHERE state = 'completed' AND delivered_at IS NULL
       AND id IN (SELECT upload FROM attachment_files WHERE attachment = :attachment)
"""


def record_scope(db: Database, lease: Lease, scope: Scope) -> None:
    """The lease knows whether this is an upload or an attachment."""
    values = {**values_of(lease), "scope": json_of(scope)}
    if db.execute(RECORD_SCOPE_OF_UPLOAD, values).rowcount == 0:
        write(db, lease, RECORD_SCOPE, scope=values["scope"])


def intend(db: Database, lease: Lease, *, cursor: str | None, now: float) -> None:
    state = _advance(db, lease, AttachmentEvent.INTENDED)
    write(db, lease, INTEND, state=state, cursor=cursor, now=now)


def record_response(db: Database, lease: Lease, response_id: str) -> None:
    write(db, lease, RECORD_RESPONSE, response_id=response_id)


def withdraw(db: Database, lease: Lease) -> None:
    state = _advance(db, lease, AttachmentEvent.WITHDRAWN)
    write(db, lease, WITHDRAW, state=state)


def record_attached(db: Database, lease: Lease, attached: Attached) -> None:
    state = _advance(db, lease, AttachmentEvent.ATTACHED)
    write(db, lease, RECORD_ATTACHED, state=state, attached=json_of(attached))
    if attached.message_id is not None:
        write(
            db,
            lease,
            REMEMBER_MESSAGE,
            conversation_id=attached.conversation_id,
            message_id=attached.message_id,
        )


def fail(db: Database, lease: Lease, failure: str, *, now: float) -> None:
    state = _advance(db, lease, AttachmentEvent.FAILED)
    write(db, lease, FAIL, state=state, failure=prose_of(failure), now=now)


def note_failure(db: Database, lease: Lease, failure: str) -> None:
    write(db, lease, NOTE_FAILURE, failure=prose_of(failure))


def deliver(db: Database, lease: Lease, *, now: float) -> None:
    if (state := _state(db, lease)) is not AttachmentState.ATTACHED:
        raise IllegalTransition(f"nothing can be delivered while {state}")
    write(db, lease, DELIVER, now=now)
    db.execute(DELIVER_UPLOADS, {"attachment": lease.upload, "now": now})


def _state(db: Database, lease: Lease) -> AttachmentState:
    """Check the lease, for the rest of the transaction."""
    row = db.execute(STATE, values_of(lease)).fetchone()
    if row is None:
        raise lost(db, lease)
    return AttachmentState(row["state"])


def _advance(db: Database, lease: Lease, event: AttachmentEvent) -> AttachmentState:
    return advance_attachment(_state(db, lease), event)
