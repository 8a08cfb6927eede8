"""Batches: many files attached to a vector store in one request."""

import dataclasses
from collections.abc import Sequence
from sqlite3 import Connection
from typing import Annotated, Final

from msgspec import Meta, Struct

from uploader.emulator import ids, indexes
from uploader.emulator.answers import Document, Refusal
from uploader.emulator.call import Call, Route, required
from uploader.emulator.indexes import FileBatch, IndexedFile
from uploader.emulator.indexing import Attributes, Chunking, attach
from uploader.emulator.pages import read_listing
from uploader.emulator.vector_files import AttachFile, FileListing, file_page
from uploader.emulator.vector_stores import STORE, count_files, find_store

BatchSize = Meta(min_length=1, max_length=2000)


class CreateBatch(Struct, forbid_unknown_fields=True):
    file_ids: Annotated[list[str], BatchSize] | None = None
    files: Annotated[list[AttachFile], BatchSize] | None = None
    chunking_strategy: Chunking | None = None
    attributes: Attributes | None = None


async def create(call: Call) -> Document:
    asked = await call.json(CreateBatch)
    wanted = _wanted(call, asked)
    with call.store.transaction() as db:
        store = find_store(db, call, open_=True)
        batch = FileBatch(
            id=ids.file_batch_id(call.now), store_id=store.id, created_at=call.now
        )
        indexes.add_batch(db, batch)
        files = [
            attach(
                db,
                call,
                store,
                one.file_id,
                chunking=one.chunking_strategy,
                attributes=one.attributes,
                batch_id=batch.id,
            )
            for one in wanted
        ]
    return _document(call, batch, files)


def _wanted(call: Call, asked: CreateBatch) -> list[AttachFile]:
    """Of the two lists exactly one is given; a newer SDK takes both, or none."""
    if not call.switches.seeding and (asked.file_ids is None) is (asked.files is None):
        raise required("file_ids")
    return [
        *(asked.files or []),
        *(
            AttachFile(file_id, asked.chunking_strategy, asked.attributes)
            for file_id in asked.file_ids or []
        ),
    ]


async def retrieve(call: Call) -> Document:
    with call.store.transaction() as db:
        batch, files = _find(db, call)
        for file in files:
            indexes.polled(db, file)
    return _document(call, batch, files)


async def cancel(call: Call) -> Document:
    """Cancel what is still in progress."""
    with call.store.transaction() as db:
        batch, files = _find(db, call)
        for file in files:
            if file.status(call.now) == "in_progress":
                indexes.replace_file(db, _cancelled(file))
        _, files = _find(db, call)
    return _document(call, batch, files)


def _cancelled(file: IndexedFile) -> IndexedFile:
    return dataclasses.replace(file, ending="cancelled", polls_left=0, ready_at=0.0)


async def list_files(call: Call) -> Document:
    asked = read_listing(call, FileListing)
    with call.store.transaction() as db:
        _, files = _find(db, call)
    return file_page(call, files, asked)


def _find(db: Connection, call: Call) -> tuple[FileBatch, list[IndexedFile]]:
    store, batch_id = find_store(db, call), call.ids["batch_id"]
    batch = indexes.find_batch(db, store.id, batch_id)
    if batch is None and call.switches.seeding:
        batch = FileBatch(id=batch_id, store_id=store.id, created_at=call.now)
    if batch is None:
        raise Refusal(404, f"File batch with id '{batch_id}' not found.")
    return batch, indexes.files_of(db, store.id, batch_id=batch.id)


def _document(call: Call, batch: FileBatch, files: Sequence[IndexedFile]) -> Document:
    counts = count_files(files, call.now)
    return {
        "id": batch.id,
        "object": call.switches.batch_object,
        "created_at": int(batch.created_at),
        "vector_store_id": batch.store_id,
        "status": _status(counts),
        "file_counts": counts,
    }


def _status(counts: dict[str, int]) -> str:
    if counts["in_progress"]:
        return "in_progress"
    if counts["cancelled"]:
        return "cancelled"
    is_failed = counts["failed"] == counts["total"] > 0
    return "failed" if is_failed else "completed"


BATCHES: Final = STORE + "/file_batches"
BATCH: Final = BATCHES + "/{batch_id}"

ROUTES: Final = (
    Route("vector_batch_create", "POST", BATCHES, create),
    Route("vector_batch_get", "GET", BATCH, retrieve),
    Route("vector_batch_cancel", "POST", BATCH + "/cancel", cancel),
    Route("vector_batch_files", "GET", BATCH + "/files", list_files),
)
