"""One conversation at GoAPI, and the messages that go there."""

from typing import Any

import aiohttp

from tests.emulator.client import Client, Said, png
from uploader.emulator import Emulator

KEY = "goapi-secret"
PDF = "application/pdf"


def prompt(words: str, **fields: object) -> dict[str, object]:
    content = {"content_type": "text", "parts": [words]}
    return {"model": "gpt-4o", "content": content, **fields}


def about(words: str, *files: dict[str, Any]) -> dict[str, object]:
    """A message with attachments; an image is also pointed to."""
    pointers = [
        {
            "content_type": "image_asset_pointer",
            "asset_pointer": f"file-service://{file['id']}",
            "size_bytes": file["size"],
            "width": file["width"],
            "height": file["height"],
        }
        for file in files
        if "width" in file
    ]
    kind = "multimodal_text" if pointers else "text"
    content = {"content_type": kind, "parts": [*pointers, words]}
    return {
        "model": "gpt-4o",
        "content": content,
        "metadata": {"attachments": list(files)},
    }


def final(said: Said) -> dict[str, Any]:
    """The last message of the assistant."""
    messages = [
        event["message"]
        for event in said.events
        if isinstance(event, dict) and event.get("message")
    ]
    (last,) = [
        message
        for message in messages
        if message["author"]["role"] == "assistant" and message["end_turn"]
    ]
    assert isinstance(last, dict)
    return last


def answer(said: Said) -> str:
    return str(final(said)["content"]["parts"][0])


class Relay:
    """One conversation at GoAPI."""

    def __init__(self, client: Client, conversation_id: str) -> None:
        self.client = client
        self.path = f"/conversation/{conversation_id}"

    async def say(self, document: dict[str, object]) -> Said:
        return await self.client.post(self.path, document)

    async def upload(
        self, content: bytes, name: str = "report.pdf", *, part: str = "file"
    ) -> Said:
        form = aiohttp.FormData(quote_fields=False)
        form.add_field(part, content, filename=name, content_type=PDF)
        return await self.client.ask("POST", f"{self.path}/upload", data=form)

    async def document(self, name: str = "report.pdf") -> dict[str, Any]:
        data = (await self.upload(b"%PDF", name)).json["data"]
        return {
            "id": data["file_id"],
            "name": data["file_name"],
            "size": data["file_size"],
            "mime_type": PDF,
        }

    async def image(self, name: str = "a.png") -> dict[str, Any]:
        data = (await self.upload(png(), name)).json["data"]
        return {
            "id": data["file_id"],
            "name": name,
            "size": data["file_size"],
            "mime_type": "image/png",
            "width": 3,
            "height": 2,
        }


def at(emulator: Emulator, key: str = KEY) -> Client:
    url = f"{emulator.goapi_url}/api/chatgpt/v1"
    return Client(url, key=None, headers={"X-API-Key": key})
