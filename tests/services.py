"""What others do at an emulated service, so that there is something to work with."""

import struct
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import ClientSession, FormData

from uploader.emulator import Emulator
from uploader.message import FileRef
from uploader.model import FileId

KEY: Final = "sk-test-0123456789"
PNG: Final = b"\x89PNG\r\n\x1a\n" + struct.pack(
    ">I4sIIBBBBBI", 13, b"IHDR", 3, 2, 8, 2, 0, 0, 0, 0
)
"""The head of a picture of 3 by 2 pixels."""


async def ask(
    emulator: Emulator, method: str, path: str, json: object = None, data: Any = None
) -> Any:
    async with (
        ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        session.request(
            method, emulator.url + path, json=json, data=data, raise_for_status=True
        ) as response,
    ):
        return await response.json()


async def add_file(
    emulator: Emulator, name: str = "a.txt", content: bytes = b"abc"
) -> FileRef:
    form = FormData({"purpose": "user_data"})
    form.add_field("file", content, filename=name)
    file = await ask(emulator, "POST", "/files", data=form)
    return FileRef(file_id=FileId(file["id"]), name=name, size=len(content))


async def items(emulator: Emulator, conversation_id: str) -> Sequence[Any]:
    """The newest hundred, newest first."""
    path = f"/conversations/{conversation_id}/items?limit=100"
    return (await ask(emulator, "GET", path))["data"]  # type: ignore[no-any-return]


def bodies(emulator: Emulator, kind: str) -> list[object]:
    """The bodies of all requests of a kind, as they came."""
    return [
        request.body for request in emulator.account().requests if request.kind == kind
    ]
