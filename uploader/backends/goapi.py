"""GoAPI's GPTs API: a whole file, into a conversation that exists.

From the vendor's pages of 2024 to 2026.  None of them states path and part name of
the upload, nor a limit; those here are settings, or the limits of the service behind.
"""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import quote

import msgspec

from uploader.account import Account
from uploader.answer import Answer
from uploader.backend import Capabilities
from uploader.backends.mime import OCTETS
from uploader.backends.whole import (
    IMAGES,
    WHOLE,
    Stored,
    Whole,
    is_image,
    suffix_of,
)
from uploader.config import Limits, Settings
from uploader.errors import SourceError, UnexpectedAnswer, UsageError
from uploader.headers import agent, checked_key, constant
from uploader.http import Http
from uploader.model import MIB, Opened, Scope, UploadSpec
from uploader.multipart import Form

MAX_FILE: Final = 512 * MIB
MAX_IMAGE: Final = 20 * MIB
MAX_SPREADSHEET: Final = 50 * MIB

SPREADSHEETS: Final = {
    ".csv": "text/csv",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".tsv": "text/tab-separated-values",
    ".xls": "application/vnd.ms-excel",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
TYPES: Final = {
    **IMAGES,
    **SPREADSHEETS,
    ".c": "text/x-c",
    ".cpp": "text/x-c++",
    ".cs": "text/x-csharp",
    ".css": "text/css",
    ".doc": "application/msword",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".epub": "application/epub+zip",
    ".htm": "text/html",
    ".html": "text/html",
    ".java": "text/x-java",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".log": "text/plain",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".php": "text/x-php",
    ".ppt": "application/vnd.ms-powerpoint",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".py": "text/x-script.python",
    ".rb": "text/x-ruby",
    ".rtf": "application/rtf",
    ".sh": "text/x-sh",
    ".tex": "text/x-tex",
    ".ts": "text/x-typescript",
    ".txt": "text/plain",
    ".xml": "text/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
}

logger = logging.getLogger(__name__)


class _File(msgspec.Struct):
    file_id: str
    file_name: str
    file_size: int


class _Envelope(msgspec.Struct):
    data: _File


class _Code(msgspec.Struct):
    code: int | None = None


class GoAPI(Whole):
    """`uploader.backend.Backend` for GoAPI."""

    name = "goapi"
    capabilities = Capabilities(
        part_is_effect=True,
        needs_scope=True,
        parallel_parts=False,
        expires=False,
        knows_files=False,
    )
    limits = Limits(part_size=MAX_FILE, upload_size=MAX_FILE, parts=1, lifetime=None)

    def __init__(self, account: Account, *, path: str, part_name: str) -> None:
        """*path* has a place for the `{conversation_id}`."""
        self._account = account
        self.service = account.service
        self._upload_path = path
        self._part_name = part_name

    @classmethod
    def from_settings(cls, settings: Settings) -> GoAPI:
        """Raises `UsageError` for settings that no request could be made with."""
        return cls(
            account(settings),
            path=settings.goapi.upload_path,
            part_name=settings.goapi.upload_part,
        )

    def check(self, spec: UploadSpec) -> None:
        super().check(spec)
        check_size(spec.filename, spec.size)
        likely = None
        if is_image(spec.mime_type):
            likely = MAX_IMAGE
        elif spec.mime_type in SPREADSHEETS.values():
            likely = MAX_SPREADSHEET
        if likely is not None and spec.size > likely:
            logger.warning(
                "%s: %d bytes; goapi states no limit, but may take only %d of this kind",
                spec.filename,
                spec.size,
                likely,
            )

    def mime_type(self, filename: str) -> str:
        return mime_type(filename)

    async def create(self, spec: UploadSpec, scope: Scope | None = None) -> Opened:
        opened = await super().create(spec, scope)
        if opened.upload_id == WHOLE:
            raise UsageError(
                f"{spec.filename}: goapi takes files into a conversation only",
                hint="name it: --to goapi:ID, or --to goapi:new",
            )
        return opened

    def _path(self, opened: Opened) -> str:
        conversation = quote(opened.upload_id, safe="")
        path = self._upload_path.replace("{conversation_id}", conversation)
        return path.lstrip("/")

    def _form(self, spec: UploadSpec, opened: Opened) -> Form:
        return Form(
            field=self._part_name,
            filename=spec.filename,
            content_type=spec.mime_type,
        )

    def _stored(self, answer: Answer) -> Stored:
        file = answer.decode(_Envelope).data
        return Stored(
            id=file.file_id, name=file.file_name, size=file.file_size, details={}
        )


def check_size(name: str, size: int) -> None:
    """Raises `SourceError`."""
    if size > MAX_FILE:
        raise SourceError(
            f"{name} has {size} bytes; goapi takes at most {MAX_FILE}",
            hint="no conversation takes more; `uploader upload` without --to carries it"
            " to OpenAI's files",
        )


def mime_type(filename: str) -> str:
    return TYPES.get(suffix_of(filename), OCTETS)


def account(settings: Settings) -> Account:
    """Who asks GoAPI.  Raises `UsageError`."""
    key = checked_key(settings.goapi.api_key, "GOAPI_API_KEY")
    http = Http(
        settings.goapi.base_url,
        constant({"X-API-Key": key, **agent()}),
        timeouts=settings.timeouts,
        ca_bundle=settings.ca_bundle,
        status_of=_status,
        key_name="GOAPI_API_KEY",
    )
    return Account(http, f"goapi {settings.service or http.base_url}", key)


def _status(answer: Answer) -> int:
    """What the envelope says: a refusal may come as HTTP 200."""
    try:
        code = msgspec.json.decode(answer.body, type=_Code).code
    except (msgspec.DecodeError, UnicodeDecodeError):
        return answer.status
    if code is None or 200 <= code < 300:
        return answer.status
    if 300 <= code < 600:
        return code
    raise UnexpectedAnswer(
        f"{answer.operation}: HTTP {answer.status}, but the answer has the code {code}",
        hint="look at the service whether it was done all the same",
        status=answer.status,
        request_id=answer.request_id,
    )
