"""LLMProvider's Gizmo API: a whole file, into a conversation or a new one.

From the vendor's "Uploaded API" and "Action API" of 2025-03.
"""

from __future__ import annotations

from typing import Final

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
from uploader.errors import SourceError
from uploader.headers import agent, checked_key, constant
from uploader.http import Http
from uploader.model import Opened, UploadSpec
from uploader.multipart import Form

MAX_FILE: Final = 20_000_000
"""The document says 20M and not which M; this is right under either reading."""

DOCUMENTS: Final = {
    ".c": "text/x-c",
    ".cc": "text/x-c++",
    ".cpp": "text/x-c++",
    ".cs": "text/x-csharp",
    ".cxx": "text/x-c++",
    ".doc": "application/msword",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".h": "text/x-c",
    ".hpp": "text/x-c++",
    ".htm": "text/html",
    ".html": "text/html",
    ".java": "text/x-java",
    ".js": "text/javascript",
    ".json": "application/json",
    # The service's own spelling.
    ".latex": "application/x-latext",
    ".log": "text/plain",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".pdf": "application/pdf",
    ".php": "text/x-php",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".py": "text/x-script.python",
    ".rb": "text/x-ruby",
    ".sh": "text/x-sh",
    ".tex": "text/x-tex",
    ".ts": "text/x-typescript",
    ".txt": "text/plain",
}
TYPES: Final = {**IMAGES, **DOCUMENTS}


class _File(msgspec.Struct):
    id: str
    name: str
    size: int
    mime_type: str | None = msgspec.field(default=None, name="mimeType")
    image_width: int | None = None
    image_height: int | None = None
    tokens: int | None = msgspec.field(default=None, name="fileTokenSize")
    conversation_id: str | None = None


class LLMProvider(Whole):
    """`uploader.backend.Backend` for LLMProvider."""

    name = "llmprovider"
    capabilities = Capabilities(
        part_is_effect=True,
        needs_scope=False,
        parallel_parts=False,
        expires=False,
        knows_files=False,
    )
    limits = Limits(part_size=MAX_FILE, upload_size=MAX_FILE, parts=1, lifetime=None)

    def __init__(self, account: Account, *, path: str, model: str) -> None:
        self._account = account
        self.service = account.service
        self._upload_path = path.lstrip("/")
        self._model = model

    @classmethod
    def from_settings(cls, settings: Settings) -> LLMProvider:
        """Raises `UsageError` for settings that no request could be made with."""
        return cls(
            account(settings),
            path=settings.llmprovider.upload_path,
            model=settings.llmprovider.model,
        )

    def check(self, spec: UploadSpec) -> None:
        super().check(spec)
        check_file(spec.filename, spec.size, spec.mime_type)

    def mime_type(self, filename: str) -> str:
        return mime_type(filename)

    def _path(self, opened: Opened) -> str:
        return self._upload_path

    def _form(self, spec: UploadSpec, opened: Opened) -> Form:
        texts = [
            ("upload_type", "multimodal" if is_image(spec.mime_type) else "my_files"),
            ("model", self._model),
        ]
        if opened.upload_id != WHOLE:
            texts.append(("conversation_id", opened.upload_id))
        return Form(
            field="files",
            filename=spec.filename,
            content_type=spec.mime_type,
            texts=tuple(texts),
        )

    def _stored(self, answer: Answer) -> Stored:
        file = answer.decode(_File)
        said: dict[str, str | int | None] = {
            "mimeType": file.mime_type,
            "width": file.image_width,
            "height": file.image_height,
            "fileTokenSize": file.tokens,
            "conversation_id": file.conversation_id,
        }
        return Stored(
            id=file.id,
            name=file.name,
            size=file.size,
            details={name: value for name, value in said.items() if value},
        )


def check_file(name: str, size: int, mime_type: str) -> None:
    """Raises `SourceError` for a size or a kind that the service does not take."""
    if size > MAX_FILE:
        raise SourceError(
            f"{name} has {size} bytes; llmprovider takes at most {MAX_FILE}",
            hint="goapi:new takes up to 512 MB; so does vector-store:new",
        )
    if mime_type not in TYPES.values():
        raise SourceError(
            f"{name} is {mime_type}, which llmprovider does not take: it has no"
            " upload type for it",
            hint="send it to goapi:new; or say what it really is with --mime-type, if"
            " that is one of text/plain, application/pdf, image/png and the like",
        )


def mime_type(filename: str) -> str:
    return TYPES.get(suffix_of(filename), OCTETS)


def account(settings: Settings) -> Account:
    """Who asks LLMProvider.  Raises `UsageError`."""
    key = checked_key(settings.llmprovider.api_key, "LLMPROVIDER_API_KEY")
    http = Http(
        settings.llmprovider.base_url,
        constant({"Authorization": f"Bearer {key}", **agent()}),
        timeouts=settings.timeouts,
        ca_bundle=settings.ca_bundle,
        key_name="LLMPROVIDER_API_KEY",
    )
    return Account(http, f"llmprovider {settings.service or http.base_url}", key)
