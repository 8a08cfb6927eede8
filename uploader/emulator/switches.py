"""Where the contract is silent, or servers in the wild differ: one switch each.

The defaults are the services as far as they are known.  `source` says how far:
*recording* (seen on the wire), *spec* (the published description), *inferred*
(nobody said so), *wild* (another implementation does it).
"""

import dataclasses
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Self, TypeVar

import msgspec

MIB = 1024 * 1024
GIB = 1024 * MIB

T = TypeVar("T")


class BadSwitch(ValueError):
    """A switch that does not exist, or a value that it does not have."""


def _switch(default: T, source: str, why: str) -> T:
    return field(default=default, metadata={"source": source, "why": why})


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How this service behaves where services differ."""

    lifetime: int = _switch(3600, "recording", "seconds until an upload expires")
    max_upload: int = _switch(8 * GIB, "inferred", "the spec says 8 GB, not which GB")
    max_part: int = _switch(64 * MIB, "spec", "64 MB; the SDK's default part is 64 MiB")
    max_parts: int = _switch(0, "inferred", "no limit is documented; 0 means none")
    max_file: int = _switch(512 * MIB, "spec", "the largest whole file on POST /files")
    purpose_limits: bool = _switch(
        False, "inferred", "the whole-file limit of a purpose holds for uploads, too"
    )
    user_data_allowed: bool = _switch(
        True, "inferred", "user_data and evals are missing in the spec of uploads only"
    )
    strict_mime_types: bool = _switch(
        False, "inferred", "the SDK's own example sends 'txt', so OpenAI looks away"
    )
    jsonl_only: Literal["files", "both", "nowhere"] = _switch(
        "files", "wild", "where batch and fine-tune demand a name that ends in .jsonl"
    )
    zero_byte_uploads: bool = _switch(
        False, "inferred", "an upload may be empty, and so may a part"
    )

    part_too_large: Literal["400", "413"] = _switch(
        "400", "spec", "a proxy in front may answer 413"
    )
    expired: Literal["410", "404"] = _switch("410", "spec", "some forget it: 404")
    forgets: Literal["nothing", "open", "completed"] = _switch(
        "nothing", "wild", "uploads in this state are unknown: 404"
    )

    unlisted_parts_count: bool = _switch(
        False, "inferred", "parts that complete does not list count towards the size"
    )
    unknown_parts: Literal["refuse", "drop"] = _switch(
        "refuse", "spec", "wild ones drop them silently and make a short file"
    )
    part_order: Literal["listed", "received"] = _switch(
        "listed", "spec", "wild ones ignore the order of part_ids"
    )
    part_reuse: bool = _switch(False, "inferred", "one part id may be listed twice")
    md5: Literal["hex", "base64", "either", "ignored"] = _switch(
        "hex", "inferred", "the spec names no encoding; wild ones ignore it"
    )
    complete_twice: Literal["400", "replay", "404", "409"] = _switch(
        "400", "spec", "or the same answer again; wild ones say 404 or 409"
    )
    complete_answer: Literal["upload", "file", "no file key"] = _switch(
        "upload", "recording", "wild ones answer the File, or leave it out"
    )
    cancel_empty_json: Literal["accept", "400"] = _switch(
        "accept", "recording", "a JSON content type without a body, as the SDK sends"
    )

    file_bytes: Literal["known", "null", "null at first"] = _switch(
        "known", "recording", "null while unknown, says a newer text of the spec"
    )
    file_status: Literal["processed", "uploaded", "error"] = _switch(
        "processed", "recording", "the deprecated status of a File"
    )
    file_list: Literal["full", "empty", "404", "405"] = _switch(
        "full", "recording", "wild ones have no list, or always an empty one"
    )
    file_list_delay: float = _switch(
        0.0, "inferred", "seconds until a new file is listed"
    )
    file_content: Literal["served", "refused"] = _switch(
        "served", "spec", "some purposes cannot be downloaded: 400"
    )

    expires_before_created: bool = _switch(
        False, "spec", "the example of the spec expires before it was created"
    )
    requests_per_minute: int = _switch(0, "inferred", "then 429; 0 means no limit")
    retry_after: int = _switch(0, "spec", "Retry-After of a 409 or 429; 0 means absent")
    error_detail: bool = _switch(
        True, "recording", "errors repeat themselves in a `detail` object"
    )
    error_body: Literal["openai", "html", "text", "detail", "empty"] = _switch(
        "openai", "recording", "wild ones answer HTML, text, {'detail': …} or nothing"
    )
    compact_json: bool = _switch(False, "wild", "JSON without indentation and newline")
    invalid_answer: str = _switch(
        "", "wild", "the kind of request that is answered with 200 and broken JSON"
    )
    seeding: bool = _switch(
        False,
        "inferred",
        "unknown ids are made on first sight, as SDK test suites need",
    )

    max_input_file: int = _switch(
        50 * MIB, "spec", "under 50 MB per file and request; not said which MB"
    )
    image_detail_required: bool = _switch(
        True, "spec", "one schema of input_image requires `detail`, a newer does not"
    )
    images_are_checked: bool = _switch(
        True, "inferred", "an input_image must be a png, jpeg, webp or gif inside"
    )
    own_conversations: bool = _switch(
        False, "inferred", "only the key that made a conversation sees it: else 404"
    )
    locked_conversations: bool = _switch(
        False, "spec", "every conversation is locked, as while a response runs: 400"
    )
    items_delay: float = _switch(
        0.0, "inferred", "seconds until a new item can be seen"
    )
    response_seconds: float = _switch(
        0.0, "inferred", "seconds for which a response is in progress when asked for"
    )
    response_ends: Literal["completed", "failed", "incomplete"] = _switch(
        "completed", "spec", "how responses end"
    )
    stream_split: int = _switch(
        0, "wild", "bytes per write of an event stream; 0 writes event by event"
    )
    stream_pause: float = _switch(
        0.0, "inferred", "seconds between two writes of an event stream"
    )

    max_indexed_file: int = _switch(
        512 * MIB, "spec", "the largest file of a vector store"
    )
    oversized_file: Literal["400", "failed"] = _switch(
        "400", "inferred", "a larger one is refused, or fails while it is indexed"
    )
    attach_unknown_file: Literal["400", "404"] = _switch(
        "400", "spec", "a file that is unknown; 404 is for the vector store"
    )
    attached_delay: float = _switch(
        0.0, "wild", "seconds until an attached file is known: 404 before"
    )
    store_busy_seconds: float = _switch(
        0.0, "spec", "seconds for which a new vector store takes nothing: 409"
    )
    indexing_seconds: float = _switch(
        0.0, "inferred", "seconds for which an attached file is in progress"
    )
    indexing_polls: int = _switch(
        0, "inferred", "how often an attached file says first that it is in progress"
    )
    indexing_ends: Literal["completed", "failed", "cancelled"] = _switch(
        "completed", "spec", "how indexing ends; settled when a file is attached"
    )
    indexing_error: Literal["server_error", "unsupported_file", "invalid_file"] = (
        _switch("server_error", "spec", "the last_error of a file that failed")
    )
    batch_object: Literal["vector_store.file_batch", "vector_store.files_batch"] = (
        _switch("vector_store.file_batch", "recording", "the spec says files_batch")
    )

    goapi_upload_action: str = _switch(
        "upload", "inferred", "the last step of the path of an upload; no page says it"
    )
    goapi_part_name: Literal["either", "file", "files"] = _switch(
        "either", "inferred", "the name of the part that holds the file; ditto"
    )
    goapi_max_file: int = _switch(512 * MIB, "inferred", "the limits are upstream's")
    goapi_max_image: int = _switch(20 * MIB, "inferred", "ditto, for images")
    goapi_max_spreadsheet: int = _switch(50 * MIB, "inferred", "ditto, for tables")
    goapi_model_required: bool = _switch(
        True, "spec", "required at create, missing in the examples of messages"
    )
    goapi_models: str = _switch(
        "gpt-4,gpt-4o", "spec", "the models without a gizmo_id, with commas"
    )
    goapi_no_conversation: Literal["404", "400", "403"] = _switch(
        "404", "inferred", "a conversation that is unknown, or another key's"
    )
    goapi_errors: Literal["by status", "in the body"] = _switch(
        "by status", "wild", "or HTTP 200, and another code in the body"
    )
    goapi_duplicate_ids: bool = _switch(
        False, "spec", "every file of a conversation gets the id of its first"
    )
    goapi_user_echo: bool = _switch(
        True, "wild", "the stream repeats the message of the user, as upstream"
    )
    goapi_end: Literal["[DONE]", "[none]", "nothing", "cut"] = _switch(
        "[DONE]", "wild", "how a stream ends; 'cut' is in the middle of its last event"
    )
    goapi_data_space: bool = _switch(True, "wild", "a space stands behind `data:`")
    goapi_stream_error: Literal["none", "string", "object"] = _switch(
        "none", "wild", "the stream breaks off with an error, in spite of HTTP 200"
    )
    goapi_moderation: bool = _switch(
        False, "wild", "an event without a message is in the stream"
    )

    llmprovider_max_file: int = _switch(
        20 * MIB, "inferred", "the document says 20M, not which M"
    )
    llmprovider_json_upload: Literal["400", "415"] = _switch(
        "415", "inferred", "an upload as JSON, which the table of headers asks for"
    )
    llmprovider_image_type: bool = _switch(
        False, "spec", "upload_type 'image', as an example has it, is 'multimodal'"
    )
    llmprovider_internal_path: bool = _switch(
        False, "spec", "/llmprovider/api/gizmo/upload exists, as in an example"
    )
    llmprovider_conversation_required: bool = _switch(
        False, "spec", "an upload needs its conversation_id; listed as if, but left out"
    )
    llmprovider_no_conversation: Literal["404", "400", "403"] = _switch(
        "404", "inferred", "a conversation that is unknown, or another key's"
    )
    llmprovider_use_case: Literal["as sent", "my_files"] = _switch(
        "as sent", "spec", "the example has my_files and tokens for an image"
    )
    llmprovider_optional_fields: bool = _switch(
        True, "spec", "the answer to an upload has the fields that are optional"
    )

    azure_classic: bool = _switch(True, "spec", "/openai/uploads exists")
    azure_v1: bool = _switch(True, "spec", "/openai/v1/uploads exists; a few say 404")
    azure_part_ids: Literal["either", "id", "block"] = _switch(
        "either", "spec", "the schema lists ids, the example azure_block_ids"
    )
    azure_pending_file: bool = _switch(
        False, "spec", "Azure's example of a pending upload already has a file"
    )

    def with_values(self, values: Mapping[str, object]) -> Self:
        """Return these switches with some of them set, checked."""
        checked = {name: _checked(name, value) for name, value in values.items()}
        return dataclasses.replace(self, **checked)

    def with_settings(self, settings: Iterable[str]) -> Self:
        """Return these switches changed by *settings* such as `md5=base64`."""
        return self.with_values(dict(_split(setting) for setting in settings))


def _split(setting: str) -> tuple[str, str]:
    name, equals, value = setting.partition("=")
    if not equals:
        raise BadSwitch(f"a switch is given as NAME=VALUE, not {setting!r}")
    return name, value


def _checked(name: str, value: object) -> typing.Any:
    kind = typing.get_type_hints(Switches).get(name)
    if kind is None:
        names = ", ".join(field.name for field in dataclasses.fields(Switches))
        raise BadSwitch(f"there is no switch {name!r}; there are {names}")
    try:
        return msgspec.convert(value, kind, strict=not isinstance(value, str))
    except msgspec.ValidationError:
        raise BadSwitch(f"{name}={value}: expected {_expected(kind)}") from None


def _expected(kind: typing.Any) -> str:
    choices = typing.get_args(kind)
    return " or ".join(map(repr, choices)) if choices else f"a value of {kind.__name__}"
