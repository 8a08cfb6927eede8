"""Uploads: create, add parts, complete, cancel.  There is nothing to ask them."""

import asyncio
import dataclasses
import hashlib
from collections.abc import Iterable
from pathlib import Path
from sqlite3 import Connection
from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from uploader.emulator import ids, records
from uploader.emulator.answers import JSON, Answer, Document, Refusal
from uploader.emulator.call import Call, Route, unexpected
from uploader.emulator.completion import check_md5, choose_parts
from uploader.emulator.files import file_document
from uploader.emulator.purposes import (
    ExpiresAfter,
    check_mime_type,
    check_name,
    check_purpose,
    kept_for,
    largest_file,
    refuse_expires_after,
    too_large,
)
from uploader.emulator.receive import arriving, read_form
from uploader.emulator.records import File, Part, Piece, Upload

DIGEST_STEP: Final = 1024 * 1024
EXAMPLE_GAP: Final = 57_615
"""Seconds by which the spec's example upload expires before it was created."""


class CreateUpload(Struct, forbid_unknown_fields=True):
    filename: Annotated[str, Meta(min_length=1)]
    purpose: str
    bytes: Annotated[int, Meta(ge=0)]
    mime_type: Annotated[str, Meta(min_length=1)]
    expires_after: ExpiresAfter | UnsetType = UNSET


class CompleteUpload(Struct, forbid_unknown_fields=True):
    part_ids: list[str]
    md5: str | UnsetType = UNSET


async def create(call: Call) -> Answer:
    asked = await call.json(CreateUpload)
    _check_create(call, asked)
    created_at = int(call.now)
    after = asked.expires_after
    upload = Upload(
        id=call.dialect.upload_id(call.now, asked.purpose),
        size=asked.bytes,
        created_at=created_at,
        expires_at=created_at + call.dialect.limits(call.switches).lifetime,
        filename=asked.filename,
        purpose=asked.purpose,
        keep_for=kept_for(asked.purpose, None if after is UNSET else after.seconds),
    )
    with call.store.transaction() as db:
        records.add_upload(db, upload)
    return Answer(_created_document(call, upload), headers=_location(call, upload))


def _check_create(call: Call, asked: CreateUpload) -> None:
    switches = call.switches
    check_purpose(asked.purpose, call.dialect.upload_purposes(switches))
    if asked.expires_after is not UNSET:
        refuse_expires_after(call)
    if switches.jsonl_only == "both":
        check_name(asked.purpose, asked.filename)
    if switches.strict_mime_types:
        check_mime_type(asked.purpose, asked.mime_type)
    limit = call.dialect.limits(switches).max_upload
    if switches.purpose_limits:
        limit = min(limit, largest_file(asked.purpose, switches))
    if asked.bytes > limit:
        raise too_large(asked.bytes, limit)
    if not (asked.bytes or switches.zero_byte_uploads or switches.seeding):
        raise Refusal(400, "0 is less than the minimum of 1 - 'bytes'", param="bytes")


def _created_document(call: Call, upload: Upload) -> Document:
    document = upload_document(call, upload)
    if call.dialect.shows_block_ids and call.switches.azure_pending_file:
        pending = File(
            id=call.dialect.file_id(),
            size=upload.size or 0,
            created_at=upload.created_at,
            made_at=call.now,
            expires_at=None,
            filename=upload.filename,
            purpose=upload.purpose,
        )
        document["file"] = {**file_document(call, pending), "status": "pending"}
    return document


def _location(call: Call, upload: Upload) -> dict[str, str]:
    if not call.dialect.says_location:
        return {}
    origin = call.request.url.origin()
    return {"Location": f"{origin}{call.dialect.prefix}/uploads/runs/{upload.id}"}


async def add_part(call: Call) -> Document:
    limit = call.dialect.limits(call.switches).max_part
    async with arriving(call) as arrival:
        head = await read_form(call, arrival, limit=limit)
        for name in head.texts:
            raise unexpected(name)
        with call.store.transaction() as db:
            upload = _pending(db, call)
            _check_part(db, call, upload, arrival.size)
            part_id = call.dialect.part_id(call.now)
            content = arrival.keep(db, part_id=part_id)
            part = _new_part(call, upload, part_id, arrival.size, content)
            records.add_part(db, part)
    return _part_document(call, part)


def _check_part(db: Connection, call: Call, upload: Upload, size: int) -> None:
    limits, switches = call.dialect.limits(call.switches), call.switches
    if size > limits.max_part:
        status = int(switches.part_too_large)
        raise too_large(size, limits.max_part, status=status)
    if not (size or switches.zero_byte_uploads or switches.seeding):
        raise Refusal(400, "The part is empty.", param="data")
    number, stored = records.number_and_size_of_parts(db, upload.id)
    if stored + size > limits.max_upload:
        raise Refusal(400, f"The upload exceeds {limits.max_upload} bytes.")
    if switches.max_parts and number >= switches.max_parts:
        raise Refusal(400, f"The upload has {switches.max_parts} parts already.")


def _new_part(
    call: Call, upload: Upload, part_id: str, size: int, content: str
) -> Part:
    return Part(
        id=part_id,
        upload_id=upload.id,
        created_at=int(call.now),
        size=size,
        content=content,
        block_id=ids.block_id(),
    )


async def complete(call: Call) -> Document:
    asked = await call.json(CompleteUpload)
    try:
        upload, file = await _make_file(call, asked)
    except AlreadyCompleted as earlier:
        upload, file = _replayed(call, earlier.upload)
    match call.switches.complete_answer:
        case "file":
            return file_document(call, file, first=True)
        case "no file key":
            return upload_document(call, upload)
        case "upload":
            document = upload_document(call, upload)
            return {**document, "file": file_document(call, file, first=True)}


class AlreadyCompleted(Exception):
    """The upload was completed by an earlier request, or by one beside this."""

    def __init__(self, upload: Upload) -> None:
        super().__init__(upload.id)
        self.upload = upload


async def _make_file(call: Call, asked: CompleteUpload) -> tuple[Upload, File]:
    """Complete the upload in one transaction.

    The MD5 is taken before it, for nobody may be kept waiting while 8 GiB are
    read; parts never change, and which ones count is decided again within.
    """
    with call.store.transaction() as db:
        upload, chosen = _ready(db, call, asked)
    if asked.md5 is not UNSET and upload.size is not None:
        digest = await _digest(call, asked, chosen)
        check_md5(asked.md5, digest, call.switches)
    with call.store.transaction() as db:
        upload, chosen = _ready(db, call, asked)
        file = _file_of(call, upload, chosen)
        records.add_file(db, file, [Piece(part.content, part.size) for part in chosen])
        records.set_status(db, upload.id, "completed", file.id)
        kept = {part.content for part in chosen}
        unlisted = {part.content for part in records.parts_of(db, upload.id)} - kept
    call.store.drop(unlisted)
    return dataclasses.replace(upload, status="completed", file_id=file.id), file


async def _digest(call: Call, asked: CompleteUpload, chosen: Iterable[Part]) -> bytes:
    paths = [call.store.content(part.content) for part in chosen]
    try:
        return await asyncio.to_thread(_md5, paths)
    except FileNotFoundError:
        # Cancelled or completed beside this request: then that is the answer.
        with call.store.transaction() as db:
            _ready(db, call, asked)
        raise


def _ready(
    db: Connection, call: Call, asked: CompleteUpload
) -> tuple[Upload, list[Part]]:
    upload = _find(db, call)
    if upload.status == "completed":
        raise AlreadyCompleted(upload)
    _check_pending(call, upload)
    if upload.size is None:
        _seed_parts(db, call, upload, asked.part_ids)
    stored = records.parts_of(db, upload.id)
    chosen = choose_parts(upload, stored, asked.part_ids, call.dialect, call.switches)
    return upload, chosen


def _file_of(call: Call, upload: Upload, chosen: Iterable[Part]) -> File:
    keep_for = upload.keep_for
    return File(
        id=call.dialect.file_id(),
        size=sum(part.size for part in chosen),
        created_at=upload.created_at,
        made_at=call.now,
        expires_at=None if keep_for is None else upload.created_at + keep_for,
        filename=upload.filename,
        purpose=upload.purpose,
    )


def _replayed(call: Call, upload: Upload) -> tuple[Upload, File]:
    if call.switches.complete_twice != "replay":
        raise _wrong_state(upload, status=int(call.switches.complete_twice))
    with call.store.transaction() as db:
        file = records.find_file(db, upload.file_id or "", call.now)
    if file is None:
        raise _wrong_state(upload)
    return upload, file


def _md5(paths: Iterable[Path]) -> bytes:
    digest = hashlib.md5(usedforsecurity=False)
    for path in paths:
        with path.open("rb") as content:
            while block := content.read(DIGEST_STEP):
                digest.update(block)
    return digest.digest()


async def cancel(call: Call) -> Document:
    await _check_no_body(call)
    with call.store.transaction() as db:
        upload = _pending(db, call)
        parts = records.parts_of(db, upload.id)
        records.forget_parts(db, upload.id)
        records.set_status(db, upload.id, "cancelled")
    call.store.drop(part.content for part in parts)
    return upload_document(call, dataclasses.replace(upload, status="cancelled"))


async def _check_no_body(call: Call) -> None:
    if call.request.body_exists and await call.body():
        raise Refusal(400, "Cancel takes no body.")
    if call.switches.cancel_empty_json == "400" and call.request.content_type == JSON:
        raise Refusal(400, "The body is empty, but its content type says JSON.")


def _find(db: Connection, call: Call) -> Upload:
    upload_id = call.ids["upload_id"]
    upload = records.find_upload(db, upload_id)
    if call.switches.seeding:
        upload = _seeded(db, call, upload_id, upload)
    forgotten = {"nothing": "", "open": "pending", "completed": "completed"}
    if upload is None or upload.status == forgotten[call.switches.forgets]:
        raise Refusal(404, f"No such Upload object: {upload_id}", param="id")
    return upload


def _pending(db: Connection, call: Call) -> Upload:
    upload = _find(db, call)
    _check_pending(call, upload)
    return upload


def _check_pending(call: Call, upload: Upload) -> None:
    if upload.status != "pending":
        raise _wrong_state(upload)
    if call.now >= upload.expires_at:
        raise Refusal(int(call.switches.expired), f"Upload {upload.id} has expired.")


def _wrong_state(upload: Upload, *, status: int = 400) -> Refusal:
    return Refusal(status, f"Upload {upload.id} is already {upload.status}.")


def _seeded(db: Connection, call: Call, upload_id: str, known: Upload | None) -> Upload:
    """Make an unknown upload; make one that was used up pending again."""
    if known is not None and (known.size is not None or known.status == "pending"):
        return known
    created_at = int(call.now)
    upload = Upload(
        id=upload_id,
        size=None,
        created_at=created_at,
        expires_at=created_at + call.dialect.limits(call.switches).lifetime,
        filename="seeded",
        purpose="assistants",
        keep_for=None,
    )
    records.forget_parts(db, upload_id)
    records.replace_upload(db, upload)
    return upload


def _seed_parts(
    db: Connection, call: Call, upload: Upload, part_ids: Iterable[str]
) -> None:
    known = {part.id for part in records.parts_of(db, upload.id)}
    for part_id in dict.fromkeys(part_ids):
        if part_id not in known:
            content = call.store.keep_nothing()
            records.add_part(db, _new_part(call, upload, part_id, 0, content))


def upload_document(call: Call, upload: Upload) -> Document:
    """Keys in the recorded order; there is no `file` until it is completed."""
    expires_at = upload.expires_at
    if call.switches.expires_before_created:
        expires_at = upload.created_at - EXAMPLE_GAP
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.size or 0,
        "created_at": upload.created_at,
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "expires_at": expires_at,
    }


def _part_document(call: Call, part: Part) -> Document:
    document: Document = {
        "id": part.id,
        "object": "upload.part",
        "created_at": part.created_at,
        "upload_id": part.upload_id,
    }
    if call.dialect.shows_block_ids:
        document["azure_block_id"] = part.block_id
    return document


ROUTES: Final = (
    Route("create", "POST", "/uploads", create),
    Route(
        "part", "POST", "/uploads/{upload_id}/parts", add_part, file_fields=("data",)
    ),
    Route("complete", "POST", "/uploads/{upload_id}/complete", complete),
    Route("cancel", "POST", "/uploads/{upload_id}/cancel", cancel),
)
