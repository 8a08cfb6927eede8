"""How a file gets into a vector store, and what it looks like there."""

from sqlite3 import Connection
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from uploader.emulator import indexes, records
from uploader.emulator.answers import Document, Refusal
from uploader.emulator.call import Call
from uploader.emulator.indexes import IndexedFile, Status, VectorStore

Attributes = Annotated[
    dict[
        Annotated[str, Meta(max_length=64)],
        Annotated[str, Meta(max_length=512)] | bool | float,
    ],
    Meta(max_length=16),
]

DEFAULT_CHUNK: Final = 800
DEFAULT_OVERLAP: Final = 400


class Sizes(Struct, forbid_unknown_fields=True):
    max_chunk_size_tokens: Annotated[int, Meta(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[int, Meta(ge=0)]

    def __post_init__(self) -> None:
        if self.chunk_overlap_tokens > self.max_chunk_size_tokens // 2:
            raise ValueError("the overlap must not exceed half of the chunk")


class StaticChunking(Struct, tag="static", forbid_unknown_fields=True):
    static: Sizes


class AutoChunking(Struct, tag="auto", forbid_unknown_fields=True):
    """800 tokens, of which 400 overlap (recording)."""


Chunking = StaticChunking | AutoChunking


def attach(
    db: Connection,
    call: Call,
    store: VectorStore,
    file_id: str,
    *,
    chunking: Chunking | None = None,
    attributes: Attributes | None = None,
    batch_id: str | None = None,
) -> IndexedFile:
    """Attach the file; one that is attached already stays as it is."""
    known = indexes.find_file(db, store.id, file_id)
    if known is not None:
        return known
    size = _size(db, call, file_id)
    ending, error = _ending(call, size)
    file = IndexedFile(
        file_id=file_id,
        store_id=store.id,
        batch_id=batch_id,
        attached_at=call.now,
        size=size,
        ready_at=call.now + call.switches.indexing_seconds,
        polls_left=call.switches.indexing_polls,
        ending=ending,
        error=error,
        chunking_strategy=_strategy(chunking),
        attributes=dict(attributes or {}),
    )
    indexes.add_file(db, file)
    return file


def check_not_busy(call: Call, store: VectorStore) -> None:
    if call.now < store.created_at + call.switches.store_busy_seconds:
        raise Refusal(
            409, f"Vector store {store.id} is temporarily unavailable. Try again later."
        )


def _size(db: Connection, call: Call, file_id: str) -> int:
    file = records.find_file(db, file_id, call.now)
    if file is None and not call.switches.seeding:
        status = int(call.switches.attach_unknown_file)
        raise Refusal(status, f"No such File object: {file_id}", param="file_id")
    return 0 if file is None else file.size


def _ending(call: Call, size: int) -> tuple[Status, str]:
    limit = call.switches.max_indexed_file
    if size <= limit:
        return call.switches.indexing_ends, call.switches.indexing_error
    if call.switches.oversized_file == "400":
        raise Refusal(400, f"{size} bytes are too many; the limit is {limit} bytes.")
    return "failed", "invalid_file"


def _strategy(chunking: Chunking | None) -> Document:
    if not isinstance(chunking, StaticChunking):
        chunking = StaticChunking(Sizes(DEFAULT_CHUNK, DEFAULT_OVERLAP))
    strategy: Document = msgspec.to_builtins(chunking)
    return strategy


def file_document(
    call: Call, file: IndexedFile, *, status: Status | None = None
) -> Document:
    """Keys in the recorded order; *status* is what to say in place of the truth."""
    shown = status or file.status(call.now)
    error = {
        "code": file.error,
        "message": f"The file failed: {file.error}, by switch.",
    }
    return {
        "id": file.file_id,
        "object": "vector_store.file",
        "usage_bytes": file.usage(call.now) if shown == "completed" else 0,
        "created_at": int(file.attached_at),
        "vector_store_id": file.store_id,
        "status": shown,
        "last_error": error if shown == "failed" else None,
        "chunking_strategy": file.chunking_strategy,
        "attributes": file.attributes,
    }
