"""What the targets at GoAPI and LLMProvider have in common.

Both carry a private web interface on.  Neither can be asked what is in a conversation,
and a file belongs to the one that it was uploaded into.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from uploader.account import Account
from uploader.backends.whole import is_image
from uploader.errors import (
    BackendUnavailable,
    RequestRejected,
    SourceError,
    UnexpectedAnswer,
    UsageError,
)
from uploader.message import Attached, FileRef
from uploader.model import Scope
from uploader.target import Message, OnDelta, OnResponse, TargetCapabilities
from uploader.targets.reading import LOOK, Reader, read

NEW: Final = "new"


class Relay(ABC):
    """`uploader.target.Target` without what a message looks like."""

    backend: str
    capabilities = TargetCapabilities(can_find=False, owns_files=True)

    def __init__(self, name: str, account: Account, *, first_prompt: str) -> None:
        """A conversation has to exist before a file; *first_prompt* opens it."""
        self.name = name
        self.service = account.service
        self._account = account
        self._id = name.partition(":")[2]
        self._first_prompt = first_prompt

    @abstractmethod
    def mime_type(self, filename: str) -> str: ...

    @abstractmethod
    def check_file(self, name: str, size: int, mime_type: str) -> None:
        """Raise `SourceError` for a size or a kind that is not taken."""

    @abstractmethod
    def body(self, message: Message) -> dict[str, object]:
        """The request for *message*, whose files are all accepted."""

    @abstractmethod
    def path(self, scope: Scope | None) -> str:
        """Where a message goes; without a scope, where a conversation begins."""

    @abstractmethod
    def reader(self, operation: str) -> Reader: ...

    def accepts(self, files: Sequence[FileRef], prompt: str | None) -> None:
        if not prompt or not prompt.strip():
            raise UsageError(
                f"{self.name}: {self.backend} takes files with a question only",
                hint="ask something with --prompt",
            )
        for file in files:
            self._accept(file)
        ids = [file.file_id for file in files if file.file_id]
        if len(ids) > len(set(ids)):
            raise UsageError(
                f"{self.name}: a file is named twice", hint="name each file once"
            )

    def _accept(self, file: FileRef) -> None:
        if file.file_id:
            self._check_owner(file)
        size, mime_type = self.size(file), self.type_of(file)
        if not file.name or size is None:
            raise UsageError(
                f"{file.file_id or file.name}: a message to {self.backend} repeats name"
                " and size of its files, and the service cannot be asked",
                hint="give them with --filename and --size",
            )
        self.check_file(file.name, size, mime_type)
        if is_image(mime_type) and self.dimensions(file) is None:
            raise SourceError(
                f"{file.name}: its width and height cannot be read, and"
                f" {self.backend} wants to know them",
                hint="is it whole? conversation:new takes images without; a file that"
                " is no image needs another name or --mime-type",
            )

    def _check_owner(self, file: FileRef) -> None:
        if self._id == NEW and not owner_of(file):
            raise UsageError(
                f"{file.file_id} belongs to the conversation that it was uploaded"
                " into, and a new one is another",
                hint=f"name that one: --to {self.backend}:ID",
            )
        if self._id != NEW and (stranger := _stranger(file, self._id)):
            raise UsageError(stranger, hint=self._upload_there(self._id))

    def _upload_there(self, conversation_id: str) -> str:
        return f"upload the file there: --to {self.backend}:{conversation_id}"

    async def prepare(self) -> Scope:
        """A new conversation answers its first message; that is waited for.

        One that was named cannot be looked at: the first message shows whether it is
        there.
        """
        if self._id != NEW:
            return Scope(conversation_id=self._id)
        opening = Message(
            scope=Scope(conversation_id=""), files=(), prompt=self._first_prompt
        )
        operation = f"{self.backend}: create a conversation"
        reader = self.reader(operation)
        try:
            await self._say(reader, None, opening, _ignore)
        except BackendUnavailable:
            # Once it has a name it is there: another would be one too many.
            if not reader.conversation_id:
                raise
        if not reader.conversation_id:
            raise UnexpectedAnswer(
                f"{operation}: the answer names no conversation",
                hint="one may have been made; name it as ID instead of new",
            )
        return Scope(
            conversation_id=reader.conversation_id,
            parent_message_id=reader.message_id if reader.is_answered else None,
        )

    async def newest(self, scope: Scope) -> str | None:
        return None

    async def find(self, message: Message) -> Attached | None:
        raise self._cannot_be_asked("what is in a conversation")

    async def fetch(self, response_id: str) -> Attached | None:
        raise self._cannot_be_asked("for an answer once more")

    async def wait(self, message: Message, attached: Attached) -> bool:
        return True

    async def aclose(self) -> None:
        await self._account.http.aclose()

    async def attach(
        self, message: Message, *, on_delta: OnDelta, on_response: OnResponse
    ) -> Attached:
        """The id of the message is that of the answer: what a follow-up names."""
        conversation_id = message.scope.conversation_id
        for file in message.files:
            if stranger := _stranger(file, conversation_id):
                raise RequestRejected(
                    stranger, hint=self._upload_there(conversation_id)
                )
        try:
            self.accepts(message.files, message.prompt)
        except (SourceError, UsageError) as error:
            # It was accepted once; a resumed run may know less of the file.
            raise RequestRejected(str(error), hint=error.hint) from error
        operation = f"{self.backend}: message to {conversation_id}"
        reader = self.reader(operation)
        request_id = await self._say(reader, message.scope, message, on_delta)
        if reader.conversation_id not in (None, "", conversation_id):
            raise UnexpectedAnswer(
                f"{operation}: answered in {reader.conversation_id} instead", hint=LOOK
            )
        return Attached(
            conversation_id=conversation_id,
            message_id=reader.message_id,
            answer=reader.text,
            request_id=request_id,
        )

    async def _say(
        self, reader: Reader, scope: Scope | None, message: Message, on_delta: OnDelta
    ) -> str | None:
        """Send the message, read the answer, return the name of the request."""
        async with self._account.http.stream(
            reader.operation, "POST", self.path(scope), json=self.body(message)
        ) as stream:
            await read(stream, reader, on_delta)
        return stream.request_id

    def _cannot_be_asked(self, what: str) -> RequestRejected:
        return RequestRejected(
            f"{self.backend} cannot be asked {what}",
            hint="look at the conversation where it is shown",
        )

    def type_of(self, file: FileRef) -> str:
        said = file.details.get("mimeType")
        return str(said or file.mime_type or self.mime_type(file.name))

    @staticmethod
    def size(file: FileRef) -> int | None:
        said = file.details.get("size")
        return said if isinstance(said, int) else file.size

    @staticmethod
    def name_of(file: FileRef) -> str:
        """As the service spells it: it compares."""
        return str(file.details.get("name") or file.name)

    @staticmethod
    def dimensions(file: FileRef) -> tuple[int, int] | None:
        """What the service said of an image, or else what the file says."""
        width = file.details.get("width") or file.width
        height = file.details.get("height") or file.height
        if isinstance(width, int) and isinstance(height, int):
            return width, height
        return None


def owner_of(file: FileRef) -> str | None:
    """The conversation that a file belongs to, as far as that is known."""
    said = file.details.get("conversation_id")
    return str(said) if said else file.scope


def quoted(conversation_id: str) -> str:
    """An id comes from a person, or from the service; neither belongs into a path."""
    return quote(conversation_id, safe="")


def _stranger(file: FileRef, conversation_id: str) -> str | None:
    """Say whose *file* is, if not that conversation's."""
    owner = owner_of(file)
    if not owner or owner == conversation_id:
        return None
    return f"{file.file_id} belongs to conversation {owner}, not to {conversation_id}"


def _ignore(_: str) -> None:
    """What a conversation says to be opened is nobody's answer."""
