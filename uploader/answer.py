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
    {"insufficient_quota", "credit_balance_exhausted", "billing_hard_limit_reached"}
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
    status = answer.status
    code, message = explain(answer)
    if 300 <= status < 400:
        message = f"a redirect to {answer.headers.get('location', 'nowhere')}"
    # Before it is cut to its length, or the beginning of the key could stay.
    if len(secret) > 4:
        message = message.replace(secret, "***")
    message = printable(message[:2000])
    said = f"{answer.operation}: HTTP {status}" + (f": {message}" if message else "")

    def no(kind: type[BackendError], hint: str | None = None) -> BackendError:
        return kind(said, hint=hint, status=status, request_id=answer.request_id)

    def later(kind: type[BackendUnavailable]) -> BackendError:
        return kind(
            said,
            status=status,
            request_id=answer.request_id,
            retry_after=retry_after(answer.headers, now=time.time()),
            effect_possible=kind is not Throttled,
        )

    wish = answer.headers.get("x-should-retry", "").lower()
    if status in (401, 403, 407):
        return no(CredentialsRefused, "check the key, its project and its permissions")
    if status == 429 and code in QUOTA_CODES:
        return no(CredentialsRefused, "the account has no quota left; see its billing")
    if status == 429 and wish != "false":
        return later(Throttled)
    if (status >= 500 or status == 408 or wish == "true") and wish != "false":
        return later(BackendUnavailable)
    if status == 410:
        return no(UploadExpired, "start over with a new upload")
    if 300 <= status < 400:
        return no(RequestRejected, "the key follows no redirect; set the base URL")
    return no(RequestRejected)


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
