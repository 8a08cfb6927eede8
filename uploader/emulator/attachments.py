"""What a message to a relay says of its files, and whether it is true."""

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from uploader.emulator.answers import Refusal
from uploader.emulator.relays import RelayFile

SCHEMES = ("file-service://", "sediment://")


class Attachment(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file of a message.  Its MIME type and tokens have had several names."""

    id: str
    name: str
    size: int
    snake_mime_type: str | None = field(default=None, name="mime_type")
    camel_mime_type: str | None = field(default=None, name="mimeType")
    width: int | None = None
    height: int | None = None
    file_size_tokens: int | None = None
    file_token_size: int | None = None
    camel_token_size: int | None = field(default=None, name="fileTokenSize")
    oss_url: str | None = None

    @property
    def mime_keys(self) -> tuple[str, ...]:
        """The spellings of the MIME type that were used."""
        given = {"mime_type": self.snake_mime_type, "mimeType": self.camel_mime_type}
        return tuple(name for name, value in given.items() if value is not None)


class Pointer(Struct, kw_only=True, forbid_unknown_fields=True):
    """Where in a message an image stands."""

    asset_pointer: str
    size_bytes: int
    width: int
    height: int

    @property
    def file_id(self) -> str | None:
        for scheme in SCHEMES:
            if self.asset_pointer.startswith(scheme):
                return self.asset_pointer.removeprefix(scheme)
        return None


def check_attachments(
    known: Mapping[str, RelayFile],
    attachments: Sequence[Attachment],
    pointers: Sequence[Pointer],
) -> None:
    """Refuse a message that says of its files what is not so.

    Wrong MIME types are let pass: the service's own example for Word has one.
    """
    by_id = {attachment.id: attachment for attachment in attachments}
    if len(by_id) < len(attachments):
        raise Refusal(400, "A file is attached twice.", param="attachments")
    for attachment in attachments:
        _check_attachment(known, attachment)
    for pointer in pointers:
        _check_pointer(known, by_id, pointer)
    pointed = [pointer.file_id for pointer in pointers]
    for file_id in by_id:
        if pointed.count(file_id) != known[file_id].is_image:
            raise Refusal(
                400, f"{file_id}: each image, and nothing else, needs one pointer."
            )


def _check_attachment(known: Mapping[str, RelayFile], said: Attachment) -> None:
    file = known.get(said.id)
    if file is None:
        raise Refusal(400, f"{said.id} was not uploaded for this conversation.")
    _check_same(said.id, "name", said.name, file.name)
    _check_same(said.id, "size", said.size, file.size)
    if not said.mime_keys:
        raise Refusal(400, f"{said.id}: 'mime_type' is a required property")
    if len({said.snake_mime_type, said.camel_mime_type} - {None}) > 1:
        raise Refusal(400, f"{said.id} has two different MIME types.")


def _check_pointer(
    known: Mapping[str, RelayFile], by_id: Mapping[str, Attachment], said: Pointer
) -> None:
    attachment = by_id.get(said.file_id or "")
    if attachment is None:
        raise Refusal(400, f"{said.asset_pointer} points to no attachment.")
    _check_same(attachment.id, "size_bytes", said.size_bytes, attachment.size)
    size = (said.width, said.height)
    _check_same(
        attachment.id, "width and height", (attachment.width, attachment.height), size
    )
    real = known[attachment.id].dimensions
    if real is not None:
        _check_same(attachment.id, "width and height", size, real)


def _check_same(file_id: str, name: str, said: object, known: object) -> None:
    if said != known:
        raise Refusal(400, f"{file_id}: {name} is {known!r}, not {said!r}.", param=name)
