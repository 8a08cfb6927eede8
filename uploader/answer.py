"""What an HTTP answer means: its body by the contract, or the error it stands for."""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final, TypeVar

import msgspec

from uploader.errors import (
    BackendError,
    BackendUnavailable,
    CredentialsRefused,
    RequestRejected,
    Throttled,
    UnexpectedAnswer,
    UploadExpired,
)

T = TypeVar("T")

QUOTA_CODES: Final = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "billing_hard_limit_reached",
        "quotaExceeded",  # Azure's
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer, read to its end."""

    operation: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        found = self.headers.get("x-request-id")
        return None if found is None else printable(found)

    def decode(self, kind: type[T]) -> T:
        """The JSON body as *kind*.  Raises `UnexpectedAnswer`."""
        try:
            return msgspec.json.decode(self.body, type=kind, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            kind_sent = printable(self.headers.get("content-type", "no content type"))
            raise UnexpectedAnswer(
                f"{self.operation}: HTTP {self.status}, but the answer is not the"
                f" contract's: {error} ({kind_sent}, {len(self.body)} bytes)",
                status=self.status,
                request_id=self.request_id,
            ) from None


def refusal(answer: Answer, *, secret: str) -> BackendError:
    """The error that a bad status stands for.

    By the status tables of the specification, never by the words of a message;
    retry headers as the official SDKs obey them.  *secret* is blotted out in case
    the service repeats it.
    """
    code, message = explain(answer)
    if 300 <= answer.status < 400:
        message = f"a redirect to {answer.headers.get('location', 'nowhere')}"
    message = quotable(message, secret=secret)
    said = f"{answer.operation}: HTTP {answer.status}{message and ': '}{message}"
    kind, hint = _meaning(answer, code)
    error = kind(said, hint=hint, request_id=answer.request_id, status=answer.status)
    error.code = code
    error.retry_after = retry_after(answer.headers, now=time.time())
    if isinstance(error, BackendUnavailable):
        error.effect_possible = not isinstance(error, Throttled)
    return error


def _meaning(answer: Answer, code: str | None) -> tuple[type[BackendError], str | None]:
    """The kind of error, and a hint where the kind's own says too little."""
    status, wish = answer.status, answer.headers.get("x-should-retry", "").lower()
    if status in (401, 403, 407):
        return CredentialsRefused, "check the key, its project and its permissions"
    if status == 429 and code in QUOTA_CODES:
        return CredentialsRefused, "the account has no quota left; see its billing"
    if status == 429 and wish != "false":
        return Throttled, None
    if (status >= 500 or status == 408 or wish == "true") and wish != "false":
        return BackendUnavailable, None
    if status == 410:
        return UploadExpired, "start over with a new upload"
    if 300 <= status < 400:
        return RequestRejected, "the key follows no redirect; set the base URL"
    return RequestRejected, None


def explain(answer: Answer) -> tuple[str | None, str]:
    """The code and the message of an error body, whatever its shape, as they came."""
    try:
        found: Any = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        if answer.body.lstrip()[:1] == b"<":
            return None, "a page for browsers, perhaps from a proxy in between"
        return None, answer.body.decode("utf-8", "replace")
    if isinstance(found, dict):
        found = found.get("error") or found
    if not isinstance(found, dict):
        return None, str(found)
    message = found.get("message") or found.get("detail") or ""
    code = found.get("code")
    return code if isinstance(code, str) else None, str(message)


def quotable(text: str, *, secret: str) -> str:
    """What a service says, fit for an error of ours."""
    # Before it is cut to its length, or the beginning of the key could stay.
    if len(secret) > 4:
        text = text.replace(secret, "***")
    return printable(text[:2000])


def printable(text: str, length: int = 300) -> str:
    """Foreign words on one line, without what could move a terminal's cursor."""
    text = re.sub(r"\s+", " ", text).strip()
    text = "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text
    )
    return text if len(text) <= length else text[: length - 1] + "…"


def retry_after(headers: Mapping[str, str], *, now: float) -> float | None:
    """The service's wish in seconds: `retry-after-ms`, seconds, or an HTTP date."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    # A date without a zone, as asctime() writes it, is in UTC by RFC 9110.
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, date.timestamp() - now)
