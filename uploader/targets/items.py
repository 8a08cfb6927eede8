"""What a conversation consists of: messages, and other items that are skipped."""

from __future__ import annotations

import msgspec

from uploader.errors import UnexpectedAnswer


class Content(msgspec.Struct):
    """A piece of a message; a refusal is what a model says instead of an answer."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    file_id: str | None = None


class Item(msgspec.Struct):
    id: str = ""
    type: str = ""
    role: str | None = None
    # Only of a message it is known what it looks like.
    content: msgspec.Raw = msgspec.Raw(b"[]")

    def is_from(self, role: str) -> bool:
        return self.type == "message" and self.role == role

    def contents(self) -> list[Content]:
        """Of a message.  Raises `UnexpectedAnswer`."""
        try:
            return msgspec.json.decode(self.content, type=list[Content])
        except msgspec.DecodeError as error:
            raise UnexpectedAnswer(
                f"the content of {self.id} is not the contract's: {error}"
            ) from None

    def text(self) -> str:
        return "".join(each.text or each.refusal or "" for each in self.contents())

    def file_ids(self) -> set[str | None]:
        """None stands for a file without an id, which is given by its address."""
        return {each.file_id for each in self.contents() if _is_file(each)}


class Page(msgspec.Struct):
    data: list[Item]
    has_more: bool = False


def _is_file(content: Content) -> bool:
    return content.text is None and content.refusal is None
