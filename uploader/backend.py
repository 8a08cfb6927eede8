"""What is asked of the place that bytes go to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from uploader.config import Limits
from uploader.model import (
    File,
    FileId,
    Identity,
    Opened,
    Part,
    PutPart,
    Scope,
    SentPart,
    UploadSpec,
)


class Body(Protocol):
    """The bytes of one part.  Each call of `chunks` reads them anew.

    A chunk is never changed after it was handed out: whoever sends may keep a
    reference to it instead of copying.
    """

    size: int
    pending: Callable[[], int]
    """Set by who sends: how many of the bytes handed out did not arrive yet."""

    def chunks(self) -> AsyncIterator[bytes | bytearray]: ...


SendRange = Callable[[int, int, int], Awaitable[int]]
"""Sends up to a count of bytes of an open file from an offset; 0 at its end."""

TURN: Final = 0.2
"""Seconds after which a `SendRange` returns with what it has: whoever grants a body its
bytes hears how far it came, and may stop it."""


@runtime_checkable
class PageBody(Body, Protocol):
    """A body whose bytes the kernel can take from the file itself."""

    async def send_pages(self, send: SendRange) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What differs between services, so that nothing above asks for their names."""

    part_is_effect: bool = False
    """`put_part` itself makes the file: it is an intent, and never repeated blindly."""
    needs_scope: bool = False
    """A conversation has to exist before the upload."""
    parallel_parts: bool = True
    expires: bool = True
    """An open upload is dropped by the service after `Limits.lifetime`."""
    knows_files: bool = True
    """The service can be asked about a file, and lists them."""


class Backend(Protocol):
    """A service that takes a file in parts.

    Methods never retry; `uploader.retry` does, and relies on this: after
    `BackendUnavailable` the same call may be made again, though for `create` and
    `put_part` it may leave an orphan behind.  `OutcomeUnknown` is not for backends
    to raise: they report, and `uploader.recovery` judges.

    `tests/test_backend_contract.py` states these rules as tests and runs them
    against every implementation.
    """

    service: str
    """URL and account without credentials: half of an upload's identity."""
    limits: Limits
    capabilities: Capabilities

    def check(self, spec: UploadSpec) -> None:
        """Raise `SourceError` or `UsageError` for what the service would refuse.

        Called before anything is sent.
        """
        ...

    def mime_type(self, filename: str) -> str:
        """What this service calls the type of a file with that name.

        The same on every machine: the operating system is not asked.
        """
        ...

    async def create(self, spec: UploadSpec, scope: Scope | None = None) -> Opened:
        """Open an upload of exactly `spec.size` bytes.

        *scope* is given where the backend needs one.  A service that takes whole
        files is not asked anything here.
        """
        ...

    async def put_part(
        self, spec: UploadSpec, opened: Opened, part: Part, body: Body
    ) -> PutPart:
        """Store one part.  Parts may arrive in any order and at the same time.

        Raises `UploadExpired` when the service says that the upload is over, and
        `RequestRejected` when it does not take the part or does not know the upload.
        """
        ...

    async def complete(
        self,
        spec: UploadSpec,
        opened: Opened,
        parts: Sequence[SentPart],
        md5: str | None,
    ) -> File:
        """Join the parts in the order given.

        The same arguments send the same bytes.  *md5* is in the spelling that the
        service wants.  A clear refusal is `RequestRejected` or `UploadExpired`, its
        `status` says which; an answer without a file is `UnexpectedAnswer`.
        """
        ...

    async def find_completed(self, identity: Identity, since: int) -> Sequence[File]:
        """Files of that purpose made at or after *since*: evidence, no verdict.

        All of them, newest first; the list is complete down to *since*.
        """
        ...

    async def get_file(self, file_id: FileId) -> File: ...

    def read_file(self, file_id: FileId, *, limit: int) -> AsyncGenerator[bytes]:
        """The content of a file as it comes, to be closed by its reader.

        It ends after the chunk that went beyond *limit* bytes.  Raises
        `RequestRejected` where the service does not hand it out.
        """
        ...

    async def list_files(self, purpose: str | None = None) -> Sequence[File]:
        """All files of the account, newest first."""
        ...

    async def delete_file(self, file_id: FileId) -> None: ...

    async def cancel(self, opened: Opened) -> None:
        """Give the upload up.  One that is gone already counts as cancelled."""
        ...

    async def aclose(self) -> None: ...
