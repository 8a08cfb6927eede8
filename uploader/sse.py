"""Server-sent events, cut out of a stream of bytes.  No I/O."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Final

from uploader.errors import UnexpectedAnswer
from uploader.model import MIB

MAX_EVENT: Final = MIB

# Not str.splitlines, which takes U+2028 and others within a text for line ends.
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Event:
    """One event; *name* is None where the stream gives none."""

    name: str | None
    data: str


class EventTooLong(UnexpectedAnswer):
    """An event that does not end."""


class Parser:
    """Feed it bytes as they come; it may be cut anywhere, even within a letter.

    Fields other than `event` and `data` are skipped, and so is an event without data,
    as the standard has it.
    """

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        """An event may have *max_event* characters."""
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._max_event = max_event
        self._line: list[str] = []
        self._data: list[str] = []
        self._name: str | None = None
        self._size = 0
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that *chunk* completes.  Raises `EventTooLong`."""
        text = self._decoder.decode(chunk)
        if not text:
            return []
        if self._after_cr:
            text = text.removeprefix("\n")
        # An empty rest was the other half of a CRLF, which leaves nothing behind.
        self._after_cr = text.endswith("\r")
        *ended, rest = _LINE_END.split(text)
        events: list[Event] = []
        for end in ended:
            self._grow(end)
            line, self._line = "".join(self._line), []
            events += self._take(line)
        self._grow(rest)
        return events

    def close(self) -> list[Event]:
        """The event that the stream ended in, if only its empty line was missing.

        Its data may be cut off: the reader finds out when it decodes them.
        """
        rest = self._decoder.decode(b"", final=True)
        self._grow(rest)
        line, self._line = "".join(self._line), []
        events = self._take(line) if line else []
        return events + self._take("")

    def _grow(self, text: str) -> None:
        self._line.append(text)
        self._size += len(text)
        if self._size > self._max_event:
            raise EventTooLong(
                f"an event of more than {self._max_event} characters",
                hint="the answer is no stream of this service; look at its base URL",
            )

    def _take(self, line: str) -> list[Event]:
        """Act on one whole line."""
        if not line:
            events = [Event(self._name, "\n".join(self._data))] if self._data else []
            self._data, self._name, self._size = [], None, 0
            return events
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value or None
        else:
            # A comment, kept by nobody: streams stay open by sending them.
            self._size -= len(line)
        return []
