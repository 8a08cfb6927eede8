"""The fields of a multipart/form-data body (RFC 7578), as they stream in.

aiohttp has a reader for this, which hands out 8 KiB at a time; a part of
64 MiB wants larger steps.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import Message
from typing import Final

MAX_FIELD_HEADERS: Final = 16 * 1024


class MalformedForm(Exception):
    """The body is not multipart/form-data, or it ends too early."""


@dataclass(frozen=True, slots=True)
class Field:
    """What stands above a field; its value is read from the `Form`."""

    name: str
    filename: str | None
    content_type: str | None


class Form:
    """The fields of one body, in the order in which they arrive."""

    def __init__(self, chunks: AsyncIterator[bytes], boundary: str) -> None:
        self._chunks = chunks
        self._delimiter = b"\r\n--" + boundary.encode()
        # The first delimiter may stand at the very beginning, without a new line.
        self._held = b"\r\n"

    async def fields(self) -> AsyncIterator[Field]:
        """Yield each field; what is left of its value is skipped."""
        await self._skip_value()
        while await self._another_follows():
            yield _field(await self._headers())
            await self._skip_value()

    async def value(self) -> AsyncIterator[bytes]:
        """Yield the value of the current field, up to the next delimiter."""
        while (end := self._held.find(self._delimiter)) < 0:
            # The delimiter may have arrived in part.
            safe = len(self._held) - len(self._delimiter) + 1
            if safe > 0:
                ready, self._held = self._held[:safe], self._held[safe:]
                yield ready
            await self._hold_more()
        if end:
            ready, self._held = self._held[:end], self._held[end:]
            yield ready

    async def _skip_value(self) -> None:
        async for _ in self.value():
            pass

    async def _another_follows(self) -> bool:
        start = len(self._delimiter)
        while len(self._held) < start + 2:
            await self._hold_more()
        after = self._held[start : start + 2]
        if after not in (b"\r\n", b"--"):
            raise MalformedForm("a boundary is followed by neither a new line nor '--'")
        self._held = self._held[start:]
        return after == b"\r\n"

    async def _headers(self) -> bytes:
        while (end := self._held.find(b"\r\n\r\n")) < 0:
            if len(self._held) > MAX_FIELD_HEADERS:
                raise MalformedForm("the headers of a field do not end")
            await self._hold_more()
        headers, self._held = self._held[:end], self._held[end + 4 :]
        return headers

    async def _hold_more(self) -> None:
        try:
            self._held += await anext(self._chunks)
        except StopAsyncIteration:
            raise MalformedForm("the body ends before its last boundary") from None


def _field(headers: bytes) -> Field:
    parsed = Message()
    for line in headers.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        if header.strip():
            parsed[header.strip()] = value.strip()
    name = parsed.get_param("name", header="content-disposition")
    if not isinstance(name, str):
        raise MalformedForm("a field has no name")
    content_type = parsed.get_content_type() if "content-type" in parsed else None
    return Field(name, parsed.get_filename(), content_type)
