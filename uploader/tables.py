"""Uploads, receipts, files and settings as text for people, or as JSON."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from uploader.answer import printable
from uploader.config import NAMES, SECRETS, Given, Settings
from uploader.model import File, Receipt, Upload


def size(count: float) -> str:
    """Bytes for people, in powers of 1,024."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} GiB"


def table(uploads: Sequence[Upload], absent: Collection[str]) -> Iterator[str]:
    """One line for each upload; *absent* owners are not worth a word."""
    yield f"{'ID':<10}{'STATE':<12}{'PARTS':<12}{'SIZE':<12}FILE"
    for upload in uploads:
        parts = f"{len(upload.parts)}/{len(upload.plan.parts)}"
        note = ""
        if upload.owner and upload.owner not in absent:
            note += f"  ({upload.owner})"
        if upload.file is not None:
            note += f"  → {upload.file.id}"
        elif upload.failure:
            note += f"  ! {upload.failure}"
        yield (
            f"{upload.id:<10}{upload.state:<12}{parts:<12}"
            f"{size(upload.plan.size):<12}{printable(str(upload.identity.path) + note)}"
        )


def as_json(noun: Upload | Receipt | File) -> str:
    """All of it as one JSON object."""
    return msgspec.json.encode(noun, enc_hook=str).decode()


def details(noun: Upload | Receipt | File) -> Iterator[str]:
    """All of it, one line for each field; what is in a field stands indented."""
    yield from _lines(msgspec.to_builtins(noun, enc_hook=str), "")


def _lines(values: Mapping[str, object], indent: str) -> Iterator[str]:
    """A line for each plain value; nouns within are told in lines of their own."""
    for name, value in values.items():
        label = f"{indent}{name.replace('_', ' ')}"
        if isinstance(value, Mapping) and value:
            yield label
            yield from _lines({str(key): item for key, item in value.items()}, "  ")
        elif isinstance(value, tuple) and value and isinstance(value[0], Mapping):
            yield label
            for item in value:
                yield "  " + "  ".join(
                    f"{key} {printable(str(part))}" for key, part in item.items()
                )
        elif value not in (None, (), {}):
            yield f"{label:<24}{printable(_readable(name, value), 2000)}"


def _readable(name: str, value: object) -> str:
    if name.endswith("_at") and isinstance(value, int | float):
        moment = datetime.datetime.fromtimestamp(value, datetime.UTC)
        return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return str(value)


def file_table(files: Sequence[File]) -> Iterator[str]:
    """One line for each file at the service."""
    for file in files:
        count = "?" if file.bytes is None else size(file.bytes)
        yield (
            f"{printable(file.id):<32}{count:<12}{printable(file.purpose):<12}"
            f"{_readable('created_at', file.created_at)}  {printable(file.filename)}"
        )


def settings_table(settings: Settings, given: Mapping[str, Given]) -> Iterator[str]:
    """One line for each setting: name, value, where it comes from."""
    for name in NAMES:
        value: object = settings
        for step in name.split("."):
            value = getattr(value, step)
        if name in SECRETS and value is not None:
            value = "***"
        origin = given[name].origin if name in given else "default"
        yield f"{name:<28}{printable(str(value)):<40}{origin}"
