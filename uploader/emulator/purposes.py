"""What a purpose demands of a file: its name, its type, its size."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from uploader.emulator.answers import Refusal
from uploader.emulator.call import Call, unexpected
from uploader.emulator.switches import MIB, Switches

JSONL_PURPOSES: Final = {"batch": "Batch API", "fine-tune": "fine-tuning"}
MAX_BATCH: Final = 200 * MIB

JSONL_TYPES: Final = frozenset({"text/jsonl", "application/jsonl", "application/json"})
IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
MIME_TYPES: Final = {
    "batch": JSONL_TYPES,
    "fine-tune": JSONL_TYPES,
    "vision": IMAGE_TYPES,
}

BATCH_FILES_LIVE: Final = 30 * 24 * 3600
"""Seconds that a batch file is kept when nothing else is asked for (spec)."""


class ExpiresAfter(Struct, forbid_unknown_fields=True):
    """When the file that comes of it shall expire."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3600, le=30 * 24 * 3600)]


def check_purpose(purpose: str, allowed: tuple[str, ...]) -> None:
    if purpose not in allowed:
        # The words of the recording.
        raise Refusal(
            400,
            f"'{purpose}' is not one of {list(allowed)} - 'purpose'",
            param="purpose",
        )


def check_name(purpose: str, filename: str) -> None:
    user = JSONL_PURPOSES.get(purpose)
    if user is not None and not filename.endswith(".jsonl"):
        raise Refusal(400, f"Invalid file format for {user}. Must be .jsonl")


def check_mime_type(purpose: str, mime_type: str) -> None:
    allowed = MIME_TYPES.get(purpose)
    if allowed is not None and mime_type not in allowed:
        raise Refusal(
            400,
            f"'{mime_type}' is not a supported MIME type for purpose '{purpose}'.",
            param="mime_type",
        )


def largest_file(purpose: str, switches: Switches) -> int:
    return MAX_BATCH if purpose == "batch" else switches.max_file


def too_large(size: int, limit: int, *, status: int = 400) -> Refusal:
    return Refusal(status, f"{size} bytes are too many; the limit is {limit} bytes.")


def kept_for(purpose: str, asked: int | None) -> int | None:
    """Return for how many seconds a file is kept; None means for ever."""
    if asked is not None:
        return asked
    return BATCH_FILES_LIVE if purpose == "batch" else None


def refuse_expires_after(call: Call) -> None:
    """Classic Azure does not know `expires_after`."""
    if not call.dialect.takes_expires_after:
        raise unexpected("expires_after")
