"""LLMProvider's Gizmo APIs: upload a file, then ask about it.

Built from documents, not from the live service.  Documented are the upload and
the shape of a message; that chat/completions takes such a message is inferred.
Its own `/v1` is OpenAI's here, so all of it stands under `/llmprovider`.
"""

from collections.abc import Iterator
from sqlite3 import Connection
from typing import Final, Literal

from msgspec import Struct

from uploader.emulator import ids, relays, sse
from uploader.emulator.answering import count_tokens, words_of
from uploader.emulator.answers import JSON, Document, Refusal, Reply
from uploader.emulator.attachments import Attachment, Pointer
from uploader.emulator.call import Call, Route, required, unexpected
from uploader.emulator.dialect import Dialect, undressed
from uploader.emulator.exchange import hold, remark_spellings
from uploader.emulator.files import whole
from uploader.emulator.images import HEAD, read_image
from uploader.emulator.receive import Arrival, Head, arriving, read_form
from uploader.emulator.relays import Conversation, Message, RelayFile

MODELS: Final = ("gizmo-gpt-4o", "gizmo-gpt4o")
"""The document spells it both ways."""

IMAGES: Final = frozenset({"image/webp", "image/jpeg", "image/gif", "image/png"})
OFFICE: Final = "application/vnd.openxmlformats-officedocument"
DOCUMENTS: Final = frozenset(
    {
        f"{OFFICE}.presentationml.presentation",
        f"{OFFICE}.wordprocessingml.document",
        "application/json",
        "application/msword",
        "application/pdf",
        "application/x-latex",
        # The document's own spelling.
        "application/x-latext",
        "text/html",
        "text/javascript",
        "text/markdown",
        "text/plain",
        "text/x-c",
        "text/x-c++",
        "text/x-csharp",
        "text/x-java",
        "text/x-php",
        "text/x-ruby",
        "text/x-script.python",
        "text/x-sh",
        "text/x-tex",
        "text/x-typescript",
    }
)
MIME_TYPES: Final = {"multimodal": IMAGES, "my_files": DOCUMENTS}
FIELDS: Final = frozenset({"upload_type", "model", "conversation_id"})
BYTES_PER_TOKEN: Final = 4


class Part(Pointer):
    """An image of a message."""

    name: str


class ChatMessage(Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: str
    name: str | None = None
    attachments: list[Attachment] = []
    parts: list[Part] = []


class Chat(Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    messages: list[ChatMessage]
    conversation_id: str = ""
    parent_message_id: str = ""
    stream: bool = False
    history_and_training_disabled: bool = False


class Action(Chat, kw_only=True):
    gizmo_id: str
    action: str


async def upload(call: Call) -> Document:
    if call.request.content_type == JSON:
        # The table of headers says so, all the same the body is a form.
        status = int(call.switches.llmprovider_json_upload)
        raise Refusal(status, "The body must be multipart/form-data.")
    async with arriving(call) as arrival:
        head = await read_form(call, arrival, limit=call.switches.llmprovider_max_file)
        upload_type = _check_form(call, head)
        limit = call.switches.llmprovider_max_file
        if arrival.size > limit:
            raise Refusal(413, f"{head.filename}: the limit is {limit} bytes.")
        with call.store.transaction() as db:
            file = _keep(db, call, head, arrival, upload_type)
    return _uploaded(call, file, upload_type)


def _check_form(call: Call, head: Head) -> str:
    """Return the type of the upload."""
    for name in head.texts.keys() - FIELDS:
        raise unexpected(name)
    if not head.filename:
        raise Refusal(400, "'files' is not a file", param="files")
    _check_model(_text(head, "model"))
    if call.switches.llmprovider_conversation_required:
        _text(head, "conversation_id")
    upload_type = _upload_type(call, _text(head, "upload_type"))
    if head.content_type not in MIME_TYPES[upload_type]:
        raise Refusal(
            400,
            f"'{head.content_type}' is not a MIME type of '{upload_type}'.",
            param="files",
        )
    return upload_type


def _text(head: Head, name: str) -> str:
    if name not in head.texts:
        raise required(name)
    return head.texts[name]


def _upload_type(call: Call, given: str) -> str:
    if given == "image" and call.switches.llmprovider_image_type:
        call.remark("upload_type 'image' was taken for 'multimodal'")
        return "multimodal"
    if given not in MIME_TYPES:
        raise Refusal(
            400,
            f"'{given}' is not one of {list(MIME_TYPES)} - 'upload_type'",
            param="upload_type",
        )
    return given


def _check_model(model: str) -> None:
    if model not in MODELS:
        raise Refusal(
            400, f"'{model}' is not one of {list(MODELS)} - 'model'", param="model"
        )


def _keep(
    db: Connection, call: Call, head: Head, arrival: Arrival, upload_type: str
) -> RelayFile:
    conversation = _conversation(db, call, head.texts.get("conversation_id", ""))
    image = read_image(arrival.head(HEAD))
    file_id = ids.relay_file_id()
    file = RelayFile(
        id=file_id,
        relay="llmprovider",
        owner=call.owner,
        conversation_id=conversation.id,
        name=head.filename or "",
        size=arrival.size,
        mime_type=head.content_type or "",
        is_image=upload_type == "multimodal",
        content=arrival.keep(db, file_id=file_id),
        **relays.dimensions_of(image),
    )
    relays.add_file(db, file)
    return file


def _conversation(db: Connection, call: Call, given: str) -> Conversation:
    """Return the conversation; a new one, if none was given."""
    known = relays.find_conversation(db, "llmprovider", given) if given else None
    if known is not None and known.owner == call.owner:
        return known
    if given:
        status = int(call.switches.llmprovider_no_conversation)
        raise Refusal(status, f"There is no conversation {given}.")
    made = Conversation(
        id=ids.relay_conversation_id(call.now), relay="llmprovider", owner=call.owner
    )
    relays.add_conversation(db, made)
    return made


def _uploaded(call: Call, file: RelayFile, upload_type: str) -> Document:
    """A bare object.  Half of its fields are optional, says the document."""
    document: Document = {"id": file.id, "name": file.name, "size": file.size}
    if call.switches.llmprovider_optional_fields:
        is_odd = call.switches.llmprovider_use_case == "my_files"
        base = f"{call.request.url.origin()}{DIALECT.prefix}"
        document["download_url"] = f"{base}/download/{file.id}"
        if file.dimensions is not None:
            document["image_width"], document["image_height"] = file.dimensions
        document["use_case"] = "my_files" if is_odd else upload_type
        if is_odd or not file.is_image:
            document["fileTokenSize"] = file.size // BYTES_PER_TOKEN + 1
        document["conversation_id"] = file.conversation_id
    return {**document, "mimeType": file.mime_type}


async def chat(call: Call) -> Document | Reply:
    asked = await call.json(Chat)
    answer = _say(call, asked)
    if asked.stream:
        return sse.stream(_chunks(asked, answer, int(call.now)), call.switches)
    return _completion(asked, answer, int(call.now))


async def action(call: Call) -> Document:
    """The same, never as a stream, although there is a field for it."""
    asked = await call.json(Action)
    return _completion(asked, _say(call, asked), int(call.now))


def _say(call: Call, asked: Chat) -> Message:
    """Answer the last message."""
    _check_model(asked.model)
    if not asked.messages:
        raise Refusal(400, "[] should be non-empty", param="messages")
    said = asked.messages[-1]
    with call.store.transaction() as db:
        held = hold(
            db,
            _conversation(db, call, asked.conversation_id),
            said.content,
            files=_files_of(db, call),
            parent_id=asked.parent_message_id,
            attachments=said.attachments,
            pointers=said.parts,
        )
    remark_spellings(call, said.attachments)
    return held.answer


def _files_of(db: Connection, call: Call) -> dict[str, RelayFile]:
    """All files of the key: only GoAPI ties a file to one conversation."""
    return {file.id: file for file in relays.files_by(db, "llmprovider", call.owner)}


def _completion(asked: Chat, answer: Message, created: int) -> Document:
    tokens = count_tokens(message.content for message in asked.messages)
    return {
        "id": ids.completion_id(),
        "object": "chat.completion",
        "created": created,
        "model": asked.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": answer.text},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": tokens,
            "completion_tokens": count_tokens([answer.text]),
            "total_tokens": tokens + count_tokens([answer.text]),
        },
        "conversation_id": answer.conversation_id,
        "message_id": answer.id,
    }


def _chunks(asked: Chat, answer: Message, created: int) -> Iterator[str]:
    chunk: Document = {
        "id": ids.completion_id(),
        "object": "chat.completion.chunk",
        "created": created,
        "model": asked.model,
    }
    behind: Document = {
        "conversation_id": answer.conversation_id,
        "message_id": answer.id,
    }
    words: list[Document] = [{"content": word} for word in words_of(answer.text)]
    for delta in ({"role": "assistant", "content": ""}, *words, {}):
        choice = {
            "index": 0,
            "delta": delta,
            "finish_reason": None if delta else "stop",
        }
        yield sse.data({**chunk, "choices": [choice], **behind})
    yield sse.DONE


async def download(call: Call) -> Reply:
    with call.store.transaction() as db:
        file = relays.find_file(db, "llmprovider", call.ids["file_id"])
    if file is None or file.owner != call.owner:
        raise Refusal(404, f"There is no file {call.ids['file_id']}.")
    return whole(call, file.content, size=file.size, name=file.name)


DIALECT: Final = Dialect(name="llmprovider", prefix="/llmprovider/v1", dress=undressed)

# An example of the document posts here, without a key.
INTERNAL: Final = Dialect(
    name="llmprovider_internal",
    prefix="/llmprovider/api/gizmo",
    is_on=lambda switches: switches.llmprovider_internal_path,
    wants_key=False,
    dress=undressed,
)

ROUTES: Final = (
    Route("llmprovider_upload", "POST", "/uploaded", upload, file_fields=("files",)),
    Route("llmprovider_chat", "POST", "/chat/completions", chat),
    Route("llmprovider_action", "POST", "/action", action),
    Route("llmprovider_download", "GET", "/download/{file_id}", download),
)

INTERNAL_ROUTES: Final = (
    Route("llmprovider_upload", "POST", "/upload", upload, file_fields=("files",)),
)
