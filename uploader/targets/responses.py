"""A response of a model: as one document, or event by event while it is made."""

from __future__ import annotations

from typing import Final

import msgspec

from uploader.account import Account
from uploader.answer import QUOTA_CODES, Answer, explain
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    CredentialsRefused,
    RequestRejected,
    UnexpectedAnswer,
)
from uploader.http import MAX_ANSWER, Stream
from uploader.message import Attached
from uploader.sse import Event, Parser
from uploader.target import OnDelta, OnResponse
from uploader.targets.items import Item

DELTAS: Final = ("response.output_text.delta", "response.refusal.delta")
BEGINNINGS: Final = ("response.created", "response.queued", "response.in_progress")
ENDS: Final = ("response.completed", "response.failed", "response.incomplete")
UNAVAILABLE: Final = frozenset(
    {
        "rate_limit_exceeded",
        "server_error",
        "server_is_overloaded",
        "slow_down",
        "vector_store_timeout",
    }
)
"""Codes that speak of the service, not of what it was asked."""


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _Details(msgspec.Struct):
    reason: str | None = None


class _Conversation(msgspec.Struct):
    id: str


class Response(msgspec.Struct):
    id: str
    status: str | None = None
    output: list[Item] = []
    error: _Error | None = None
    incomplete_details: _Details | None = None
    conversation: _Conversation | str | None = None

    @property
    def conversation_id(self) -> str | None:
        if isinstance(self.conversation, _Conversation):
            return self.conversation.id
        return self.conversation

    @property
    def answer(self) -> str:
        return "".join(message.text() for message in self._messages())

    def attached(self, conversation_id: str, request_id: str | None) -> Attached:
        """Its message is the model's: a response does not name the user's."""
        messages = self._messages()
        return Attached(
            conversation_id=conversation_id,
            message_id=messages[-1].id if messages else None,
            answer=self.answer,
            response_id=self.id,
            request_id=request_id,
        )

    def refusal(self, account: Account, operation: str) -> RequestRejected | None:
        """Why there will be no answer; None while there is, or may yet be, one."""
        reason = self.error and (self.error.message or self.error.code)
        if self.status == "incomplete" and self.incomplete_details is not None:
            reason = reason or self.incomplete_details.reason
        if self.status not in ("failed", "incomplete", "cancelled"):
            return None
        refused = RequestRejected(
            f"{operation}: {self.id} is {self.status}"
            + (f": {account.quotable(reason)}" if reason else ""),
            hint="ask again, perhaps in other words or of another model",
        )
        refused.code = self.error.code if self.error else None
        return refused

    def _messages(self) -> list[Item]:
        return [item for item in self.output if item.is_from("assistant")]


class _ResponseEvent(msgspec.Struct):
    response: Response


class _DeltaEvent(msgspec.Struct):
    delta: str


class _Kind(msgspec.Struct):
    type: str = ""


class Reader:
    """Reads one response to its end, and tells of it on the way.

    Its id is passed on before the first word, so that a response which breaks off can
    be asked for.
    """

    def __init__(
        self, account: Account, *, on_delta: OnDelta, on_response: OnResponse
    ) -> None:
        self._account = account
        self._on_delta = on_delta
        self._on_response = on_response
        self._response_id: str | None = None
        self._said: list[str] = []

    async def read(self, stream: Stream) -> Response:
        """The completed response.

        Raises `RequestRejected` for one that will not be completed, and
        `BackendUnavailable` with `effect_possible` when nobody can tell.
        """
        response = await self._read(stream)
        if response is None:
            raise BackendUnavailable(
                f"{stream.operation}: the answer broke off",
                request_id=stream.request_id,
            )
        await self._name(response)
        refused = response.refusal(self._account, stream.operation)
        if refused is not None:
            if refused.code in UNAVAILABLE:
                raise BackendUnavailable(str(refused)) from refused
            raise refused
        if response.status != "completed":
            raise BackendUnavailable(
                f"{stream.operation}: {response.id} is {response.status}"
            )
        # What the deltas left out; all of it, if there was no stream.
        answer, said = response.answer, "".join(self._said)
        if len(answer) > len(said) and answer.startswith(said):
            self._say(answer[len(said) :])
        return response

    async def _read(self, stream: Stream) -> Response | None:
        if stream.content_type != "text/event-stream":
            return (await stream.read()).decode(Response)
        parser = Parser(MAX_ANSWER)
        async for chunk in stream:
            for event in parser.feed(chunk):
                response = await self._take(event, stream)
                if response is not None:
                    return response
        return None

    async def _take(self, event: Event, stream: Stream) -> Response | None:
        """Act on one event; the response is returned with the last one."""
        if event.data == "[DONE]":
            return None
        answer = Answer(
            stream.operation, stream.status, stream.headers, event.data.encode()
        )
        kind = answer.decode(_Kind).type or event.name
        if kind in DELTAS:
            self._say(answer.decode(_DeltaEvent).delta)
        elif kind in BEGINNINGS:
            await self._name(answer.decode(_ResponseEvent).response)
        elif kind in ENDS:
            return answer.decode(_ResponseEvent).response
        elif kind == "error":
            raise self._failure(answer)
        return None

    async def _name(self, response: Response) -> None:
        if self._response_id is None:
            await self._on_response(response.id)
            self._response_id = response.id
        elif self._response_id != response.id:
            raise UnexpectedAnswer(
                f"{self._response_id} became {response.id} in its own stream"
            )

    def _say(self, text: str) -> None:
        self._said.append(text)
        self._on_delta(text)

    def _failure(self, answer: Answer) -> BackendError:
        """What an `error` event stands for: it comes instead of a status."""
        code, message = explain(answer)
        message = self._account.quotable(message or code or "an error without words")
        said = f"{answer.operation}: {message}"
        if code in QUOTA_CODES:
            hint = "the account has no quota left; see its billing"
            return CredentialsRefused(said, hint=hint, request_id=answer.request_id)
        # Without a code nobody knows whose fault it was, so it is looked into.
        if code is None or code in UNAVAILABLE:
            return BackendUnavailable(said, request_id=answer.request_id)
        return RequestRejected(said, request_id=answer.request_id)
