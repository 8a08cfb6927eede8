"""A conversation at GoAPI: a message names its files, and shows its images."""

from __future__ import annotations

from uploader.account import Account
from uploader.backends import goapi
from uploader.backends.whole import is_image
from uploader.config import Goapi, Settings
from uploader.message import FileRef
from uploader.model import Scope
from uploader.target import Message
from uploader.targets.reading import Reader
from uploader.targets.relay import Relay, quoted
from uploader.targets.snapshots import Snapshots


class GoapiConversation(Relay):
    """`uploader.target.Target` for GoAPI's GPTs API."""

    backend = "goapi"

    def __init__(self, name: str, account: Account, settings: Goapi) -> None:
        super().__init__(name, account, first_prompt=settings.first_prompt)
        self._settings = settings

    @classmethod
    def from_settings(cls, name: str, settings: Settings) -> GoapiConversation:
        """Raises `UsageError` for settings that no request could be made with."""
        return cls(name, goapi.account(settings), settings.goapi)

    def mime_type(self, filename: str) -> str:
        return goapi.mime_type(filename)

    def check_file(self, name: str, size: int, mime_type: str) -> None:
        goapi.check_size(name, size)

    def path(self, scope: Scope | None) -> str:
        path = self._settings.conversation_path.strip("/")
        return f"{path}/{quoted(scope.conversation_id)}" if scope else path

    def reader(self, operation: str) -> Reader:
        return Snapshots(operation, self._account.quotable)

    def body(self, message: Message) -> dict[str, object]:
        body: dict[str, object] = {"model": message.model or self._settings.model}
        if self._settings.gizmo_id:
            body["gizmo_id"] = self._settings.gizmo_id
        if message.scope.parent_message_id:
            body["parent_message_id"] = message.scope.parent_message_id
        images = [file for file in message.files if is_image(self.type_of(file))]
        # Images first, and exactly one text, the last.
        body["content"] = {
            "content_type": "multimodal_text" if images else "text",
            "parts": [*map(self._pointer, images), message.prompt or ""],
        }
        if message.files:
            attachments = [self._attachment(file) for file in message.files]
            body["metadata"] = {"attachments": attachments}
        return body

    def _pointer(self, file: FileRef) -> dict[str, object]:
        width, height = self.dimensions(file) or (None, None)
        return {
            "content_type": "image_asset_pointer",
            "asset_pointer": f"file-service://{file.file_id}",
            "size_bytes": self.size(file),
            "width": width,
            "height": height,
        }

    def _attachment(self, file: FileRef) -> dict[str, object]:
        mime_type = self.type_of(file)
        attachment: dict[str, object] = {
            "id": file.file_id,
            "name": self.name_of(file),
            "size": self.size(file),
            "mime_type": mime_type,
        }
        if is_image(mime_type):
            # The documents use both spellings for images, and stress this one.
            attachment["mimeType"] = mime_type
            attachment["width"], attachment["height"] = self.dimensions(file) or (
                None,
                None,
            )
        return attachment
