import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from tests.fakes import FakeBody, serving
from tests.pictures import PNG
from uploader.answer import quotable
from uploader.backend import Backend
from uploader.backends import open_backend
from uploader.config import Llmprovider, Settings, Timeouts
from uploader.emulator import Emulator, Switches
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    CredentialsRefused,
    RequestRejected,
    SourceError,
    UnexpectedAnswer,
    UsageError,
    WrongFile,
)
from uploader.message import Attached, FileRef
from uploader.model import FileId, Plan, PutPart, Scope, SentPart, UploadSpec
from uploader.target import Message, Target
from uploader.targets import open_target
from uploader.targets.completions import Completions

KEY: Final = "llmprovider-key-0123456789"
SOON: Final = Timeouts(connect=5, answer=2, progress=2)
LARGEST: Final = 20_000_000


def settings(url: str, **changes: Any) -> Settings:
    return Settings(
        backend="llmprovider",
        timeouts=SOON,
        llmprovider=Llmprovider(base_url=url, api_key=KEY, **changes),
    )


@asynccontextmanager
async def visiting(
    url: str, name: str = "llmprovider:new", **changes: Any
) -> AsyncIterator[tuple[Backend, Target]]:
    chosen = settings(url, **changes)
    backend, target = open_backend(chosen), open_target(name, chosen)
    try:
        yield backend, target
    finally:
        await backend.aclose()
        await target.aclose()


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(tmp_path / "service", llmprovider_keys=[KEY]) as emulator:
        yield emulator


def spec_of(backend: Backend, name: str, size: int) -> UploadSpec:
    return UploadSpec(
        filename=name,
        purpose="user_data",
        size=size,
        mime_type=backend.mime_type(name),
    )


async def put(
    backend: Backend, name: str, content: bytes, scope: Scope | None
) -> PutPart:
    spec = spec_of(backend, name, len(content))
    backend.check(spec)
    opened = await backend.create(spec, scope)
    [part] = Plan.of_sizes([len(content)]).parts
    return await backend.put_part(spec, opened, part, FakeBody(content))


async def upload(
    backend: Backend, name: str, content: bytes, scope: Scope | None = None
) -> FileRef:
    sent = await put(backend, name, content, scope)
    spec = spec_of(backend, name, len(content))
    opened = await backend.create(spec, scope)
    part = SentPart(
        number=1, part_id=sent.part_id, details=sent.details, sent_at=1234.5
    )
    file = await backend.complete(spec, opened, [part], None)
    assert (file.bytes, file.created_at) == (len(content), 1234)
    return FileRef(
        file_id=file.id,
        name=name,
        size=file.bytes,
        mime_type=spec.mime_type,
        scope=scope.conversation_id if scope else None,
        details=file.details,
    )


async def say(
    target: Target, scope: Scope, *files: FileRef, prompt: str = "What is it?"
) -> tuple[Attached, str]:
    """What came of it, and what was told on the way."""

    async def no_response(_: str) -> None:
        raise AssertionError

    deltas: list[str] = []
    attached = await target.attach(
        Message(scope=scope, files=files, prompt=prompt),
        on_delta=deltas.append,
        on_response=no_response,
    )
    return attached, "".join(deltas)


def chats(emulator: Emulator) -> list[Any]:
    return [
        request.body
        for request in emulator.account().requests
        if request.kind == "llmprovider_chat"
    ]


async def test_a_new_conversation_is_opened_with_a_question(
    emulator: Emulator,
) -> None:
    async with visiting(emulator.llmprovider_url) as (_, target):
        scope = await target.prepare()

    assert chats(emulator) == [
        {
            "model": "gizmo-gpt-4o",
            "stream": False,
            "messages": [{"role": "user", "content": "Hello"}],
        }
    ]
    assert scope.conversation_id
    assert scope.parent_message_id


async def test_an_image_is_attached_and_shown(emulator: Emulator) -> None:
    name = "a]b`c$d)e (1).png"
    async with visiting(emulator.llmprovider_url) as (backend, target):
        scope = await target.prepare()
        file = await upload(backend, name, PNG, scope)
        attached, told = await say(target, scope, file)

    size = len(PNG)
    assert chats(emulator)[-1] == {
        "model": "gizmo-gpt-4o",
        "conversation_id": scope.conversation_id,
        "parent_message_id": scope.parent_message_id,
        "stream": False,
        "messages": [
            {
                "role": "user",
                "content": "What is it?",
                "attachments": [
                    {
                        "id": file.file_id,
                        "name": name,
                        "size": size,
                        "mimeType": "image/png",
                        "width": 3,
                        "height": 2,
                    }
                ],
                "parts": [
                    {
                        "name": name,
                        "asset_pointer": f"file-service://{file.file_id}",
                        "size_bytes": size,
                        "width": 3,
                        "height": 2,
                    }
                ],
            }
        ],
    }
    assert attached.conversation_id == scope.conversation_id
    assert attached.message_id not in (None, scope.parent_message_id)
    assert attached.answer == told
    assert name in told


async def test_a_document_is_attached_with_its_tokens(emulator: Emulator) -> None:
    async with visiting(emulator.llmprovider_url) as (backend, target):
        scope = await target.prepare()
        file = await upload(backend, "a.pdf", b"%PDF-1.7", scope)
        await say(target, scope, file)

    [message] = chats(emulator)[-1]["messages"]
    assert message == {
        "role": "user",
        "content": "What is it?",
        "attachments": [
            {
                "id": file.file_id,
                "name": "a.pdf",
                "size": 8,
                "mimeType": "application/pdf",
                "fileTokenSize": file.details["fileTokenSize"],
            }
        ],
    }


async def test_several_files_are_one_message(emulator: Emulator) -> None:
    async with visiting(emulator.llmprovider_url) as (backend, target):
        scope = await target.prepare()
        image = await upload(backend, "a.png", PNG, scope)
        text = await upload(backend, "b.txt", b"abc", scope)
        await say(target, scope, text, image)

    [message] = chats(emulator)[-1]["messages"]
    assert [each["id"] for each in message["attachments"]] == [
        text.file_id,
        image.file_id,
    ]
    assert [each["name"] for each in message["parts"]] == ["a.png"]


async def test_a_follow_up_names_conversation_and_last_answer(
    emulator: Emulator,
) -> None:
    async with visiting(emulator.llmprovider_url) as (_, target):
        scope = await target.prepare()
        first, _ = await say(target, scope)
        parent = replace(scope, parent_message_id=first.message_id)
        await say(target, parent, prompt="And then?")

    assert chats(emulator)[-1] == {
        "model": "gizmo-gpt-4o",
        "conversation_id": scope.conversation_id,
        "parent_message_id": first.message_id,
        "stream": False,
        "messages": [{"role": "user", "content": "And then?"}],
    }


async def test_an_upload_without_a_conversation_gets_one(emulator: Emulator) -> None:
    async with visiting(emulator.llmprovider_url) as (backend, target):
        file = await upload(backend, "a.txt", b"abc")
        owner = str(file.details["conversation_id"])
        await say(target, Scope(conversation_id=owner), file)
        with pytest.raises(RequestRejected, match=owner) as caught:
            await say(target, Scope(conversation_id="another"), file)

    assert "--to llmprovider:another" in (caught.value.hint or "")


async def test_what_the_service_leaves_out_is_taken_from_the_file(
    tmp_path: Path,
) -> None:
    switches = Switches().with_values({"llmprovider_optional_fields": False})
    async with (
        Emulator(tmp_path / "service", switches=switches) as emulator,
        visiting(emulator.llmprovider_url) as (backend, target),
    ):
        scope = await target.prepare()
        file = await upload(backend, "a.png", PNG, scope)
        attached, _ = await say(target, scope, replace(file, width=3, height=2))

    assert attached.answer
    assert file.details == {"name": "a.png", "size": len(PNG), "mimeType": "image/png"}


async def test_the_form_says_what_kind_of_file_it_is() -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.path, (await request.read()).decode("latin-1")))
        return web.json_response({"id": "f", "name": "a.png", "size": len(PNG)})

    async with serving(handler) as url, visiting(url) as (backend, _):
        await put(backend, "a.png", PNG, Scope(conversation_id="c1"))

    [(path, body)] = seen
    assert path == "/v1/uploaded"
    for name, value in (
        ("upload_type", "multimodal"),
        ("model", "gizmo-gpt-4o"),
        ("conversation_id", "c1"),
    ):
        assert f'name="{name}"\r\n\r\n{value}\r\n' in body
    assert 'name="files"; filename="a.png"\r\nContent-Type: image/png' in body


@pytest.mark.parametrize(
    "name",
    [
        "a.pptx",
        "a.docx",
        "a.json",
        "a.tex",
        "a.latex",
        "a.txt",
        "a.pdf",
        "a.java",
        "a.md",
        "a.py",
        "a.rb",
        "a.doc",
        "a.js",
        "a.php",
        "a.ts",
        "a.sh",
        "a.cpp",
        "a.cs",
        "a.c",
        "a.html",
    ],
)
async def test_every_kind_of_the_list_is_taken(emulator: Emulator, name: str) -> None:
    async with visiting(emulator.llmprovider_url) as (backend, _):
        assert (await put(backend, name, b"abc", None)).details["name"] == name


@pytest.mark.parametrize(
    ("name", "size", "hint"),
    [
        pytest.param("a.txt", LARGEST + 1, "goapi:new", id="one byte over"),
        pytest.param("a.xlsx", 3, "goapi:new", id="a spreadsheet"),
        pytest.param("a.csv", 3, "goapi:new", id="csv"),
        pytest.param("a.zip", 3, "goapi:new", id="an archive"),
        pytest.param("noending", 3, "--mime-type", id="no ending"),
    ],
)
def test_what_is_not_taken_is_refused_before_a_byte_is_sent(
    name: str, size: int, hint: str
) -> None:
    chosen = settings("http://127.0.0.1:1")
    backend, target = open_backend(chosen), open_target("llmprovider:new", chosen)
    spec = spec_of(backend, name, size)
    draft = FileRef(file_id=FileId(""), name=name, size=size, mime_type=spec.mime_type)

    with pytest.raises(SourceError, match=name) as caught:
        backend.check(spec)
    with pytest.raises(SourceError, match=name):
        target.accepts([draft], "?")

    assert hint in (caught.value.hint or "")


def test_the_largest_file_is_taken() -> None:
    chosen = settings("http://127.0.0.1:1")
    backend = open_backend(chosen)

    backend.check(spec_of(backend, "a.txt", LARGEST))


@pytest.mark.parametrize(
    ("files", "prompt"),
    [
        pytest.param([], None, id="no prompt"),
        pytest.param(
            [FileRef(file_id=FileId(""), name="a.png", size=3)], "?", id="no dimensions"
        ),
    ],
)
def test_a_message_without_what_it_needs_is_refused(
    files: list[FileRef], prompt: str | None
) -> None:
    target = open_target("llmprovider:new", settings("http://127.0.0.1:1"))

    with pytest.raises((SourceError, UsageError)):
        target.accepts(files, prompt)


async def test_a_wrong_key_names_the_service_and_the_variable(tmp_path: Path) -> None:
    async with (
        Emulator(tmp_path / "service", llmprovider_keys=["another"]) as emulator,
        visiting(emulator.llmprovider_url) as (backend, target),
    ):
        with pytest.raises(CredentialsRefused, match="llmprovider"):
            await target.prepare()
        with pytest.raises(CredentialsRefused, match="llmprovider upload") as caught:
            await put(backend, "a.txt", b"abc", None)

    assert "LLMPROVIDER_API_KEY" in (caught.value.hint or "")


async def test_a_conversation_that_does_not_exist_is_a_clear_refusal(
    emulator: Emulator,
) -> None:
    async with visiting(emulator.llmprovider_url, "llmprovider:c1") as (_, target):
        scope = await target.prepare()
        with pytest.raises(RequestRejected, match="message to c1: HTTP 404"):
            await say(target, scope)


STORED: Final = {"id": "f", "name": "a.txt", "size": 3, "mimeType": "text/plain"}


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param({**STORED, "size": 2}, WrongFile, id="short"),
        pytest.param({**STORED, "name": "A.txt"}, RequestRejected, id="renamed"),
        pytest.param({"error": {"message": KEY}}, UnexpectedAnswer, id="an error"),
        pytest.param({}, UnexpectedAnswer, id="nothing"),
    ],
)
async def test_what_came_back_is_compared(
    answer: object, error: type[BackendError]
) -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(answer)

    async with serving(handler) as url, visiting(url) as (backend, _):
        with pytest.raises(error) as caught:
            await put(backend, "a.txt", b"abc", None)

    assert type(caught.value) is error
    assert KEY not in str(caught.value)


def chunk(delta: object, finish: str | None = None, **more: object) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    known = {"id": "x", "choices": [choice], "conversation_id": "c1", **more}
    return f"data: {json.dumps(known, ensure_ascii=False)}\n\n"


STREAM: Final = (
    ": OK\n\n"
    + chunk({"role": "assistant", "content": ""})
    + chunk({"content": "Grüße"}, message_id="m1")
    + chunk({"content": " \N{GRINNING FACE}"})
    + chunk({}, "stop", message_id="m1")
    + "data: [DONE]\n\n"
).encode()
ANSWER: Final = "Grüße \N{GRINNING FACE}"
FINAL: Final = STREAM.index(b"data: [DONE]")


def read(*chunks: bytes) -> Completions:
    reader = Completions("message", lambda text: quotable(text, secret=KEY))
    for piece in chunks:
        reader.feed(piece)
    reader.close()
    return reader


def test_a_stream_split_anywhere_is_the_same_answer() -> None:
    for at in range(len(STREAM) + 1):
        reader = read(STREAM[:at], STREAM[at:])
        assert (reader.text, reader.message_id) == (ANSWER, "m1")
        assert reader.conversation_id == "c1"


def test_a_stream_cut_anywhere_is_the_whole_answer_or_an_error() -> None:
    for at in range(len(STREAM)):
        if at >= FINAL - 2:
            assert read(STREAM[:at]).text == ANSWER
        else:
            with pytest.raises((BackendUnavailable, UnexpectedAnswer)):
                read(STREAM[:at])


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        pytest.param("data: [DONE]\n\n", "without an answer", id="only the end"),
        pytest.param(
            'data: {"error":{"message":"no ' + KEY + '"}}\n\n', r"no \*\*\*", id="error"
        ),
        pytest.param('data: {"choices":3}\n\n', "not the contract's", id="a number"),
    ],
)
def test_what_is_no_answer_says_why(stream: str, words: str) -> None:
    with pytest.raises(UnexpectedAnswer, match=words):
        read(stream.encode())


async def test_a_service_that_streams_unasked_is_read() -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=STREAM, content_type="text/event-stream")

    async with serving(handler) as url, visiting(url) as (_, target):
        attached, told = await say(target, Scope(conversation_id="c1"))

    assert (attached.answer, told, attached.message_id) == (ANSWER, ANSWER, "m1")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"choices": []}, id="no choice"),
        pytest.param({"error": {"message": f"bad {KEY}"}}, id="an error"),
        pytest.param([], id="a list"),
    ],
)
async def test_a_document_without_an_answer_is_none(answer: object) -> None:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(answer)

    async with serving(handler) as url, visiting(url) as (_, target):
        with pytest.raises(UnexpectedAnswer) as caught:
            await say(target, Scope(conversation_id="c1"))

    assert KEY not in str(caught.value)
    assert "OpenAI" not in (caught.value.hint or "")
