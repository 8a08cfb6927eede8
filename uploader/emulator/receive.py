"""The content of a part or file on its way from the socket to the disk."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from sqlite3 import Connection
from typing import Final

from uploader.emulator.answers import Refusal
from uploader.emulator.call import Call, required, unexpected
from uploader.emulator.multipart import Form, MalformedForm
from uploader.emulator.store import insert
from uploader.emulator.switches import MIB

BATCH: Final = MIB
"""Bytes that are hashed and written at once; smaller steps cost more switches."""
MAX_TEXT: Final = 64 * 1024


@dataclass(slots=True)
class Head:
    """What a form says besides the content of its file."""

    filename: str | None = None
    name: str = ""
    """The name under which the file came."""
    content_type: str | None = None
    texts: dict[str, str] = field(default_factory=dict)


class Arrival:
    """Content that is arriving.

    Nobody holds it in memory: batches are hashed and written off the event
    loop, while the next one comes in.
    """

    def __init__(self, call: Call) -> None:
        self.size = 0
        self._call = call
        self._path = call.store.arriving()
        self._file = self._path.open("xb")
        self._sha256 = hashlib.sha256()
        self._kept = False

    async def take(self, chunks: AsyncIterator[bytes], *, limit: int) -> None:
        """Write *chunks*.  What exceeds *limit* is counted, but not written."""
        batch = bytearray()
        try:
            async for chunk in chunks:
                batch += chunk
                if len(batch) >= BATCH:
                    full, batch = batch, bytearray()
                    await asyncio.to_thread(self._write, full, limit)
        finally:
            # Also of a request that breaks off the account has every byte.
            self._write(batch, limit)

    def _write(self, batch: bytearray, limit: int) -> None:
        self._sha256.update(batch)
        self.size += len(batch)
        if self.size <= limit:
            self._file.write(batch)

    def head(self, size: int) -> bytes:
        """Return the first *size* bytes of what arrived."""
        self._file.flush()
        with self._path.open("rb") as arrived:
            return arrived.read(size)

    def keep(
        self, db: Connection, *, part_id: str | None = None, file_id: str | None = None
    ) -> str:
        """Give the content its final name, record it as stored, and return the name.

        The name comes before the commit: a kill in between leaves content that
        nobody refers to, never a part without content.
        """
        self._file.close()
        content = self._call.store.keep(self._path)
        self._kept = True
        self._record(db, part_id=part_id, file_id=file_id)
        return content

    def close(self) -> None:
        """Drop what was not kept; that it arrived is recorded all the same."""
        self._file.close()
        if not self._kept:
            self._path.unlink(missing_ok=True)
            with self._call.store.transaction() as db:
                self._record(db)

    def _record(
        self, db: Connection, *, part_id: str | None = None, file_id: str | None = None
    ) -> None:
        row = {
            "request": self._call.number,
            "upload_id": self._call.ids.get("upload_id"),
            "part_id": part_id,
            "file_id": file_id,
            "bytes": self.size,
            "sha256": self._sha256.hexdigest(),
            "stored": self._kept,
        }
        insert(db, "receptions", row)


@asynccontextmanager
async def arriving(call: Call) -> AsyncIterator[Arrival]:
    """Receive content that is dropped again unless it is kept within the block."""
    arrival = Arrival(call)
    try:
        yield arrival
    finally:
        arrival.close()


async def read_form(call: Call, arrival: Arrival, *, limit: int) -> Head:
    """Read a form to its end: its file into *arrival*, the rest is returned.

    A file that is too large is read, too: a client that is still sending does
    not see the answer.
    """
    boundary = call.boundary
    if boundary is None or not call.route.file_fields:
        raise Refusal(400, "The body must be multipart/form-data.")
    form = Form(call.chunks(), boundary)
    try:
        head = await _read_fields(form, arrival, call.route.file_fields, limit)
        async for _ in call.chunks():
            pass
    except MalformedForm as error:
        raise Refusal(400, f"Could not parse multipart form: {error}") from None
    return head


async def _read_fields(
    form: Form, arrival: Arrival, files: tuple[str, ...], limit: int
) -> Head:
    head = Head()
    async for part in form.fields():
        if part.name in head.texts or (head.name and part.name in files):
            raise unexpected(part.name)
        if part.name in files:
            head.name, head.filename = part.name, part.filename
            head.content_type = part.content_type
            await arrival.take(form.value(), limit=limit)
        else:
            head.texts[part.name] = await _text(form)
    if not head.name:
        raise required(files[0])
    return head


async def _text(form: Form) -> str:
    text = b""
    async for chunk in form.value():
        text += chunk
        if len(text) > MAX_TEXT:
            raise MalformedForm("a text field is too long")
    return text.decode("utf-8", "replace")


async def swallow(call: Call) -> None:
    """Read the request to its end and leave no effect but in the account."""
    if call.boundary is None or not call.route.file_fields:
        await call.body()
        return
    async with arriving(call) as arrival:
        with suppress(Refusal):
            await read_form(call, arrival, limit=0)
