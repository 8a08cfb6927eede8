import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web

from tests.fakes import FakeBody, serving
from tests.pictures import PNG, png
from uploader.answer import quotable
from uploader.backend import Backend
from uploader.backends import open_backend
from uploader.config import Goapi, Settings, Timeouts
from uploader.emulator import Emulator, Fault, Switches
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    CredentialsRefused,
    RequestRejected,
    SourceError,
    Throttled,
    UnexpectedAnswer,
    UploaderError,
    UsageError,
    WrongFile,
)
from uploader.image import dimensions
from uploader.message import Attached, FileRef
from uploader.model import (
    MIB,
    FileId,
    Identity,
    Opened,
    Plan,
    Scope,
    SentPart,
    UploadId,
    UploadSpec,
)
from uploader.target import Message, Target
from uploader.targets import open_target
from uploader.targets.snapshots import Snapshots

KEY: Final = "goapi-key-0123456789"
WORD: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
EXCEL: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
ODD: Final = "a]b`c$d)e (1).png"
SOON: Final = Timeouts(connect=5, answer=2, progress=2)


def settings(url: str, **changes: Any) -> Settings:
    return Settings(
        backend="goapi",
        timeouts=SOON,
        goapi=Goapi(base_url=url, api_key=KEY, **changes),
    )


@dataclass
class Site:
    """Backend and target at one service, and what it told the target."""

    backend: Backend
    target: Target
    deltas: list[str]

    async def upload(
        self, scope: Scope, name: str, content: bytes, directory: Path
    ) -> FileRef:
        mime_type = self.backend.mime_type(name)
        spec = UploadSpec(
            filename=name, purpose="user_data", size=len(content), mime_type=mime_type
        )
        self.backend.check(spec)
        opened = await self.backend.create(spec, scope)
        [part] = Plan.of_sizes([len(content)]).parts
        put = await self.backend.put_part(spec, opened, part, FakeBody(content))
        sent = SentPart(number=1, part_id=put.part_id, details=put.details)
        file = await self.backend.complete(spec, opened, [sent], None)
        (directory / "picture").write_bytes(content)
        width, height = dimensions(directory / "picture") or (None, None)
        return FileRef(
            file_id=file.id,
            name=name,
            size=file.bytes,
            mime_type=mime_type,
            width=width,
            height=height,
            scope=scope.conversation_id,
            details=file.details,
        )

    async def say(
        self, scope: Scope, *files: FileRef, prompt: str | None = "What is it?"
    ) -> Attached:
        async def no_response(_: str) -> None:
            raise AssertionError

        return await self.target.attach(
            Message(scope=scope, files=files, prompt=prompt),
            on_delta=self.deltas.append,
            on_response=no_response,
        )


@asynccontextmanager
async def visiting(
    url: str, name: str = "goapi:new", **changes: Any
) -> AsyncIterator[Site]:
    chosen = settings(url, **changes)
    backend, target = open_backend(chosen), open_target(name, chosen)
    try:
        yield Site(backend, target, [])
    finally:
        await backend.aclose()
        await target.aclose()


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(tmp_path / "service", goapi_keys=[KEY]) as emulator:
        yield emulator


@pytest.fixture
async def site(emulator: Emulator) -> AsyncIterator[Site]:
    async with visiting(emulator.goapi_url) as site:
        yield site


def last_message(emulator: Emulator) -> Any:
    return [
        request.body
        for request in emulator.account().requests
        if request.kind == "goapi_message"
    ][-1]


def spec(name: str = "a.txt", size: int = 3, **changes: Any) -> UploadSpec:
    given = UploadSpec(
        filename=name, purpose="user_data", size=size, mime_type="text/plain"
    )
    return replace(given, **changes)


async def test_a_new_conversation_is_opened_with_a_question(
    site: Site, emulator: Emulator
) -> None:
    scope = await site.target.prepare()

    [opening] = emulator.account().requests
    assert opening.body == {
        "model": "gpt-4o",
        "content": {"content_type": "text", "parts": ["Hello"]},
    }
    assert scope.conversation_id
    assert scope.parent_message_id


async def test_an_image_is_shown_and_named(
    site: Site, emulator: Emulator, tmp_path: Path
) -> None:
    scope = await site.target.prepare()
    file = await site.upload(scope, ODD, PNG, tmp_path)

    attached = await site.say(scope, file, prompt="Describe it.")

    assert last_message(emulator) == {
        "model": "gpt-4o",
        "parent_message_id": scope.parent_message_id,
        "content": {
            "content_type": "multimodal_text",
            "parts": [
                {
                    "content_type": "image_asset_pointer",
                    "asset_pointer": f"file-service://{file.file_id}",
                    "size_bytes": len(PNG),
                    "width": 3,
                    "height": 2,
                },
                "Describe it.",
            ],
        },
        "metadata": {
            "attachments": [
                {
                    "id": file.file_id,
                    "name": ODD,
                    "size": len(PNG),
                    "mime_type": "image/png",
                    "mimeType": "image/png",
                    "width": 3,
                    "height": 2,
                }
            ]
        },
    }
    assert attached.conversation_id == scope.conversation_id
    assert attached.message_id not in (None, scope.parent_message_id)
    assert attached.answer == "".join(site.deltas)
    assert ODD in (attached.answer or "")


async def test_of_several_images_the_pointers_come_first_and_the_prompt_last(
    site: Site, emulator: Emulator, tmp_path: Path
) -> None:
    scope = await site.target.prepare()
    one = await site.upload(scope, "a.png", PNG, tmp_path)
    two = await site.upload(scope, "b.png", png(5, 4), tmp_path)

    await site.say(scope, one, two)

    body = last_message(emulator)
    first, second, prompt = body["content"]["parts"]
    assert [first["asset_pointer"], second["asset_pointer"]] == [
        f"file-service://{one.file_id}",
        f"file-service://{two.file_id}",
    ]
    assert prompt == "What is it?"
    assert [each["id"] for each in body["metadata"]["attachments"]] == [
        one.file_id,
        two.file_id,
    ]


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        pytest.param("a.txt", "text/plain", id="text"),
        pytest.param("a.pdf", "application/pdf", id="pdf"),
        pytest.param("a.docx", WORD, id="word"),
        pytest.param("a.xlsx", EXCEL, id="excel"),
    ],
)
async def test_a_document_stands_in_the_metadata_only(
    site: Site, emulator: Emulator, tmp_path: Path, name: str, mime_type: str
) -> None:
    scope = await site.target.prepare()
    file = await site.upload(scope, name, b"abc", tmp_path)

    await site.say(scope, file)

    assert last_message(emulator) == {
        "model": "gpt-4o",
        "parent_message_id": scope.parent_message_id,
        "content": {"content_type": "text", "parts": ["What is it?"]},
        "metadata": {
            "attachments": [
                {"id": file.file_id, "name": name, "size": 3, "mime_type": mime_type}
            ]
        },
    }


async def test_images_and_documents_go_into_one_message(
    site: Site, emulator: Emulator, tmp_path: Path
) -> None:
    scope = await site.target.prepare()
    text = await site.upload(scope, "a.txt", b"abc", tmp_path)
    image = await site.upload(scope, "b.png", PNG, tmp_path)

    await site.say(scope, text, image)

    body = last_message(emulator)
    pointer, _ = body["content"]["parts"]
    assert body["content"]["content_type"] == "multimodal_text"
    assert pointer["asset_pointer"] == f"file-service://{image.file_id}"
    assert [each["id"] for each in body["metadata"]["attachments"]] == [
        text.file_id,
        image.file_id,
    ]


async def test_a_follow_up_has_no_metadata_and_names_the_last_answer(
    site: Site, emulator: Emulator
) -> None:
    scope = await site.target.prepare()
    first = await site.say(scope)

    await site.say(
        Scope(
            conversation_id=scope.conversation_id, parent_message_id=first.message_id
        ),
        prompt="And then?",
    )

    assert last_message(emulator) == {
        "model": "gpt-4o",
        "parent_message_id": first.message_id,
        "content": {"content_type": "text", "parts": ["And then?"]},
    }


async def test_an_unknown_parent_is_left_out_and_a_gpt_is_named(
    emulator: Emulator,
) -> None:
    async with visiting(emulator.goapi_url) as site:
        scope = await site.target.prepare()
    name = f"goapi:{scope.conversation_id}"
    async with visiting(emulator.goapi_url, name, gizmo_id="g-1", model="m") as site:
        await site.say(await site.target.prepare())

    assert last_message(emulator) == {
        "model": "m",
        "gizmo_id": "g-1",
        "content": {"content_type": "text", "parts": ["What is it?"]},
    }


@pytest.mark.parametrize(
    "switches",
    [
        pytest.param({"goapi_end": "[none]"}, id="ends with [none]"),
        pytest.param({"goapi_end": "nothing"}, id="ends without a word"),
        pytest.param({"goapi_data_space": False}, id="no space"),
        pytest.param({"goapi_user_echo": False}, id="no echo"),
        pytest.param({"goapi_moderation": True}, id="moderation"),
        pytest.param({"stream_split": 7}, id="seven bytes at a time"),
        pytest.param({"goapi_part_name": "file"}, id="the default part name"),
    ],
)
async def test_the_shapes_of_a_stream_do_not_matter(
    tmp_path: Path, switches: dict[str, Any]
) -> None:
    chosen = Switches().with_values(switches)
    async with (
        Emulator(tmp_path / "service", switches=chosen) as emulator,
        visiting(emulator.goapi_url) as site,
    ):
        scope = await site.target.prepare()
        file = await site.upload(scope, "Grüße.txt", b"abc", tmp_path)
        attached = await site.say(scope, file, prompt="Grüße?")

    assert attached.answer == "".join(site.deltas)
    assert "Grüße" in (attached.answer or "")


@pytest.mark.parametrize(
    ("switch", "error"),
    [
        pytest.param({"goapi_end": "cut"}, BackendUnavailable, id="cut"),
        pytest.param({"goapi_stream_error": "string"}, UnexpectedAnswer, id="a word"),
        pytest.param({"goapi_stream_error": "object"}, UnexpectedAnswer, id="object"),
    ],
)
async def test_an_answer_that_breaks_off_is_no_success(
    tmp_path: Path, switch: dict[str, Any], error: type[BackendError]
) -> None:
    async with (
        Emulator(tmp_path / "service") as emulator,
        visiting(emulator.goapi_url) as site,
    ):
        scope = await site.target.prepare()
    chosen = Switches().with_values(switch)
    async with (
        Emulator(tmp_path / "service", switches=chosen) as emulator,
        visiting(emulator.goapi_url) as site,
    ):
        with pytest.raises(error) as caught:
            await site.say(scope)

    assert getattr(caught.value, "effect_possible", True)
    assert scope.conversation_id in str(caught.value)


async def test_a_conversation_whose_first_answer_broke_off_is_there(
    tmp_path: Path,
) -> None:
    switches = Switches(goapi_end="cut")
    async with (
        Emulator(tmp_path / "service", switches=switches) as emulator,
        visiting(emulator.goapi_url) as site,
    ):
        scope = await site.target.prepare()

    assert scope.conversation_id
    assert scope.parent_message_id is None


@pytest.mark.parametrize("errors", ["by status", "in the body"])
async def test_a_refusal_is_one_with_any_status(tmp_path: Path, errors: str) -> None:
    switches = Switches().with_values({"goapi_errors": errors})
    async with (
        Emulator(
            tmp_path / "service", switches=switches, goapi_keys=["another-key"]
        ) as emulator,
        visiting(emulator.goapi_url) as site,
    ):
        with pytest.raises(CredentialsRefused, match="goapi") as caught:
            await site.target.prepare()
        with pytest.raises(CredentialsRefused, match=r"goapi upload of a\.txt"):
            await site.upload(Scope(conversation_id="c"), "a.txt", b"abc", tmp_path)

    assert "GOAPI_API_KEY" in (caught.value.hint or "")


@pytest.mark.parametrize("errors", ["by status", "in the body"])
async def test_a_conversation_that_does_not_exist_is_a_clear_refusal(
    tmp_path: Path, errors: str
) -> None:
    switches = Switches().with_values({"goapi_errors": errors})
    async with (
        Emulator(tmp_path / "service", switches=switches) as emulator,
        visiting(emulator.goapi_url, "goapi:c/../1") as site,
    ):
        scope = await site.target.prepare()
        with pytest.raises(RequestRejected, match=r"c/\.\./1.*404"):
            await site.say(scope)
        with pytest.raises(RequestRejected, match=r"a\.txt.*404"):
            await site.upload(scope, "a.txt", b"abc", tmp_path)


async def test_a_file_of_another_conversation_is_refused_unasked(
    site: Site, emulator: Emulator, tmp_path: Path
) -> None:
    one, two = await site.target.prepare(), await site.target.prepare()
    file = await site.upload(one, "a.txt", b"abc", tmp_path)
    asked = len(emulator.account().requests)

    with pytest.raises(RequestRejected, match=one.conversation_id) as caught:
        await site.say(two, file)

    assert two.conversation_id in (caught.value.hint or "")
    assert len(emulator.account().requests) == asked


PICTURE = FileRef(
    file_id=FileId(""), name="a.png", size=9, mime_type="image/png", width=3, height=2
)


@pytest.mark.parametrize(
    ("name", "files", "prompt", "words"),
    [
        pytest.param("goapi:new", [PICTURE], None, "--prompt", id="no prompt"),
        pytest.param("goapi:new", [PICTURE], " ", "--prompt", id="a blank prompt"),
        pytest.param(
            "goapi:new",
            [replace(PICTURE, width=None, height=None)],
            "?",
            "conversation:new",
            id="no dimensions",
        ),
        pytest.param(
            "goapi:new",
            [replace(PICTURE, size=512 * MIB + 1)],
            "?",
            "without --to",
            id="too large",
        ),
        pytest.param(
            "goapi:new",
            [replace(PICTURE, file_id=FileId("file-1"))],
            "?",
            "--to goapi:ID",
            id="a file that exists, and a new conversation",
        ),
        pytest.param(
            "goapi:c1",
            [replace(PICTURE, file_id=FileId("file-1"), scope="c2")],
            "?",
            "upload the file there: --to goapi:c1",
            id="another conversation's file",
        ),
        pytest.param(
            "goapi:c1",
            [replace(PICTURE, file_id=FileId("file-1"), size=None)],
            "?",
            "--size",
            id="a size that nobody knows",
        ),
        pytest.param(
            "goapi:c1",
            [replace(PICTURE, file_id=FileId("file-1"))] * 2,
            "?",
            "once",
            id="twice the same",
        ),
    ],
)
def test_what_cannot_work_is_refused_with_what_can(
    name: str, files: list[FileRef], prompt: str | None, words: str
) -> None:
    target = open_target(name, settings("http://127.0.0.1:1"))

    with pytest.raises((SourceError, UsageError)) as caught:
        target.accepts(files, prompt)

    assert words in (caught.value.hint or "")


async def test_nothing_can_be_asked_afterwards(site: Site) -> None:
    scope = Scope(conversation_id="c")
    message = Message(scope=scope, files=())

    assert await site.target.newest(scope) is None
    assert await site.target.wait(message, Attached(conversation_id="c"))
    assert await site.backend.find_completed(IDENTITY, 0) == ()
    await site.backend.cancel(Opened(upload_id=UploadId("c"), created_at=0))
    for question in (
        site.target.find(message),
        site.target.fetch("r"),
        site.backend.get_file(FileId("f")),
        site.backend.list_files(),
        site.backend.delete_file(FileId("f")),
    ):
        with pytest.raises(RequestRejected, match="goapi"):
            await question


IDENTITY = Identity(
    service="s", path=Path("/a.txt"), purpose="user_data", filename="a.txt"
)


async def put(url: str, **changes: Any) -> UploaderError | None:
    """What came of an upload of three bytes; None when all was well."""
    async with visiting(url) as site:
        given = spec(**changes)
        opened = await site.backend.create(given, Scope(conversation_id="c1"))
        [part] = Plan.of_sizes([3]).parts
        try:
            await site.backend.put_part(given, opened, part, FakeBody(b"abc"))
        except UploaderError as error:
            return error
    return None


def answering(body: object, **options: Any) -> Any:
    async def handler(request: web.Request) -> web.Response:
        await request.read()
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(text=text, **options)

    return handler


def enveloped(**changes: Any) -> dict[str, object]:
    data = {"file_id": "file-1", "file_name": "a.txt", "file_size": 3, **changes}
    return {"code": 200, "data": data, "message": "success"}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(enveloped(), type(None), id="well"),
        pytest.param(enveloped(file_size=2), WrongFile, id="short"),
        pytest.param(enveloped(file_name="b.txt"), RequestRejected, id="renamed"),
        pytest.param(enveloped(file_id=None), UnexpectedAnswer, id="no id"),
        pytest.param({"code": 200, "data": None}, UnexpectedAnswer, id="no data"),
        pytest.param({"code": 400, "message": "no"}, RequestRejected, id="400"),
        pytest.param({"code": 401, "message": KEY}, CredentialsRefused, id="401"),
        pytest.param({"code": 429, "data": None}, Throttled, id="429"),
        pytest.param({"code": 500, "data": None}, BackendUnavailable, id="500"),
        pytest.param({"code": 10001, "message": "x"}, UnexpectedAnswer, id="10001"),
        pytest.param({"code": 0, "message": KEY}, UnexpectedAnswer, id="0"),
        pytest.param({"code": "x"}, UnexpectedAnswer, id="a code that is none"),
        pytest.param("", UnexpectedAnswer, id="nothing"),
        pytest.param("OK", UnexpectedAnswer, id="text"),
        pytest.param("[]", UnexpectedAnswer, id="a list"),
        pytest.param('{"code": 2', UnexpectedAnswer, id="cut"),
    ],
)
async def test_what_the_answer_to_an_upload_says_is_heard(
    body: object, error: type[Exception]
) -> None:
    async with serving(answering(body)) as url:
        raised = await put(url)

    assert type(raised) is error
    assert KEY not in f"{raised} {getattr(raised, 'hint', '')}"
    assert "OpenAI" not in (getattr(raised, "hint", "") or "")


@pytest.mark.parametrize("body", ["", "busy", "<html>"])
async def test_a_bad_status_needs_no_body(body: str) -> None:
    async with serving(answering(body, status=400)) as url:
        raised = await put(url)

    assert type(raised) is RequestRejected
    assert "goapi upload of a.txt: HTTP 400" in str(raised)


async def test_path_and_part_name_are_settings(tmp_path: Path) -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.path, (await request.read()).decode()))
        return web.json_response(enveloped())

    paths = {"upload_path": "/x/{conversation_id}/y", "upload_part": "blob"}
    async with serving(handler) as url, visiting(url, **paths) as site:
        await site.upload(Scope(conversation_id="c1"), "a.txt", b"abc", tmp_path)

    [(path, body)] = seen
    assert path == "/v1/x/c1/y"
    assert 'name="blob"; filename="a.txt"' in body
    assert "Content-Type: text/plain" in body


def test_what_is_too_large_is_refused_before_a_byte_is_sent() -> None:
    backend = open_backend(settings("http://127.0.0.1:1"))

    with pytest.raises(SourceError, match="at most 536870912"):
        backend.check(spec(size=512 * MIB + 1))
    with pytest.raises(UsageError, match="expires_after"):
        backend.check(spec(expires_after=3600))
    with pytest.raises(SourceError, match="no Unicode"):
        backend.check(spec(name="a\udcff.txt"))


@pytest.mark.parametrize(
    ("mime_type", "size"),
    [
        pytest.param("image/png", 20 * MIB + 1, id="an image"),
        pytest.param(EXCEL, 50 * MIB + 1, id="a spreadsheet"),
    ],
)
def test_what_is_probably_too_large_is_warned_of(
    caplog: pytest.LogCaptureFixture, mime_type: str, size: int
) -> None:
    backend = open_backend(settings("http://127.0.0.1:1"))

    with caplog.at_level(logging.WARNING):
        backend.check(spec(size=size - 1, mime_type=mime_type))
        assert not caplog.records
        backend.check(spec(size=size, mime_type=mime_type))

    assert "goapi states no limit" in caplog.text


async def test_an_upload_needs_a_conversation() -> None:
    backend = open_backend(settings("http://127.0.0.1:1"))

    with pytest.raises(UsageError) as caught:
        await backend.create(spec())

    assert "goapi:new" in (caught.value.hint or "")


def test_without_a_key_the_variable_is_named() -> None:
    with pytest.raises(UsageError) as caught:
        open_target("goapi:new", Settings(api_key="sk-another"))

    assert "GOAPI_API_KEY" in (caught.value.hint or "")


async def test_a_lost_answer_may_have_had_an_effect(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with visiting(emulator.goapi_url) as site:
        scope = await site.target.prepare()
        emulator.add_fault(Fault(kind="goapi_message", do="reset", when="after"))
        with pytest.raises(BackendUnavailable) as caught:
            await site.say(scope)

    assert caught.value.effect_possible


def event(message: object = None, **more: object) -> str:
    known = {"message": message, "conversation_id": "c1", "error": None, **more}
    return f"data: {json.dumps(known, ensure_ascii=False)}\n\n"


def message(
    text: str, *, role: str = "assistant", end: bool | None = None, **more: object
) -> dict[str, object]:
    return {
        "id": f"m-{role}",
        "author": {"role": role, "name": None, "metadata": {}},
        "content": {"content_type": "text", "parts": [text]},
        "status": "finished_successfully" if end else "in_progress",
        "end_turn": end,
        "weight": 1.0,
        "metadata": {"pad": "AAAA"},
        "recipient": "all",
        "channel": None,
        **more,
    }


TOOL = {**message("", end=True), "recipient": "python"}
TOOL["content"] = {"content_type": "code", "text": "1 + 1"}
RECORDED = (
    event(message("", role="system", end=True, weight=0.0))
    + event(message("Was?", role="user", end=None))
    + event(message("Grü"))
    + 'data: {"type":"moderation","conversation_id":"c1","message_id":"m"}\n\n'
    + event(TOOL)
    + event(message("Grüße \N{GRINNING FACE}"))
    + event(message("Grüße \N{GRINNING FACE}!", end=True))
    + "data: [DONE]\n\n"
).encode()
ANSWER: Final = "Grüße \N{GRINNING FACE}!"
FINAL: Final = RECORDED.index(b"data: [DONE]")
"""Where the final event and its empty line end."""


def read(*chunks: bytes) -> Snapshots:
    reader = Snapshots("message", lambda text: quotable(text, secret=KEY))
    for chunk in chunks:
        reader.feed(chunk)
    reader.close()
    return reader


def test_a_recorded_stream_split_anywhere_is_the_same_answer() -> None:
    for at in range(len(RECORDED) + 1):
        reader = read(RECORDED[:at], RECORDED[at:])
        assert (reader.text, reader.message_id) == (ANSWER, "m-assistant")
        assert reader.conversation_id == "c1"


def test_a_recorded_stream_byte_by_byte_adds_each_letter_once() -> None:
    reader = Snapshots("message", str)

    deltas = [reader.feed(bytes([byte])) for byte in RECORDED]

    assert "".join(deltas) == ANSWER
    assert reader.is_answered


def test_a_recorded_stream_cut_anywhere_is_the_whole_answer_or_an_error() -> None:
    for at in range(len(RECORDED)):
        if at >= FINAL - 2:
            assert read(RECORDED[:at]).text == ANSWER
        else:
            with pytest.raises((BackendUnavailable, UnexpectedAnswer)) as caught:
                read(RECORDED[:at])
            assert getattr(caught.value, "effect_possible", True)


@pytest.mark.parametrize("at", range(0, len(RECORDED), 61))
async def test_a_connection_cut_anywhere_is_the_whole_answer_or_an_error(
    at: int,
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(RECORDED[:at] or b"\n")
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(handler) as url, visiting(url, "goapi:c1") as site:
        try:
            answer = (await site.say(Scope(conversation_id="c1"))).answer
        except BackendUnavailable:
            answer = None

    assert answer == (ANSWER if at >= FINAL else None)


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        pytest.param("data: [DONE]\n\n", "without an answer", id="only the end"),
        pytest.param(
            event(message("a", end=True, role="system")) + "data:[NONE]\n\n",
            "without an answer",
            id="no assistant",
        ),
        pytest.param("data: {\n\n", "not the contract's", id="broken JSON"),
        pytest.param(event("text"), "not the contract's", id="no message"),
        pytest.param(event(error="busy"), "an error: busy", id="an error"),
        pytest.param(
            event(error={"message": f"bad key {KEY}"}), r"bad key \*\*\*", id="a secret"
        ),
        pytest.param(event(error_code="limit"), "limit", id="an error code"),
        pytest.param(
            event(message("x", end=True), error="late"), "late", id="with an answer"
        ),
    ],
)
def test_what_is_no_answer_says_why(stream: str, words: str) -> None:
    with pytest.raises(UnexpectedAnswer, match=words):
        read(stream.encode())


def test_an_answer_that_is_written_anew_is_shown_from_its_beginning() -> None:
    reader = Snapshots("message", str)

    deltas = [
        reader.feed(event(message(text, end=end)).encode())
        for text, end in (("One", None), ("Two", None), ("Two.", True))
    ]

    assert deltas == ["One", "\nTwo", "."]
    assert reader.text == "Two."


async def test_a_document_in_place_of_a_stream_is_no_answer() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"code": 200, "data": {}, "message": "success"})

    async with serving(handler) as url, visiting(url, "goapi:c1") as site:
        with pytest.raises(UnexpectedAnswer, match="one document"):
            await site.say(Scope(conversation_id="c1"))


async def test_an_answer_in_another_conversation_is_none() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=RECORDED, content_type="text/event-stream")

    async with serving(handler) as url, visiting(url, "goapi:c2") as site:
        with pytest.raises(UnexpectedAnswer, match="answered in c1"):
            await site.say(Scope(conversation_id="c2"))


async def test_a_stream_that_stays_open_after_the_answer_is_left() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(RECORDED[:FINAL])
        while request.transport and not request.transport.is_closing():
            await response.write(b": still here\n\n")
        return response

    async with serving(handler) as url, visiting(url, "goapi:c1") as site:
        attached = await site.say(Scope(conversation_id="c1"))

    assert attached.answer == ANSWER
