"""What becomes of a file: its receipt, keep, move or delete, and the quarantine."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from uploader.daemon import aside
from uploader.daemon.rules import Rule
from uploader.errors import SourceChanged, SourceError, UploaderError
from uploader.model import Fingerprint, Plan
from uploader.result import UploadedFile
from uploader.source import Source

REASON: Final = ".reason.json"


def mark_of(path: Path, fingerprint: Fingerprint) -> str:
    """A short name for this very file at this very place."""
    text = f"{path}\0{fingerprint.size}\0{fingerprint.mtime_ns}"
    return hashlib.blake2s(os.fsencode(text), digest_size=6).hexdigest()


def receipt_of(rule: Rule, path: Path, fingerprint: Fingerprint) -> Path:
    """Where the receipt of this file is, or will be."""
    return rule.receipts_in / f"{path.name}.{mark_of(path, fingerprint)}.json"


def write_receipt(
    rule: Rule, path: Path, fingerprint: Fingerprint, file: UploadedFile
) -> None:
    """Write it whole or not at all.  Raises `OSError`."""
    place = receipt_of(rule, path, fingerprint)
    document = {
        "v": 1,
        "rule": rule.name,
        "fingerprint": fingerprint,
        "file": file,
    }
    _write(place, msgspec.json.encode(document, enc_hook=str))


async def settle(
    rule: Rule, path: Path, fingerprint: Fingerprint, file: UploadedFile
) -> str | None:
    """Do what the rule says to the file that arrived; return why not, in words.

    Only to what is proven to be what arrived: the same fingerprint as it had before
    it was opened, or the digests of all its parts.  Raises `OSError`.
    """
    if rule.afterwards == "keep":
        return None
    try:
        source = Source.open(path)
    except SourceError:
        return "the file is gone"
    with source:
        if source.path != path:
            return "its name is a symlink by now"
        doubt = await _doubt(source, fingerprint, file)
        if doubt is not None:
            return doubt
        return await _to_the_end(lambda: _dispose(rule, path, source.fileno()))


async def _to_the_end(work: Callable[[], str | None]) -> str | None:
    """Work in a thread that has the source's descriptor: who cancels it waits."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _dispose(rule: Rule, path: Path, fd: int) -> str | None:
    if rule.afterwards == "delete":
        done = aside.remove(path, fd)
    else:
        assert rule.move_to is not None
        folder = rule.move_to / path.parent.relative_to(rule.folder)
        done = aside.move(path, fd, folder) is not None
    return None if done else "its name leads to another file by now"


async def _doubt(
    source: Source, fingerprint: Fingerprint, file: UploadedFile
) -> str | None:
    difference = fingerprint.difference(source.fingerprint)
    if difference is None:
        return None
    if fingerprint.size != source.fingerprint.size:
        return difference
    plan = Plan.of_sizes(file.receipt.part_sizes)
    recorded = {part.number: part for part in file.receipt.parts}
    proven = len(recorded) == len(plan.parts) and all(
        part.digest for part in recorded.values()
    )
    if not proven:
        return f"{difference}, and there are no digests to verify"
    try:
        await source.digest(plan, recorded, md5=False)
        source.check()
    except (SourceChanged, SourceError) as error:
        return str(error)
    return None


def quarantine(
    rule: Rule,
    path: Path,
    fingerprint: Fingerprint,
    error: UploaderError,
    details: dict[str, Any],
) -> Path | None:
    """Move a file that failed for good away, its reason beside it.

    Returns where it is; None when the file is gone, or another one.  Raises `OSError`.
    """
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | os.O_NONBLOCK)
    except PermissionError:
        return _unseen(rule, path, fingerprint, error, details)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if (found.st_size, found.st_mtime_ns) != (
            fingerprint.size,
            fingerprint.mtime_ns,
        ):
            return None
        goal = aside.move(path, fd, rule.quarantine_in)
    finally:
        os.close(fd)
    if goal is not None:
        _explain(goal, path, error, details)
    return goal


def _unseen(
    rule: Rule,
    path: Path,
    fingerprint: Fingerprint,
    error: UploaderError,
    details: dict[str, Any],
) -> Path | None:
    """The same for a file that may be renamed and not be read."""
    found = path.lstat()
    if (found.st_ino, found.st_size) != (fingerprint.inode, fingerprint.size):
        return None
    rule.quarantine_in.mkdir(parents=True, exist_ok=True)
    goal = rule.quarantine_in / path.name
    if goal.exists():
        goal = goal.with_name(f"{time.time_ns()} {goal.name}")
    path.rename(goal)
    _explain(goal, path, error, details)
    return goal


def _explain(
    goal: Path, path: Path, error: UploaderError, details: dict[str, Any]
) -> None:
    reason = {
        "v": 1,
        "path": str(path),
        "error": str(error),
        "hint": error.hint,
        "exit_code": error.exit_code,
        **details,
    }
    text = json.dumps(reason, indent=2, ensure_ascii=True)
    _write(goal.with_name(goal.name + REASON), text.encode() + b"\n")


def take_back(quarantined: Path, path: Path) -> bool:
    """Bring a file back from quarantine to where it came from, over nothing."""
    try:
        os.link(quarantined, path, follow_symlinks=False)
        quarantined.unlink()
    except FileExistsError:
        return False
    except OSError:
        if path.exists() or not quarantined.exists():
            return False
        quarantined.rename(path)
    with contextlib.suppress(OSError):
        quarantined.with_name(quarantined.name + REASON).unlink()
    return True


def _write(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.tmp")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(place)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
