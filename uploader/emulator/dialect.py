"""What the services say differently about the same thing."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from uploader.emulator import ids
from uploader.emulator.answers import Document, Refusal, Reply, dress
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


def _own_status(refusal: Refusal, _: Switches) -> int:
    return refusal.status


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One way to speak, under its own prefix of the path.

    What it does not say of itself is as OpenAI does it.
    """

    name: str
    prefix: str
    is_on: Callable[[Switches], bool] = lambda _: True
    limits: Callable[[Switches], Limits] = _openai_limits
    upload_purposes: Callable[[Switches], tuple[str, ...]] = _openai_upload_purposes
    file_purposes: tuple[str, ...] = FILE_PURPOSES
    error: Callable[[Refusal, Switches], Document] = openai_error
    error_status: Callable[[Refusal, Switches], int] = _own_status
    upload_id: Callable[[float, str], str] = openai_upload_id
    part_id: Callable[[float], str] = ids.part_id
    file_id: Callable[[], str] = ids.file_id
    key_header: str | None = None
    """Where a key may stand, besides `Authorization: Bearer`."""
    takes_bearer: bool = True
    wants_key: bool = True
    wants_api_version: bool = False
    takes_expires_after: bool = True
    shows_block_ids: bool = False
    says_location: bool = False
    file_created_status: int = 200
    dress: Callable[[Reply, float], None] = dress
    """Adds the headers that every answer has."""


OPENAI: Final = Dialect(name="openai", prefix="/v1")


def undressed(reply: Reply, _: float) -> None:
    """Of the relays nobody recorded a header."""
