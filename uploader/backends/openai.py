"""OpenAI's Uploads API, and services compatible with it.

Four POSTs and nothing to ask afterwards: no GET, no list of parts, no digest per
part, no idempotency key (specification of 2026-08; recordings of 2025-09).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import PurePath
from typing import Annotated, Final
from urllib.parse import quote

import msgspec

from uploader.account import Account, unseen
from uploader.answer import Answer
from uploader.backend import Body, Capabilities
from uploader.backends.mime import mime_type
from uploader.config import Limits, Settings
from uploader.errors import (
    RequestRejected,
    SourceError,
    UnexpectedAnswer,
    UploadExpired,
    UsageError,
)
from uploader.http import Http
from uploader.model import (
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

PURPOSES: Final = (
    "assistants",
    "batch",
    "evals",
    "fine-tune",
    "user_data",
    "vision",
)
"""The union of the specification's enum and the one that the service itself names."""

JSONL_PURPOSES: Final = ("batch", "fine-tune")
EXPIRES_AFTER: Final = range(3600, 2_592_000 + 1)
TOO_LARGE: Final = (
    "if the part is too large for this service, give the upload up with `uploader"
    " cancel`, and send the file with a smaller --part-size"
)
PAGE: Final = 100
MAX_PAGES: Final = 100


Id = Annotated[
    str,
    # It becomes a part of a path, and is shown to people.
    msgspec.Meta(
        max_length=512,
        pattern=r"^(?!\.\.?$)[^\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f]+$",
    ),
]
Time = Annotated[float, msgspec.Meta(ge=-(2.0**53), le=2.0**53)]


class _File(msgspec.Struct):
    id: Id
    created_at: Time
    filename: str
    purpose: str
    # Null while the size is not available yet (reference of 2026-11).
    bytes: int | None = None
    status: str | None = None
    expires_at: Time | None = None


class _Upload(msgspec.Struct):
    id: Id
    created_at: Time
    expires_at: Time | None = None
    status: str | None = None
    file: _File | None = None


class _Part(msgspec.Struct):
    id: Id
    azure_block_id: str | None = None


class _Files(msgspec.Struct):
    data: list[_File]
    has_more: bool | None = None


class OpenAI:
    """`uploader.backend.Backend` for `/uploads` and `/files`."""

    capabilities = Capabilities()
    purposes: tuple[str, ...] = PURPOSES

    def __init__(self, http: Http, *, service: str, limits: Limits) -> None:
        self._http = http
        self.service = service
        self.limits = limits

    @classmethod
    def from_settings(cls, settings: Settings) -> OpenAI:
        """Raises `UsageError` for settings that no request could be made with."""
        account = Account.from_settings(settings)
        return cls(account.http, service=account.service, limits=Limits())

    def check(self, spec: UploadSpec) -> None:
        if spec.purpose not in self.purposes:
            raise UsageError(
                f"{spec.purpose!r} is no purpose",
                hint=f"choose one of {', '.join(self.purposes)}",
            )
        suffix = PurePath(spec.filename).suffix
        if spec.purpose in JSONL_PURPOSES and suffix != ".jsonl":
            raise SourceError(
                f"{spec.filename} does not end in .jsonl; the purpose"
                f" {spec.purpose} takes nothing else",
                hint="choose another --purpose, or name it right with --filename",
            )
        if spec.expires_after is not None and spec.expires_after not in EXPIRES_AFTER:
            raise UsageError(
                f"expires_after is {spec.expires_after} s; the service takes"
                f" {EXPIRES_AFTER[0]} to {EXPIRES_AFTER[-1]} (1h to 30d)",
                hint="choose a time in that range, or leave it out",
            )

    def mime_type(self, filename: str) -> str:
        return mime_type(filename)

    async def create(self, spec: UploadSpec, scope: Scope | None = None) -> Opened:
        body: dict[str, object] = {
            "filename": spec.filename,
            "purpose": spec.purpose,
            "bytes": spec.size,
            "mime_type": spec.mime_type,
        }
        if spec.expires_after is not None:
            body["expires_after"] = {
                "anchor": "created_at",
                "seconds": spec.expires_after,
            }
        answer = await self._http.request("create", "POST", "uploads", json=body)
        upload = answer.decode(_Upload)
        return Opened(
            upload_id=UploadId(upload.id),
            created_at=int(upload.created_at),
            expires_at=None if upload.expires_at is None else int(upload.expires_at),
            request_id=answer.request_id,
        )

    async def put_part(
        self, spec: UploadSpec, opened: Opened, part: Part, body: Body
    ) -> PutPart:
        operation = f"part {part.number} of {opened.upload_id}"
        try:
            answer = await self._http.request(
                operation, "POST", _at(opened, "parts"), part=body
            )
        except RequestRejected as error:
            if error.status == 404:
                raise unseen(
                    opened.upload_id,
                    error,
                    hint="was it opened with another key or project? resume with that"
                    " one",
                ) from error
            if error.status in (400, 413):
                error.hint = TOO_LARGE
            raise
        stored = answer.decode(_Part)
        return PutPart(
            part_id=PartId(stored.id),
            request_id=answer.request_id,
            details={"azure_block_id": block}
            if (block := stored.azure_block_id)
            else {},
        )

    async def complete(
        self,
        spec: UploadSpec,
        opened: Opened,
        parts: Sequence[SentPart],
        md5: str | None,
    ) -> File:
        body: dict[str, object] = {"part_ids": [part.part_id for part in parts]}
        if md5 is not None:
            body["md5"] = md5
        answer = await self._http.request(
            f"complete {opened.upload_id}",
            "POST",
            _at(opened, "complete"),
            json=body,
        )
        upload = answer.decode(_Upload)
        if upload.id != opened.upload_id or upload.file is None:
            what = "has no file" if upload.file is None else f"speaks of {upload.id}"
            raise UnexpectedAnswer(
                f"complete {opened.upload_id}: HTTP {answer.status}, but the answer"
                f" {what}",
                status=answer.status,
                request_id=answer.request_id,
            )
        return _file(upload.file, answer)

    async def find_completed(self, identity: Identity, since: int) -> Sequence[File]:
        return await self._files({"purpose": identity.purpose}, since)

    async def list_files(self, purpose: str | None = None) -> Sequence[File]:
        return await self._files({"purpose": purpose} if purpose else {}, 0)

    async def _files(self, filters: Mapping[str, str], since: int) -> Sequence[File]:
        """Page through the newest files, down to *since*."""
        files: list[File] = []
        query = {**filters, "order": "desc", "limit": str(PAGE)}
        for _ in range(MAX_PAGES):
            answer = await self._http.request("list files", "GET", "files", query=query)
            page = answer.decode(_Files)
            files += (_file(file, answer) for file in page.data)
            last = page.data[-1] if page.data else None
            # Who leaves has_more out says nothing; a full page may not be the last.
            more = len(page.data) >= PAGE if page.has_more is None else page.has_more
            if last is None or not more or _is_past(since, files):
                return [file for file in files if file.created_at >= since]
            if query.get("after") == last.id:
                break
            query["after"] = last.id
        raise UnexpectedAnswer(
            f"list files: {len(files)} files, and no end before {since}"
        )

    async def get_file(self, file_id: FileId) -> File:
        answer = await self._http.request(
            f"get {file_id}", "GET", f"files/{quote(file_id, safe='')}"
        )
        return _file(answer.decode(_File), answer)

    async def read_file(self, file_id: FileId, *, limit: int) -> AsyncGenerator[bytes]:
        path = f"files/{quote(file_id, safe='')}/content"
        size = 0
        async with self._http.stream(f"read {file_id}", "GET", path, whole=True) as got:
            async for chunk in got:
                yield chunk
                size += len(chunk)
                if size > limit:
                    return

    async def delete_file(self, file_id: FileId) -> None:
        path = f"files/{quote(file_id, safe='')}"
        await self._http.request(f"delete {file_id}", "DELETE", path)

    async def cancel(self, opened: Opened) -> None:
        try:
            await self._http.request(
                f"cancel {opened.upload_id}",
                "POST",
                _at(opened, "cancel"),
            )
        except UploadExpired:
            return
        except RequestRejected as error:
            if error.status != 404:
                raise

    async def aclose(self) -> None:
        await self._http.aclose()


def _is_past(since: int, files: Sequence[File]) -> bool:
    """Whether everything that follows *files* is older than *since*.

    Some services do not look at `order`, so a list has to show that it descends.
    """
    times = [file.created_at for file in files]
    descends = times[0] > times[-1] and times == sorted(times, reverse=True)
    return descends and times[-1] < since


def _at(opened: Opened, verb: str) -> str:
    # An id is the service's word, and no more to be trusted in a path than any other.
    return f"uploads/{quote(opened.upload_id, safe='')}/{verb}"


def _file(file: _File, answer: Answer) -> File:
    return File(
        id=FileId(file.id),
        bytes=file.bytes,
        created_at=int(file.created_at),
        filename=file.filename,
        purpose=file.purpose,
        status=file.status,
        expires_at=None if file.expires_at is None else int(file.expires_at),
        request_id=answer.request_id,
    )
