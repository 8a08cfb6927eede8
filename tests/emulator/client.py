"""A client that hides nothing: requests as they are, answers as they come."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp

CREATE: dict[str, object] = {
    "filename": "report.txt",
    "purpose": "assistants",
    "bytes": 11,
    "mime_type": "text/plain",
}


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def events(self) -> list[Any]:
        """The documents of an event stream; what is not JSON stays as it is."""
        return [_event(event) for event in self.text.split("\n\n") if event]

    @property
    def message(self) -> str:
        message = self.json["error"]["message"]
        assert isinstance(message, str)
        return message


def _event(event: str) -> Any:
    data = event.splitlines()[-1].removeprefix("data:").strip()
    return json.loads(data) if data.startswith("{") else data


def png(width: int = 3, height: int = 2) -> bytes:
    """The beginning of a PNG, which is all that is looked at."""
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + size + b"\x08\x06\x00\x00\x00"


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until *condition* holds."""
    loop = asyncio.get_running_loop()
    while not condition():
        turned = loop.create_future()
        loop.call_soon(turned.set_result, None)
        await turned


class Client:
    def __init__(
        self,
        url: str,
        *,
        key: str | None = "sk-test",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        headers = dict(headers or {})
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._session = aiohttp.ClientSession(headers=headers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, **options: Any) -> Said:
        async with self._session.request(
            method, self.url + path, **options
        ) as response:
            return Said(response.status, response.headers, await response.text())

    def raw(
        self, method: str, path: str, **options: Any
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """The answer as it comes."""
        return self._session.request(method, self.url + path, **options)

    async def post(self, path: str, document: object) -> Said:
        return await self.ask("POST", path, json=document)

    async def get(self, path: str) -> Said:
        return await self.ask("GET", path)

    async def delete(self, path: str) -> Said:
        return await self.ask("DELETE", path)

    async def create(self, **changes: object) -> Said:
        return await self.post("/uploads", {**CREATE, **changes})

    async def opened(self, **changes: object) -> str:
        return str((await self.create(**changes)).json["id"])

    async def part(self, upload_id: str, content: bytes) -> Said:
        form = aiohttp.FormData()
        form.add_field("data", content, filename="upload")
        return await self.ask("POST", f"/uploads/{upload_id}/parts", data=form)

    async def stored(self, upload_id: str, *contents: bytes) -> list[str]:
        """Add parts one after another and return their ids."""
        return [(await self.part(upload_id, part)).json["id"] for part in contents]

    async def complete(
        self, upload_id: str, part_ids: list[str], **fields: object
    ) -> Said:
        document = {"part_ids": part_ids, **fields}
        return await self.post(f"/uploads/{upload_id}/complete", document)

    async def cancel(self, upload_id: str) -> Said:
        return await self.ask("POST", f"/uploads/{upload_id}/cancel")

    async def uploaded(self, *contents: bytes, **changes: object) -> Said:
        """Create, add parts and complete."""
        size = sum(map(len, contents))
        upload_id = await self.opened(**{"bytes": size, **changes})
        part_ids = await self.stored(upload_id, *contents)
        return await self.complete(upload_id, part_ids)

    async def file(
        self, content: bytes = b"whole", *, filename: str = "whole.txt", **fields: str
    ) -> Said:
        form = aiohttp.FormData()
        for name, value in {"purpose": "assistants", **fields}.items():
            form.add_field(name, value)
        form.add_field("file", content, filename=filename)
        return await self.ask("POST", "/files", data=form)
