"""Rows to nouns, and back."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import msgspec

from uploader.journal.owners import described
from uploader.message import (
    Attached,
    Attachment,
    AttachmentSpec,
    AttachmentState,
    FileRef,
)
from uploader.model import (
    CompleteIntent,
    Details,
    File,
    Fingerprint,
    Identity,
    LocalId,
    Opened,
    Orphan,
    PartId,
    Plan,
    Queued,
    Scope,
    SentPart,
    Upload,
    UploadSpec,
    UploadState,
)
from uploader.result import Receipt

UPLOADS = """
    SELECT uploads.*,
           opening.asked_at, opening.upload_id, opening.expires_at,
           opening.created_at AS opened_at, opening.request_id,
           completing.asked_at AS complete_asked_at, completing.body,
           completing.outcome IS NULL AND completing.evidence IS NOT NULL AS said_yes,
           putting.asked_at AS put_asked_at,
           files.file, leases.owner, leases.host, leases.pid
      FROM uploads
      JOIN leases ON leases.subject = uploads.id
      LEFT JOIN intents AS opening ON opening.id = uploads.opening
      LEFT JOIN intents AS completing ON completing.id = uploads.completing
      LEFT JOIN intents AS putting ON putting.upload = uploads.id
                                  AND putting.kind = 'put' AND putting.outcome IS NULL
      LEFT JOIN files ON files.upload = uploads.id
"""

ATTACHMENTS = """
    SELECT attachments.*, leases.owner, leases.host, leases.pid
      FROM attachments
      JOIN leases ON leases.subject = attachments.id
"""

Member = LocalId | FileRef


def text_of(name: str) -> str | bytes:
    """Return *name* as SQLite takes it: the name of a file need not be UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def prose_of(text: str) -> str:
    """Return *text* for people, with whatever is not UTF-8 spelled out."""
    return text.encode(errors="backslashreplace").decode()


def json_of(
    noun: UploadSpec | Fingerprint | File | Scope | FileRef | Attached,
) -> str:
    try:
        return msgspec.json.encode(noun).decode()
    except UnicodeEncodeError:
        # The name of a file that is not UTF-8.
        return json.dumps(asdict(noun))


def json_of_details(details: Details) -> str:
    return json.dumps(dict(details)) if details else "{}"


def json_of_attachment(spec: AttachmentSpec) -> str:
    """Return *spec* without its members, which have a table."""
    values = asdict(spec)
    del values["members"]
    return json.dumps(values)


def digest_of(spec: AttachmentSpec) -> str:
    """Return what is equal for equal specs, and for no others."""
    return hashlib.sha256(json.dumps(asdict(spec), sort_keys=True).encode()).hexdigest()


def json_of_plan(plan: Plan) -> str:
    """Run-length sizes: ten thousand parts are a line, not a megabyte."""
    runs = itertools.groupby(part.size for part in plan.parts)
    return json.dumps([[sum(1 for _ in run), size] for size, run in runs])


def plan_of(text: str) -> Plan:
    runs = json.loads(text)
    return Plan.of_sizes(size for count, size in runs for _ in range(count))


def json_of_body(intent: CompleteIntent) -> str:
    return json.dumps({"part_ids": intent.part_ids, "md5": intent.md5})


def json_of_receipt(receipt: Receipt) -> str:
    return msgspec.json.encode(receipt, enc_hook=str).decode()


def receipt_of(text: str) -> Receipt:
    return msgspec.json.decode(text, type=Receipt, dec_hook=lambda kind, v: kind(v))


def identity_values(identity: Identity) -> dict[str, object]:
    return {
        "service": identity.service,
        "path": text_of(str(identity.path)),
        "purpose": identity.purpose,
        "filename": text_of(identity.filename),
        "expires_after": identity.expires_after,
        "target": identity.target,
    }


def upload_of(row: sqlite3.Row, parts: Mapping[int, SentPart]) -> Upload:
    return Upload(
        id=row["id"],
        identity=_identity_of(row),
        spec=UploadSpec(**json.loads(row["spec"])),
        fingerprint=Fingerprint(**json.loads(row["fingerprint"])),
        plan=plan_of(row["plan"]),
        state=UploadState(row["state"]),
        created_at=row["created_at"],
        asked_at=row["asked_at"],
        opened=_opened_of(row),
        parts=parts,
        may_have_orphan_parts=bool(row["may_have_orphan_parts"]),
        put_asked_at=row["put_asked_at"],
        complete_intent=_complete_intent_of(row),
        scope=_scope_of(row),
        file=File(**json.loads(row["file"])) if row["file"] else None,
        restarts=row["restarts"],
        orphan_restarts=row["orphan_restarts"],
        cancel_requested=bool(row["cancel_requested"]),
        delivered_at=row["delivered_at"],
        failure=row["failure"],
        owner=_owner_of(row),
        priority=row["priority"],
        batch=row["batch"],
        tag=row["tag"],
        is_queued=bool(row["queued"]),
        reuse=bool(row["reuse"]),
    )


def queued_of(row: sqlite3.Row) -> Queued:
    return Queued(
        id=row["id"],
        service=row["service"],
        path=Path(os.fsdecode(row["path"])),
        purpose=row["purpose"],
        filename=os.fsdecode(row["filename"]),
        target=row["target"],
        size=row["size"],
        parts=sum(count for count, _ in json.loads(row["plan"])),
        priority=row["priority"],
        batch=row["batch"],
        tag=row["tag"],
        preflight=bool(row["preflight"]),
    )


def parts_of(rows: Iterable[sqlite3.Row]) -> dict[str, dict[int, SentPart]]:
    """Return the parts of each upload, by number."""
    parts: dict[str, dict[int, SentPart]] = {}
    for row in rows:
        values = dict(row)
        upload = values.pop("upload")
        details = values["details"]
        values["details"] = json.loads(details) if details != "{}" else {}
        part = SentPart(**values)
        parts.setdefault(upload, {})[part.number] = part
    return parts


def attachment_of(row: sqlite3.Row, members: Iterable[Member]) -> Attachment:
    spec = json.loads(row["spec"])
    return Attachment(
        id=row["id"],
        spec=AttachmentSpec(**spec, members=tuple(members)),
        state=AttachmentState(row["state"]),
        created_at=row["created_at"],
        scope=_scope_of(row),
        cursor=row["cursor"],
        asked_at=row["asked_at"],
        response_id=row["response_id"],
        attached=Attached(**json.loads(row["attached"])) if row["attached"] else None,
        failure=row["failure"],
        delivered_at=row["delivered_at"],
        owner=_owner_of(row),
    )


def orphan_of(row: sqlite3.Row) -> Orphan:
    if row["outcome"] is None:
        reason = "created without an answer"
    elif row["outcome"] == "given up":
        reason = f"abandoned: {row['evidence']}"
    else:
        reason = "failed"
    return Orphan(
        upload=row["id"],
        service=row["service"],
        path=Path(os.fsdecode(row["path"])),
        size=row["size"],
        reason=reason,
        asked_at=row["asked_at"],
        opened=_opened_of(row),
        owner=_owner_of(row),
    )


def members_of(rows: Iterable[sqlite3.Row]) -> dict[str, list[Member]]:
    """Return the members of each attachment, as *rows* order them."""
    members: dict[str, list[Member]] = {}
    for row in rows:
        file = row["file"]
        member = FileRef(**json.loads(file)) if file else LocalId(row["upload"])
        members.setdefault(row["attachment"], []).append(member)
    return members


def _identity_of(row: sqlite3.Row) -> Identity:
    return Identity(
        service=row["service"],
        path=Path(os.fsdecode(row["path"])),
        purpose=row["purpose"],
        filename=os.fsdecode(row["filename"]),
        expires_after=row["expires_after"],
        target=row["target"],
    )


def _opened_of(row: sqlite3.Row) -> Opened | None:
    if row["upload_id"] is None:
        return None
    return Opened(
        upload_id=row["upload_id"],
        created_at=row["opened_at"],
        expires_at=row["expires_at"],
        request_id=row["request_id"],
    )


def _complete_intent_of(row: sqlite3.Row) -> CompleteIntent | None:
    if row["body"] is None:
        return None
    body = json.loads(row["body"])
    return CompleteIntent(
        part_ids=tuple(PartId(part_id) for part_id in body["part_ids"]),
        md5=body["md5"],
        asked_at=row["complete_asked_at"],
        said_yes=bool(row["said_yes"]),
    )


def _scope_of(row: sqlite3.Row) -> Scope | None:
    return Scope(**json.loads(row["scope"])) if row["scope"] else None


def _owner_of(row: sqlite3.Row) -> str | None:
    return None if row["owner"] is None else described(row["host"], row["pid"])
