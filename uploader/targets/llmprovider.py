"""A conversation at LLMProvider: a chat completion that names its files.

Only the shape of the message is documented, on the page of another request; that
chat completions take it is inferred, so their path is a setting.
"""

from __future__ import annotations

from uploader.account import Account
from uploader.backends import llmprovider
from uploader.backends.whole import is_image
from uploader.config import Llmprovider, Settings
from uploader.message import FileRef
from uploader.model import Scope
from uploader.target import Message
from uploader.targets.completions import Completions
from uploader.targets.reading import Reader
from uploader.targets.relay import Relay


class LlmproviderConversation(Relay):
    """`uploader.target.Target` for LLMProvider's Gizmo API."""

    backend = "llmprovider"

    def __init__(self, name: str, account: Account, settings: Llmprovider) -> None:
        super().__init__(name, account, first_prompt=settings.first_prompt)
        self._settings = settings

    @classmethod
    def from_settings(cls, name: str, settings: Settings) -> LlmproviderConversation:
        """Raises `UsageError` for settings that no request could be made with."""
        return cls(name, llmprovider.account(settings), settings.llmprovider)

    def mime_type(self, filename: str) -> str:
        return llmprovider.mime_type(filename)

    def check_file(self, name: str, size: int, mime_type: str) -> None:
        llmprovider.check_file(name, size, mime_type)

    def path(self, scope: Scope | None) -> str:
        return self._settings.chat_path.lstrip("/")

    def reader(self, operation: str) -> Reader:
        return Completions(operation, self._account.quotable)

    def body(self, message: Message) -> dict[str, object]:
        body: dict[str, object] = {"model": message.model or self._settings.model}
        if message.scope.conversation_id:
            body["conversation_id"] = message.scope.conversation_id
        if message.scope.parent_message_id:
            body["parent_message_id"] = message.scope.parent_message_id
        body["stream"] = False
        said: dict[str, object] = {"role": "user", "content": message.prompt or ""}
        if message.files:
            said["attachments"] = [self._attachment(file) for file in message.files]
        images = [file for file in message.files if is_image(self.type_of(file))]
        if images:
            said["parts"] = [self._part(file) for file in images]
        body["messages"] = [said]
        return body

    def _attachment(self, file: FileRef) -> dict[str, object]:
        mime_type = self.type_of(file)
        attachment: dict[str, object] = {
            "id": file.file_id,
            "name": self.name_of(file),
            "size": self.size(file),
            "mimeType": mime_type,
        }
        if tokens := file.details.get("fileTokenSize"):
            attachment["fileTokenSize"] = tokens
        if is_image(mime_type):
            attachment["width"], attachment["height"] = self.dimensions(file) or (
                None,
                None,
            )
        return attachment

    def _part(self, file: FileRef) -> dict[str, object]:
        width, height = self.dimensions(file) or (None, None)
        return {
            "name": self.name_of(file),
            "asset_pointer": f"file-service://{file.file_id}",
            "size_bytes": self.size(file),
            "width": width,
            "height": height,
        }
