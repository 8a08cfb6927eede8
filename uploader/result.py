"""What a caller gets: files with their receipts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from uploader.message import Attached
from uploader.model import Details, FileId, LocalId, SentPart, UploadId


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was sent, when, with which ids and digests."""

    upload: LocalId
    service: str
    path: Path
    size: int
    filename: str
    purpose: str
    file_id: FileId
    upload_id: UploadId | None
    md5: str | None
    """As the service was told it: hex or base64."""
    part_sizes: tuple[int, ...]
    parts: tuple[SentPart, ...]
    request_ids: Mapping[str, str]
    """Of `create` and `complete`; each part has its own."""
    restarts: int
    attempts: int
    """Tries of all parts together; as many as parts if nothing went wrong."""
    bytes_sent: int
    """Payload bytes that the last run put on the wire, repeated parts included."""
    bytes_needed: int
    """Payload bytes that were missing at the service when that run began."""
    started_at: float
    """When the upload came into the journal."""
    completed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """The result: a file id and the evidence for it."""

    file_id: FileId
    bytes: int
    filename: str
    purpose: str
    mime_type: str
    md5: str | None
    resumed: bool
    width: int | None
    height: int | None
    receipt: Receipt
    details: Details = field(default_factory=dict)
    attached: Attached | None = None
    """The conversation it went to, if it was sent to one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Several files that went to a conversation as one message."""

    files: tuple[UploadedFile, ...]
    attached: Attached
