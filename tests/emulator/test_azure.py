import re
from collections.abc import AsyncIterator

import aiohttp
import pytest
from openai import AsyncAzureOpenAI

from tests.emulator.client import Client, Said
from uploader.emulator import Emulator, Switches

VERSION = "api-version=2024-10-21"
GIB = 1024**3


@pytest.fixture
async def azure(emulator: Emulator) -> AsyncIterator[Client]:
    async with Client(f"{emulator.origin}/openai") as client:
        yield client


async def add_part(azure: Client, upload_id: str) -> Said:
    form = aiohttp.FormData()
    form.add_field("data", b"hello world", filename="upload")
    return await azure.ask("POST", f"/uploads/{upload_id}/parts?{VERSION}", data=form)


CREATE = {
    "filename": "a.jsonl",
    "purpose": "fine-tune",
    "bytes": 11,
    "mime_type": "text/jsonl",
}


async def test_classic_uploads_by_the_official_client(emulator: Emulator) -> None:
    async with AsyncAzureOpenAI(
        azure_endpoint=emulator.origin, api_key="azure-key", api_version="2024-10-21"
    ) as sdk:
        upload = await sdk.uploads.create(
            bytes=11, filename="a.jsonl", mime_type="text/jsonl", purpose="fine-tune"
        )
        part = await sdk.uploads.parts.create(upload.id, data=b"hello world")
        done = await sdk.uploads.complete(upload.id, part_ids=[part.id])

    assert done.status == "completed"
    request = emulator.account().requests[0]
    assert request.path == "/openai/uploads"
    assert request.headers["api-key"] == "***"


async def test_classic_has_its_own_ids_and_two_hours(azure: Client) -> None:
    said = await azure.post(f"/uploads?{VERSION}", CREATE)
    upload = said.json
    location = said.headers["Location"]
    part = (await add_part(azure, upload["id"])).json

    assert re.fullmatch(r"fine-tune-[0-9a-f]{32}", upload["id"])
    assert upload["expires_at"] == upload["created_at"] + 7200
    assert location == f"{azure.url}/uploads/runs/{upload['id']}"
    assert part["id"].startswith("uplprt-")
    assert len(part["azure_block_id"]) == 24


async def test_classic_takes_nine_gigabytes_and_v1_too(azure: Client) -> None:
    for path in (f"/uploads?{VERSION}", "/v1/uploads"):
        assert (await azure.post(path, {**CREATE, "bytes": 9 * GIB})).status == 200
        assert (await azure.post(path, {**CREATE, "bytes": 9 * GIB + 1})).status == 400


@pytest.mark.parametrize(
    ("switches", "taken"),
    [
        (Switches(), {"id", "azure_block_id"}),
        (Switches(azure_part_ids="id"), {"id"}),
        (Switches(azure_part_ids="block"), {"azure_block_id"}),
    ],
)
async def test_classic_completes_with_ids_or_block_ids(
    azure: Client, emulator: Emulator, switches: Switches, taken: set[str]
) -> None:
    emulator.switches = switches

    for name in ("id", "azure_block_id"):
        upload_id = (await azure.post(f"/uploads?{VERSION}", CREATE)).json["id"]
        part = (await add_part(azure, upload_id)).json
        said = await azure.post(
            f"/uploads/{upload_id}/complete?{VERSION}", {"part_ids": [part[name]]}
        )
        assert said.status == (200 if name in taken else 400)


async def test_classic_errors_have_a_code_and_a_message_only(azure: Client) -> None:
    unknown = await azure.get(f"/files/none?{VERSION}")
    invalid = await azure.post(f"/uploads?{VERSION}", {**CREATE, "purpose": "vision"})

    assert unknown.json["error"]["code"] == "notFound"
    assert invalid.json["error"]["code"] == "invalidPayload"
    for said in (unknown, invalid):
        assert list(said.json) == ["error"]
        assert sorted(said.json["error"]) == ["code", "message"]


async def test_v1_errors_are_like_those_of_openai(azure: Client) -> None:
    said = await azure.get("/v1/files/none")

    assert list(said.json) == ["error"]
    assert list(said.json["error"]) == ["message", "type", "param", "code"]


async def test_classic_does_not_know_expires_after(azure: Client) -> None:
    after = {"expires_after": {"anchor": "created_at", "seconds": 3600}}

    classic = await azure.post(f"/uploads?{VERSION}", {**CREATE, **after})
    v1 = await azure.post("/v1/uploads", {**CREATE, **after})

    assert (classic.status, v1.status) == (400, 200)


async def test_classic_needs_an_api_version_and_v1_none(azure: Client) -> None:
    assert (await azure.post("/uploads", CREATE)).status == 404
    assert (await azure.post("/v1/uploads", CREATE)).status == 200


async def test_both_take_a_key_in_either_header(emulator: Emulator) -> None:
    async with Client(f"{emulator.origin}/openai", key=None) as client:
        for path in (f"/files?{VERSION}", "/v1/files"):
            key = await client.ask("GET", path, headers={"api-key": "k"})
            none = await client.ask("GET", path)
            assert (key.status, none.status) == (200, 401)
        assert none.json["error"]["code"] == "invalid_api_key"


async def test_classic_answers_a_new_file_with_201(azure: Client) -> None:
    form = aiohttp.FormData()
    form.add_field("purpose", "assistants")
    form.add_field("file", b"whole", filename="a.txt")

    said = await azure.ask("POST", f"/files?{VERSION}", data=form)

    assert said.status == 201


async def test_either_face_may_be_missing(azure: Client, emulator: Emulator) -> None:
    emulator.switches = Switches(azure_v1=False)
    assert (await azure.post("/v1/uploads", CREATE)).status == 404
    assert (await azure.post(f"/uploads?{VERSION}", CREATE)).status == 200
    emulator.switches = Switches(azure_classic=False)
    assert (await azure.post("/v1/uploads", CREATE)).status == 200
    assert (await azure.post(f"/uploads?{VERSION}", CREATE)).status == 404


async def test_a_pending_upload_may_show_a_file(
    azure: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(azure_pending_file=True)

    upload = (await azure.post(f"/uploads?{VERSION}", CREATE)).json

    assert (upload["status"], upload["file"]["status"]) == ("pending", "pending")
