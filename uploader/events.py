"""What an observer is told, in the past tense.

An observer is a plain function, called on the event loop; it must be quick.
Fields are only ever added.  As JSON an event is one object:
`{"v": 1, "event": "part_sent", "upload": "…", …}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uploader.model import FileId, LocalId, UploadId

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    upload: LocalId
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadStarted(Event):
    """The journal has it.  *recorded* bytes are at the service already."""

    size: int
    parts: int
    recorded: int
    recorded_parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOpened(Event):
    """The service gave an upload id."""

    upload_id: UploadId
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartProgressed(Event):
    """*sent* bytes of the part were handed to the connection in this attempt."""

    number: int
    sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSent(Event):
    """The service has the part, and the journal knows it."""

    number: int
    size: int
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackingOff(Event):
    """*operation* failed in this *attempt* and is tried again after *delay* seconds."""

    operation: str
    attempt: int
    delay: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineAtRisk(Event):
    """At *rate* the rest does not fit into the upload's life.

    *rate* and *needed* are bytes per second, *remaining* is seconds.
    """

    rate: float
    needed: float
    remaining: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReplaced(Event):
    """The name leads to another file now; the opened version is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRestarted(Event):
    """All recorded parts were given up, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteAsked(Event):
    """All parts are at the service; the intent to complete is journalled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeSought(Event):
    """`complete` has no clear answer; the service's files are being looked through."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadCompleted(Event):
    file_id: FileId
    bytes: int
    md5: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadFailed(Event):
    """The upload stopped with an error.  *resumable* says whether `resume` goes on."""

    error: str
    hint: str | None
    exit_code: int
    resumable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadCancelled(Event):
    pass


Observer = Callable[[Event], None]


def as_json(event: Event) -> dict[str, Any]:
    """The event as one JSON object, its name in snake case."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
    fields = {
        key: str(value) if isinstance(value, Path) else value
        for key in _fields(type(event))
        for value in [getattr(event, key)]
    }
    return {"v": VERSION, "event": name, **fields}


def _fields(kind: type[Event]) -> tuple[str, ...]:
    return tuple(kind.__dataclass_fields__)
