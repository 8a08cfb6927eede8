"""What may be said in a conversation: messages, and the files in them."""

import re
from collections.abc import Iterable, Sequence
from sqlite3 import Connection
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from uploader.emulator import files, history, ids, records
from uploader.emulator.answers import Document, Refusal
from uploader.emulator.call import Call, refused_shape
from uploader.emulator.images import HEAD, read_image
from uploader.emulator.records import File
from uploader.emulator.switches import MIB

T = TypeVar("T")

Role = Literal["user", "assistant", "system", "developer"]
Items = Annotated[list[dict[str, object]], Meta(max_length=20)]
Metadata = Annotated[
    dict[
        Annotated[str, Meta(max_length=64)],
        Annotated[str, Meta(max_length=512)],
    ],
    Meta(max_length=16),
]

MAX_FILE_DATA: Final = 70 * MIB
MAX_IMAGE_URL: Final = 20 * MIB
MAX_FILE_ID: Final = 64


class InputText(Struct, tag="input_text", forbid_unknown_fields=True):
    text: Annotated[str, Meta(max_length=10 * MIB)]


class InputFile(
    Struct, tag="input_file", omit_defaults=True, forbid_unknown_fields=True
):
    file_id: str | None = None
    filename: str | None = None
    file_data: Annotated[str, Meta(max_length=MAX_FILE_DATA)] | None = None
    file_url: str | None = None
    detail: Literal["auto", "low", "high"] | UnsetType = UNSET


class InputImage(Struct, tag="input_image", forbid_unknown_fields=True):
    detail: Literal["low", "high", "auto", "original"] | UnsetType = UNSET
    file_id: str | None = None
    image_url: Annotated[str, Meta(max_length=MAX_IMAGE_URL)] | None = None


class OutputText(Struct, tag="output_text", forbid_unknown_fields=True):
    annotations: list[object] = []
    logprobs: list[object] = []
    text: str = ""


Part = InputText | InputFile | InputImage | OutputText


class Message(Struct, forbid_unknown_fields=True):
    """One of the spec's three messages: easy, input, output."""

    role: Role
    content: str | list[Part]
    type: Literal["message"] = "message"
    id: str | UnsetType = UNSET
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    phase: Literal["commentary", "final_answer"] | None = None


class Reference(Struct, forbid_unknown_fields=True):
    id: str
    type: Literal["item_reference"] = "item_reference"


def read_items(
    db: Connection,
    call: Call,
    given: Sequence[dict[str, object]],
    conversation_id: str,
    *,
    param: str,
) -> list[Document]:
    """Return the items as the service shows them, each with its id.

    All of them are good, or the first that is not is refused.
    """
    reader = _Reader(db, call, conversation_id)
    return [
        reader.item(item, f"{param}[{number}]") for number, item in enumerate(given)
    ]


class _Reader:
    """Reads the items of one request, whose files count together."""

    def __init__(self, db: Connection, call: Call, conversation_id: str) -> None:
        self._db = db
        self._call = call
        self._conversation_id = conversation_id
        self._bytes = 0

    def item(self, given: dict[str, object], param: str) -> Document:
        match given.get("type", "message"):
            case "message":
                return self._message(_convert(given, Message, param), param)
            case "item_reference":
                return self._referenced(_convert(given, Reference, param), param)
            case other:
                raise _invalid(f"{param}.type", f"'{other}' is not emulated.")

    def _referenced(self, reference: Reference, param: str) -> Document:
        self._check_new(reference.id, param)
        item = history.find_item(self._db, reference.id)
        if item is None:
            raise Refusal(
                404, f"Item with id '{reference.id}' not found.", param=f"{param}.id"
            )
        return item

    def _message(self, message: Message, param: str) -> Document:
        item_id = message.id
        if item_id is UNSET:
            item_id = ids.item_id(self._call.now, self._conversation_id)
        else:
            self._check_new(item_id, param)
        document: Document = {
            "id": item_id,
            "type": "message",
            "status": message.status,
            "content": self._content(message, f"{param}.content"),
            "role": message.role,
        }
        if message.phase is not None:
            document["phase"] = message.phase
        return document

    def _check_new(self, item_id: str, param: str) -> None:
        if history.is_in(self._db, self._conversation_id, item_id):
            raise _invalid(
                f"{param}.id", f"Item '{item_id}' is already in the conversation."
            )

    def _content(self, message: Message, param: str) -> list[Document]:
        is_output = message.role == "assistant"
        if isinstance(message.content, str):
            text = message.content
            shape = OutputText if is_output else InputText
            return [msgspec.to_builtins(shape(text=text))]
        for number, part in enumerate(message.content):
            if isinstance(part, OutputText) is not is_output:
                raise _invalid(
                    f"{param}[{number}]", f"Not for the role '{message.role}'."
                )
            self._check_part(part, f"{param}[{number}]")
        return [msgspec.to_builtins(part) for part in message.content]

    def _check_part(self, part: Part, param: str) -> None:
        match part:
            case InputFile():
                _check_one_of(param, part.file_id, part.file_data, part.file_url)
                self._count(self._file_size(part, param), param)
            case InputImage():
                self._check_image(part, param)

    def _check_image(self, part: InputImage, param: str) -> None:
        if part.detail is UNSET and self._call.switches.image_detail_required:
            raise _invalid(f"{param}.detail", "'detail' is a required property")
        _check_one_of(param, part.file_id, part.image_url)
        if part.file_id is None:
            return
        file = self._file(part.file_id, param)
        if file is not None and self._call.switches.images_are_checked:
            _check_format(self._call, self._db, file, param)

    def _file_size(self, part: InputFile, param: str) -> int:
        if part.file_data is not None:
            return len(part.file_data.rpartition(",")[2]) * 3 // 4
        file = None if part.file_id is None else self._file(part.file_id, param)
        return 0 if file is None else file.size

    def _count(self, size: int, param: str) -> None:
        limit = self._call.switches.max_input_file
        self._bytes += size
        if size >= limit:
            raise _invalid(param, f"{size} bytes; a file must be under {limit} bytes.")
        if self._bytes > limit:
            raise _invalid(
                param,
                f"The files of the request have {self._bytes} bytes;"
                f" the limit is {limit} bytes.",
            )

    def _file(self, file_id: str, param: str) -> File | None:
        """Return the file; while seeding, one that is unknown will do."""
        check_file_id(file_id, f"{param}.file_id")
        file = records.find_file(self._db, file_id, self._call.now)
        if file is None and not self._call.switches.seeding:
            raise _invalid(f"{param}.file_id", f"No such File object: {file_id}")
        return file


def _convert(given: object, shape: type[T], param: str) -> T:
    try:
        return msgspec.convert(given, shape)
    except msgspec.ValidationError as error:
        refusal = refused_shape(str(error))
        refusal.param = f"{param}.{refusal.param}" if refusal.param else param
        raise refusal from None


def check_file_id(file_id: str, param: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", file_id) or len(file_id) > MAX_FILE_ID:
        raise _invalid(
            param,
            f"Invalid '{param}': '{file_id}'. Expected an ID that contains letters,"
            " numbers, underscores, or dashes, but this value contained additional"
            " characters.",
        )


def _check_one_of(param: str, *given: str | None) -> None:
    if sum(one is not None for one in given) != 1:
        raise _invalid(param, "Exactly one of file_id, the data and the URL is needed.")


def _check_format(call: Call, db: Connection, file: File, param: str) -> None:
    image = read_image(files.head_of(call, db, file, HEAD))
    if image is None:
        raise Refusal(
            400,
            f"'{file.filename}' is not an image of a format that is taken:"
            " image/jpeg, image/png, image/gif, image/webp.",
            param=f"{param}.file_id",
            code="invalid_image_format",
        )


def _invalid(param: str, message: str) -> Refusal:
    return Refusal(400, message, param=param, code="invalid_value")


def question_in(items: Iterable[Document]) -> str:
    """The text of the last message that a user wrote."""
    texts = [
        " ".join(str(part["text"]) for part in _parts(item) if "text" in part)
        for item in items
        if item["role"] == "user"
    ]
    return texts[-1] if texts else ""


def files_in(db: Connection, items: Iterable[Document], now: float) -> list[str]:
    """The names of all files in *items*, each once, in their order."""
    names = [
        _name(db, part, now)
        for item in items
        for part in _parts(item)
        if part["type"] in ("input_file", "input_image")
    ]
    return list(dict.fromkeys(names))


def _parts(item: Document) -> list[Document]:
    content = item["content"]
    assert isinstance(content, list)
    return content


def _name(db: Connection, part: Document, now: float) -> str:
    file_id = part.get("file_id")
    file = None if file_id is None else records.find_file(db, str(file_id), now)
    if file is not None:
        return file.filename
    return str(part.get("filename") or file_id or f"an {part['type']}")
