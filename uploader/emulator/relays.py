"""The nouns of GoAPI and LLMProvider, which relay to the same service, and their rows."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from sqlite3 import Connection, Row
from typing import Final, Literal

from uploader.emulator.images import Image
from uploader.emulator.store import insert

SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS relay_conversations (
        id     TEXT PRIMARY KEY,
        relay  TEXT NOT NULL,
        owner  TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS relay_messages (
        number           INTEGER PRIMARY KEY,
        id               TEXT NOT NULL UNIQUE,
        conversation_id  TEXT NOT NULL,
        parent_id        TEXT,
        role             TEXT NOT NULL,
        text             TEXT NOT NULL,
        file_ids         TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS relay_files (
        number           INTEGER PRIMARY KEY,
        id               TEXT NOT NULL UNIQUE,
        relay            TEXT NOT NULL,
        owner            TEXT NOT NULL,
        conversation_id  TEXT NOT NULL,
        name             TEXT NOT NULL,
        size             INTEGER NOT NULL,
        mime_type        TEXT NOT NULL,
        width            INTEGER,
        height           INTEGER,
        is_image         INTEGER NOT NULL,
        content          TEXT NOT NULL
    )
"""

Relay = Literal["goapi", "llmprovider"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation; *owner* is whose key made it."""

    id: str
    relay: Relay
    owner: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message in the tree of a conversation."""

    id: str
    conversation_id: str
    parent_id: str | None
    role: Literal["user", "assistant"]
    text: str
    file_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayFile:
    """A file that was uploaded for one conversation."""

    id: str
    relay: Relay
    owner: str
    conversation_id: str
    name: str
    size: int
    mime_type: str
    width: int | None
    height: int | None
    is_image: bool
    content: str

    @property
    def dimensions(self) -> tuple[int, int] | None:
        if self.width is None or self.height is None:
            return None
        return self.width, self.height


def dimensions_of(image: Image | None) -> dict[str, int | None]:
    width, height = (None, None) if image is None else (image.width, image.height)
    return {"width": width, "height": height}


def find_conversation(
    db: Connection, relay: Relay, conversation_id: str
) -> Conversation | None:
    row = db.execute(
        "SELECT * FROM relay_conversations WHERE relay = ? AND id = ?",
        [relay, conversation_id],
    ).fetchone()
    return None if row is None else Conversation(**row)


def add_conversation(db: Connection, conversation: Conversation) -> None:
    insert(db, "relay_conversations", asdict(conversation))


def messages_of(db: Connection, conversation_id: str) -> list[Message]:
    """The messages of a conversation; the last one is its current leaf."""
    rows = db.execute(
        "SELECT id, conversation_id, parent_id, role, text, file_ids"
        " FROM relay_messages WHERE conversation_id = ? ORDER BY number",
        [conversation_id],
    )
    return [_message(row) for row in rows]


def _message(row: Row) -> Message:
    return Message(**{**row, "file_ids": tuple(json.loads(row["file_ids"]))})


def add_message(db: Connection, message: Message) -> None:
    row = {**asdict(message), "file_ids": json.dumps(message.file_ids)}
    insert(db, "relay_messages", row)


def find_file(db: Connection, relay: Relay, file_id: str) -> RelayFile | None:
    found = _files(db, "relay = ? AND id = ?", [relay, file_id])
    return found[0] if found else None


def files_of(db: Connection, conversation_id: str) -> list[RelayFile]:
    return _files(db, "conversation_id = ?", [conversation_id])


def files_by(db: Connection, relay: Relay, owner: str) -> list[RelayFile]:
    return _files(db, "relay = ? AND owner = ?", [relay, owner])


def _files(db: Connection, condition: str, values: Sequence[str]) -> list[RelayFile]:
    rows = db.execute(
        "SELECT id, relay, owner, conversation_id, name, size, mime_type, width,"
        f" height, is_image, content FROM relay_files WHERE {condition}"
        " ORDER BY number",
        values,
    )
    return [RelayFile(**{**row, "is_image": bool(row["is_image"])}) for row in rows]


def add_file(db: Connection, file: RelayFile) -> None:
    insert(db, "relay_files", asdict(file))


def needed_content(db: Connection) -> set[str]:
    return {row["content"] for row in db.execute("SELECT content FROM relay_files")}
