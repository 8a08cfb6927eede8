"""A vector store at OpenAI: files that a model may search.

A file in it has the id that it has everywhere, so asking twice adds nothing.  It takes
files of 512 MB and 5,000,000 tokens; only the bytes can be counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import msgspec

from uploader.account import Account, unseen
from uploader.answer import Answer
from uploader.config import Settings
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    RequestRejected,
    SourceError,
    UsageError,
)
from uploader.message import Attached, FileRef
from uploader.model import FileId, Scope
from uploader.target import Message, OnDelta, OnResponse, TargetCapabilities
from uploader.targets.kinds import VECTOR_STORE_FILE, image_type

NEW: Final = "new"
UNSEEN: Final = "is it of another project, or deleted? vector-store:new makes one"
TITLE: Final = "uploader"
"""What a new vector store is called, to be told from others in the dashboard."""


class _Store(msgspec.Struct):
    id: str
    status: str | None = None


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _File(msgspec.Struct):
    id: str
    status: str | None = None
    last_error: _Error | None = None


class VectorStore:
    """`uploader.target.Target` for `/vector_stores`."""

    backend = "openai"
    capabilities = TargetCapabilities(asks_models=False)

    def __init__(self, name: str, account: Account) -> None:
        self.name = name
        self.service = account.service
        self._id = name.partition(":")[2]
        self._account = account
        self._http = account.http

    @classmethod
    def from_settings(cls, name: str, settings: Settings) -> VectorStore:
        """Raises `UsageError` for settings that no request could be made with."""
        return cls(name, Account.from_settings(settings))

    def accepts(self, files: Sequence[FileRef], prompt: str | None) -> None:
        self._refuse_words(prompt)
        if not files:
            raise UsageError(f"{self.name}: no file", hint="name a file")
        for file in files:
            if image_type(file) is not None:
                raise SourceError(
                    f"{file.name} is an image; a vector store searches texts",
                    hint="conversation:new takes images",
                )
            if (file.size or 0) > VECTOR_STORE_FILE:
                raise SourceError(
                    f"{file.name} has {file.size} bytes; a vector store takes"
                    f" {VECTOR_STORE_FILE}",
                    hint="no target takes a larger file; split it",
                )

    async def prepare(self) -> Scope:
        if self._id != NEW:
            await self._check_store(self._id)
            return Scope(conversation_id=self._id)
        answer = await self._http.request(
            "create a vector store", "POST", "vector_stores", json={"name": TITLE}
        )
        return Scope(conversation_id=answer.decode(_Store).id)

    async def newest(self, scope: Scope) -> str | None:
        return None

    async def find(self, message: Message) -> Attached | None:
        """A file needs no cursor: it is in the store, or it is not."""
        found = [await self._look(message.scope, file) for file in message.files]
        return None if None in found else _attached(message, None)

    async def attach(
        self, message: Message, *, on_delta: OnDelta, on_response: OnResponse
    ) -> Attached:
        """Add the files one after the other.

        When one of them is refused, those before it stay; adding them again is
        harmless.
        """
        self._refuse_words(message.prompt or message.model)
        request_id = None
        for file in message.files:
            answer = await self._add(message.scope, file)
            request_id = answer.request_id
        return _attached(message, request_id)

    async def fetch(self, response_id: str) -> Attached | None:
        raise UsageError(f"{self.name}: a vector store answers nothing")

    async def wait(self, message: Message, attached: Attached) -> bool:
        files = [await self._look(message.scope, file) for file in message.files]
        for known in files:
            if known is not None and known.status in ("failed", "cancelled"):
                raise self._unusable(message.scope, known)
        return all(known is not None and known.status == "completed" for known in files)

    async def aclose(self) -> None:
        await self._http.aclose()

    def _refuse_words(self, words: str | None) -> None:
        if words:
            raise UsageError(
                f"{self.name}: a vector store takes no prompt and asks no model",
                hint="send them to conversation:new",
            )

    async def _check_store(self, store_id: str) -> None:
        """Raises `RequestRejected` for a store that is gone, or another's."""
        try:
            answer = await self._http.request(f"get {store_id}", "GET", _path(store_id))
        except RequestRejected as error:
            if error.status == 404:
                raise unseen(store_id, error, hint=UNSEEN) from error
            raise
        if answer.decode(_Store).status == "expired":
            raise RequestRejected(
                f"{store_id} is expired",
                hint="vector-store:new makes a new one",
                request_id=answer.request_id,
            )

    async def _add(self, scope: Scope, file: FileRef) -> Answer:
        store_id = scope.conversation_id
        try:
            return await self._http.request(
                f"attach {file.file_id} to {store_id}",
                "POST",
                _path(store_id, "/files"),
                json={"file_id": file.file_id},
            )
        except BackendError as error:
            if error.status not in (404, 409):
                raise
            if error.status == 404:
                await self._check_store(store_id)
            raise _early(file.file_id, error) from error

    async def _look(self, scope: Scope, file: FileRef) -> _File | None:
        """The file as the store knows it; None for one that it does not know yet."""
        path = _path(scope.conversation_id, f"/files/{quote(file.file_id, safe='')}")
        try:
            answer = await self._http.request(
                f"look for {file.file_id} in {scope.conversation_id}", "GET", path
            )
        except RequestRejected as error:
            if error.status == 404:
                return None
            raise
        return answer.decode(_File)

    def _unusable(self, scope: Scope, file: _File) -> RequestRejected:
        reason = file.last_error or _Error()
        words = ": ".join(filter(None, (reason.code, reason.message)))
        return RequestRejected(
            f"{file.id} is {file.status} in {scope.conversation_id}"
            + (f": {self._account.quotable(words)}" if words else ""),
            hint="the file itself is still at the service, to be attached elsewhere",
        )


def _attached(message: Message, request_id: str | None) -> Attached:
    return Attached(
        conversation_id=message.scope.conversation_id,
        message_id=",".join(file.file_id for file in message.files),
        request_id=request_id,
    )


def _early(file_id: FileId, error: BackendError) -> BackendUnavailable:
    """What passes by itself: the store is busy, or does not see a new file yet."""
    early = BackendUnavailable(
        str(error),
        hint=f"is {file_id} right? a store sees a new file only after a moment",
        status=error.status,
        retry_after=error.retry_after,
        effect_possible=False,
    )
    # Not as an argument: *error* names the request already.
    early.request_id, early.code = error.request_id, error.code
    return early


def _path(store_id: str, rest: str = "") -> str:
    # An id comes from a person, or from the service; neither belongs into a path.
    return f"vector_stores/{quote(store_id, safe='')}{rest}"
