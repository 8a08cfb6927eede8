from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.emulator.client import Client, Said, png
from uploader.emulator import Emulator, Switches

PDF = "application/pdf"
MODEL = "gizmo-gpt-4o"


async def upload(
    client: Client,
    content: bytes = b"%PDF",
    *,
    name: str = "a.pdf",
    mime_type: str = PDF,
    path: str = "/uploaded",
    **changes: str | None,
) -> Said:
    form = aiohttp.FormData(quote_fields=False)
    fields = {"upload_type": "my_files", "model": MODEL, **changes}
    for field, value in fields.items():
        if value is not None:
            form.add_field(field, value)
    form.add_field("files", content, filename=name, content_type=mime_type)
    return await client.ask("POST", path, data=form)


def attached(file: dict[str, Any]) -> dict[str, Any]:
    """An attachment as the document has it."""
    names = {
        "id": "id",
        "name": "name",
        "size": "size",
        "mimeType": "mimeType",
        "fileTokenSize": "fileTokenSize",
        "image_width": "width",
        "image_height": "height",
    }
    return {ours: file[theirs] for theirs, ours in names.items() if theirs in file}


def part(file: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": file["name"],
        "asset_pointer": f"file-service://{file['id']}",
        "size_bytes": file["size"],
        "width": file["image_width"],
        "height": file["image_height"],
    }


def ask(words: str, *files: dict[str, Any], **fields: object) -> dict[str, object]:
    message: dict[str, object] = {"role": "user", "content": words}
    if files:
        message["attachments"] = [attached(file) for file in files]
        message["parts"] = [part(file) for file in files if "image_width" in file]
    conversation = {"conversation_id": files[0]["conversation_id"]} if files else {}
    return {"model": MODEL, "messages": [message], **conversation, **fields}


def answer(said: Said) -> str:
    return str(said.json["choices"][0]["message"]["content"])


@pytest.fixture
async def llm(emulator: Emulator) -> AsyncIterator[Client]:
    async with Client(emulator.llmprovider_url, key="llm-secret") as client:
        yield client


async def test_a_document_is_uploaded_and_answered_by_a_bare_object(
    llm: Client, emulator: Emulator
) -> None:
    said = await upload(llm)

    file_id = said.json["id"]
    assert said.status == 200
    assert said.json == {
        "id": file_id,
        "name": "a.pdf",
        "size": 4,
        "download_url": f"{emulator.llmprovider_url}/download/{file_id}",
        "use_case": "my_files",
        "fileTokenSize": 2,
        "conversation_id": said.json["conversation_id"],
        "mimeType": PDF,
    }
    assert (await llm.get(f"/download/{file_id}")).text == "%PDF"


async def test_an_image_has_dimensions_and_no_tokens(llm: Client) -> None:
    said = await upload(
        llm, png(), name="a.png", mime_type="image/png", upload_type="multimodal"
    )

    assert (said.json["image_width"], said.json["image_height"]) == (3, 2)
    assert said.json["use_case"] == "multimodal"
    assert "fileTokenSize" not in said.json


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"upload_type": "image"}, id="image"),
        pytest.param({"upload_type": None}, id="no type"),
        pytest.param({"model": "gpt-4o"}, id="model"),
        pytest.param({"model": None}, id="no model"),
        pytest.param({"mime_type": "text/csv"}, id="not on the list"),
        pytest.param({"upload_type": "multimodal"}, id="on the other list"),
        pytest.param({"surprise": "1"}, id="surprise"),
    ],
)
async def test_bad_uploads_are_refused(
    llm: Client, emulator: Emulator, changes: dict[str, Any]
) -> None:
    said = await upload(llm, **changes)

    assert said.status == 400
    assert list(said.json["error"]) == ["message", "type", "param", "code"]
    assert not emulator.account().receptions[-1].stored


async def test_an_upload_holds_exactly_one_file(llm: Client) -> None:
    said = []
    for names in ((), ("a", "b")):
        form = aiohttp.FormData()
        form.add_field("upload_type", "my_files", content_type="text/plain")
        form.add_field("model", MODEL)
        for name in names:
            form.add_field("files", b"x", filename=name, content_type=PDF)
        said.append(await llm.ask("POST", "/uploaded", data=form))

    none, two = said
    assert (none.status, none.json["error"]["param"]) == (400, "files")
    assert (two.status, "'files' was unexpected" in two.message) == (400, True)


async def test_an_upload_as_json_is_415_or_400(llm: Client, emulator: Emulator) -> None:
    assert (await llm.post("/uploaded", {})).status == 415
    emulator.switches = Switches(llmprovider_json_upload="400")
    assert (await llm.post("/uploaded", {})).status == 400


async def test_a_file_can_be_too_large(llm: Client, emulator: Emulator) -> None:
    emulator.switches = Switches(llmprovider_max_file=4)

    assert (await upload(llm, b"1234")).status == 200
    assert (await upload(llm, b"12345")).status == 413


async def test_misspellings_of_the_document_are_taken(llm: Client) -> None:
    assert (await upload(llm, model="gizmo-gpt4o")).status == 200
    for mime_type in ("application/x-latex", "application/x-latext"):
        assert (await upload(llm, mime_type=mime_type)).status == 200


async def test_an_image_may_be_called_one(llm: Client, emulator: Emulator) -> None:
    emulator.switches = Switches(
        llmprovider_image_type=True, llmprovider_use_case="my_files"
    )

    said = await upload(llm, png(), mime_type="image/png", upload_type="image")

    assert (said.status, said.json["use_case"]) == (200, "my_files")
    assert "fileTokenSize" in said.json
    (remark,) = emulator.account().remarks
    assert remark.words == "upload_type 'image' was taken for 'multimodal'"


async def test_the_answer_may_have_only_what_is_not_optional(
    llm: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(llmprovider_optional_fields=False)

    said = await upload(llm)

    assert list(said.json) == ["id", "name", "size", "mimeType"]


async def test_the_path_of_an_example_may_exist(
    llm: Client, emulator: Emulator
) -> None:
    path = "/api/gizmo/upload"
    async with Client(emulator.llmprovider_url.removesuffix("/v1"), key=None) as client:
        assert (await upload(client, path=path)).status == 404
        emulator.switches = Switches(llmprovider_internal_path=True)
        assert (await upload(client, path=path)).status == 200


async def test_files_are_asked_about(llm: Client) -> None:
    pdf = (await upload(llm)).json
    image = (
        await upload(
            llm,
            png(),
            name="a.png",
            mime_type="image/png",
            upload_type="multimodal",
            conversation_id=pdf["conversation_id"],
        )
    ).json

    said = await llm.post("/chat/completions", ask("what?", pdf, image))

    assert said.status == 200
    assert answer(said) == "You asked: “what?”; and I was given “a.pdf”, “a.png”."
    assert said.json["object"] == "chat.completion"
    assert said.json["conversation_id"] == pdf["conversation_id"]
    follow_up = ask(
        "and?",
        conversation_id=said.json["conversation_id"],
        parent_message_id=said.json["message_id"],
    )
    assert (await llm.post("/chat/completions", follow_up)).status == 200


async def test_an_answer_may_be_streamed(llm: Client) -> None:
    pdf = (await upload(llm)).json

    said = await llm.post("/chat/completions", ask("what?", pdf, stream=True))

    *chunks, last = said.events
    words = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert last == "[DONE]"
    assert "".join(words) == "You asked: “what?”; and I was given “a.pdf”."
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    for chunk in chunks:
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["conversation_id"] == pdf["conversation_id"]
        assert chunk["message_id"] == chunks[0]["message_id"]


async def test_an_action_is_never_streamed(llm: Client) -> None:
    pdf = (await upload(llm)).json
    asked = ask("what?", pdf, stream=True, gizmo_id="g-1", action="next")

    said = await llm.post("/action", asked)
    without = await llm.post("/action", ask("what?", pdf))

    assert said.json["object"] == "chat.completion"
    assert without.status == 400


@pytest.mark.parametrize(
    "change",
    [{"id": "file-none"}, {"name": "b.pdf"}, {"size": 5}, {"mimeType": None}],
)
async def test_a_message_that_is_wrong_about_its_file_is_refused(
    llm: Client, change: dict[str, object]
) -> None:
    asked = ask("what?", {**(await upload(llm)).json, **change})

    assert (await llm.post("/chat/completions", asked)).status == 400


async def test_a_conversation_is_made_known_and_owned(
    llm: Client, emulator: Emulator
) -> None:
    made = (await upload(llm)).json["conversation_id"]

    again = await upload(llm, conversation_id=made)
    unknown = await upload(llm, conversation_id="none")
    async with Client(emulator.llmprovider_url, key="another") as other:
        foreign = await upload(other, conversation_id=made)

    assert again.json["conversation_id"] == made
    assert (unknown.status, foreign.status) == (404, 404)
    emulator.switches = Switches(llmprovider_conversation_required=True)
    assert (await upload(llm)).status == 400


async def test_its_keys_are_its_own(directory: Path) -> None:
    async with Emulator(directory, llmprovider_keys=["llm"], keys=["sk"]) as emulator:
        for key, status in (("llm", 200), ("sk", 401), (None, 401)):
            async with Client(emulator.llmprovider_url, key=key) as client:
                assert (await upload(client)).status == status


async def test_an_upload_survives_a_restart(directory: Path) -> None:
    async with (
        Emulator(directory) as emulator,
        Client(emulator.llmprovider_url) as client,
    ):
        file = (await upload(client)).json

    async with (
        Emulator(directory) as emulator,
        Client(emulator.llmprovider_url) as client,
    ):
        said = await client.post("/chat/completions", ask("what?", file))
        assert "“a.pdf”" in answer(said)
        assert (await client.get(f"/download/{file['id']}")).text == "%PDF"
