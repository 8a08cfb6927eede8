import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes import Handler, serving
from tests.services import KEY, PNG, add_file, ask, bodies, items
from uploader.config import Settings
from uploader.emulator import Emulator, Fault, Switches
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    CredentialsRefused,
    OutcomeUnknown,
    RequestRejected,
    SourceError,
    UnexpectedAnswer,
    UploaderError,
    UsageError,
)
from uploader.message import Attached, FileRef
from uploader.model import MIB, FileId, Scope
from uploader.target import Message
from uploader.targets.conversation import MAX_PAGES, Conversation

SCOPE = Scope(conversation_id="conv_1")
FILE = FileRef(file_id=FileId("file-1"), name="a.pdf", size=3)
MODEL = "gpt-6-astra"


class Ear:
    """Hears what is told while a message is attached."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.response_ids: list[str] = []

    def on_delta(self, text: str) -> None:
        self.heard.append(text)

    async def on_response(self, response_id: str) -> None:
        assert not self.heard, "a word came before the response had a name"
        self.response_ids.append(response_id)

    @property
    def answer(self) -> str:
        return "".join(self.heard)

    async def attach(self, target: Conversation, message: Message) -> Attached:
        return await target.attach(
            message, on_delta=self.on_delta, on_response=self.on_response
        )


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(tmp_path / "service", keys=[KEY]) as emulator:
        yield emulator


@asynccontextmanager
async def talking(
    url: str, name: str = "conversation:conv_1"
) -> AsyncIterator[Conversation]:
    target = Conversation.from_settings(name, Settings(base_url=url, api_key=KEY))
    try:
        yield target
    finally:
        await target.aclose()


@pytest.fixture
async def target(emulator: Emulator) -> AsyncIterator[Conversation]:
    async with talking(emulator.url, "conversation:new") as target:
        yield target


@pytest.fixture
async def scope(target: Conversation) -> Scope:
    return await target.prepare()


def switch(emulator: Emulator, **switches: Any) -> None:
    emulator.switches = replace(Switches(), **switches)


async def test_a_message_is_the_prompt_and_then_the_files(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear
) -> None:
    document = await add_file(emulator, "report.pdf")
    image = await add_file(emulator, "chart.png", PNG)
    message = Message(
        scope=scope, files=(document, image), prompt="quarterly report attached"
    )

    attached = await ear.attach(target, message)

    assert bodies(emulator, "item_create") == [
        {
            "items": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "quarterly report attached"},
                        {"type": "input_file", "file_id": document.file_id},
                        {
                            "type": "input_image",
                            "file_id": image.file_id,
                            "detail": "auto",
                        },
                    ],
                }
            ]
        }
    ]
    (item,) = await items(emulator, scope.conversation_id)
    assert attached.message_id == item["id"]
    assert attached.conversation_id == scope.conversation_id
    assert (attached.answer, ear.heard, ear.response_ids) == (None, [], [])


async def test_a_file_needs_no_prompt(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear
) -> None:
    file = await add_file(emulator)

    await ear.attach(target, Message(scope=scope, files=(file,)))

    (item,) = await items(emulator, scope.conversation_id)
    assert [part["type"] for part in item["content"]] == ["input_file"]


async def test_a_model_is_asked_in_the_conversation_and_answers_as_it_speaks(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear
) -> None:
    file = await add_file(emulator, "report.pdf")
    message = Message(scope=scope, files=(file,), prompt="Summarise", model=MODEL)

    attached = await ear.attach(target, message)

    assert bodies(emulator, "response_create") == [
        {
            "model": MODEL,
            "conversation": scope.conversation_id,
            "store": True,
            "stream": True,
            "input": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "Summarise"},
                        {"type": "input_file", "file_id": file.file_id},
                    ],
                }
            ],
        }
    ]
    assert "report.pdf" in ear.answer
    assert len(ear.heard) > 1
    assert attached.answer == ear.answer
    assert ear.response_ids == [attached.response_id]
    answer, question = await items(emulator, scope.conversation_id)
    assert (answer["role"], question["role"]) == ("assistant", "user")
    assert attached.message_id == answer["id"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 4096])
async def test_a_stream_may_be_cut_anywhere(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear, size: int
) -> None:
    switch(emulator, stream_split=size)
    message = Message(scope=scope, files=(), prompt="“ü”", model=MODEL)

    attached = await ear.attach(target, message)

    assert attached.answer == ear.answer
    assert "“ü”" in ear.answer


@pytest.mark.parametrize("events", range(1, 8))
async def test_an_answer_that_breaks_off_is_no_answer_and_can_be_fetched(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear, events: int
) -> None:
    emulator.add_fault(
        Fault(kind="response_create", do="reset", when="after", events=events)
    )
    message = Message(scope=scope, files=(), prompt="why?", model=MODEL)

    with pytest.raises(BackendUnavailable) as raised:
        await ear.attach(target, message)
    (response_id,) = ear.response_ids
    fetched = await target.fetch(response_id)

    assert raised.value.effect_possible
    assert fetched is not None
    assert fetched.answer is not None
    assert fetched.answer.startswith(ear.answer)
    assert fetched.conversation_id == scope.conversation_id
    assert fetched.response_id == response_id


async def test_an_answer_lost_before_its_first_event_is_found(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear
) -> None:
    emulator.add_fault(Fault(kind="response_create", do="reset", when="after"))
    file = await add_file(emulator)
    message = Message(scope=scope, files=(file,), prompt="why?", model=MODEL)

    with pytest.raises(BackendUnavailable) as raised:
        await ear.attach(target, message)
    found = await target.find(message)

    assert raised.value.effect_possible
    assert ear.response_ids == []
    assert found is not None
    assert found.answer is not None
    assert "why?" in found.answer


async def test_a_response_is_none_until_it_is_completed(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear
) -> None:
    switch(emulator, response_seconds=30.0)
    message = Message(scope=scope, files=(), prompt="why?", model=MODEL)
    attached = await ear.attach(target, message)
    assert attached.response_id is not None

    assert await target.fetch(attached.response_id) is None
    emulator.advance(30)
    fetched = await target.fetch(attached.response_id)

    assert fetched is not None
    assert fetched.answer == attached.answer
    assert fetched.message_id == attached.message_id


async def test_a_response_that_is_gone_is_a_refusal(target: Conversation) -> None:
    with pytest.raises(RequestRejected, match="resp_gone") as raised:
        await target.fetch("resp_gone")
    assert raised.value.status == 404
    assert raised.value.hint


async def test_a_response_that_is_incomplete_is_a_refusal_with_the_reason(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear
) -> None:
    switch(emulator, response_ends="incomplete")
    message = Message(scope=scope, files=(), prompt="why?", model=MODEL)

    with pytest.raises(RequestRejected, match="max_output_tokens"):
        await ear.attach(target, message)
    with pytest.raises(RequestRejected, match="max_output_tokens"):
        await target.fetch(ear.response_ids[0])


async def test_a_response_that_failed_at_the_service_is_looked_into_and_refused(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear
) -> None:
    switch(emulator, response_ends="failed")
    message = Message(scope=scope, files=(), prompt="why?", model=MODEL)

    with pytest.raises(BackendUnavailable, match="by switch") as raised:
        await ear.attach(target, message)
    assert raised.value.effect_possible
    with pytest.raises(RequestRejected, match="by switch"):
        await target.fetch(ear.response_ids[0])


# The recorded answer, shortened.
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "conversation": {"id": "conv_1"},
    "output": [
        {"id": "rs_1", "type": "reasoning", "role": "assistant", "content": None},
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "annotations": [],
                    "logprobs": [],
                    "text": "You should order pizza for Travis!",
                }
            ],
            "role": "assistant",
        },
    ],
}
BEGUN = {**RESPONSE, "status": "in_progress", "output": []}
CREATED = {"type": "response.created", "response": BEGUN}
DELTA = {"type": "response.output_text.delta", "delta": "You should "}
COMPLETED = {"type": "response.completed", "response": RESPONSE}
QUESTION = Message(scope=SCOPE, files=(FILE,), prompt="what food?", model=MODEL)


def answering(document: object, status: int = 200) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(document, status=status)

    return handle


def streaming(*events: object) -> Handler:
    """Each event as the service writes it, and a good end of the stream."""

    async def handle(_: web.Request) -> web.Response:
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        return web.Response(text=text, content_type="text/event-stream")

    return handle


async def test_an_answer_may_come_as_one_document(ear: Ear) -> None:
    async with serving(answering(RESPONSE)) as url, talking(url) as target:
        attached = await ear.attach(target, QUESTION)

    assert attached.answer == "You should order pizza for Travis!"
    assert ear.answer == attached.answer
    assert ear.response_ids == ["resp_1"]


async def test_a_document_without_an_answer_yet_is_no_success(ear: Ear) -> None:
    async with serving(answering(BEGUN)) as url, talking(url) as target:
        with pytest.raises(BackendUnavailable, match="in_progress") as raised:
            await ear.attach(target, QUESTION)

    assert raised.value.effect_possible
    assert ear.response_ids == ["resp_1"]


async def test_words_that_come_only_at_the_end_are_told_too(ear: Ear) -> None:
    stream = streaming(CREATED, DELTA, COMPLETED)
    async with serving(stream) as url, talking(url) as target:
        attached = await ear.attach(target, QUESTION)

    assert ear.heard == ["You should ", "order pizza for Travis!"]
    assert attached.message_id == "msg_1"


async def test_a_refusal_of_the_model_is_its_answer(ear: Ear) -> None:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": "I won't."}],
    }
    stream = streaming(
        CREATED,
        {"type": "response.refusal.delta", "delta": "I won't."},
        {"type": "response.completed", "response": {**RESPONSE, "output": [message]}},
    )
    async with serving(stream) as url, talking(url) as target:
        attached = await ear.attach(target, QUESTION)

    assert attached.answer == ear.answer == "I won't."


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([], id="empty"),
        pytest.param([CREATED], id="only created"),
        pytest.param([CREATED, DELTA], id="in the middle"),
        pytest.param([CREATED, DELTA, "[DONE]"], id="done without an answer"),
    ],
)
async def test_a_stream_that_ends_before_the_answer_is_no_success(
    ear: Ear, events: Sequence[object]
) -> None:
    async with serving(streaming(*events)) as url, talking(url) as target:
        with pytest.raises(BackendError) as raised:
            await ear.attach(target, QUESTION)

    assert isinstance(raised.value, BackendUnavailable | UnexpectedAnswer)
    assert getattr(raised.value, "effect_possible", True)


async def test_the_end_of_a_stream_may_be_said_once_more(ear: Ear) -> None:
    async def handle(_: web.Request) -> web.Response:
        text = f": hello\n\ndata: {json.dumps(COMPLETED)}\n\ndata: [DONE]\n\n"
        return web.Response(text=text, content_type="text/event-stream")

    async with serving(handle) as url, talking(url) as target:
        assert (await ear.attach(target, QUESTION)).response_id == "resp_1"


@pytest.mark.parametrize(
    ("event", "error"),
    [
        pytest.param(
            {"type": "error", "code": "server_error", "message": f"broken {KEY}"},
            BackendUnavailable,
            id="the service",
        ),
        pytest.param(
            {"type": "error", "error": {"code": None, "message": f"broken {KEY}"}},
            BackendUnavailable,
            id="nobody says whose fault",
        ),
        pytest.param(
            {"type": "error", "code": "insufficient_quota", "message": f"broken {KEY}"},
            CredentialsRefused,
            id="quota",
        ),
        pytest.param(
            {"type": "error", "code": "invalid_prompt", "message": f"broken {KEY}"},
            RequestRejected,
            id="the prompt",
        ),
        pytest.param(
            {
                "type": "response.failed",
                "response": {
                    **BEGUN,
                    "status": "failed",
                    "error": {"code": "invalid_prompt", "message": f"broken {KEY}"},
                },
            },
            RequestRejected,
            id="failed for the prompt",
        ),
        pytest.param(
            {
                "type": "response.failed",
                "response": {
                    **BEGUN,
                    "status": "failed",
                    "error": {"code": "server_error", "message": f"broken {KEY}"},
                },
            },
            BackendUnavailable,
            id="failed at the service",
        ),
    ],
)
async def test_a_failure_within_a_stream_says_why_and_hides_the_key(
    ear: Ear, event: object, error: type[UploaderError]
) -> None:
    async with serving(streaming(CREATED, DELTA, event)) as url, talking(url) as target:
        with pytest.raises(error, match="broken") as raised:
            await ear.attach(target, QUESTION)

    assert type(raised.value) is error
    assert KEY not in str(raised.value)


async def test_a_cancelled_response_is_a_refusal(ear: Ear) -> None:
    cancelled = {**BEGUN, "status": "cancelled"}
    async with serving(answering(cancelled)) as url, talking(url) as target:
        with pytest.raises(RequestRejected, match="cancelled"):
            await target.fetch("resp_1")


async def test_a_page_instead_of_an_answer_is_not_the_contracts(ear: Ear) -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(text="<html>log in</html>", content_type="text/html")

    async with serving(handle) as url, talking(url) as target:
        with pytest.raises(UnexpectedAnswer):
            await ear.attach(target, QUESTION)


async def test_a_message_is_found_by_its_files_and_its_prompt(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear
) -> None:
    files = (await add_file(emulator, "a.txt"), await add_file(emulator, "b.txt"))
    message = Message(scope=scope, files=files, prompt="look")
    attached = await ear.attach(target, message)

    found = await target.find(message)
    assert found is not None
    assert found.message_id == attached.message_id
    assert await target.find(replace(message, files=files[::-1])) is not None
    assert await target.find(replace(message, files=files[:1])) is None
    assert await target.find(replace(message, files=())) is None
    assert await target.find(replace(message, prompt="Look")) is None
    assert await target.find(replace(message, prompt=None)) is None


async def test_what_was_there_before_the_cursor_is_not_found(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear
) -> None:
    message = Message(scope=scope, files=(await add_file(emulator),))
    await ear.attach(target, message)
    again = replace(message, cursor=await target.newest(scope))

    assert again.cursor is not None
    assert await target.find(again) is None

    second = await ear.attach(target, again)
    found = await target.find(again)
    assert found is not None
    assert found.message_id == second.message_id


async def test_the_newest_item_of_a_new_conversation_is_none(
    target: Conversation, scope: Scope
) -> None:
    assert await target.newest(scope) is None


async def test_an_answer_is_found_with_its_question(
    target: Conversation, scope: Scope, ear: Ear
) -> None:
    message = Message(scope=scope, files=(), prompt="why?", model=MODEL)
    attached = await ear.attach(target, message)
    await Ear().attach(target, replace(message, prompt="and?"))

    found = await target.find(message)

    assert found is not None
    assert (found.message_id, found.answer) == (attached.message_id, attached.answer)


def listing(*pages: tuple[Sequence[object], bool]) -> Handler:
    """A list of items in pages, each with whether there are more."""

    async def handle(request: web.Request) -> web.Response:
        after = request.query.get("after")
        names = [data[-1]["id"] if data else None for data, _ in pages]  # type: ignore[index]
        data, has_more = pages[names.index(after) + 1 if after else 0]
        return web.json_response({"object": "list", "data": data, "has_more": has_more})

    return handle


def said(name: str, *file_ids: str, text: str | None = None) -> dict[str, object]:
    content: list[object] = [
        {"type": "input_file", "file_id": file_id} for file_id in file_ids
    ]
    if text is not None:
        content.append({"type": "input_text", "text": text})
    return {"id": name, "type": "message", "role": "user", "content": content}


CALL = {"id": "ws_1", "type": "web_search_call", "status": "completed", "content": 1}
MESSAGE = Message(scope=SCOPE, files=(FILE,), cursor="msg_0")


async def test_items_that_are_no_messages_are_skipped() -> None:
    items = listing(([CALL, said("msg_1", "file-1"), CALL, said("msg_0")], False))
    async with serving(items) as url, talking(url) as target:
        found = await target.find(MESSAGE)

    assert found == Attached(conversation_id="conv_1", message_id="msg_1")


async def test_a_message_is_found_on_a_later_page() -> None:
    pages = listing(
        ([said("msg_3", text="hello"), said("msg_2", "file-2")], True),
        ([said("msg_1", "file-1"), said("msg_0", "file-1")], True),
    )
    async with serving(pages) as url, talking(url) as target:
        found = await target.find(MESSAGE)

    assert found == Attached(conversation_id="conv_1", message_id="msg_1")


@pytest.mark.parametrize(
    "text", [pytest.param(None, id="no text"), pytest.param("", id="an empty one")]
)
async def test_no_prompt_equals_no_text(text: str | None) -> None:
    items = listing(([said("msg_1", "file-1", text=text), said("msg_0")], False))
    async with serving(items) as url, talking(url) as target:
        assert await target.find(MESSAGE) is not None


async def test_a_file_without_an_id_is_another_file() -> None:
    message = said("msg_1", "file-1")
    message["content"].append(  # type: ignore[attr-defined]
        {"type": "input_image", "image_url": "https://example.org/cat.png"}
    )
    items = listing(([message, said("msg_0")], False))
    async with serving(items) as url, talking(url) as target:
        assert await target.find(MESSAGE) is None


async def test_nobody_can_tell_once_the_cursor_is_gone() -> None:
    items = listing(([said("msg_1", "file-1")], False))
    async with serving(items) as url, talking(url) as target:
        with pytest.raises(OutcomeUnknown, match="msg_0"):
            await target.find(MESSAGE)


@pytest.mark.parametrize("cursor", ["msg_0", None])
async def test_a_list_without_an_end_is_given_up(cursor: str | None) -> None:
    requests = 0

    async def handle(_: web.Request) -> web.Response:
        nonlocal requests
        requests += 1
        data = [said(f"msg_x{requests}", "file-2")]
        return web.json_response({"object": "list", "data": data, "has_more": True})

    async with serving(handle) as url, talking(url) as target:
        with pytest.raises(OutcomeUnknown):
            await target.find(replace(MESSAGE, cursor=cursor))

    assert requests == MAX_PAGES


async def test_a_list_that_repeats_itself_is_given_up() -> None:
    items = answering({"data": [said("msg_1", "file-2")], "has_more": True})
    async with serving(items) as url, talking(url) as target:
        with pytest.raises(OutcomeUnknown):
            await target.find(MESSAGE)


async def test_an_answer_without_an_item_is_not_the_contracts(ear: Ear) -> None:
    nothing = answering({"object": "list", "data": []})
    async with serving(nothing) as url, talking(url) as target:
        with pytest.raises(UnexpectedAnswer, match="nothing was added"):
            await ear.attach(target, MESSAGE)


async def test_a_locked_conversation_is_a_refusal_that_says_what_to_wait_for(
    target: Conversation, emulator: Emulator, scope: Scope, ear: Ear
) -> None:
    file = await add_file(emulator)
    switch(emulator, locked_conversations=True)

    with pytest.raises(RequestRejected) as raised:
        await ear.attach(target, Message(scope=scope, files=(file,)))

    assert raised.value.status == 400
    assert "locked" in str(raised.value.hint)


async def test_a_file_of_another_project_is_a_refusal_with_a_hint(
    target: Conversation, scope: Scope, ear: Ear
) -> None:
    with pytest.raises(RequestRejected, match="file-1") as raised:
        await ear.attach(target, Message(scope=scope, files=(FILE,)))

    assert raised.value.status == 400
    assert "project" in str(raised.value.hint)


async def test_a_conversation_that_is_not_there_is_named() -> None:
    missing = answering({"error": {"message": "gone", "code": None}}, status=404)
    async with serving(missing) as url, talking(url) as target:
        with pytest.raises(RequestRejected, match="conv_1") as raised:
            await target.prepare()

    assert raised.value.status == 404
    assert raised.value.hint


async def test_a_model_that_is_not_there_is_not_the_conversations_fault(
    ear: Ear,
) -> None:
    error = {"message": "no such model", "code": "model_not_found"}
    missing = answering({"error": error}, status=404)
    async with serving(missing) as url, talking(url) as target:
        with pytest.raises(RequestRejected) as raised:
            await ear.attach(target, QUESTION)

    assert "--model" in str(raised.value.hint)


async def test_an_id_never_leaves_its_place_in_the_path(
    emulator: Emulator, ear: Ear
) -> None:
    async with talking(emulator.url, "conversation:../files?x=#") as target:
        with pytest.raises(RequestRejected):
            await target.prepare()

    (request,) = emulator.account().requests
    assert request.kind in ("conversation_get", "unknown")


async def test_a_conversation_goes_on_under_its_name(
    target: Conversation, emulator: Emulator, scope: Scope
) -> None:
    name = f"conversation:{scope.conversation_id}"
    async with talking(emulator.url, name) as named:
        assert await named.prepare() == scope

    conversations = await ask(
        emulator, "GET", f"/conversations/{scope.conversation_id}"
    )
    assert conversations["id"] == scope.conversation_id


def file(name: str, size: int | None, mime_type: str | None = None) -> FileRef:
    return FileRef(file_id=FileId(""), name=name, size=size, mime_type=mime_type)


@pytest.mark.parametrize(
    "files",
    [
        pytest.param([file("a.pdf", 49_999_999)], id="just under the limit"),
        pytest.param(
            [file("a.pdf", 25_000_000), file("b.pdf", 25_000_000)],
            id="together at the limit",
        ),
        pytest.param([file("a.pdf", None)], id="of a size that nobody knows"),
        pytest.param([file("a.png", 512 * MIB)], id="one large image"),
        pytest.param([file("a.png", 1)] * 1500, id="many images"),
        pytest.param([file("a", 1, "image/webp")], id="an image by its type"),
        pytest.param([file("a.svg", 1, "image/svg+xml")], id="a drawing"),
        pytest.param([], id="a prompt alone"),
    ],
)
async def test_what_the_service_takes_is_accepted(
    target: Conversation, files: Sequence[FileRef]
) -> None:
    target.accepts(files, "look")


@pytest.mark.parametrize(
    ("files", "hint"),
    [
        pytest.param([file("a.pdf", 50_000_000)], "vector-store:new", id="50 MB"),
        pytest.param([file("a.pdf", 512 * MIB)], "vector-store:new", id="512 MiB"),
        pytest.param([file("a.pdf", 512 * MIB + 1)], "no target", id="one byte over"),
        pytest.param(
            [file("a.pdf", 25_000_000), file("b.pdf", 25_000_001)],
            "several messages",
            id="together too large",
        ),
        pytest.param([file("a.bmp", 1)], "convert", id="no image for a model"),
        pytest.param(
            [file("a", 1, "image/tiff")], "convert", id="the same by its type"
        ),
        pytest.param([file("a.png", 1)] * 1501, "several", id="too many images"),
        pytest.param(
            [file("a.png", 512 * MIB + 1)], "smaller", id="too large an image"
        ),
        pytest.param(
            [file("a.png", 300 * MIB)] * 2, "several", id="images too large together"
        ),
    ],
)
async def test_what_the_service_would_refuse_is_refused_with_a_way_out(
    target: Conversation,
    emulator: Emulator,
    files: Sequence[FileRef],
    hint: str,
) -> None:
    with pytest.raises(SourceError) as raised:
        target.accepts(files, None)

    assert hint in str(raised.value.hint)
    assert emulator.account().requests == ()


@pytest.mark.parametrize("prompt", [None, "", "x" * 10_485_761])
async def test_words_that_are_no_message_are_refused(
    target: Conversation, prompt: str | None
) -> None:
    with pytest.raises(UsageError) as raised:
        target.accepts([], prompt)
    assert raised.value.hint


async def test_a_target_shows_nobody_the_key(target: Conversation) -> None:
    assert KEY not in repr(target) + repr(vars(target)) + target.service
