"""Files: made whole or by an upload, listed, read, deleted."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from sqlite3 import Connection
from typing import Annotated, Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from uploader.emulator import records
from uploader.emulator.answers import Answer, Document, Refusal, Reply
from uploader.emulator.call import Call, Route, refused_shape, required, unexpected
from uploader.emulator.pages import Listing, page, read_listing
from uploader.emulator.purposes import (
    ExpiresAfter,
    check_name,
    check_purpose,
    kept_for,
    largest_file,
    refuse_expires_after,
    too_large,
)
from uploader.emulator.receive import Head, arriving, read_form
from uploader.emulator.records import File, Piece
from uploader.emulator.store import Store

READ_STEP: Final = 1024 * 1024
MAX_LISTED: Final = 10_000
ANCHOR: Final = "expires_after[anchor]"
SECONDS: Final = "expires_after[seconds]"


async def create(call: Call) -> Answer:
    async with arriving(call) as arrival:
        head = await read_form(call, arrival, limit=call.switches.max_file)
        purpose, filename, keep_for = _read_head(call, head)
        limit = largest_file(purpose, call.switches)
        if arrival.size > limit:
            raise too_large(arrival.size, limit)
        created_at = int(call.now)
        file = File(
            id=call.dialect.file_id(),
            size=arrival.size,
            created_at=created_at,
            made_at=call.now,
            expires_at=None if keep_for is None else created_at + keep_for,
            filename=filename,
            purpose=purpose,
        )
        with call.store.transaction() as db:
            content = arrival.keep(db, file_id=file.id)
            records.add_file(db, file, [Piece(content, file.size)])
    document = file_document(call, file, first=True)
    return Answer(document, status=call.dialect.file_created_status)


def _read_head(call: Call, head: Head) -> tuple[str, str, int | None]:
    """Return purpose, filename, and for how many seconds the file is kept."""
    for name in head.texts:
        if name not in ("purpose", ANCHOR, SECONDS):
            raise unexpected(name)
    if head.filename is None:
        raise Refusal(400, "'file' is not a file", param="file")
    purpose = head.texts.get("purpose")
    if purpose is None:
        raise required("purpose")
    check_purpose(purpose, call.dialect.file_purposes)
    if call.switches.jsonl_only != "nowhere":
        check_name(purpose, head.filename)
    return purpose, head.filename, kept_for(purpose, _expires_after(call, head))


def _expires_after(call: Call, head: Head) -> int | None:
    given = {
        name: head.texts[field]
        for name, field in (("anchor", ANCHOR), ("seconds", SECONDS))
        if field in head.texts
    }
    if not given:
        return None
    refuse_expires_after(call)
    try:
        return msgspec.convert(given, ExpiresAfter, strict=False).seconds
    except msgspec.ValidationError as error:
        raise refused_shape(str(error)) from None


class FileListing(Listing):
    """Also of one purpose only; here pages are large."""

    purpose: str | UnsetType = UNSET
    limit: Annotated[int, Meta(ge=1, le=MAX_LISTED)] = MAX_LISTED


async def list_files(call: Call) -> Document:
    if call.switches.file_list in ("404", "405"):
        raise Refusal(int(call.switches.file_list), "There is no list of files.")
    asked = read_listing(call, FileListing)
    with call.store.transaction() as db:
        files = records.all_files(db, call.now)
    documents = [
        file_document(call, file) for file in files if _is_listed(call, file, asked)
    ]
    unknown = None if call.switches.seeding else _no_such_file
    document = page(documents, asked, unknown=unknown)
    order = ("object", "data", "has_more", "first_id", "last_id")
    return {key: document[key] for key in order}


def _is_listed(call: Call, file: File, asked: FileListing) -> bool:
    if call.switches.file_list == "empty":
        return False
    if asked.purpose not in (UNSET, file.purpose):
        return False
    return call.now >= file.made_at + call.switches.file_list_delay


async def retrieve(call: Call) -> Document:
    with call.store.transaction() as db:
        return file_document(call, _find(db, call))


async def content(call: Call) -> Reply:
    with call.store.transaction() as db:
        file = _find(db, call)
        pieces = records.pieces_of(db, file.id)
    if call.switches.file_content == "refused":
        raise Refusal(400, f"Not allowed to download files of purpose: {file.purpose}")
    return _served(call, pieces, size=file.size, name=file.filename)


def whole(call: Call, content: str, *, size: int, name: str) -> Reply:
    """Return the content of a file that was not made of parts."""
    return _served(call, [Piece(content, size)], size=size, name=name)


def _served(call: Call, pieces: Sequence[Piece], *, size: int, name: str) -> Reply:
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
        "Content-Length": str(size),
    }
    return Reply(_read(call.store, pieces), headers=headers)


async def _read(store: Store, pieces: Sequence[Piece]) -> AsyncIterator[bytes]:
    for piece in pieces:
        stored = await asyncio.to_thread(store.content(piece.content).open, "rb")
        with stored:
            while block := await asyncio.to_thread(stored.read, READ_STEP):
                yield block


def head_of(call: Call, db: Connection, file: File, size: int) -> bytes:
    """Return the first *size* bytes of the file."""
    head = b""
    for piece in records.pieces_of(db, file.id):
        with call.store.content(piece.content).open("rb") as stored:
            head += stored.read(size - len(head))
    return head


async def delete(call: Call) -> Document:
    with call.store.transaction() as db:
        file = _find(db, call)
        contents = records.delete_file(db, file.id)
    call.store.drop(contents)
    return {"object": "file", "deleted": True, "id": file.id}


def _find(db: Connection, call: Call) -> File:
    file_id = call.ids["file_id"]
    file = records.find_file(db, file_id, call.now)
    if file is None and call.switches.seeding:
        file = _seed(db, call, file_id)
    if file is None:
        raise _no_such_file(file_id)
    return file


def _seed(db: Connection, call: Call, file_id: str) -> File:
    file = File(
        id=file_id,
        size=0,
        created_at=int(call.now),
        made_at=call.now,
        expires_at=None,
        filename="seeded",
        purpose="assistants",
    )
    records.add_file(db, file, [])
    return file


def _no_such_file(file_id: str) -> Refusal:
    return Refusal(404, f"No such File object: {file_id}", param="id")


def file_document(call: Call, file: File, *, first: bool = False) -> Document:
    """Keys in the recorded order; *first* is the answer that tells of the file."""
    unknown = {"known": False, "null": True, "null at first": first}
    return {
        "object": "file",
        "id": file.id,
        "purpose": file.purpose,
        "filename": file.filename,
        "bytes": None if unknown[call.switches.file_bytes] else file.size,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "status": call.switches.file_status,
        "status_details": None,
    }


ROUTES: Final = (
    Route("file_create", "POST", "/files", create, file_fields=("file",)),
    Route("file_list", "GET", "/files", list_files),
    Route("file_get", "GET", "/files/{file_id}", retrieve),
    Route("file_content", "GET", "/files/{file_id}/content", content),
    Route("file_delete", "DELETE", "/files/{file_id}", delete),
)
