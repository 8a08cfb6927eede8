"""What is asked of the durable record.

Methods are facts and intents.  They return when the fact would survive a power
cut, and not before.  Every write about an upload carries its `Lease`; when
another owner took the upload over in the meantime nothing is written and
`LeaseLost` is raised.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from uploader.errors import UploaderError
from uploader.message import Attached, Attachment, AttachmentSpec, Message
from uploader.model import (
    Batch,
    BatchId,
    CompleteIntent,
    File,
    FileId,
    Fingerprint,
    Identity,
    Lease,
    LocalId,
    Opened,
    Orphan,
    Plan,
    Queued,
    Scope,
    SentPart,
    Unfinished,
    Upload,
    UploadId,
    UploadSpec,
)
from uploader.result import Receipt


@dataclass(frozen=True, slots=True)
class Claim:
    """An upload, and the lease to work on it.

    *unclean* says that the owner before did not let go by itself.
    """

    upload: Upload
    lease: Lease
    unclean: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An upload to be queued.

    One with a *failure* could not be planned: it is recorded as failed, so that it is
    in the account of its batch and can be restarted.  *replaces* is an upload of the
    batch that this one stands for from now on.
    """

    identity: Identity
    spec: UploadSpec
    fingerprint: Fingerprint
    plan: Plan
    priority: int = 0
    tag: str | None = None
    preflight: bool = True
    reuse: bool = False
    message: Message | None = None
    failure: UploaderError | None = None
    replaces: LocalId | None = None


@dataclass(frozen=True, slots=True)
class AttachmentClaim:
    """An attachment, and the lease to work on it."""

    attachment: Attachment
    lease: Lease


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What came of renewing leases."""

    lost: Collection[LocalId]
    cancel_requested: Collection[LocalId]


class Journal(Protocol):
    """The only record there is: the service cannot be asked what it has.

    Nothing above assumes that it is a file on this host.
    """

    async def begin(
        self,
        identity: Identity,
        spec: UploadSpec,
        fingerprint: Fingerprint,
        plan: Plan,
        *,
        now: float,
        reuse: bool = False,
    ) -> Claim:
        """Claim the unfinished upload of this identity, or record a new one.

        Unfinished includes a completed upload whose result was never delivered.
        For a known upload the recorded spec, fingerprint and plan are returned, not
        the arguments.  Raises `UploadOwned` when somebody else works on it.
        """
        ...

    async def take(self, upload: LocalId, *, now: float) -> Claim:
        """Claim a known upload.  Raises `UploadOwned`."""
        ...

    async def renew(self, leases: Sequence[Lease], *, now: float) -> Heartbeat:
        """Extend *leases* and hear what others asked for in the meantime."""
        ...

    async def release(self, lease: Lease) -> None:
        """Let go.  A lease that is lost already is no error."""
        ...

    async def intend_create(self, lease: Lease, *, now: float) -> float:
        """Record that `create` is about to be asked; return 0.

        While a twin (same service, purpose, filename and size) was created within
        the last second nothing is recorded, and the seconds to wait are returned:
        two files with equal names, sizes and seconds cannot be told apart later.
        """
        ...

    async def record_opened(
        self, lease: Lease, opened: Opened, *, now: float
    ) -> Upload:
        """The outcome of the newest create intent; returns the upload, now open."""
        ...

    async def withdraw_create(self, lease: Lease) -> None:
        """The newest create certainly had no effect."""
        ...

    async def record_part(self, lease: Lease, part: SentPart) -> None:
        """The service has the part.  Recording it again replaces the id."""
        ...

    async def forget_parts(self, lease: Lease, numbers: Collection[int]) -> None:
        """These parts have to be sent again."""
        ...

    async def note_orphan_parts(self, lease: Lease) -> None:
        """The service may hold parts that nobody will list."""
        ...

    async def record_fingerprint(self, lease: Lease, fingerprint: Fingerprint) -> None:
        """The digests held although the fingerprint had moved; this is the new one."""
        ...

    async def intend_complete(self, lease: Lease, intent: CompleteIntent) -> None:
        """Record that `complete` is about to be asked with exactly this body."""
        ...

    async def note_yes(self, lease: Lease) -> None:
        """`complete` answered that it is done, but without a file."""
        ...

    async def record_refusal(self, lease: Lease, evidence: str) -> None:
        """`complete` certainly had no effect; the upload is open again."""
        ...

    async def record_file(self, lease: Lease, file: File, evidence: str) -> Upload:
        """The file exists; *evidence* says how that is known.

        Returns the upload, now completed.
        """
        ...

    async def record_reused(self, lease: Lease, file: File) -> Upload:
        """A planned upload is complete: the service has the same file already."""
        ...

    async def catalogued(self, upload: Upload) -> Mapping[str, FileId]:
        """Files that were uploaded as *upload* would be, by the digest of their content.

        Same service, purpose, filename, life and size.
        """
        ...

    async def record_catalogued(
        self, upload: Upload, digest: str, file_id: FileId
    ) -> None:
        """*upload*, with that content, became that file."""
        ...

    async def forget_catalogued(self, upload: Upload, digest: str) -> None:
        """The service does not have it any more."""
        ...

    async def record_receipt(self, lease: Lease, receipt: Receipt) -> None:
        """What was sent; recording it again replaces it."""
        ...

    async def receipt(self, upload: LocalId) -> Receipt | None: ...

    async def restart(self, lease: Lease, reason: str, *, orphans: bool) -> Upload:
        """Begin anew under the same local id: parts, upload id and intents are given up.

        Returns the upload, planned again.  *orphans* counts it as the one restart that orphan parts may cause.
        """
        ...

    async def fail(self, lease: Lease, failure: str) -> None:
        """Refused for good; the next upload of the same identity is a new one."""
        ...

    async def note_failure(self, lease: Lease, failure: str) -> None:
        """What stopped the upload for now; it can be resumed."""
        ...

    async def cancel(self, lease: Lease) -> None: ...

    async def request_cancel(self, upload: LocalId) -> None:
        """Ask the owner, whoever it is, to cancel at its next heartbeat."""
        ...

    async def deliver(self, lease: Lease, *, now: float) -> None:
        """The caller has the result; the next upload of this identity is a new one.

        The last that an owner writes: the lease is let go with it.
        """
        ...

    async def uploads(
        self, *, unfinished: bool = False, queued: bool = True
    ) -> Sequence[Upload]:
        """All uploads, oldest first; without *queued* those that are under way."""
        ...

    async def unfinished(self) -> Sequence[Unfinished]:
        """What was begun and not handed over: uploads, then attachments, oldest first.

        Not what waits in the queue, nor uploads that belong to an attachment.
        """
        ...

    async def enqueue(
        self, entries: Sequence[Entry], *, batch: BatchId | None = None, now: float
    ) -> tuple[BatchId, Sequence[LocalId]]:
        """Queue all of *entries*, or none of them, as a new batch or in *batch*.

        An unfinished upload of the same identity is queued as it was recorded.  The
        first claim of an upload takes it off the queue.
        """
        ...

    async def next_queued(
        self,
        *,
        batch: BatchId | None = None,
        but: Collection[str] = (),
        limit: int = 1,
    ) -> Sequence[Queued]:
        """What comes next, by priority, then arrival; not of the services *but*.

        Nothing is claimed: another process may be quicker.
        """
        ...

    async def queue_size(self) -> tuple[int, int]:
        """How many uploads wait, and how many bytes they have."""
        ...

    async def batches(self) -> Sequence[Batch]:
        """All batches, oldest first."""
        ...

    async def batch(self, name: str) -> Batch:
        """By its id, or the beginning of it.  Raises `UsageError`."""
        ...

    async def failed(self, batch: BatchId | None = None) -> Sequence[Upload]:
        """Those of a batch, or of all, that failed or were stopped by a failure."""
        ...

    async def requeue(self, upload: LocalId) -> None:
        """Queue an unfinished upload of a batch once more."""
        ...

    async def messages_with(
        self, upload: LocalId, *, unfinished: bool = True
    ) -> Sequence[LocalId]:
        """The attachments that an upload is for, oldest first."""
        ...

    async def find_file(self, file_id: FileId) -> Upload | None:
        """The upload of this journal that made the file, if one did."""
        ...

    async def absent_owners(self, *, now: float) -> Collection[str]:
        """Those `Upload.owner` who hold nothing any more: dead, or not heard of."""
        ...

    async def find(self, name: str) -> Upload:
        """The upload with this local id, beginning of a local id, or upload id.

        Raises `UsageError` when there is none, or more than one.
        """
        ...

    async def claimed_files(
        self, service: str, but: LocalId
    ) -> tuple[Collection[FileId], Collection[int]]:
        """What other uploads explain at *service*.

        The ids of the files that they made, and the `created_at` of those whose
        `complete` has no proven outcome.  Only twins of *but* (same purpose, filename
        and size) count for the latter.
        """
        ...

    async def record_scope(self, lease: Lease, scope: Scope) -> None:
        """The conversation that this upload, or this attachment, belongs to."""
        ...

    async def intend_put(self, lease: Lease, *, now: float) -> None:
        """Record that a part which is itself an effect is about to be sent.

        Its outcome is `record_part`, or `withdraw_put`.
        """
        ...

    async def withdraw_put(self, lease: Lease) -> None:
        """That part certainly had no effect."""
        ...

    async def begin_attachment(
        self, spec: AttachmentSpec, *, now: float
    ) -> AttachmentClaim:
        """Claim the unfinished attachment of exactly this spec, or record a new one.

        Raises `UploadOwned` when somebody else works on it.
        """
        ...

    async def take_attachment(
        self, attachment: LocalId, *, now: float
    ) -> AttachmentClaim:
        """Claim a known attachment.  Raises `UploadOwned`."""
        ...

    async def intend_attach(
        self, lease: Lease, *, cursor: str | None, now: float
    ) -> None:
        """Record that `attach` is about to be asked; asked again it moves the time.

        The cursor of the first asking stays.
        """
        ...

    async def record_response(self, lease: Lease, response_id: str) -> None:
        """The answer has a name by which it can be asked for later."""
        ...

    async def withdraw_attach(self, lease: Lease) -> None:
        """`attach` certainly had no effect; the attachment is planned again."""
        ...

    async def record_attached(self, lease: Lease, attached: Attached) -> None:
        """The message is there.  Its id becomes the last one of the conversation."""
        ...

    async def fail_attachment(self, lease: Lease, failure: str) -> None:
        """Refused for good; its files stay what they are."""
        ...

    async def note_attachment_failure(self, lease: Lease, failure: str) -> None:
        """What stopped it for now; it can be resumed."""
        ...

    async def deliver_attachment(self, lease: Lease, *, now: float) -> None:
        """The caller has the answer; its uploads count as delivered, too."""
        ...

    async def attachments(
        self, *, unfinished: bool = False, queued: bool = True
    ) -> Sequence[Attachment]:
        """All attachments, oldest first; without *queued* those that are under way."""
        ...

    async def find_attachment(self, name: str) -> Attachment:
        """By its local id, or the beginning of it.  Raises `UsageError`."""
        ...

    async def last_message(self, service: str, conversation_id: str) -> str | None:
        """The last message of the assistant that this journal knows of there."""
        ...

    async def remember_rate(self, service: str, rate: float, *, now: float) -> None:
        """Bytes per second that were reached at *service*."""
        ...

    async def rate(self, service: str) -> float | None: ...

    async def keep_quiet(self, service: str, until: float) -> None:
        """*service* asked for no request before that; a later wish stays."""
        ...

    async def quiet_until(self, service: str) -> float | None: ...

    async def orphans(self, *, since: float) -> Sequence[Orphan]:
        """What was created after *since* and nobody goes on with, oldest first.

        That is: creates without an answer, uploads given up by a restart, and uploads
        that failed while they were open.
        """
        ...

    async def close_orphan(self, upload: LocalId, upload_id: UploadId) -> None:
        """That orphan is no longer open at the service.

        It takes no lease, for nobody works on an orphan; one that is in use after all
        stays as it is.
        """
        ...

    async def prune(self, *, before: float) -> int:
        """Drop finished uploads that nobody touched since; return how many."""
        ...

    async def aclose(self) -> None:
        """Let go of every lease and close."""
        ...
