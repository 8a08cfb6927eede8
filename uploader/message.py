"""The nouns of a message: files and a prompt on their way into a conversation."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from uploader.model import Details, FileId, LocalId, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A file at a service, as a message has to describe it.

    *scope* is the conversation that it was uploaded into, where files belong to one.
    *width* and *height* are pixels, for images.
    """

    file_id: FileId
    name: str
    size: int | None = None
    mime_type: str | None = None
    width: int | None = None
    height: int | None = None
    scope: str | None = None
    details: Details = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What came of an attachment.

    *answer* is the model's, where the target gives one; *response_id* is the name
    under which it can be asked for again.
    """

    conversation_id: str
    message_id: str | None = None
    answer: str | None = None
    response_id: str | None = None
    request_id: str | None = None


class AttachmentState(StrEnum):
    """Where an attachment is in its life."""

    PLANNED = "planned"
    """Journalled; nothing was asked, or its files are still on their way."""
    ATTACHING = "attaching"
    """`attach` may have taken effect."""
    ATTACHED = "attached"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentSpec:
    """One message: files, in order, and a prompt.

    *target* is as the user named it, `conversation:conv_1` or `goapi:new`.  A member
    is an upload of this journal, or a file that exists already.
    """

    service: str
    target: str
    prompt: str | None = None
    model: str | None = None
    members: tuple[LocalId | FileRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One message on its way, as the journal knows it."""

    id: LocalId
    spec: AttachmentSpec
    state: AttachmentState
    created_at: float
    scope: Scope | None = None
    """Known once the target was prepared."""
    cursor: str | None = None
    """The newest item of the conversation before `attach` was asked."""
    asked_at: float | None = None
    response_id: str | None = None
    """Of the response under way, from the first event of its stream."""
    attached: Attached | None = None
    failure: str | None = None
    delivered_at: float | None = None
    owner: str | None = None

    @property
    def is_unfinished(self) -> bool:
        return self.state is not AttachmentState.FAILED and self.delivered_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What is to be said about an upload when it is complete."""

    service: str
    target: str
    prompt: str | None = None
    model: str | None = None

    def of(self, upload: LocalId) -> AttachmentSpec:
        return AttachmentSpec(
            service=self.service,
            target=self.target,
            prompt=self.prompt,
            model=self.model,
            members=(upload,),
        )
