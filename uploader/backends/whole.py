"""What services that take a file whole, in one form, have in common.

`put_part` makes the file; nothing is asked before or after it, and nothing can be.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from uploader.account import Account
from uploader.answer import Answer, printable
from uploader.backend import Body
from uploader.config import Limits
from uploader.errors import (
    RequestRejected,
    SourceError,
    UnexpectedAnswer,
    UsageError,
    WrongFile,
)
from uploader.model import (
    Details,
    File,
    FileId,
    Identity,
    Opened,
    Part,
    PartId,
    PutPart,
    Scope,
    SentPart,
    UploadId,
    UploadSpec,
)
from uploader.multipart import Form, escaped

WHOLE: Final = UploadId("whole")
"""The upload id where there is no conversation: the service gives none."""

IMAGES: Final = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
"""The kinds that are shown to the model, and not only read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What the service said of the file that it made."""

    id: str
    name: str
    size: int
    details: Details


class Whole(ABC):
    """The part of `uploader.backend.Backend` that is the same for them."""

    name: str
    """In errors."""
    service: str
    limits: Limits
    _account: Account

    @abstractmethod
    def mime_type(self, filename: str) -> str: ...

    @abstractmethod
    def _path(self, opened: Opened) -> str: ...

    @abstractmethod
    def _form(self, spec: UploadSpec, opened: Opened) -> Form: ...

    @abstractmethod
    def _stored(self, answer: Answer) -> Stored:
        """Raises `UnexpectedAnswer`."""

    def check(self, spec: UploadSpec) -> None:
        if spec.expires_after is not None:
            raise UsageError(
                f"{self.name} knows no expires_after", hint="leave --expires-after out"
            )
        try:
            spec.filename.encode()
        except UnicodeEncodeError:
            raise SourceError(
                f"{printable(spec.filename)}: the name is no Unicode",
                hint="give it another with --filename",
            ) from None

    async def create(self, spec: UploadSpec, scope: Scope | None = None) -> Opened:
        conversation = scope.conversation_id if scope else ""
        return Opened(upload_id=UploadId(conversation or WHOLE), created_at=0)

    async def put_part(
        self, spec: UploadSpec, opened: Opened, part: Part, body: Body
    ) -> PutPart:
        try:
            answer = await self._account.http.request(
                f"{self.name} upload of {printable(spec.filename)}",
                "POST",
                self._path(opened),
                part=body,
                form=self._form(spec, opened),
            )
        except RequestRejected as refused:
            if refused.status == 404 and opened.upload_id != WHOLE:
                refused.hint = (
                    f"does this key see {opened.upload_id}? --to {self.name}:new makes"
                    " another conversation"
                )
            raise
        try:
            stored = self._stored(answer)
        except UnexpectedAnswer as error:
            error.hint = (
                f"is {self._account.http.base_url} the base URL of {self.name}?"
            )
            raise
        self._compare(spec, stored, answer)
        details = {"name": stored.name, "size": stored.size, **stored.details}
        return PutPart(
            part_id=PartId(stored.id), request_id=answer.request_id, details=details
        )

    def _compare(self, spec: UploadSpec, stored: Stored, answer: Answer) -> None:
        """A message repeats name and size, so they have to be what was sent."""
        if stored.size != spec.size:
            file = File(
                id=FileId(printable(stored.id)),
                bytes=stored.size,
                created_at=0,
                filename=spec.filename,
                purpose=spec.purpose,
                request_id=answer.request_id,
            )
            raise WrongFile(file, expected=spec.size)
        # Not every parser of forms undoes the escapes.
        if stored.name not in (spec.filename, escaped(spec.filename)):
            raise RequestRejected(
                f"{printable(stored.id)} is called"
                f" {self._account.quotable(stored.name)!r} at {self.name}; it was sent as {printable(spec.filename)!r}",
                hint="the file was left at the service, and nothing was attached;"
                " upload it once more under a plainer name with --filename",
                status=answer.status,
                request_id=answer.request_id,
            )

    async def complete(
        self,
        spec: UploadSpec,
        opened: Opened,
        parts: Sequence[SentPart],
        md5: str | None,
    ) -> File:
        [part] = parts
        size = part.details.get("size")
        return File(
            id=FileId(part.part_id),
            # Unknown of a file that a person named.
            bytes=size if isinstance(size, int) else None,
            created_at=int(part.sent_at),
            filename=spec.filename,
            purpose=spec.purpose,
            request_id=part.request_id,
            details=part.details,
        )

    async def find_completed(self, identity: Identity, since: int) -> Sequence[File]:
        return ()

    async def get_file(self, file_id: FileId) -> File:
        raise self._no_such_request("tell about a file")

    async def read_file(self, file_id: FileId, *, limit: int) -> AsyncGenerator[bytes]:
        raise self._no_such_request("read a file")
        yield b""

    async def list_files(self, purpose: str | None = None) -> Sequence[File]:
        raise self._no_such_request("list files")

    async def delete_file(self, file_id: FileId) -> None:
        raise self._no_such_request("delete a file")

    async def cancel(self, opened: Opened) -> None:
        """There is nothing to give up: nothing was opened."""
        return

    async def aclose(self) -> None:
        await self._account.http.aclose()

    def _no_such_request(self, what: str) -> RequestRejected:
        return RequestRejected(
            f"{self.name} has no request to {what}",
            hint="`uploader list` shows what this journal knows of it",
        )


def is_image(mime_type: str) -> bool:
    return mime_type in IMAGES.values()


def suffix_of(filename: str) -> str:
    """The ending that a table of types is asked for: `.png`, or nothing."""
    _, dot, ending = filename.rpartition(".")
    return f".{ending.lower()}" if dot else ""
