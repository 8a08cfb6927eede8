"""Responses: a question, with files, asked in a conversation or on its own."""

import copy
from collections.abc import Iterator
from sqlite3 import Connection
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from uploader.emulator import history, ids, sse
from uploader.emulator.answering import answer_to, count_tokens, words_of
from uploader.emulator.answers import Document, Refusal, Reply
from uploader.emulator.call import Call, Route, refused_shape
from uploader.emulator.conversations import find_open
from uploader.emulator.history import Response
from uploader.emulator.items import Items, files_in, question_in, read_items

# In the order of the recording.  What a request sets is shown, and ignored.
SETTINGS: Final[Document] = {
    "background": False,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "model": None,
    "output": [],
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "usage": None,
    "user": None,
    "metadata": {},
}
ECHOED: Final = SETTINGS.keys() - {
    "error",
    "incomplete_details",
    "model",
    "output",
    "previous_response_id",
    "store",
    "usage",
}
IGNORED: Final = frozenset({"include", "stream_options"})


class ConversationId(Struct, forbid_unknown_fields=True):
    id: str


class CreateResponse(Struct, forbid_unknown_fields=True):
    model: str
    input: str | Items | UnsetType = UNSET
    conversation: str | ConversationId | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None


async def create(call: Call) -> Document | Reply:
    body = await call.json(dict[str, object])
    asked, settings = _read(body)
    with call.store.transaction() as db:
        response = _respond(db, call, asked, settings)
    if asked.stream:
        return sse.stream(_events(response), call.switches)
    return response.document


def _read(body: Document) -> tuple[CreateResponse, Document]:
    settings = {name: value for name, value in body.items() if name in ECHOED}
    said = body.keys() - ECHOED - IGNORED
    try:
        asked = msgspec.convert({name: body[name] for name in said}, CreateResponse)
    except msgspec.ValidationError as error:
        raise refused_shape(str(error)) from None
    if asked.conversation is not None and asked.previous_response_id is not None:
        raise Refusal(
            400,
            "Mutually exclusive parameters: ['conversation', 'previous_response_id'].",
            code="mutually_exclusive_parameters",
        )
    if settings.get("background"):
        raise Refusal(400, "background is not emulated", param="background")
    return asked, {name: given for name, given in settings.items() if given is not None}


def _respond(
    db: Connection, call: Call, asked: CreateResponse, settings: Document
) -> Response:
    """Answer, and add question and answer to the conversation, all or nothing."""
    conversation_id = _conversation(db, call, asked)
    response_id = ids.response_id(call.now)
    before = _context(db, call, conversation_id, asked.previous_response_id)
    scope = conversation_id or response_id
    given = _input(asked)
    items = read_items(db, call, given, scope, param="input")
    context = [*before, *items]
    text = answer_to(question_in(items), files_in(db, context, call.now))
    document = _document(call, asked, settings, conversation_id, response_id)
    _finish(call, document, text, tokens=count_tokens(map(str, context)))
    output = document["output"]
    assert isinstance(output, list)
    response = Response(
        id=response_id,
        completes_at=call.now + call.switches.response_seconds,
        conversation_id=conversation_id,
        stored=asked.store is not False,
        context=[*context, *output],
        document=document,
    )
    history.add_response(db, response)
    if conversation_id is not None and document["status"] == "completed":
        listed_at = response.completes_at + call.switches.items_delay
        history.add_items(db, conversation_id, [*items, *output], listed_at=listed_at)
    return response


def _input(asked: CreateResponse) -> Items:
    if asked.input is UNSET:
        return []
    if isinstance(asked.input, str):
        return [{"role": "user", "content": asked.input}]
    return asked.input


def _conversation(db: Connection, call: Call, asked: CreateResponse) -> str | None:
    if asked.conversation is None:
        return None
    given = asked.conversation
    conversation_id = given if isinstance(given, str) else given.id
    return find_open(db, call, conversation_id).id


def _context(
    db: Connection, call: Call, conversation_id: str | None, previous_id: str | None
) -> list[Document]:
    if conversation_id is not None:
        return history.items_of(db, conversation_id, call.now)
    if previous_id is None:
        return []
    previous = history.find_response(db, previous_id)
    if previous is None:
        raise Refusal(
            400,
            f"Previous response with id '{previous_id}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return previous.context


def _document(
    call: Call,
    asked: CreateResponse,
    settings: Document,
    conversation_id: str | None,
    response_id: str,
) -> Document:
    document: Document = {
        "id": response_id,
        "object": "response",
        "created_at": int(call.now),
        "status": "in_progress",
    }
    if conversation_id is not None:
        document["conversation"] = {"id": conversation_id}
    return {
        **document,
        **copy.deepcopy(SETTINGS),
        **settings,
        "model": asked.model,
        "previous_response_id": asked.previous_response_id,
        "store": asked.store is not False,
    }


def _finish(call: Call, document: Document, text: str, *, tokens: int) -> None:
    """Let the response end as the switch says."""
    document["status"] = call.switches.response_ends
    if call.switches.response_ends == "failed":
        document["error"] = {
            "code": "server_error",
            "message": "The model failed, by switch.",
        }
        return
    if call.switches.response_ends == "incomplete":
        document["incomplete_details"] = {"reason": "max_output_tokens"}
    message_id = ids.output_id(call.now, str(document["id"]))
    document["output"] = [_message(message_id, str(document["status"]), [_text(text)])]
    document["usage"] = _usage(tokens, count_tokens([text]))


def _message(message_id: str, status: str, content: list[Document]) -> Document:
    return {
        "id": message_id,
        "type": "message",
        "status": status,
        "content": content,
        "role": "assistant",
    }


def _text(text: str) -> Document:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _usage(asked: int, answered: int) -> Document:
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answered,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": asked + answered,
    }


def _events(response: Response) -> Iterator[str]:
    """Yield the typed events of the stream; the first one has the id."""
    for number, (kind, event) in enumerate(_said(response)):
        document = {"type": kind, "sequence_number": number, **event}
        yield sse.data(document, name=kind)


def _said(response: Response) -> Iterator[tuple[str, Document]]:
    begun = _in_progress(response.document)
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    output = response.document["output"]
    assert isinstance(output, list)
    for index, message in enumerate(output):
        yield from _message_said(index, message)
    yield f"response.{response.document['status']}", {"response": response.document}


def _message_said(index: int, message: Document) -> Iterator[tuple[str, Document]]:
    message_id, (part,) = str(message["id"]), _content(message)
    text = str(part["text"])
    place: Document = {"item_id": message_id, "output_index": index, "content_index": 0}
    begun = _message(message_id, "in_progress", [])
    yield "response.output_item.added", {"output_index": index, "item": begun}
    yield "response.content_part.added", {**place, "part": _text("")}
    for word in words_of(text):
        yield "response.output_text.delta", {**place, "delta": word, "logprobs": []}
    yield "response.output_text.done", {**place, "text": text, "logprobs": []}
    yield "response.content_part.done", {**place, "part": part}
    yield "response.output_item.done", {"output_index": index, "item": message}


def _content(message: Document) -> list[Document]:
    content = message["content"]
    assert isinstance(content, list)
    return content


def _in_progress(document: Document) -> Document:
    return {
        **document,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
    }


async def retrieve(call: Call) -> Document:
    response_id = call.ids["response_id"]
    with call.store.transaction() as db:
        response = history.find_response(db, response_id)
    if response is None:
        raise Refusal(404, f"Response with id '{response_id}' not found.")
    if call.now < response.completes_at:
        return _in_progress(response.document)
    return response.document


ROUTES: Final = (
    Route("response_create", "POST", "/responses", create),
    Route("response_get", "GET", "/responses/{response_id}", retrieve),
)
