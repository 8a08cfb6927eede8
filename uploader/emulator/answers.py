"""What the service says: pretty JSON, the headers around it, and its refusals."""

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from uploader.emulator import ids
from uploader.emulator.switches import Switches

Document = dict[str, object]
"""A JSON object."""

RECORDED_HEADERS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "CF-Ray",
    "Alt-Svc": 'h3=":443"',
    "cf-cache-status": "DYNAMIC",
    "openai-organization": "emulator",
    "openai-project": "proj_emulator",
    "openai-version": "2020-10-01",
    "Server": "cloudflare",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains; preload",
    "X-Content-Type-Options": "nosniff",
    "x-openai-proxy-wasm": "v0.1",
}

JSON: Final = "application/json"
TRY_LATER: Final = (409, 429)
"""What may come with a Retry-After (newer text of the spec)."""
BROKEN_JSON: Final = b'{\n  "id": "upload_68cb2a7d'


@dataclass(frozen=True, slots=True)
class Answer:
    """A yes that needs more than the document alone."""

    document: Document
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes over the wire; a stream says in its headers how long it is."""

    body: bytes | AsyncIterator[bytes]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """The service says no."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        category: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.category = category


def json_body(document: Document, switches: Switches) -> bytes:
    """Two spaces and a new line at the end, as recorded."""
    if switches.compact_json:
        return json.dumps(document, separators=(",", ":")).encode()
    return json.dumps(document, indent=2).encode() + b"\n"


def answered(answer: Answer, switches: Switches) -> Reply:
    headers = {"Content-Type": JSON, **answer.headers}
    return Reply(json_body(answer.document, switches), answer.status, headers)


def refused(
    refusal: Refusal, document: Document, switches: Switches, *, status: int
) -> Reply:
    """Return the error in the shape that the switches ask for."""
    match switches.error_body:
        case "html":
            body, content_type = _html(refusal), "text/html"
        case "text":
            body, content_type = refusal.message.encode(), "text/plain"
        case "empty":
            body, content_type = b"", "text/plain"
        case "detail":
            body = json_body({"detail": refusal.message}, switches)
            content_type = JSON
        case "openai":
            body, content_type = json_body(document, switches), JSON
    reply = Reply(body, status, {"Content-Type": content_type})
    if refusal.status in TRY_LATER and switches.retry_after:
        reply.headers["Retry-After"] = str(switches.retry_after)
    return reply


def broken() -> Reply:
    """Success, and a body that is not JSON."""
    return Reply(BROKEN_JSON, headers={"Content-Type": JSON})


def dress(reply: Reply, processing: float) -> None:
    """Add the headers that every recorded answer has."""
    milliseconds = max(1, round(processing * 1000))
    reply.headers.update(
        RECORDED_HEADERS,
        **{
            "openai-processing-ms": str(milliseconds),
            "x-envoy-upstream-service-time": str(milliseconds + 5),
            "CF-RAY": f"{secrets.token_hex(8)}-SEA",
            "X-Request-ID": ids.request_id(),
        },
    )


def _html(refusal: Refusal) -> bytes:
    page = (
        f"<html>\r\n<head><title>{refusal.status}</title></head>\r\n"
        f"<body>\r\n<center><h1>{refusal.status}</h1></center>\r\n"
        "<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    return page.encode()
