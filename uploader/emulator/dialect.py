"""What OpenAI and the two faces of Azure say differently about the same thing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from uploader.emulator import ids
from uploader.emulator.answers import Document, Refusal
from uploader.emulator.switches import Switches

SPEC_PURPOSES: Final = ("assistants", "batch", "fine-tune", "vision")
FILE_PURPOSES: Final = (
    "fine-tune",
    "assistants",
    "batch",
    "user_data",
    "vision",
    "evals",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one upload may be."""

    lifetime: int
    max_upload: int
    max_part: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to speak Uploads and Files, under its own prefix of the path."""

    name: str
    prefix: str
    is_on: Callable[[Switches], bool]
    limits: Callable[[Switches], Limits]
    upload_purposes: Callable[[Switches], tuple[str, ...]]
    file_purposes: tuple[str, ...]
    error: Callable[[Refusal, Switches], Document]
    upload_id: Callable[[float, str], str]
    part_id: Callable[[float], str]
    file_id: Callable[[], str]
    key_header: str | None = None
    """Where a key may stand, besides `Authorization: Bearer`."""
    wants_api_version: bool = False
    takes_expires_after: bool = True
    shows_block_ids: bool = False
    says_location: bool = False
    file_created_status: int = 200


def _openai_limits(switches: Switches) -> Limits:
    return Limits(
        lifetime=switches.lifetime,
        max_upload=switches.max_upload,
        max_part=switches.max_part,
    )


def _openai_upload_purposes(switches: Switches) -> tuple[str, ...]:
    return FILE_PURPOSES if switches.user_data_allowed else SPEC_PURPOSES


def openai_error(refusal: Refusal, switches: Switches) -> Document:
    """All four keys, and once more in `detail` (recording of /files)."""
    error = {
        "message": refusal.message,
        "type": refusal.category,
        "param": refusal.param,
        "code": refusal.code,
    }
    if not switches.error_detail:
        return {"error": error}
    return {
        "error": error,
        "detail": {"message": refusal.message, "code": refusal.code},
    }


def openai_upload_id(now: float, _purpose: str) -> str:
    return ids.upload_id(now)


OPENAI: Final = Dialect(
    name="openai",
    prefix="/v1",
    is_on=lambda _: True,
    limits=_openai_limits,
    upload_purposes=_openai_upload_purposes,
    file_purposes=FILE_PURPOSES,
    error=openai_error,
    upload_id=openai_upload_id,
    part_id=ids.part_id,
    file_id=ids.file_id,
)
