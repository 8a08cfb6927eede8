"""A conversation at OpenAI: its items, and the responses that a model adds to it.

There is no idempotency key, and the service itself names the items (recordings of
2026-05 to 07), so asking twice adds two messages.  But the items can be listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote

import msgspec

from uploader.account import Account, unseen
from uploader.answer import Answer
from uploader.config import Settings
from uploader.errors import (
    OutcomeUnknown,
    RequestRejected,
    SourceError,
    UnexpectedAnswer,
    UsageError,
)
from uploader.message import Attached, FileRef
from uploader.model import MIB, Scope
from uploader.target import Message, OnDelta, OnResponse, TargetCapabilities
from uploader.targets.items import Item, Page
from uploader.targets.kinds import VECTOR_STORE_FILE, image_type
from uploader.targets.responses import Reader, Response

NEW: Final = "new"
UNSEEN: Final = "is it of another project, or deleted? conversation:new makes one"
IMAGE_TYPES: Final = ("image/png", "image/jpeg", "image/webp", "image/gif")
INPUT_FILES: Final = 50_000_000
"""Each file is under this, all of a message together at most this; which MB these
are is not said, so they count as the smaller ones."""
IMAGES: Final = 1500
IMAGES_SIZE: Final = 512 * MIB
PROMPT: Final = 10_485_760
"""Characters of an `input_text`."""
PAGE: Final = 100
MAX_PAGES: Final = 20


class _Named(msgspec.Struct):
    id: str


class Conversation:
    """`uploader.target.Target` for `/conversations` and `/responses`."""

    backend = "openai"
    capabilities = TargetCapabilities()

    def __init__(self, name: str, account: Account) -> None:
        self.name = name
        self.service = account.service
        self._id = name.partition(":")[2]
        self._account = account
        self._http = account.http

    @classmethod
    def from_settings(cls, name: str, settings: Settings) -> Conversation:
        """Raises `UsageError` for settings that no request could be made with."""
        return cls(name, Account.from_settings(settings))

    def accepts(self, files: Sequence[FileRef], prompt: str | None) -> None:
        if not files and not prompt:
            raise UsageError(
                f"{self.name}: a message without a file and without a prompt",
                hint="name a file, or give a --prompt",
            )
        if prompt is not None and len(prompt) > PROMPT:
            raise UsageError(
                f"the prompt has {len(prompt)} characters; the service takes {PROMPT}",
                hint="put the text into a file",
            )
        _check_images([file for file in files if image_type(file) is not None])
        _check_files([file for file in files if image_type(file) is None])

    async def prepare(self) -> Scope:
        if self._id == NEW:
            answer = await self._http.request(
                "create a conversation", "POST", "conversations", json={}
            )
            return Scope(conversation_id=answer.decode(_Named).id)
        with _naming(self._id):
            answer = await self._http.request(f"get {self._id}", "GET", _path(self._id))
        return Scope(conversation_id=answer.decode(_Named).id)

    async def newest(self, scope: Scope) -> str | None:
        page = await self._page(scope, {"limit": "1", "order": "desc"})
        return page.data[0].id if page.data else None

    async def find(self, message: Message) -> Attached | None:
        """Raises `OutcomeUnknown` when the cursor itself is no longer there."""
        items = await self._behind(message)
        for place, item in enumerate(items):
            if _is(item, message):
                return _attached(message, item, _answer_in(items[place + 1 :]))
        return None

    async def attach(
        self, message: Message, *, on_delta: OnDelta, on_response: OnResponse
    ) -> Attached:
        if message.model is not None:
            reader = Reader(self._account, on_delta=on_delta, on_response=on_response)
            return await self._ask(message, message.model, reader)
        conversation_id = message.scope.conversation_id
        with _naming(conversation_id):
            answer = await self._http.request(
                f"attach to {conversation_id}",
                "POST",
                _path(conversation_id, "/items"),
                json={"items": [_body(message)]},
            )
        return _added(message, answer)

    async def fetch(self, response_id: str) -> Attached | None:
        operation = f"get {response_id}"
        path = f"responses/{quote(response_id, safe='')}"
        try:
            answer = await self._http.request(operation, "GET", path)
        except RequestRejected as error:
            if error.status == 404:
                error.hint = "the service gave it up, or another key asked; ask again"
            raise
        response = answer.decode(Response)
        refused = response.refusal(self._account, operation)
        if refused is not None:
            raise refused
        if response.status != "completed":
            return None
        if response.conversation_id is None:
            raise UnexpectedAnswer(f"{operation}: it belongs to no conversation")
        return response.attached(response.conversation_id, answer.request_id)

    async def wait(self, message: Message, attached: Attached) -> bool:
        return True

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _ask(self, message: Message, model: str, reader: Reader) -> Attached:
        conversation_id = message.scope.conversation_id
        with _naming(conversation_id):
            async with self._http.stream(
                f"ask {model} in {conversation_id}",
                "POST",
                "responses",
                json={
                    "model": model,
                    "conversation": conversation_id,
                    "store": True,
                    "stream": True,
                    "input": [_body(message)],
                },
            ) as stream:
                response = await reader.read(stream)
        return response.attached(conversation_id, stream.request_id)

    async def _behind(self, message: Message) -> list[Item]:
        """The messages that came after the cursor, oldest first."""
        items: list[Item] = []
        query = {"limit": str(PAGE), "order": "desc"}
        for _ in range(MAX_PAGES):
            page = await self._page(message.scope, query)
            for item in page.data:
                if item.id == message.cursor:
                    return items[::-1]
                if item.type == "message":
                    items.append(item)
            is_stuck = bool(page.data) and query.get("after") == page.data[-1].id
            if not page.data or not page.has_more or is_stuck:
                break
            query["after"] = page.data[-1].id
        if message.cursor is None and not page.has_more:
            return items[::-1]
        raise OutcomeUnknown(
            f"{message.scope.conversation_id}: {message.cursor or 'the beginning'} is"
            f" not among the newest {len(items)} messages, so nobody can tell whether"
            " ours is new",
            hint="look into the conversation yourself",
        )

    async def _page(self, scope: Scope, query: dict[str, str]) -> Page:
        conversation_id = scope.conversation_id
        with _naming(conversation_id):
            answer = await self._http.request(
                f"list the items of {conversation_id}",
                "GET",
                _path(conversation_id, "/items"),
                query=query,
            )
        return answer.decode(Page)


def _check_images(images: Sequence[FileRef]) -> None:
    for file in images:
        kind = image_type(file)
        if kind not in IMAGE_TYPES:
            raise SourceError(
                f"{file.name} is {kind}; a conversation takes png, jpeg, webp and gif",
                hint="convert it",
            )
        if (file.size or 0) > IMAGES_SIZE:
            raise SourceError(
                f"{file.name} has {file.size} bytes; the images of a message may have"
                f" {IMAGES_SIZE}",
                hint="no target takes so large an image; make it smaller",
            )
    size = _size(images)
    if len(images) > IMAGES or size > IMAGES_SIZE:
        raise SourceError(
            f"{len(images)} images of {size} bytes; a message takes {IMAGES} of"
            f" {IMAGES_SIZE} bytes together",
            hint="send them in several messages",
        )


def _check_files(files: Sequence[FileRef]) -> None:
    for file in files:
        if (file.size or 0) >= INPUT_FILES:
            raise SourceError(
                f"{file.name} has {file.size} bytes; a conversation takes files under"
                f" {INPUT_FILES}",
                hint=_where_it_fits(file),
            )
    if _size(files) > INPUT_FILES:
        raise SourceError(
            f"{len(files)} files of {_size(files)} bytes; a message takes"
            f" {INPUT_FILES} bytes together",
            hint="send them in several messages, or to vector-store:new",
        )


def _where_it_fits(file: FileRef) -> str:
    if (file.size or 0) <= VECTOR_STORE_FILE:
        return f"vector-store:new takes up to {VECTOR_STORE_FILE} bytes"
    return f"no target takes more than {VECTOR_STORE_FILE} bytes; split the file"


def _size(files: Sequence[FileRef]) -> int:
    return sum(file.size or 0 for file in files)


def _body(message: Message) -> dict[str, object]:
    content: list[dict[str, object]] = []
    if message.prompt:
        content.append({"type": "input_text", "text": message.prompt})
    content += (_content(file) for file in message.files)
    return {"type": "message", "role": "user", "content": content}


def _content(file: FileRef) -> dict[str, object]:
    if image_type(file) is None:
        return {"type": "input_file", "file_id": file.file_id}
    # The official schema calls `detail` required, though a newer one does not.
    return {"type": "input_image", "file_id": file.file_id, "detail": "auto"}


def _added(message: Message, answer: Answer) -> Attached:
    items = answer.decode(Page).data
    if not items:
        raise UnexpectedAnswer(
            f"{answer.operation}: HTTP {answer.status}, but nothing was added",
            status=answer.status,
            request_id=answer.request_id,
        )
    return Attached(
        conversation_id=message.scope.conversation_id,
        message_id=items[0].id,
        request_id=answer.request_id,
    )


def _is(item: Item, message: Message) -> bool:
    """Whether *item* is this message, by all that can be seen of it."""
    return (
        item.is_from("user")
        and item.file_ids() == {file.file_id for file in message.files}
        and item.text() == (message.prompt or "")
    )


def _answer_in(items: Sequence[Item]) -> Sequence[Item]:
    """What the assistant said before the user's next message."""
    answers = []
    for item in items:
        if item.is_from("user"):
            break
        if item.is_from("assistant"):
            answers.append(item)
    return answers


def _attached(message: Message, item: Item, answers: Sequence[Item]) -> Attached:
    asked = message.model is not None and bool(answers)
    return Attached(
        conversation_id=message.scope.conversation_id,
        message_id=answers[-1].id if asked else item.id,
        answer="".join(each.text() for each in answers) if asked else None,
    )


def _path(conversation_id: str, rest: str = "") -> str:
    # An id comes from a person, or from the service; neither belongs into a path.
    return f"conversations/{quote(conversation_id, safe='')}{rest}"


@contextmanager
def _naming(conversation_id: str) -> Iterator[None]:
    """Say of a refusal what it means for the conversation."""
    try:
        yield
    except RequestRejected as error:
        if error.status == 404 and error.code == "model_not_found":
            error.hint = "choose another --model"
        elif error.status == 404:
            raise unseen(conversation_id, error, hint=UNSEEN) from error
        elif error.status == 400:
            error.hint = (
                "a conversation is locked while a response is made in it; wait for"
                " that one, and attach again"
                if error.code == "conversation_locked"
                else "it takes files of its own project only, and nothing while a"
                " response is made in it"
            )
        raise
