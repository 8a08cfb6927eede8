"""What a purpose demands of a file, looked at before a byte of it is sent.

Line by line, in a thread, in the memory of one line; only the `custom_id`s of a batch
are kept.  Sources: the reference of the Files, Batch and Fine-tuning APIs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import BinaryIO, Final

import msgspec

from uploader.digest import readable
from uploader.errors import PreflightFailed
from uploader.model import MIB

FINDINGS: Final = 5
"""After so many nobody reads on."""

BATCH_SIZE: Final = 200 * MIB
BATCH_LINES: Final = 50_000
LINE: Final = 64 * MIB
"""No request that a service takes is longer."""

STRIDE: Final = 8 * MIB
"""What one trip to a thread reads: long enough to be cheap, short enough to stop."""

BOM: Final = b"\xef\xbb\xbf"

JSONL_TYPES: Final = (
    "application/json",
    "application/jsonl",
    "application/jsonlines",
    "application/octet-stream",
    "application/x-jsonlines",
    "application/x-ndjson",
    "text/jsonl",
    "text/plain",
)
PICTURES: Final = (".gif", ".jpeg", ".jpg", ".png", ".webp")

Object = dict[str, msgspec.Raw]


class _Request(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: Object


class _Message(msgspec.Struct):
    role: str


class _Example(msgspec.Struct):
    """One of three: a conversation, a prompt, or a preference."""

    messages: list[_Message] | None = None
    prompt: str | None = None
    completion: str | None = None
    input: Object | None = None
    preferred_output: list[Object] | None = None
    non_preferred_output: list[Object] | None = None


LineCheck = Callable[[bytes], str | None]


async def check(
    path: Path,
    *,
    purpose: str,
    filename: str | None = None,
    mime_type: str | None = None,
) -> None:
    """Raise `PreflightFailed` with the first findings, if there are any.

    A purpose that demands nothing of the content costs nothing.
    """
    name = filename or path.name
    findings = list(_of_name(name, mime_type, purpose))
    if purpose in LINE_CHECKS and not findings:
        findings = await _read(path, purpose)
    if findings:
        raise PreflightFailed(name, purpose, findings)


def _of_name(name: str, mime_type: str | None, purpose: str) -> list[str]:
    suffix = PurePath(name).suffix.lower()
    if purpose in LINE_CHECKS:
        findings = [] if suffix == ".jsonl" else ["its name does not end in .jsonl"]
        if mime_type is not None and mime_type not in JSONL_TYPES:
            findings.append(f"{mime_type} is no type of JSON lines")
        return findings
    if purpose == "vision":
        findings = [] if suffix in PICTURES else [f"{suffix or name} is no picture"]
        if mime_type is not None and not mime_type.startswith("image/"):
            findings.append(f"{mime_type} is no type of a picture")
        return findings
    return []


async def _read(path: Path, purpose: str) -> list[str]:
    with readable(path):
        file = await asyncio.to_thread(path.open, "rb")
    with file:
        look = _Look(file, purpose)
        with readable(path):
            while not await asyncio.to_thread(look.go_on):
                pass
    return look.findings


class _Look:
    """How far a file has been read, and what was found."""

    def __init__(self, file: BinaryIO, purpose: str) -> None:
        self.findings: list[str] = []
        self._file = file
        self._check = LINE_CHECKS[purpose]()
        self._is_batch = purpose == "batch"
        self._lines = 0
        self._read = 0

    def go_on(self) -> bool:
        """Read the next stretch; whether there is nothing more to learn."""
        until = self._read + STRIDE
        while self._read < until:
            line = self._file.readline(LINE + 1)
            if not line:
                if self._lines == 0:
                    self.findings.append("it has no lines")
                return True
            self._read += len(line)
            self._lines += 1
            finding = self._look_at(line)
            if finding is not None:
                self.findings.append(f"line {self._lines}: {finding}")
            if self._is_too_much() or len(self.findings) >= FINDINGS:
                return True
            if len(line) > LINE:
                return True
        return False

    def _look_at(self, line: bytes) -> str | None:
        if len(line) > LINE:
            return f"it is longer than {LINE} bytes"
        if self._lines == 1 and line.startswith(BOM):
            return "it begins with a byte order mark; write UTF-8 without one"
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return f"byte {error.start + 1} is not UTF-8"
        if not line.strip():
            return "it is empty"
        try:
            return self._check(line)
        except msgspec.MsgspecError as error:
            return _said(error)

    def _is_too_much(self) -> bool:
        if not self._is_batch:
            return False
        if self._lines > BATCH_LINES:
            self.findings.append(f"it has more than {BATCH_LINES} lines")
            return True
        if self._read > BATCH_SIZE:
            self.findings.append(f"it has more than {BATCH_SIZE} bytes")
            return True
        return False


def _requests() -> LineCheck:
    seen: set[str] = set()
    decode = msgspec.json.Decoder(_Request).decode

    def check_request(line: bytes) -> str | None:
        request = decode(line)
        if request.custom_id in seen:
            return f"custom_id {request.custom_id!r} was there already"
        seen.add(request.custom_id)
        if request.method != "POST":
            return f"method is {request.method!r}; batches know POST only"
        if not request.url.startswith("/"):
            return f"url is {request.url!r}; write a path such as /v1/responses"
        return None

    return check_request


def _examples() -> LineCheck:
    decode = msgspec.json.Decoder(_Example).decode

    def check_example(line: bytes) -> str | None:
        example = decode(line)
        if example.messages is not None:
            return None if example.messages else "messages is empty"
        if example.prompt is not None and example.completion is not None:
            return None
        if (
            example.input is not None
            and example.preferred_output is not None
            and example.non_preferred_output is not None
        ):
            return None
        return (
            "it has neither messages, nor prompt and completion, nor input with"
            " preferred_output and non_preferred_output"
        )

    return check_example


def _said(error: msgspec.MsgspecError) -> str:
    """msgspec's words, which are good, in our manner."""
    text = str(error)
    return text[0].lower() + text[1:]


LINE_CHECKS: Final[dict[str, Callable[[], LineCheck]]] = {
    "batch": _requests,
    "fine-tune": _examples,
}
