"""The files of a vector store: attached one by one, watched, taken out."""

import dataclasses
from sqlite3 import Connection
from typing import Final

from msgspec import UNSET, Struct, UnsetType

from uploader.emulator import files, indexes, records
from uploader.emulator.answers import Document, Refusal
from uploader.emulator.call import Call, Route
from uploader.emulator.indexes import IndexedFile, Status, VectorStore
from uploader.emulator.indexing import Attributes, Chunking, attach, file_document
from uploader.emulator.pages import Listing, page, read_listing
from uploader.emulator.vector_stores import STORE, find_store

MAX_TEXT: Final = 64 * 1024


class AttachFile(Struct, forbid_unknown_fields=True):
    file_id: str
    chunking_strategy: Chunking | None = None
    attributes: Attributes | None = None


class UpdateFile(Struct, forbid_unknown_fields=True):
    attributes: Attributes | None


class FileListing(Listing):
    """Also of one status only."""

    filter: Status | UnsetType = UNSET


async def create(call: Call) -> Document:
    asked = await call.json(AttachFile)
    with call.store.transaction() as db:
        store = find_store(db, call, open_=True)
        is_new = indexes.find_file(db, store.id, asked.file_id) is None
        file = attach(
            db,
            call,
            store,
            asked.file_id,
            chunking=asked.chunking_strategy,
            attributes=asked.attributes,
        )
    # At that moment it has only begun, however fast it will be (recording).
    return file_document(call, file, status="in_progress" if is_new else None)


async def list_files(call: Call) -> Document:
    asked = read_listing(call, FileListing)
    with call.store.transaction() as db:
        store = find_store(db, call)
        attached = indexes.files_of(db, store.id)
    return file_page(call, [one for one in attached if _is_known(call, one)], asked)


def file_page(call: Call, attached: list[IndexedFile], asked: FileListing) -> Document:
    documents = [
        file_document(call, file)
        for file in attached
        if asked.filter in (UNSET, file.status(call.now))
    ]
    return page(documents, asked, unknown=None if call.switches.seeding else _unknown)


async def retrieve(call: Call) -> Document:
    with call.store.transaction() as db:
        file = _find(db, call)
        document = file_document(call, file)
        indexes.polled(db, file)
    return document


async def update(call: Call) -> Document:
    asked = await call.json(UpdateFile)
    with call.store.transaction() as db:
        changed = dataclasses.replace(
            _find(db, call), attributes=dict(asked.attributes or {})
        )
        indexes.replace_file(db, changed)
    return file_document(call, changed)


async def delete(call: Call) -> Document:
    """Take the file out of the store; the file itself stays."""
    with call.store.transaction() as db:
        file = _find(db, call)
        indexes.delete_file(db, file.store_id, file.file_id)
    return {"id": file.file_id, "object": "vector_store.file.deleted", "deleted": True}


async def content(call: Call) -> Document:
    """What was read of the file, as one text."""
    with call.store.transaction() as db:
        indexed = _find(db, call)
        file = records.find_file(db, indexed.file_id, call.now)
        head = b"" if file is None else files.head_of(call, db, file, MAX_TEXT)
    return {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": head.decode("utf-8", "replace")}],
        "has_more": False,
        "next_page": None,
    }


def _find(db: Connection, call: Call) -> IndexedFile:
    store, file_id = find_store(db, call), call.ids["file_id"]
    file = indexes.find_file(db, store.id, file_id)
    if file is None and call.switches.seeding:
        file = _seed(db, call, store, file_id)
    if file is None or not _is_known(call, file):
        raise _unknown(file_id)
    return file


def _is_known(call: Call, file: IndexedFile) -> bool:
    return call.now >= file.attached_at + call.switches.attached_delay


def _seed(db: Connection, call: Call, store: VectorStore, file_id: str) -> IndexedFile:
    return attach(db, call, store, file_id)


def _unknown(file_id: str) -> Refusal:
    return Refusal(404, f"No file found with id '{file_id}' in the vector store.")


FILE: Final = STORE + "/files/{file_id}"

ROUTES: Final = (
    Route("vector_file_create", "POST", STORE + "/files", create),
    Route("vector_file_list", "GET", STORE + "/files", list_files),
    Route("vector_file_get", "GET", FILE, retrieve),
    Route("vector_file_update", "POST", FILE, update),
    Route("vector_file_delete", "DELETE", FILE, delete),
    Route("vector_file_content", "GET", FILE + "/content", content),
)
