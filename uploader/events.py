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

from uploader.model import BatchId, FileId, LocalId, UploadId

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadEvent(Event):
    """Something happened to one upload."""

    upload: LocalId
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentEvent(Event):
    """Something happened to one attachment."""

    attachment: LocalId
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadStarted(UploadEvent):
    """The journal has it.  *recorded* bytes are at the service already."""

    size: int
    parts: int
    recorded: int
    recorded_parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOpened(UploadEvent):
    """The service gave an upload id."""

    upload_id: UploadId
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartProgressed(UploadEvent):
    """*sent* bytes of the part were handed to the connection in this attempt."""

    number: int
    sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSent(UploadEvent):
    """The service has the part, and the journal knows it."""

    number: int
    size: int
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackingOff(UploadEvent):
    """*operation* failed in this *attempt* and is tried again after *delay* seconds."""

    operation: str
    attempt: int
    delay: float
    reason: str
    cause: str = ""
    """Why, in a word that can be counted: `throttled`, `status 503`, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlineAtRisk(UploadEvent):
    """At *rate* the rest does not fit into the upload's life.

    *rate* and *needed* are bytes per second, *remaining* is seconds.
    """

    rate: float
    needed: float
    remaining: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReplaced(UploadEvent):
    """The name leads to another file now; the opened version is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRestarted(UploadEvent):
    """All recorded parts were given up, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteAsked(UploadEvent):
    """All parts are at the service; the intent to complete is journalled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeSought(UploadEvent):
    """`complete` has no clear answer; the service's files are being looked through."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadCompleted(UploadEvent):
    """The file is proven.  With a *target* it still has to be attached there."""

    file_id: FileId
    bytes: int
    md5: str | None
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReused(UploadEvent):
    """The service has the same file from an earlier upload; nothing is sent."""

    file_id: FileId


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadFailed(UploadEvent):
    """The upload stopped with an error.  *resumable* says whether `resume` goes on."""

    error: str
    hint: str | None
    exit_code: int
    resumable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadCancelled(UploadEvent):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachAsked(AttachmentEvent):
    """The message is about to be added; the intent is journalled."""

    conversation_id: str
    files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachBackingOff(AttachmentEvent):
    """*operation* failed in this *attempt* and is tried again after *delay* seconds."""

    operation: str
    attempt: int
    delay: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachOutcomeSought(AttachmentEvent):
    """`attach` has no clear answer; the conversation is being looked through."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerProgressed(AttachmentEvent):
    """The next piece of the model's answer."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentCompleted(AttachmentEvent):
    """The message is there, and its files are usable."""

    conversation_id: str
    message_id: str | None
    file_ids: tuple[FileId, ...]
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentFailed(AttachmentEvent):
    """The attachment stopped with an error.  *resumable* says if `resume` goes on."""

    error: str
    hint: str | None
    exit_code: int
    resumable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEvent(Event):
    """Something happened to a list of uploads."""

    batch: BatchId


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStarted(BatchEvent):
    """All of it is queued in the journal; *refused* of the uploads are over already."""

    uploads: int
    bytes: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFinished(BatchEvent):
    """This run has nothing more to do for it; *unfinished* ones can be resumed."""

    completed: int
    failed: int
    unfinished: int
    bytes: int
    seconds: float


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
