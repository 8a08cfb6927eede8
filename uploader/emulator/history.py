"""The nouns of Conversations and Responses, and their rows."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Connection, Row
from typing import Final

from uploader.emulator.answers import Document
from uploader.emulator.store import insert

SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS conversations (
        id          TEXT PRIMARY KEY,
        created_at  INTEGER NOT NULL,
        owner       TEXT NOT NULL,
        metadata    TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS items (
        number           INTEGER PRIMARY KEY,
        conversation_id  TEXT NOT NULL,
        id               TEXT NOT NULL,
        listed_at        REAL NOT NULL,
        document         TEXT NOT NULL,
        UNIQUE (conversation_id, id)
    );
    CREATE TABLE IF NOT EXISTS responses (
        id               TEXT PRIMARY KEY,
        completes_at     REAL NOT NULL,
        conversation_id  TEXT,
        stored           INTEGER NOT NULL,
        context          TEXT NOT NULL,
        document         TEXT NOT NULL
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation; *owner* is whose key made it."""

    id: str
    created_at: int
    owner: str
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response.  *document* is what it is once completed.

    *context* are the messages that it knew, its own included.
    """

    id: str
    completes_at: float
    conversation_id: str | None
    stored: bool
    context: list[Document]
    document: Document


def find_conversation(db: Connection, conversation_id: str) -> Conversation | None:
    row = db.execute(
        "SELECT * FROM conversations WHERE id = ?", [conversation_id]
    ).fetchone()
    if row is None:
        return None
    return Conversation(**{**row, "metadata": json.loads(row["metadata"])})


def put_conversation(db: Connection, conversation: Conversation) -> None:
    db.execute(
        "INSERT OR REPLACE INTO conversations VALUES (?, ?, ?, ?)",
        [
            conversation.id,
            conversation.created_at,
            conversation.owner,
            json.dumps(conversation.metadata),
        ],
    )


def delete_conversation(db: Connection, conversation_id: str) -> None:
    """Delete the conversation; its items stay (spec)."""
    db.execute("DELETE FROM conversations WHERE id = ?", [conversation_id])


def add_item(
    db: Connection, conversation_id: str, document: Document, *, listed_at: float
) -> None:
    row = {
        "conversation_id": conversation_id,
        "id": document["id"],
        "listed_at": listed_at,
        "document": json.dumps(document),
    }
    insert(db, "items", row)


def items_of(db: Connection, conversation_id: str, now: float) -> list[Document]:
    """The items that can be seen by now, the oldest first."""
    rows = db.execute(
        "SELECT document FROM items WHERE conversation_id = ? AND listed_at <= ?"
        " ORDER BY number",
        [conversation_id, now],
    )
    return [json.loads(row["document"]) for row in rows]


def is_in(db: Connection, conversation_id: str, item_id: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM items WHERE conversation_id = ? AND id = ?",
        [conversation_id, item_id],
    ).fetchone()
    return row is not None


def find_item(db: Connection, item_id: str) -> Document | None:
    """Return the item, in whatever conversation it is."""
    row = db.execute(
        "SELECT document FROM items WHERE id = ? LIMIT 1", [item_id]
    ).fetchone()
    return None if row is None else _document(row)


def delete_item(db: Connection, conversation_id: str, item_id: str) -> None:
    db.execute(
        "DELETE FROM items WHERE conversation_id = ? AND id = ?",
        [conversation_id, item_id],
    )


def find_response(db: Connection, response_id: str) -> Response | None:
    row = db.execute(
        "SELECT * FROM responses WHERE id = ? AND stored", [response_id]
    ).fetchone()
    if row is None:
        return None
    parsed = {
        "stored": bool(row["stored"]),
        "context": json.loads(row["context"]),
        "document": _document(row),
    }
    return Response(**{**row, **parsed})


def add_response(db: Connection, response: Response) -> None:
    row = {
        "id": response.id,
        "completes_at": response.completes_at,
        "conversation_id": response.conversation_id,
        "stored": response.stored,
        "context": json.dumps(response.context),
        "document": json.dumps(response.document),
    }
    insert(db, "responses", row)


def is_answering(db: Connection, conversation_id: str, now: float) -> bool:
    """Is a response still running on this conversation?"""
    row = db.execute(
        "SELECT 1 FROM responses WHERE conversation_id = ? AND completes_at > ?",
        [conversation_id, now],
    ).fetchone()
    return row is not None


def add_items(
    db: Connection,
    conversation_id: str,
    documents: Sequence[Document],
    *,
    listed_at: float,
) -> None:
    for document in documents:
        add_item(db, conversation_id, document, listed_at=listed_at)


def _document(row: Row) -> Document:
    document: Document = json.loads(row["document"])
    return document
