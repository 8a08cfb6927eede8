"""LLMProvider's answers: OpenAI's chat completions, whole or in pieces.

Its chat is not documented; the two more keys are what the service behind adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from uploader.answer import Answer
from uploader.errors import UnexpectedAnswer
from uploader.targets.reading import LOOK, Reader


class _Words(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Words | None = None
    delta: _Words | None = None
    finish_reason: str | None = None


class _Completion(msgspec.Struct):
    choices: list[_Choice] = []
    conversation_id: str | None = None
    message_id: str | None = None
    error: Any = None


class Completions(Reader):
    """One completion is the whole answer; a chunk of it is one more piece."""

    def whole(self, answer: Answer) -> str:
        try:
            text = self.take(answer.decode(dict))
        except UnexpectedAnswer as error:
            error.hint = LOOK
            raise
        if not self.is_answered:
            raise UnexpectedAnswer(
                f"{self.operation}: the answer says nothing", hint=LOOK
            )
        return text

    def take(self, document: Mapping[str, Any]) -> str:
        completion = self.convert(document, _Completion)
        self.refuse(completion.error)
        self.conversation_id = completion.conversation_id or self.conversation_id
        self.message_id = completion.message_id or self.message_id
        if not completion.choices:
            return ""
        choice = completion.choices[0]
        words = choice.message or choice.delta
        added = (words.content if words else None) or ""
        self.text += added
        is_whole = choice.message is not None
        self.is_answered = is_whole or choice.finish_reason is not None
        return added
