"""Doing checks one after the other, and saying what held."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from uploader import place
from uploader.errors import JournalError, UploaderError
from uploader.model import MIB

LITTLE: Final = MIB
"""Bytes; whatever fails on a disk with less left fails because of that."""

Say = Callable[[str], None]
"""Told how far a check is."""


class Broken(Exception):
    """A promise was not kept here; the words say which, and what was seen."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to try in an empty directory; *run* returns what held, in words."""

    title: str
    run: Callable[[Path, Say], Awaitable[str]]


def run_all(directory: Path, checks: Sequence[Check]) -> None:
    """Do *checks* below *directory*, with a report on stdout.

    Raises `JournalError` when a journal cannot be kept there, and another
    `UploaderError` when something else did not hold.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix="selftest-", dir=directory, ignore_cleanup_errors=True
        ) as scratch:
            _introduce(directory)
            failures = asyncio.run(_run(Path(scratch), checks))
    except OSError as error:
        raise JournalError(
            f"{directory}: {error.strerror}",
            hint="nothing was tried; name a directory that you may write to",
        ) from error
    if not failures:
        click.echo(f"all {len(checks)} held")
        return
    words = f"{len(failures)} of {len(checks)} did not hold in {directory}"
    if any(isinstance(error, JournalError) for error in failures):
        raise JournalError(
            words, hint="keep the journal elsewhere, or mend that disk; see the report"
        )
    raise UploaderError(
        words, hint="this is a bug: please report it, with the lines above"
    )


def _introduce(directory: Path) -> None:
    here = place.look(directory)
    click.echo(f"selftest in {directory}" + (f" ({here.kind})" if here else ""))
    if here is not None and here.warning is not None:
        click.echo(f"NOTE    {here.warning}")


async def _run(scratch: Path, checks: Sequence[Check]) -> list[Exception]:
    failures: list[Exception] = []
    for number, check in enumerate(checks, start=1):
        if failures and isinstance(failures[0], JournalError):
            click.echo(f"SKIPPED {check.title}: there is no journal to rely on")
            failures.append(Broken("not tried"))
            continue
        error = await _try(check, scratch / str(number))
        if error is not None:
            failures.append(error)
    return failures


async def _try(check: Check, directory: Path) -> Exception | None:
    def say(progress: str) -> None:
        click.echo(f"...     {check.title}: {progress}", err=True)

    try:
        directory.mkdir()
        held = await check.run(directory, say)
    except (Broken, UploaderError, OSError, sqlite3.Error) as error:
        failure = _explained(error, directory)
        click.echo(f"FAILED  {check.title}: {failure}")
        return failure
    click.echo(f"held    {check.title}: {held}")
    return None


def _explained(error: Exception, directory: Path) -> Exception:
    """A full disk has many faces, the emulator's own complaints among them."""
    if not isinstance(error, JournalError):
        free = shutil.disk_usage(directory.parent).free
        if free < LITTLE:
            return JournalError(f"the disk is full ({error})")
        if isinstance(error, OSError | sqlite3.Error):
            return JournalError(str(error))
    return error
