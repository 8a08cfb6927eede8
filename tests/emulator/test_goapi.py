import json
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.client import Client, png
from tests.emulator.goapi import KEY, PDF, Relay, about, answer, at, final, prompt
from uploader.emulator import Emulator, Fault, Switches


async def test_an_upload_is_answered_in_an_envelope(
    relay: Relay, emulator: Emulator
) -> None:
    said = await relay.upload(b"%PDF")

    assert said.status == 200
    file_id = said.json["data"]["file_id"]
    assert list(said.json.items()) == [
        ("code", 200),
        (
            "data",
            {"file_name": "report.pdf", "file_id": file_id, "file_size": 4},
        ),
        ("message", "success"),
    ]
    assert len(file_id) == len("file-") + 24
    (reception,) = emulator.account().receptions
    assert (reception.file_id, reception.bytes) == (file_id, 4)


@pytest.mark.parametrize(
    "name",
    [
        "a ]`$).png",
        "Übersicht “1”.pdf",
        "a;b=c'd%20e.txt",
        'a"b\\c.txt',
        "..",
        "{x}&~#.txt",
    ],
)
async def test_file_names_survive_byte_for_byte(relay: Relay, name: str) -> None:
    file = await relay.document(name)

    assert file["name"] == name
    assert f"“{name}”" in answer(await relay.say(about("what?", file)))


async def test_documents_are_attached_and_images_are_pointed_to(
    relay: Relay, emulator: Emulator
) -> None:
    one, two, pdf = (
        await relay.image("a.png"),
        await relay.image("b.png"),
        await relay.document(),
    )

    for files in ([pdf], [one], [one, two], [one, pdf]):
        said = await relay.say(about("what?", *files))
        names = ", ".join(f"“{file['name']}”" for file in files)
        assert answer(said) == f"You asked: “what?”; and I was given {names}."
    assert emulator.account().requests[-1].body == about("what?", one, pdf)


async def test_a_follow_up_names_its_parent_or_the_last_is_taken(relay: Relay) -> None:
    first = final(await relay.say(prompt("one")))["id"]

    named = await relay.say(prompt("two", parent_message_id=first))
    empty = await relay.say(prompt("three", parent_message_id=""))
    unknown = await relay.say(prompt("four", parent_message_id="none"))

    assert (named.status, empty.status, unknown.status) == (200, 200, 400)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"name": "other.png"}, id="name"),
        pytest.param({"size": 5}, id="size"),
        pytest.param({"width": 4}, id="width"),
        pytest.param({"id": "file-none"}, id="unknown"),
        pytest.param({"mime_type": None}, id="no MIME type"),
        pytest.param({"mimeType": "image/gif"}, id="two MIME types"),
        pytest.param({"surprise": 1}, id="surprise"),
    ],
)
async def test_a_message_that_is_wrong_about_its_file_is_refused(
    relay: Relay, change: dict[str, object]
) -> None:
    said = await relay.say(about("what?", {**await relay.image(), **change}))

    assert said.status == 400
    assert list(said.json) == ["code", "data", "message"]
    assert (said.json["code"], said.json["data"]) == (400, None)


async def test_parts_are_images_then_one_text(relay: Relay) -> None:
    asked = about("what?", await relay.image())
    content: Any = asked["content"]
    pointer, words = content["parts"]

    for parts in ([words, pointer], [pointer], [pointer, words, words], [words]):
        wrong = {**asked, "content": {**content, "parts": parts}}
        assert (await relay.say(wrong)).status == 400
    assert (
        await relay.say({**asked, "content": {**content, "content_type": "text"}})
    ).status == 400
    wider = {**content, "parts": [{**pointer, "size_bytes": 1}, words]}
    assert (await relay.say({**asked, "content": wider})).status == 400


async def test_every_spelling_of_the_mime_type_is_taken_and_noted(
    relay: Relay, emulator: Emulator
) -> None:
    file = await relay.document()
    camel = {key: value for key, value in file.items() if key != "mime_type"}
    camel["mimeType"] = PDF

    for one in (file, camel, {**file, **camel}):
        assert (await relay.say(about("what?", one))).status == 200

    words = [remark.words for remark in emulator.account().remarks]
    assert words == [
        "the file came as 'file'",
        f"{file['id']}: mime_type",
        f"{file['id']}: mimeType",
        f"{file['id']}: mime_type and mimeType",
    ]


async def test_a_wrong_mime_type_is_taken(relay: Relay) -> None:
    file = {**await relay.document("a.docx"), "mime_type": "application/pdf"}

    assert (await relay.say(about("what?", file))).status == 200


async def test_a_file_belongs_to_its_conversation(goapi: Client, relay: Relay) -> None:
    created = await goapi.post("/conversation", prompt("another"))
    other = Relay(goapi, created.events[0]["conversation_id"])
    file = await relay.document()

    said = await other.say(about("what?", file))

    assert said.status == 400
    assert "was not uploaded for this conversation" in said.json["message"]


async def test_a_conversation_belongs_to_its_key(
    relay: Relay, emulator: Emulator
) -> None:
    async with at(emulator, "another-secret") as other:
        foreign, unknown = (
            Relay(other, relay.path.rpartition("/")[2]),
            Relay(other, "-"),
        )
        for stranger in (foreign, unknown):
            assert (await stranger.say(prompt("hello"))).status == 404
            assert (await stranger.upload(b"%PDF")).status == 404
        emulator.switches = Switches(goapi_no_conversation="400")
        assert (await foreign.say(prompt("hello"))).status == 400


async def test_only_the_header_of_the_service_holds_a_key(directory: Path) -> None:
    async with Emulator(directory, goapi_keys=[KEY], keys=["sk-other"]) as emulator:
        url = f"{emulator.goapi_url}/api/chatgpt/v1"
        async with at(emulator) as right, at(emulator, "sk-other") as wrong:
            assert (await right.post("/conversation", prompt("a"))).status == 200
            refused = await wrong.post("/conversation", prompt("a"))
        async with Client(url, key=KEY) as bearer:
            assert (await bearer.post("/conversation", prompt("a"))).status == 401

    assert refused.json == {
        "code": 401,
        "data": None,
        "message": "Incorrect API key provided.",
    }


async def test_no_key_is_kept_anywhere(
    relay: Relay, emulator: Emulator, directory: Path
) -> None:
    await relay.say(about("what?", await relay.document()))

    request = emulator.account().requests[-1]
    assert request.headers["x-api-key"] == "***"
    assert KEY not in json.dumps(emulator.account().as_document())
    for path in directory.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


async def test_a_model_is_needed_and_must_be_known(
    relay: Relay, emulator: Emulator
) -> None:
    content = prompt("hello")["content"]

    assert (await relay.say({"content": content})).status == 400
    assert (await relay.say({"content": content, "model": "gpt-9"})).status == 400
    assert (await relay.say(prompt("hello", model="x", gizmo_id="g-1"))).status == 200
    emulator.switches = Switches(goapi_model_required=False)
    assert (await relay.say({"content": content})).status == 200


async def test_files_have_limits_of_their_kind(
    relay: Relay, emulator: Emulator
) -> None:
    emulator.switches = Switches(
        goapi_max_file=100, goapi_max_image=10, goapi_max_spreadsheet=20
    )

    assert (await relay.upload(bytes(100))).status == 200
    assert (await relay.upload(bytes(101))).status == 413
    assert (await relay.upload(png(), "a.png")).status == 413
    assert (await relay.upload(bytes(21), "a.xlsx")).status == 413
    assert (await relay.upload(bytes(20), "a.csv")).status == 200


async def test_path_and_part_of_an_upload_are_as_the_switches_say(
    relay: Relay, emulator: Emulator
) -> None:
    assert (await relay.upload(b"%PDF", part="files")).status == 200
    assert (await relay.upload(b"%PDF", part="data")).status == 400
    emulator.switches = Switches(goapi_part_name="file")
    assert (await relay.upload(b"%PDF", part="files")).status == 400
    emulator.switches = Switches(goapi_upload_action="files")
    assert (await relay.upload(b"%PDF")).status == 404


async def test_a_download_needs_no_key(relay: Relay, emulator: Emulator) -> None:
    file = await relay.document()
    path = f"{relay.path}/download"

    said = await relay.client.post(path, {"file_id": file["id"]})
    unknown = await relay.client.post(path, {"file_id": "file-none"})

    assert (said.status, unknown.status) == (200, 404)
    assert list(said.json) == ["code", "data", "message"]
    async with Client(said.json["data"]["download_url"], key=None) as anybody:
        assert (await anybody.get("")).text == "%PDF"
    assert "x-api-key" not in emulator.account().requests[-1].headers


async def test_errors_may_hide_behind_200(relay: Relay, emulator: Emulator) -> None:
    emulator.switches = Switches(goapi_errors="in the body", goapi_max_file=1)

    upload = await relay.upload(b"%PDF")
    message = await relay.say(prompt("hello", parent_message_id="none"))

    assert (upload.status, upload.json["code"]) == (200, 413)
    assert (message.status, message.json["code"]) == (200, 400)


async def test_an_error_may_have_no_body(relay: Relay, emulator: Emulator) -> None:
    emulator.switches = Switches(error_body="empty")

    said = await relay.say({})

    assert (said.status, said.text) == (400, "")


async def test_ids_may_come_twice(relay: Relay, emulator: Emulator) -> None:
    emulator.switches = Switches(goapi_duplicate_ids=True)

    one, two = await relay.document("a"), await relay.document("b")

    assert (one["id"], two["name"]) == (two["id"], "b")


async def test_faults_speak_the_language_of_the_service(
    relay: Relay, emulator: Emulator
) -> None:
    emulator.add_fault(Fault(kind="goapi_message", do="status", status=500))
    emulator.add_fault(
        Fault(kind="goapi_upload", do="status", status=200, body={"code": 500})
    )

    failed, hidden = await relay.say(prompt("hello")), await relay.upload(b"%PDF")

    assert (failed.status, failed.json["code"]) == (500, 500)
    assert (hidden.status, hidden.json) == (200, {"code": 500})


async def test_a_conversation_survives_a_restart(directory: Path) -> None:
    async with Emulator(directory) as emulator, at(emulator) as goapi:
        created = await goapi.post("/conversation", prompt("hello"))
        conversation_id = created.events[0]["conversation_id"]
        file = await Relay(goapi, conversation_id).document()

    async with Emulator(directory) as emulator, at(emulator) as goapi:
        said = await Relay(goapi, conversation_id).say(about("what?", file))
        assert "“report.pdf”" in answer(said)


async def test_an_unknown_path_is_404_in_the_language_of_the_service(
    goapi: Client,
) -> None:
    said = await goapi.get("/conversations")

    assert (said.status, said.json["code"]) == (404, 404)
