"""Which upload or attachment is meant, and the lease to work on it.

What is known and unfinished is gone on with, as it was recorded.
"""

from __future__ import annotations

import os

from sqlite_utils import Database

from uploader.journal.leases import Asker, new_subject, take
from uploader.journal.queries import (
    no_attachment,
    no_upload,
    read_attachment,
    read_upload,
)
from uploader.journal.rows import (
    digest_of,
    identity_values,
    json_of,
    json_of_attachment,
    json_of_plan,
)
from uploader.message import AttachmentSpec, AttachmentState, FileRef
from uploader.model import Fingerprint, Identity, LocalId, Plan, UploadSpec, UploadState
from uploader.record import AttachmentClaim, Claim

FIND_UNFINISHED = """
    SELECT id FROM uploads
     WHERE finished_at IS NULL AND path = :path AND service = :service
       AND purpose = :purpose AND filename = :filename
       AND expires_after IS :expires_after AND target IS :target
"""

INSERT_UPLOAD = """
    INSERT INTO uploads (
        id, service, path, purpose, filename, expires_after, target,
        size, spec, fingerprint, plan, state, created_at, reuse
    ) VALUES (
        :id, :service, :path, :purpose, :filename, :expires_after, :target,
        :size, :spec, :fingerprint, :plan, :state, :now, :reuse
    )
"""

PATH = "SELECT path FROM uploads WHERE id = ?"

LEAVE_QUEUE = "UPDATE uploads SET queued = 0 WHERE id = ? AND queued = 1"

# Parts that the owner before had in flight may have arrived.
NOTE_UNCLEAN = """
    UPDATE uploads SET may_have_orphan_parts = 1 WHERE id = ? AND state = 'open'
"""

FIND_UNFINISHED_ATTACHMENT = """
    SELECT id FROM attachments WHERE finished_at IS NULL AND digest = ?
"""

INSERT_ATTACHMENT = """
    INSERT INTO attachments (id, service, spec, digest, state, created_at)
    VALUES (:id, :service, :spec, :digest, :state, :now)
"""

INSERT_MEMBER = """
    INSERT INTO attachment_files (attachment, position, upload, file)
    VALUES (?, ?, ?, ?)
"""

ATTACHMENT = "SELECT 1 FROM attachments WHERE id = ?"


def begin(
    db: Database,
    identity: Identity,
    spec: UploadSpec,
    fingerprint: Fingerprint,
    plan: Plan,
    asker: Asker,
    *,
    reuse: bool,
) -> Claim:
    """Claim the unfinished upload of *identity*, or record a new one."""
    values = identity_values(identity)
    known = db.execute(FIND_UNFINISHED, values).fetchone()
    if known is not None:
        return claim(db, LocalId(known["id"]), asker)
    upload = new_subject(db)
    values |= {
        "id": upload,
        "size": spec.size,
        "spec": json_of(spec),
        "fingerprint": json_of(fingerprint),
        "plan": json_of_plan(plan),
        "state": UploadState.PLANNED,
        "now": asker.now,
        "reuse": reuse,
    }
    db.execute(INSERT_UPLOAD, values)
    lease, _ = take(db, upload, asker, title=str(identity.path))
    return Claim(read_upload(db, upload), lease)


def claim(db: Database, upload: LocalId, asker: Asker) -> Claim:
    """Take the lease of *upload*.  Raises `UploadOwned`."""
    row = db.execute(PATH, [upload]).fetchone()
    if row is None:
        raise no_upload(db, upload)
    lease, unclean = take(db, upload, asker, title=os.fsdecode(row["path"]))
    if unclean:
        db.execute(NOTE_UNCLEAN, [upload])
    db.execute(LEAVE_QUEUE, [upload])
    return Claim(upload=read_upload(db, upload), lease=lease, unclean=unclean)


def begin_attachment(
    db: Database, spec: AttachmentSpec, asker: Asker
) -> AttachmentClaim:
    """Claim the unfinished attachment of exactly *spec*, or record a new one."""
    digest = digest_of(spec)
    known = db.execute(FIND_UNFINISHED_ATTACHMENT, [digest]).fetchone()
    if known is not None:
        return claim_attachment(db, LocalId(known["id"]), asker)
    attachment = new_subject(db)
    values = {
        "id": attachment,
        "service": spec.service,
        "spec": json_of_attachment(spec),
        "digest": digest,
        "state": AttachmentState.PLANNED,
        "now": asker.now,
    }
    db.execute(INSERT_ATTACHMENT, values)
    for position, member in enumerate(spec.members, start=1):
        if isinstance(member, FileRef):
            db.execute(INSERT_MEMBER, [attachment, position, None, json_of(member)])
        elif db.execute(PATH, [member]).fetchone() is None:
            raise no_upload(db, member)
        else:
            db.execute(INSERT_MEMBER, [attachment, position, member, None])
    return claim_attachment(db, attachment, asker)


def claim_attachment(
    db: Database, attachment: LocalId, asker: Asker
) -> AttachmentClaim:
    """Take the lease of *attachment*.  Raises `UploadOwned`."""
    if db.execute(ATTACHMENT, [attachment]).fetchone() is None:
        raise no_attachment(db, attachment)
    lease, _ = take(db, attachment, asker, title=f"attachment {attachment}")
    return AttachmentClaim(read_attachment(db, attachment), lease)
