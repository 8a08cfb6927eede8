"""Lists of files from folders, patterns, streams of paths, and manifests."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from uploader.errors import UsageError
from uploader.intake import Item
from uploader.spelling import parse_duration

FINDINGS: Final = 5
"""After so many bad lines nobody reads on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which files of a folder, a pattern or a list are meant."""

    recursive: bool = False
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def takes(self, path: Path) -> bool:
        """Whether *path*, below a folder or as listed, is one of them."""
        if any(_fits(path, pattern) for pattern in self.exclude):
            return False
        if any(step.startswith(".") for step in path.parts):
            # Who uploads a folder seldom means its .env.
            return any(
                _fits(path, pattern)
                for pattern in self.include
                if pattern.startswith(".") or "/." in pattern
            )
        return not self.include or any(_fits(path, pattern) for pattern in self.include)


class _Row(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    path: str
    purpose: str | None = None
    filename: str | None = None
    mime_type: str | None = None
    to: str | None = None
    prompt: str | None = None
    model: str | None = None
    expires_after: int | str | None = None
    priority: int | None = None
    tag: str | None = None


def find_files(paths: Iterable[Path], choice: Choice) -> Iterator[Path]:
    """The files that *paths* name: themselves, in folders, or by patterns.

    In an order that is the same each time.  What is there under its very name is no
    pattern.  A folder is opened with `choice.recursive` only; links to folders are not
    followed.  What names nothing is passed on, to be refused by its name.
    """
    for path in paths:
        if not os.path.lexists(path) and glob.has_magic(str(path)):
            base, rest = _divided(path)
            found = sorted(base.glob(rest))
            if not found:
                yield path
            for each in found:
                if each.is_dir():
                    yield from _below(each, choice)
                elif choice.takes(each.relative_to(base)):
                    yield each
        elif path.is_dir() and choice.recursive:
            yield from _below(path, choice)
        else:
            yield path


def read_paths(content: bytes, choice: Choice) -> Iterator[Path]:
    """Paths as `find` writes them, one a line, or with `-print0`."""
    separator = b"\0" if b"\0" in content else b"\n"
    for name in content.split(separator):
        if separator == b"\n":
            name = name.removesuffix(b"\r")
        if name:
            path = Path(os.fsdecode(name))
            if choice.takes(Path(path.name)):
                yield path


def read_manifest(content: bytes, name: str, folder: Path, like: Item) -> list[Item]:
    """The items of a manifest: JSON lines, with *like* for what a line leaves out.

    Paths are relative to *folder*.  Raises `UsageError` with the first bad lines;
    nothing is queued then.
    """
    decode = msgspec.json.Decoder(_Row).decode
    items, findings = [], []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            items.append(_item(decode(line), folder, like))
        except (msgspec.MsgspecError, ValueError) as error:
            findings.append(f"line {number}: {error}")
            if len(findings) == FINDINGS:
                break
    if findings:
        raise UsageError(
            f"{name}: {'; '.join(findings)}",
            hint="each line is an object with a path; README lists the other fields",
        )
    return items


def _item(row: _Row, folder: Path, like: Item) -> Item:
    given = {
        field: value
        for field in _Row.__struct_fields__
        if field not in ("path", "expires_after")
        and (value := getattr(row, field)) is not None
    }
    if row.expires_after is not None:
        given["expires_after"] = int(parse_duration(str(row.expires_after)))
    return replace(like, path=folder / row.path, **given)


def _below(folder: Path, choice: Choice) -> Iterator[Path]:
    if not choice.recursive:
        return
    for name, folders, files in os.walk(folder):
        here = Path(name)
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for each in sorted(files):
            path = here / each
            if choice.takes(path.relative_to(folder)) and path.is_file():
                yield path


def _divided(pattern: Path) -> tuple[Path, str]:
    """The folder above the first wildcard, and the rest."""
    plain = 0
    while not glob.has_magic(pattern.parts[plain]):
        plain += 1
    return Path(*pattern.parts[:plain]), str(Path(*pattern.parts[plain:]))


def _fits(path: Path, pattern: str) -> bool:
    """By its name, or by its way below the folder if the pattern has one."""
    subject = path.as_posix() if "/" in pattern else path.name
    return fnmatch.fnmatchcase(subject, pattern)
