"""GoAPI's GPTs API: conversations whose messages carry files uploaded for them.

Built from documents, not from the live service: path and part name of the upload
stand in none of them.
"""

from sqlite3 import Connection
from typing import Annotated, Final, Literal
from urllib.parse import quote

from msgspec import Meta, Struct

from uploader.emulator import goapi_stream, ids, relays, sse
from uploader.emulator.answers import Document, Refusal, Reply
from uploader.emulator.attachments import Attachment, Pointer
from uploader.emulator.call import Call, Route, required, unexpected
from uploader.emulator.dialect import Dialect, undressed
from uploader.emulator.exchange import Exchange, hold, remark_spellings
from uploader.emulator.files import whole
from uploader.emulator.images import HEAD, read_image
from uploader.emulator.receive import Arrival, Head, arriving, read_form
from uploader.emulator.relays import Conversation, RelayFile
from uploader.emulator.switches import Switches

SPREADSHEETS: Final = (".xlsx", ".xls", ".csv", ".tsv", ".ods")


class ImagePart(Pointer, tag="image_asset_pointer", tag_field="content_type"):
    """An image within the parts of a message."""


class Content(Struct, forbid_unknown_fields=True):
    content_type: Literal["text", "multimodal_text"]
    parts: Annotated[list[ImagePart | str], Meta(min_length=1)]


class Metadata(Struct, forbid_unknown_fields=True):
    attachments: list[Attachment] = []


class Ask(Struct, forbid_unknown_fields=True):
    content: Content
    model: str | None = None
    metadata: Metadata | None = None
    parent_message_id: str = ""
    gizmo_id: str | None = None
    stream: bool = True

    @property
    def attachments(self) -> list[Attachment]:
        return [] if self.metadata is None else self.metadata.attachments


async def create(call: Call) -> Reply:
    asked = await call.json(Ask)
    with call.store.transaction() as db:
        conversation = Conversation(
            id=ids.relay_conversation_id(call.now), relay="goapi", owner=call.owner
        )
        relays.add_conversation(db, conversation)
        held = _say(db, call, conversation, asked)
    return _answered(call, asked, held)


async def add_message(call: Call) -> Reply:
    asked = await call.json(Ask)
    with call.store.transaction() as db:
        held = _say(db, call, _find(db, call), asked)
    return _answered(call, asked, held)


def _say(
    db: Connection, call: Call, conversation: Conversation, asked: Ask
) -> Exchange:
    _check_model(call, asked)
    prompt, pointers = _read_content(asked.content)
    return hold(
        db,
        conversation,
        prompt,
        files={file.id: file for file in relays.files_of(db, conversation.id)},
        parent_id=asked.parent_message_id,
        attachments=asked.attachments,
        pointers=pointers,
    )


def _answered(call: Call, asked: Ask, held: Exchange) -> Reply:
    remark_spellings(call, asked.attachments)
    events = goapi_stream.events(
        held,
        model=asked.model or "",
        gizmo_id=asked.gizmo_id,
        now=call.now,
        switches=call.switches,
    )
    return sse.stream(events, call.switches)


def _check_model(call: Call, asked: Ask) -> None:
    if not asked.model:
        if call.switches.goapi_model_required:
            raise required("model")
        return
    known = call.switches.goapi_models.split(",")
    # A GPT comes with models of its own; documents and clients disagree on which.
    if asked.gizmo_id is None and asked.model not in known:
        raise Refusal(400, f"'{asked.model}' is not one of {known} - 'model'")


def _read_content(content: Content) -> tuple[str, list[Pointer]]:
    """Return the prompt and the images before it."""
    *before, prompt = content.parts
    pointers: list[Pointer] = [part for part in before if not isinstance(part, str)]
    if not isinstance(prompt, str) or len(pointers) < len(before):
        raise Refusal(400, "The parts are images, then exactly one text, the last.")
    if bool(pointers) is not (content.content_type == "multimodal_text"):
        raise Refusal(400, f"These parts are not '{content.content_type}'.")
    return prompt, pointers


async def upload(call: Call) -> Document:
    if call.ids["action"] != call.switches.goapi_upload_action:
        raise Refusal(404, "Not found")
    async with arriving(call) as arrival:
        head = await read_form(call, arrival, limit=call.switches.goapi_max_file)
        for name in head.texts:
            raise unexpected(name)
        _check_file(call, head, arrival)
        with call.store.transaction() as db:
            file = _keep(db, call, head, arrival)
            first, *_ = relays.files_of(db, file.conversation_id)
    call.remark(f"the file came as '{head.name}'")
    shown = first if call.switches.goapi_duplicate_ids else file
    return _enveloped(
        {"file_name": file.name, "file_id": shown.id, "file_size": file.size}
    )


def _keep(db: Connection, call: Call, head: Head, arrival: Arrival) -> RelayFile:
    conversation = _find(db, call)
    image = read_image(arrival.head(HEAD))
    file_id = ids.relay_file_id()
    file = RelayFile(
        id=file_id,
        relay="goapi",
        owner=call.owner,
        conversation_id=conversation.id,
        name=head.filename or "",
        size=arrival.size,
        mime_type=head.content_type or "application/octet-stream",
        is_image=image is not None,
        content=arrival.keep(db, file_id=file_id),
        **relays.dimensions_of(image),
    )
    relays.add_file(db, file)
    return file


def _check_file(call: Call, head: Head, arrival: Arrival) -> None:
    wanted = call.switches.goapi_part_name
    if wanted not in ("either", head.name):
        raise required(wanted)
    if not head.filename:
        raise Refusal(400, "The file has no name.")
    is_image = read_image(arrival.head(HEAD)) is not None
    limit = _largest(head.filename, call.switches, is_image=is_image)
    if arrival.size > limit:
        raise Refusal(413, f"{head.filename}: the limit is {limit} bytes.")


def _largest(name: str, switches: Switches, *, is_image: bool) -> int:
    if is_image:
        return switches.goapi_max_image
    if name.lower().endswith(SPREADSHEETS):
        return switches.goapi_max_spreadsheet
    return switches.goapi_max_file


class Download(Struct, forbid_unknown_fields=True):
    file_id: str


async def download(call: Call) -> Document:
    asked = await call.json(Download)
    with call.store.transaction() as db:
        conversation = _find(db, call)
        file = relays.find_file(db, "goapi", asked.file_id)
    if file is None or file.conversation_id != conversation.id:
        raise Refusal(404, f"There is no file {asked.file_id} in the conversation.")
    url = f"{call.request.url.origin()}{CONTENT.prefix}/{quote(file.id)}"
    return _enveloped({"download_url": url})


async def content(call: Call) -> Reply:
    """What a download URL leads to.  It wants no key, and is not to be told one."""
    with call.store.transaction() as db:
        file = relays.find_file(db, "goapi", call.ids["file_id"])
    if file is None:
        raise Refusal(404, "Not found")
    return whole(call, file.content, size=file.size, name=file.name)


def _find(db: Connection, call: Call) -> Conversation:
    conversation_id = call.ids["conversation_id"]
    conversation = relays.find_conversation(db, "goapi", conversation_id)
    if conversation is None or conversation.owner != call.owner:
        status = int(call.switches.goapi_no_conversation)
        raise Refusal(status, f"There is no conversation {conversation_id}.")
    return conversation


def _enveloped(data: Document) -> Document:
    return {"code": 200, "data": data, "message": "success"}


def _error(refusal: Refusal, _: Switches) -> Document:
    return {"code": refusal.status, "data": None, "message": refusal.message}


def _error_status(refusal: Refusal, switches: Switches) -> int:
    return 200 if switches.goapi_errors == "in the body" else refusal.status


DIALECT: Final = Dialect(
    name="goapi",
    prefix="/api/chatgpt/v1",
    error=_error,
    error_status=_error_status,
    key_header="X-API-Key",
    takes_bearer=False,
    dress=undressed,
)

CONTENT: Final = Dialect(
    name="goapi_content",
    prefix="/goapi-content",
    wants_key=False,
    dress=undressed,
)

CONVERSATION: Final = "/conversation/{conversation_id}"

ROUTES: Final = (
    Route("goapi_create", "POST", "/conversation", create),
    Route("goapi_message", "POST", CONVERSATION, add_message),
    Route("goapi_download", "POST", CONVERSATION + "/download", download),
    Route(
        "goapi_upload",
        "POST",
        CONVERSATION + "/{action}",
        upload,
        file_fields=("file", "files"),
    ),
)

CONTENT_ROUTES: Final = (Route("goapi_content", "GET", "/{file_id}", content),)
