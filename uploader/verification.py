"""Is what the receipt says still true: of the source, and of the file at the service."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum

from uploader.digest import Digest, new_digest
from uploader.errors import (
    BackendUnavailable,
    CredentialsRefused,
    RequestRejected,
    SourceChanged,
    SourceError,
)
from uploader.model import File, FileId, LocalId, Plan, Upload
from uploader.result import Receipt
from uploader.run import Machine
from uploader.source import Source

logger = logging.getLogger("uploader")


class Outcome(StrEnum):
    EQUAL = "equal"
    DIFFERS = "differs"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One comparison with the receipt."""

    aspect: str
    outcome: Outcome
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What was compared, and what came of it."""

    upload: LocalId
    file_id: FileId
    source: tuple[Finding, ...]
    file: tuple[Finding, ...]

    @property
    def source_differs(self) -> bool:
        return any(found.outcome is Outcome.DIFFERS for found in self.source)

    @property
    def file_differs(self) -> bool:
        return any(found.outcome is Outcome.DIFFERS for found in self.file)


async def verify(machine: Machine, upload: Upload, receipt: Receipt) -> Verification:
    """Read the source again, and the file where the service hands it out.

    A difference is a finding, no error.  Raises `BackendError` when the service could
    not be asked.
    """
    return Verification(
        upload=upload.id,
        file_id=receipt.file_id,
        source=tuple(await _of_source(upload, receipt)),
        file=tuple(await _of_file(machine, receipt)),
    )


async def _of_source(upload: Upload, receipt: Receipt) -> list[Finding]:
    try:
        with Source.open(receipt.path) as source:
            size = source.fingerprint.size
            if size != receipt.size:
                return [_difference("size", f"{size} bytes, not {receipt.size}")]
            content = await _content_of_source(source, receipt)
            source.check()
    except SourceError as error:
        return [_difference("content", str(error))]
    moved = upload.fingerprint.difference(source.fingerprint)
    return [
        _equality("size", f"{size} bytes"),
        _fingerprint(moved, decided=any(_is_decisive(found) for found in content)),
        *content,
    ]


async def _content_of_source(source: Source, receipt: Receipt) -> list[Finding]:
    """One reading for all, a second one only to say more about a difference."""
    plan = Plan.of_sizes(receipt.part_sizes)
    recorded = {part.number: part for part in receipt.parts if part.digest is not None}
    parts = _digests(receipt)
    try:
        md5 = await source.digest(plan, recorded, md5=True)
    except SourceChanged as changed:
        parts = _difference("part digests", changed.difference)
        md5 = await source.digest(plan, {}, md5=True)
    assert md5 is not None
    return [parts, _md5(md5, receipt)]


def _fingerprint(moved: str | None, *, decided: bool) -> Finding:
    if moved is None:
        return _equality("fingerprint", "untouched since it was sent")
    if decided:
        return _unknown("fingerprint", f"{moved}; its content decides")
    return _difference("fingerprint", f"{moved}, and there is no digest to decide")


async def _of_file(machine: Machine, receipt: Receipt) -> list[Finding]:
    backend, file_id = machine.backend, receipt.file_id
    if not backend.capabilities.knows_files:
        return [_unknown("file", "this service has no request to tell about a file")]
    try:
        file = await machine.retry(
            lambda: backend.get_file(file_id), on_backoff=_on_backoff
        )
    except RequestRejected as refused:
        if refused.status == 404:
            return [_difference("file", f"it is not there: {refused}")]
        return [_unknown("file", str(refused))]
    return [*_metadata(file, receipt), *await _content_of_file(machine, receipt)]


def _metadata(file: File, receipt: Receipt) -> Iterator[Finding]:
    if file.id != receipt.file_id:
        yield _difference("id", f"the service speaks of {file.id}")
    if file.bytes is None:
        yield _unknown("size", "the service does not tell")
    elif file.bytes == receipt.size:
        yield _equality("size", f"{file.bytes} bytes")
    else:
        yield _difference("size", f"{file.bytes} bytes, not {receipt.size}")
    for aspect, found, sent in (
        ("filename", file.filename, receipt.filename),
        ("purpose", file.purpose, receipt.purpose),
    ):
        if found == sent:
            yield _equality(aspect, found)
        else:
            yield _difference(aspect, f"{found!r}, not {sent!r}")
    if file.status == "error":
        yield _difference("status", "the service calls it broken")


async def _content_of_file(machine: Machine, receipt: Receipt) -> list[Finding]:
    async def read() -> _Reading:
        reading = _Reading(receipt)
        chunks = machine.backend.read_file(receipt.file_id, limit=receipt.size)
        async with aclosing(chunks):
            async for chunk in chunks:
                reading.add(chunk)
        return reading

    try:
        reading = await machine.retry(read, on_backoff=_on_backoff)
    except (RequestRejected, CredentialsRefused) as refused:
        return [_unknown("content", f"the service does not hand it out: {refused}")]
    return reading.findings()


@dataclass(slots=True)
class _Reading:
    """The content of the file as it comes, digested whole and by its parts."""

    receipt: Receipt
    size: int = 0
    _whole: Digest = field(
        default_factory=lambda: hashlib.md5(usedforsecurity=False)  # the service's own
    )
    _part: int = 0
    _left: int = 0
    _digest: Digest | None = None
    _wrong: list[int] = field(default_factory=list)

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._whole.update(chunk)
        rest = memoryview(chunk)
        while rest and (self._left or self._next()):
            piece = rest[: self._left]
            if self._digest is not None:
                self._digest.update(piece)
            self._left -= len(piece)
            rest = rest[len(piece) :]
            if not self._left:
                self._compare()

    def findings(self) -> list[Finding]:
        if self.size > self.receipt.size:
            return [_difference("content", f"more than {self.receipt.size} bytes")]
        if self.size < self.receipt.size:
            words = f"{self.size} bytes, not {self.receipt.size}"
            return [_difference("content", words)]
        parts = _digests(self.receipt)
        if self._wrong:
            numbers = ", ".join(map(str, self._wrong[:10]))
            parts = _difference("part digests", f"other content in part {numbers}")
        return [parts, _md5(bytes.fromhex(self._whole.hexdigest()), self.receipt)]

    def _next(self) -> bool:
        if self._part == len(self.receipt.part_sizes):
            return False
        self._left = self.receipt.part_sizes[self._part]
        self._part += 1
        expected = self._expected()
        self._digest = new_digest(expected.partition(":")[0]) if expected else None
        return True

    def _compare(self) -> None:
        expected = self._expected()
        if expected is None or self._digest is None:
            return
        if self._digest.hexdigest() != expected.partition(":")[2]:
            self._wrong.append(self._part)

    def _expected(self) -> str | None:
        parts = self.receipt.parts
        return next((one.digest for one in parts if one.number == self._part), None)


def _digests(receipt: Receipt) -> Finding:
    """What to say when no part differs."""
    known = sum(part.digest is not None for part in receipt.parts)
    if not known:
        return _unknown("part digests", "none were kept")
    return _equality("part digests", f"{known} of {len(receipt.part_sizes)} parts")


def _md5(found: bytes, receipt: Receipt) -> Finding:
    if receipt.md5 is None:
        return _unknown("md5", f"it is {found.hex()}; none was kept")
    if receipt.md5 in (found.hex(), base64.b64encode(found).decode()):
        return _equality("md5", receipt.md5)
    return _difference("md5", f"{found.hex()}, not {receipt.md5}")


def _is_decisive(found: Finding) -> bool:
    return found.outcome is not Outcome.NOT_COMPARED


async def _on_backoff(attempt: int, delay: float, error: BackendUnavailable) -> None:
    logger.info("verify: %s; again in %.1f s", error, delay)


def _equality(aspect: str, words: str) -> Finding:
    return Finding(aspect=aspect, outcome=Outcome.EQUAL, words=words)


def _difference(aspect: str, words: str) -> Finding:
    return Finding(aspect=aspect, outcome=Outcome.DIFFERS, words=words)


def _unknown(aspect: str, words: str) -> Finding:
    return Finding(aspect=aspect, outcome=Outcome.NOT_COMPARED, words=words)
