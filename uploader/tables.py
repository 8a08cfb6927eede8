"""Uploads, receipts, files and settings as text for people, or as JSON."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from uploader.answer import printable
from uploader.config import NAMES, SECRETS, Settings
from uploader.message import Attachment
from uploader.model import Batch, File, Orphan, Queued, Upload
from uploader.result import Receipt
from uploader.spelling import Given

if TYPE_CHECKING:
    # It brings the whole machine, and most commands need only lines.
    from uploader.verification import Finding, Verification

Noun = Attachment | Batch | File | Orphan | Receipt | Upload


def size(count: float) -> str:
    """Bytes for people, in powers of 1,024."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def table(
    uploads: Sequence[Upload], messages: Sequence[Attachment], absent: Collection[str]
) -> Iterator[str]:
    """One line for each upload and message; *absent* owners are not worth a word."""
    yield f"{'ID':<10}{'STATE':<12}{'PARTS':<12}{'SIZE':<12}FILE"
    for upload in uploads:
        parts = f"{len(upload.parts)}/{len(upload.plan.parts)}"
        outcome = f"→ {upload.file.id}" if upload.file else _failure(upload.failure)
        yield (
            f"{upload.id:<10}{upload.state:<12}{parts:<12}"
            f"{size(upload.plan.size):<12}"
            f"{_noted(str(upload.identity.path), upload.owner, absent, outcome)}"
        )
    for message in messages:
        files = f"{len(message.spec.members)} files"
        outcome = _failure(message.failure)
        if message.attached is not None:
            outcome = f"→ {message.attached.conversation_id}"
        yield (
            f"{message.id:<10}{message.state:<12}{files:<12}{'':<12}"
            f"{_noted(message.spec.target, message.owner, absent, outcome)}"
        )


def queue_table(waiting: Sequence[Queued], uploads: int, whole: int) -> Iterator[str]:
    """One line for each of those that come next, and how many there are."""
    for queued in waiting:
        yield (
            f"{queued.id:<10}{'queued':<12}{f'0/{queued.parts}':<12}"
            f"{size(queued.size):<12}{printable(str(queued.path))}"
        )
    if uploads > len(waiting):
        yield f"{uploads} wait, {size(whole)}; the first {len(waiting)} are shown"


def batch_table(batches: Sequence[Batch]) -> Iterator[str]:
    """One line for each batch, in numbers of uploads."""
    yield (
        f"{'BATCH':<10}{'QUEUED':<9}{'BEGUN':<9}{'STOPPED':<9}{'COMPLETE':<10}"
        f"{'FAILED':<9}{'SIZE':<12}QUEUED AT"
    )
    for batch in batches:
        yield (
            f"{batch.id:<10}{batch.queued:<9}{batch.begun:<9}{batch.stopped:<9}"
            f"{batch.completed:<10}{batch.failed + batch.cancelled:<9}"
            f"{size(batch.bytes):<12}{_readable('created_at', batch.created_at)}"
        )


def _failure(failure: str | None) -> str:
    return f"! {failure}" if failure else ""


def _noted(
    subject: str, owner: str | None, absent: Collection[str], outcome: str
) -> str:
    working = f"({owner})" if owner and owner not in absent else ""
    return printable("  ".join(filter(None, (subject, working, outcome))))


def as_json(noun: Noun) -> str:
    """All of it as one JSON object."""
    return msgspec.json.encode(noun, enc_hook=str).decode()


def details(noun: Noun) -> Iterator[str]:
    """All of it, one line for each field; what is in a field stands indented."""
    yield from _lines(msgspec.to_builtins(noun, enc_hook=str), "")


def _lines(values: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in values.items():
        label = f"{indent}{_spaced(name)}"
        if rows := _rows(value):
            yield label
            yield from (f"{indent}  {_in_one_line(row)}" for row in rows)
        elif isinstance(value, Mapping) and value:
            yield label
            yield from _lines(value, f"{indent}  ")
        elif value not in (None, (), {}):
            yield f"{label:<24}{printable(_readable(name, value), 2000)}"


def _rows(value: Any) -> Sequence[Mapping[str, Any]]:
    """The nouns in *value* if it is several of the same kind, such as parts."""
    items = [*value.values()] if isinstance(value, Mapping) else value
    if isinstance(items, list | tuple) and all(
        isinstance(item, Mapping) for item in items
    ):
        return items
    return ()


def _in_one_line(values: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{_spaced(name)} {printable(_readable(name, value))}"
        for name, value in values.items()
        if value is not None
    )


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _readable(name: str, value: object) -> str:
    if name.endswith("_at") and isinstance(value, int | float):
        moment = datetime.datetime.fromtimestamp(value, datetime.UTC)
        return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)


def file_table(files: Sequence[File]) -> Iterator[str]:
    """One line for each file at the service."""
    for file in files:
        count = "?" if file.bytes is None else size(file.bytes)
        yield (
            f"{printable(file.id):<32}{count:<12}{printable(file.purpose):<12}"
            f"{_readable('created_at', file.created_at)}  {printable(file.filename)}"
        )


def orphan_table(orphans: Sequence[Orphan]) -> Iterator[str]:
    """One line for each, if there are any."""
    if orphans:
        yield f"{'ID':<10}{'UPLOAD ID':<40}{'EXPIRES':<25}WHY"
    for orphan in orphans:
        known = orphan.opened.upload_id if orphan.opened else "(unknown)"
        yield (
            f"{orphan.upload:<10}{printable(known):<40}"
            f"{_readable('expires_at', orphan.expires_at):<25}"
            f"{printable(orphan.reason)}  {printable(str(orphan.path))}"
        )


def verification_table(done: Verification) -> Iterator[str]:
    """One line for each comparison."""
    yield f"upload {done.upload} → {printable(done.file_id)}"
    yield from _findings("source", done.source)
    yield from _findings("file", done.file)


def verification_json(done: Verification) -> Iterator[str]:
    yield msgspec.json.encode(
        {
            "upload": done.upload,
            "file_id": done.file_id,
            "equal": not (done.source_differs or done.file_differs),
            "source": done.source,
            "file": done.file,
        }
    ).decode()


def _findings(subject: str, findings: Sequence[Finding]) -> Iterator[str]:
    for found in findings:
        yield (
            f"{subject:<8}{found.aspect:<14}{found.outcome:<14}{printable(found.words)}"
        )


def settings_table(settings: Settings, given: Mapping[str, Given]) -> Iterator[str]:
    """One line for each setting: name, value, where it comes from."""
    for name, value, origin in _settings(settings, given):
        yield f"{name:<30}{printable(str(value)):<40}  {origin}"


def settings_json(settings: Settings, given: Mapping[str, Given]) -> Iterator[str]:
    """One object for each setting."""
    for name, value, origin in _settings(settings, given):
        line = {"name": name, "value": value, "origin": origin}
        yield msgspec.json.encode(line, enc_hook=str).decode()


def _settings(
    settings: Settings, given: Mapping[str, Given]
) -> Iterator[tuple[str, object, str]]:
    for name in NAMES:
        value: object = settings
        for step in name.split("."):
            value = getattr(value, step)
        if name in SECRETS and value is not None:
            value = "***"
        yield name, value, given[name].origin if name in given else "default"
