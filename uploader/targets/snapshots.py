"""GoAPI's event stream: each event shows a whole message as far as it is.

The first is an empty message of the system, already finished, and the user's own may
be repeated (the vendor's sample; the service behind it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from uploader.targets.reading import Reader


class _Author(msgspec.Struct):
    role: str


class _Content(msgspec.Struct):
    # Tools have `text` instead; an image is an object among the parts.
    parts: list[Any] = []


class _Message(msgspec.Struct):
    id: str
    author: _Author
    content: _Content | None = None
    end_turn: bool | None = None
    recipient: str | None = "all"

    @property
    def is_for_the_user(self) -> bool:
        return self.author.role == "assistant" and self.recipient in ("all", None)

    @property
    def text(self) -> str:
        parts = self.content.parts if self.content else []
        return "".join(part for part in parts if isinstance(part, str))


class _Event(msgspec.Struct):
    # Null or missing in what moderation says.
    message: _Message | None = None
    conversation_id: str | None = None
    error: Any = None
    error_code: Any = None


class Snapshots(Reader):
    """The answer is the assistant's message that ends its turn."""

    def take(self, document: Mapping[str, Any]) -> str:
        event = self.convert(document, _Event)
        if event.conversation_id and self.conversation_id is None:
            self.conversation_id = event.conversation_id
        self.refuse(event.error or event.error_code)
        message = event.message
        if message is None or not message.is_for_the_user:
            return ""
        added = self._added(message)
        self.message_id, self.text = message.id, message.text
        self.is_answered = message.end_turn is True
        return added

    def _added(self, message: _Message) -> str:
        """What *message* shows beyond the snapshot before it."""
        if message.id == self.message_id and message.text.startswith(self.text):
            return message.text[len(self.text) :]
        # Another message, or one that was written anew: what was said stands.
        return f"\n{message.text}" if self.text and message.text else message.text
