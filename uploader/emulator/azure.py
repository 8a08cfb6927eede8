"""Azure OpenAI, classic and v1: the same operations under other paths and rules."""

import secrets
from typing import Final

from uploader.emulator import ids
from uploader.emulator.answers import Document, Refusal
from uploader.emulator.dialect import (
    SPEC_PURPOSES,
    Dialect,
    Limits,
    openai_error,
    openai_upload_id,
)
from uploader.emulator.switches import GIB, MIB, Switches

CLASSIC_PURPOSES: Final = ("assistants", "batch", "fine-tune")

ERROR_CODES: Final = {
    400: "invalidPayload",
    401: "unauthorized",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    410: "unexpectedEntityState",
    413: "invalidPayload",
    429: "tooManyRequests",
    500: "internalFailure",
    503: "serviceUnavailable",
}


def _limits(_: Switches) -> Limits:
    # A part may be as large as a whole file there (spec).
    return Limits(lifetime=7200, max_upload=9 * GIB, max_part=512 * MIB)


def _classic_error(refusal: Refusal, _: Switches) -> Document:
    code = ERROR_CODES.get(refusal.status, "internalFailure")
    return {"error": {"code": code, "message": refusal.message}}


def _v1_error(refusal: Refusal, switches: Switches) -> Document:
    return {"error": openai_error(refusal, switches)["error"]}


def _classic_upload_id(_now: float, purpose: str) -> str:
    return f"{purpose}-{secrets.token_hex(16)}"


def _classic_part_id(_now: float) -> str:
    return f"uplprt-{secrets.token_hex(16)}"


def _classic_file_id() -> str:
    return f"file-{secrets.token_hex(16)}"


CLASSIC: Final = Dialect(
    name="azure_classic",
    prefix="/openai",
    is_on=lambda switches: switches.azure_classic,
    limits=_limits,
    upload_purposes=lambda _: CLASSIC_PURPOSES,
    file_purposes=CLASSIC_PURPOSES,
    error=_classic_error,
    upload_id=_classic_upload_id,
    part_id=_classic_part_id,
    file_id=_classic_file_id,
    key_header="api-key",
    wants_api_version=True,
    takes_expires_after=False,
    shows_block_ids=True,
    says_location=True,
    file_created_status=201,
)

V1: Final = Dialect(
    name="azure_v1",
    prefix="/openai/v1",
    is_on=lambda switches: switches.azure_v1,
    limits=_limits,
    upload_purposes=lambda _: SPEC_PURPOSES,
    file_purposes=SPEC_PURPOSES,
    error=_v1_error,
    upload_id=openai_upload_id,
    part_id=ids.part_id,
    file_id=ids.file_id,
    key_header="api-key",
)
