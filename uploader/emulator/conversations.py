"""Conversations and their items."""

import dataclasses
from collections.abc import Sequence
from sqlite3 import Connection
from typing import Final

from msgspec import Struct

from uploader.emulator import history, ids
from uploader.emulator.answers import Document, Refusal
from uploader.emulator.call import Call, Route
from uploader.emulator.history import Conversation
from uploader.emulator.items import Items, Metadata, read_items
from uploader.emulator.pages import Listing, list_document, page, read_listing

IMAGE_URLS: Final = "message.input_image.image_url"
INCLUDABLE: Final = frozenset(
    {
        IMAGE_URLS,
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
        "reasoning.encrypted_content",
        "message.output_text.logprobs",
    }
)


class CreateConversation(Struct, forbid_unknown_fields=True):
    items: Items | None = None
    metadata: Metadata | None = None


class UpdateConversation(Struct, forbid_unknown_fields=True):
    metadata: Metadata


class CreateItems(Struct, forbid_unknown_fields=True):
    items: Items


async def create(call: Call) -> Document:
    asked = await call.json(CreateConversation)
    conversation = Conversation(
        id=ids.conversation_id(call.now),
        created_at=int(call.now),
        owner=call.owner,
        metadata=asked.metadata or {},
    )
    with call.store.transaction() as db:
        history.put_conversation(db, conversation)
        _add(db, call, conversation.id, asked.items or [])
    return _document(conversation)


async def retrieve(call: Call) -> Document:
    with call.store.transaction() as db:
        return _document(_find(db, call))


async def update(call: Call) -> Document:
    asked = await call.json(UpdateConversation)
    with call.store.transaction() as db:
        changed = dataclasses.replace(_find(db, call), metadata=asked.metadata)
        history.put_conversation(db, changed)
    return _document(changed)


async def delete(call: Call) -> Document:
    with call.store.transaction() as db:
        conversation = _find(db, call)
        history.delete_conversation(db, conversation.id)
    return {"id": conversation.id, "object": "conversation.deleted", "deleted": True}


async def add_items(call: Call) -> Document:
    include = _included(call)
    asked = await call.json(CreateItems)
    with call.store.transaction() as db:
        conversation = find_open(db, call, call.ids["conversation_id"])
        added = _add(db, call, conversation.id, asked.items)
    return _ordered(list_document(_shown(added, include), has_more=False))


def _add(
    db: Connection, call: Call, conversation_id: str, given: Sequence[Document]
) -> list[Document]:
    added = read_items(db, call, given, conversation_id, param="items")
    listed_at = call.now + call.switches.items_delay
    history.add_items(db, conversation_id, added, listed_at=listed_at)
    return added


async def list_items(call: Call) -> Document:
    asked, include = read_listing(call, Listing), _included(call)
    with call.store.transaction() as db:
        conversation = _find(db, call)
        items = history.items_of(db, conversation.id, call.now)
    unknown = None if call.switches.seeding else _no_such_item
    return _ordered(page(_shown(items, include), asked, unknown=unknown))


async def retrieve_item(call: Call) -> Document:
    include = _included(call)
    with call.store.transaction() as db:
        item = _find_item(db, call, _find(db, call))
    return _shown([item], include)[0]


async def delete_item(call: Call) -> Document:
    with call.store.transaction() as db:
        conversation = _find(db, call)
        item = _find_item(db, call, conversation)
        history.delete_item(db, conversation.id, str(item["id"]))
    return _document(conversation)


def find_open(db: Connection, call: Call, conversation_id: str) -> Conversation:
    """Return the conversation, unless it is locked."""
    conversation = find(db, call, conversation_id)
    locked = call.switches.locked_conversations
    if locked or history.is_answering(db, conversation.id, call.now):
        # The service has these words for it, says its forum.
        raise Refusal(
            400,
            "Another process is currently operating on this conversation."
            " Please retry in a few seconds.",
            code="conversation_locked",
        )
    return conversation


def find(db: Connection, call: Call, conversation_id: str) -> Conversation:
    conversation = history.find_conversation(db, conversation_id)
    if conversation is None and call.switches.seeding:
        conversation = _seed(db, call, conversation_id)
    if conversation is None or _is_foreign(call, conversation):
        raise Refusal(404, f"Conversation with id '{conversation_id}' not found.")
    return conversation


def _find(db: Connection, call: Call) -> Conversation:
    return find(db, call, call.ids["conversation_id"])


def _is_foreign(call: Call, conversation: Conversation) -> bool:
    return call.switches.own_conversations and conversation.owner != call.owner


def _find_item(db: Connection, call: Call, conversation: Conversation) -> Document:
    item_id = call.ids["item_id"]
    for item in history.items_of(db, conversation.id, call.now):
        if item["id"] == item_id:
            return item
    if call.switches.seeding:
        return _seed_item(db, call, conversation, item_id)
    raise _no_such_item(item_id)


def _no_such_item(item_id: str) -> Refusal:
    return Refusal(404, f"Item with id '{item_id}' not found.")


def _seed(db: Connection, call: Call, conversation_id: str) -> Conversation:
    conversation = Conversation(
        id=conversation_id, created_at=int(call.now), owner=call.owner, metadata={}
    )
    history.put_conversation(db, conversation)
    return conversation


def _seed_item(
    db: Connection, call: Call, conversation: Conversation, item_id: str
) -> Document:
    given: Document = {"id": item_id, "role": "user", "content": "seeded"}
    return _add(db, call, conversation.id, [given])[0]


def _included(call: Call) -> frozenset[str]:
    """What `include` asks for, in either spelling of a list in a query."""
    query = call.request.query
    given = [*query.getall("include", ()), *query.getall("include[]", ())]
    for name in given:
        if name not in INCLUDABLE:
            raise Refusal(
                400,
                f"Invalid value: '{name}'. Supported values are:"
                f" {', '.join(sorted(INCLUDABLE))}.",
                param="include",
                code="invalid_value",
            )
    return frozenset(given)


def _shown(items: Sequence[Document], include: frozenset[str]) -> list[Document]:
    """Return the items with what is shown of them only on request left out."""
    if IMAGE_URLS in include:
        return list(items)
    return [{**item, "content": _without_urls(item["content"])} for item in items]


def _without_urls(content: object) -> object:
    assert isinstance(content, list)
    return [
        {**part, "image_url": None} if "image_url" in part else part for part in content
    ]


def _ordered(document: Document) -> Document:
    """Put the keys of a list in the order of this service (recording)."""
    order = ("object", "data", "first_id", "has_more", "last_id")
    return {key: document[key] for key in order}


def _document(conversation: Conversation) -> Document:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created_at,
        "metadata": conversation.metadata,
    }


CONVERSATION: Final = "/conversations/{conversation_id}"
ITEM: Final = CONVERSATION + "/items/{item_id}"

ROUTES: Final = (
    Route("conversation_create", "POST", "/conversations", create),
    Route("conversation_get", "GET", CONVERSATION, retrieve),
    Route("conversation_update", "POST", CONVERSATION, update),
    Route("conversation_delete", "DELETE", CONVERSATION, delete),
    Route("item_create", "POST", CONVERSATION + "/items", add_items),
    Route("item_list", "GET", CONVERSATION + "/items", list_items),
    Route("item_get", "GET", ITEM, retrieve_item),
    Route("item_delete", "DELETE", ITEM, delete_item),
)
