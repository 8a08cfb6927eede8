"""The answer of a relay as it arrives: what its events add, and whether it ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from uploader.answer import Answer
from uploader.errors import BackendUnavailable, UnexpectedAnswer
from uploader.http import Stream
from uploader.sse import Event, EventTooLong, Parser
from uploader.target import OnDelta

T = TypeVar("T")

ENDS: Final = ("[done]", "[none]")
"""Documents and practice differ on the last event."""

LOOK: Final = "the message may be there all the same; look into the conversation"


class Reader(ABC):
    """Fed with the bytes of one answer."""

    def __init__(self, operation: str, quotable: Callable[[str], str]) -> None:
        """*quotable* makes foreign words fit for an error."""
        self.operation = operation
        self.conversation_id: str | None = None
        self.message_id: str | None = None
        self.text = ""
        self.is_answered = False
        """The answer is complete; what may follow says nothing new."""
        self.is_ended = False
        """The service said that nothing follows."""
        self._quotable = quotable
        self._parser = Parser()

    @abstractmethod
    def take(self, document: Mapping[str, Any]) -> str:
        """Act on one event, and return what it adds to the answer."""

    def feed(self, chunk: bytes) -> str:
        """What *chunk* adds to the answer."""
        try:
            events = self._parser.feed(chunk)
        except EventTooLong as error:
            raise UnexpectedAnswer(f"{self.operation}: {error}", hint=LOOK) from None
        return "".join(map(self._take, events))

    def whole(self, answer: Answer) -> str:
        """What an answer says that is one document and no stream."""
        raise UnexpectedAnswer(
            f"{self.operation}: one document came, where a stream of events was due",
            hint=LOOK,
            status=answer.status,
            request_id=answer.request_id,
        )

    def close(self) -> str:
        """What the last event adds.  Raises when the answer is not complete."""
        rest = ""
        for event in self._parser.close():
            if event.data and _is_whole(event.data):
                rest += self._take(event)
        if self.is_answered:
            return rest
        if self.is_ended:
            raise UnexpectedAnswer(
                f"{self.operation}: the stream ended without an answer", hint=LOOK
            )
        raise BackendUnavailable(
            f"{self.operation}: the stream broke off before the answer was complete",
            hint=LOOK,
        )

    def refuse(self, error: object) -> None:
        """Raise for an *error* that came within a good answer, if it is one."""
        if not error:
            return
        if isinstance(error, Mapping):
            error = error.get("message") or error.get("detail") or error.get("code")
        raise UnexpectedAnswer(
            f"{self.operation}: the service broke off with an error:"
            f" {self._quotable(str(error))}",
            hint=LOOK,
        )

    def _take(self, event: Event) -> str:
        if self.is_answered or self.is_ended:
            return ""
        if event.data.strip().lower() in ENDS:
            self.is_ended = True
            return ""
        try:
            document = msgspec.json.decode(event.data)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise self._unlike_the_contract(error) from None
        return self.take(document) if isinstance(document, dict) else ""

    def convert(self, document: Mapping[str, Any], kind: type[T]) -> T:
        """Raises `UnexpectedAnswer`."""
        try:
            return msgspec.convert(document, kind)
        except msgspec.ValidationError as error:
            raise self._unlike_the_contract(error) from None

    def _unlike_the_contract(self, error: Exception) -> UnexpectedAnswer:
        return UnexpectedAnswer(
            f"{self.operation}: what came is not the contract's: {error}", hint=LOOK
        )


async def read(stream: Stream, reader: Reader, on_delta: OnDelta) -> None:
    """Read up to the end of the answer, which may come before that of the stream."""
    if stream.is_document:
        on_delta(reader.whole(await stream.read()))
        return
    async for chunk in stream:
        if added := reader.feed(chunk):
            on_delta(added)
        if reader.is_answered or reader.is_ended:
            break
    if not reader.is_answered and (added := reader.close()):
        on_delta(added)


def _is_whole(data: str) -> bool:
    """Whether the last event is there to its end, although its empty line is not."""
    if data.strip().lower() in ENDS:
        return True
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return False
    return True
