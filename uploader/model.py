"""The nouns: parts, plans, fingerprints, uploads, files.

Sizes and offsets are bytes, times are seconds since the epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NewType

LocalId = NewType("LocalId", str)
"""Our own name for an upload, given before the service knows of it."""

BatchId = NewType("BatchId", str)
"""Our own name for a list of uploads that were queued together."""

UploadId = NewType("UploadId", str)
PartId = NewType("PartId", str)
FileId = NewType("FileId", str)

Details = Mapping[str, str | int]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One contiguous byte range of the source.

    Numbers count from 1 and offsets from 0, as in S3 and tus.
    """

    number: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """Offset of the first byte after the part."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Plan:
    """How a source is cut: all its parts, in order and without gaps."""

    parts: tuple[Part, ...]

    @classmethod
    def of_sizes(cls, sizes: Iterable[int]) -> Plan:
        sizes = list(sizes)
        offsets = itertools.accumulate(sizes, initial=0)
        return cls(
            tuple(
                Part(number=number, offset=offset, size=size)
                for number, (offset, size) in enumerate(
                    zip(offsets, sizes, strict=False), start=1
                )
            )
        )

    @property
    def size(self) -> int:
        return self.parts[-1].end if self.parts else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Is it still the same file?  Taken from an open descriptor, never from a name."""

    size: int
    mtime_ns: int
    ctime_ns: int
    device: int
    inode: int

    def difference(self, other: Fingerprint) -> str | None:
        """Say in words what *other* has that this has not; None when nothing.

        Device and inode are hints only: a file system mounted anew may number
        its devices anew.
        """
        if other.size != self.size:
            return f"{self.size} bytes became {other.size}"
        if other.mtime_ns != self.mtime_ns:
            return "its modification time moved"
        if other.ctime_ns != self.ctime_ns:
            return "its change time moved"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What makes two calls the same upload.

    *service* is the backend with its URL and account, but without credentials;
    *path* is the real path of the source.
    """

    service: str
    path: Path
    purpose: str
    filename: str
    expires_after: int | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSpec:
    """What `create` asks of the service."""

    filename: str
    purpose: str
    size: int
    mime_type: str
    expires_after: int | None = None
    """Life of the resulting file after its creation, not of the upload."""
    width: int | None = None
    height: int | None = None
    """Pixels of an image; a message about it may have to repeat them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The conversation (or vector store) that something belongs to."""

    conversation_id: str
    parent_message_id: str | None = None
    """The last message of the assistant in it, where a follow-up has to name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An upload as the service opened it."""

    upload_id: UploadId
    created_at: int
    expires_at: int | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PutPart:
    """The service's answer to one part."""

    part_id: PartId
    request_id: str | None = None
    details: Details = field(default_factory=dict)
    """What else the service said of it, for those who have to repeat it later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentPart:
    """A part that the service has, as the journal keeps it.

    *digest* is `name:hex` of the bytes that were sent, or None when part digests
    are off.
    """

    number: int
    part_id: PartId
    digest: str | None = None
    request_id: str | None = None
    details: Details = field(default_factory=dict)
    attempts: int = 1
    sent_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What the service makes of a completed upload.

    *bytes* may be None: the service may not know the size yet.
    """

    id: FileId
    bytes: int | None
    created_at: int
    filename: str
    purpose: str
    status: str | None = None
    expires_at: int | None = None
    request_id: str | None = None
    details: Details = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteIntent:
    """That `complete` was, or is about to be, asked, and with which body."""

    part_ids: tuple[PartId, ...]
    md5: str | None
    asked_at: float
    said_yes: bool = False
    """An answer said that it is done, but not which file came of it."""


class UploadState(StrEnum):
    """Where an upload is in its life; `uploader.state` has the transitions."""

    PLANNED = "planned"
    """Journalled; the service has not confirmed an upload id."""
    OPEN = "open"
    """The service takes parts."""
    COMPLETING = "completing"
    """`complete` may have taken effect."""
    COMPLETED = "completed"
    """The file is proven to exist."""
    FAILED = "failed"
    """The service, or the source, refused for good."""
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write about one upload or attachment.

    It holds as long as its *epoch* is the newest.
    """

    upload: LocalId
    owner: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One file on its way, as the journal knows it."""

    id: LocalId
    identity: Identity
    spec: UploadSpec
    fingerprint: Fingerprint
    plan: Plan
    state: UploadState
    created_at: float
    asked_at: float | None = None
    """When the create that was answered was sent; the upload's hour counts from here."""
    opened: Opened | None = None
    parts: Mapping[int, SentPart] = field(default_factory=dict)
    may_have_orphan_parts: bool = False
    put_asked_at: float | None = None
    """When a part that is an effect was sent and not answered yet."""
    complete_intent: CompleteIntent | None = None
    scope: Scope | None = None
    file: File | None = None
    restarts: int = 0
    orphan_restarts: int = 0
    cancel_requested: bool = False
    delivered_at: float | None = None
    failure: str | None = None
    owner: str | None = None
    """Who took the lease and did not let go, in words for people; it may be dead."""
    priority: int = 0
    batch: BatchId | None = None
    tag: str | None = None
    """The user's own word for it."""
    is_queued: bool = False
    """It waits for its turn; nobody has begun it."""
    reuse: bool = False
    """A file that the service has already will do, if it is the same."""

    @property
    def sent_bytes(self) -> int:
        return sum(part.size for part in self.plan.parts if part.number in self.parts)

    @property
    def is_unfinished(self) -> bool:
        """Whether `resume` still has something to do."""
        if self.state in (UploadState.FAILED, UploadState.CANCELLED):
            return False
        return self.delivered_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphan:
    """An upload that may be open at its service, and that nobody goes on with."""

    upload: LocalId
    """Ours, from which it came; that one may live on with another upload id."""
    service: str
    path: Path
    size: int
    reason: str
    asked_at: float
    opened: Opened | None = None
    """None: nobody heard the answer, so its id is not known."""
    expires_at: float | None = None
    """When the service drops it by itself."""
    owner: str | None = None
    """Who may be waiting for the answer this moment, in words for people."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An upload, or an attachment, that was begun and whose result nobody has."""

    id: LocalId
    service: str
    is_attachment: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """An upload that waits for its turn, with what its turn depends on.

    Higher priorities come first, then who came first.
    """

    id: LocalId
    service: str
    path: Path
    purpose: str
    filename: str
    target: str | None
    size: int
    parts: int
    priority: int = 0
    batch: BatchId | None = None
    tag: str | None = None
    preflight: bool = True
    """Look into the file before anything is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What has become of a list of uploads, in numbers."""

    id: BatchId
    created_at: float
    queued: int
    begun: int
    """Unfinished, and nothing is known against them."""
    stopped: int
    """Unfinished, and stopped by a failure; they can be resumed."""
    completed: int
    failed: int
    cancelled: int
    bytes: int
    bytes_completed: int

    @property
    def uploads(self) -> int:
        return self.unfinished + self.completed + self.failed + self.cancelled

    @property
    def unfinished(self) -> int:
        return self.queued + self.begun + self.stopped
