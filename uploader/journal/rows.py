"""Rows to nouns, and back."""

from __future__ import annotations

import itertools
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path

import msgspec

from uploader.journal.owners import described
from uploader.model import (
    CompleteIntent,
    File,
    Fingerprint,
    Identity,
    Opened,
    PartId,
    Plan,
    Receipt,
    SentPart,
    Upload,
    UploadSpec,
    UploadState,
)

UPLOADS = """
    SELECT uploads.*,
           opening.asked_at, opening.upload_id, opening.expires_at,
           opening.created_at AS opened_at, opening.request_id,
           completing.asked_at AS complete_asked_at, completing.body,
           completing.outcome IS NULL AND completing.evidence IS NOT NULL AS said_yes,
           files.file
      FROM uploads
      LEFT JOIN intents AS opening ON opening.id = uploads.opening
      LEFT JOIN intents AS completing ON completing.id = uploads.completing
      LEFT JOIN files ON files.upload = uploads.id
"""


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


def json_of(noun: UploadSpec | Fingerprint | File) -> str:
    return json.dumps(asdict(noun))


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
        complete_intent=_complete_intent_of(row),
        file=File(**json.loads(row["file"])) if row["file"] else None,
        restarts=row["restarts"],
        orphan_restarts=row["orphan_restarts"],
        cancel_requested=bool(row["cancel_requested"]),
        delivered_at=row["delivered_at"],
        failure=row["failure"],
        owner=_owner_of(row),
    )


def parts_of(rows: Iterable[sqlite3.Row]) -> dict[str, dict[int, SentPart]]:
    """Return the parts of each upload, by number."""
    parts: dict[str, dict[int, SentPart]] = {}
    for row in rows:
        values = dict(row)
        upload = values.pop("upload")
        part = SentPart(**values)
        parts.setdefault(upload, {})[part.number] = part
    return parts


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


def _owner_of(row: sqlite3.Row) -> str | None:
    if row["lease_owner"] is None:
        return None
    return described(row["lease_host"], row["lease_pid"])
