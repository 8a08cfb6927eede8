"""Vector stores: made, listed, changed, deleted."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from sqlite3 import Connection
from typing import Annotated, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from uploader.emulator import ids, indexes
from uploader.emulator.answers import Document, Refusal
from uploader.emulator.call import Call, Route
from uploader.emulator.indexes import IndexedFile, VectorStore
from uploader.emulator.indexing import Chunking, attach, check_not_busy
from uploader.emulator.items import Metadata
from uploader.emulator.pages import Listing, page, read_listing

DAY: Final = 24 * 3600


class ExpiresAfter(Struct, forbid_unknown_fields=True):
    anchor: Literal["last_active_at"]
    days: Annotated[int, Meta(ge=1, le=365)]


class CreateStore(Struct, forbid_unknown_fields=True):
    file_ids: Annotated[list[str], Meta(max_length=500)] = []
    name: str | None = None
    description: str | None = None
    expires_after: ExpiresAfter | None = None
    chunking_strategy: Chunking | None = None
    metadata: Metadata | None = None


class UpdateStore(Struct, forbid_unknown_fields=True):
    name: str | UnsetType | None = UNSET
    expires_after: ExpiresAfter | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET


async def create(call: Call) -> Document:
    asked = await call.json(CreateStore)
    store = VectorStore(
        id=ids.vector_store_id(call.now),
        created_at=call.now,
        last_active_at=call.now,
        name=asked.name,
        description=asked.description,
        expires_after=msgspec.to_builtins(asked.expires_after),
        metadata=asked.metadata or {},
    )
    with call.store.transaction() as db:
        indexes.put_store(db, store)
        files = [
            attach(db, call, store, file_id, chunking=asked.chunking_strategy)
            for file_id in asked.file_ids
        ]
    return _document(call, store, files)


async def list_stores(call: Call) -> Document:
    asked = read_listing(call, Listing)
    with call.store.transaction() as db:
        documents = [_shown(db, call, store) for store in indexes.stores(db)]
    return page(documents, asked, unknown=None if call.switches.seeding else _unknown)


async def retrieve(call: Call) -> Document:
    with call.store.transaction() as db:
        return _shown(db, call, find_store(db, call))


async def update(call: Call) -> Document:
    asked = await call.json(UpdateStore)
    changes = msgspec.to_builtins(asked)
    if asked.metadata is None:
        changes["metadata"] = {}
    with call.store.transaction() as db:
        store = dataclasses.replace(find_store(db, call), **changes)
        indexes.put_store(db, store)
        return _shown(db, call, store)


async def delete(call: Call) -> Document:
    with call.store.transaction() as db:
        store = find_store(db, call)
        indexes.delete_store(db, store.id)
    return {"id": store.id, "object": "vector_store.deleted", "deleted": True}


def find_store(db: Connection, call: Call, *, open_: bool = False) -> VectorStore:
    """Return the store; an *open_* one can be written to."""
    store_id = call.ids["vector_store_id"]
    store = indexes.find_store(db, store_id)
    if store is None and call.switches.seeding:
        store = _seed(db, call, store_id)
    if store is None:
        raise _unknown(store_id)
    if open_:
        if _has_expired(store, call.now):
            raise Refusal(400, f"Vector store {store_id} has expired.")
        check_not_busy(call, store)
    return store


def _unknown(store_id: str) -> Refusal:
    return Refusal(404, f"Vector store with id '{store_id}' not found.")


def _seed(db: Connection, call: Call, store_id: str) -> VectorStore:
    store = VectorStore(
        id=store_id,
        created_at=call.now,
        last_active_at=call.now,
        name="seeded",
        description=None,
        expires_after=None,
        metadata={},
    )
    indexes.put_store(db, store)
    return store


def _shown(db: Connection, call: Call, store: VectorStore) -> Document:
    return _document(call, store, indexes.files_of(db, store.id))


def _document(call: Call, store: VectorStore, files: Sequence[IndexedFile]) -> Document:
    """Keys in the recorded order."""
    counts = count_files(files, call.now)
    expires_at = _expires_at(store)
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": int(store.created_at),
        "name": "" if store.name is None and call.switches.seeding else store.name,
        "description": store.description,
        "usage_bytes": sum(file.usage(call.now) for file in files),
        "file_counts": counts,
        "status": _status(call, store, counts),
        "expires_after": store.expires_after,
        "expires_at": None if expires_at is None else int(expires_at),
        "last_active_at": int(store.last_active_at),
        "metadata": store.metadata,
    }


def count_files(files: Sequence[IndexedFile], now: float) -> dict[str, int]:
    counts = Counter(file.status(now) for file in files)
    return {
        "in_progress": counts["in_progress"],
        "completed": counts["completed"],
        "failed": counts["failed"],
        "cancelled": counts["cancelled"],
        "total": counts.total(),
    }


def _status(call: Call, store: VectorStore, counts: dict[str, int]) -> str:
    if _has_expired(store, call.now):
        return "expired"
    return "in_progress" if counts["in_progress"] else "completed"


def _has_expired(store: VectorStore, now: float) -> bool:
    expires_at = _expires_at(store)
    return expires_at is not None and now >= expires_at


def _expires_at(store: VectorStore) -> float | None:
    if store.expires_after is None:
        return None
    after = msgspec.convert(store.expires_after, ExpiresAfter)
    return store.last_active_at + after.days * DAY


STORE: Final = "/vector_stores/{vector_store_id}"

ROUTES: Final = (
    Route("vector_store_create", "POST", "/vector_stores", create),
    Route("vector_store_list", "GET", "/vector_stores", list_stores),
    Route("vector_store_get", "GET", STORE, retrieve),
    Route("vector_store_update", "POST", STORE, update),
    Route("vector_store_delete", "DELETE", STORE, delete),
)
