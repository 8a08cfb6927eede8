"""A question in a relay's conversation, and its answer."""

from collections.abc import Mapping, Sequence
from sqlite3 import Connection
from typing import NamedTuple

from uploader.emulator import ids, relays
from uploader.emulator.answering import answer_to
from uploader.emulator.answers import Refusal
from uploader.emulator.attachments import Attachment, Pointer, check_attachments
from uploader.emulator.call import Call
from uploader.emulator.relays import Conversation, Message, RelayFile


class Exchange(NamedTuple):
    """Two messages, the second on the first."""

    question: Message
    answer: Message


def hold(
    db: Connection,
    conversation: Conversation,
    text: str,
    *,
    files: Mapping[str, RelayFile],
    parent_id: str,
    attachments: Sequence[Attachment],
    pointers: Sequence[Pointer],
) -> Exchange:
    """Check what the message says of its *files*, and keep it with its answer."""
    check_attachments(files, attachments, pointers)
    question = Message(
        id=ids.message_id(),
        conversation_id=conversation.id,
        parent_id=_parent(db, conversation, parent_id),
        role="user",
        text=text,
        file_ids=tuple(attachment.id for attachment in attachments),
    )
    answer = Message(
        id=ids.message_id(),
        conversation_id=conversation.id,
        parent_id=question.id,
        role="assistant",
        text=answer_to(text, [files[file_id].name for file_id in question.file_ids]),
    )
    relays.add_message(db, question)
    relays.add_message(db, answer)
    return Exchange(question, answer)


def _parent(db: Connection, conversation: Conversation, given: str) -> str | None:
    """An empty parent is as good as none: the last message of the conversation."""
    messages = [message.id for message in relays.messages_of(db, conversation.id)]
    if not given:
        return messages[-1] if messages else None
    if given not in messages:
        raise Refusal(
            400,
            f"There is no message {given} in the conversation.",
            param="parent_message_id",
        )
    return given


def remark_spellings(call: Call, attachments: Sequence[Attachment]) -> None:
    for attachment in attachments:
        call.remark(f"{attachment.id}: {' and '.join(attachment.mime_keys)}")
