"""Doing checks one after the other, and saying what held."""

from __future__ import annotations

import asyncio
import errno
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from uploader import place
from uploader.errors import JournalError, UploaderError

Say = Callable[[str], None]
"""Told how far a check is."""


class Broken(Exception):
    """A promise was not kept here; the words say which, and what was seen."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to try in an empty directory; *run* returns what held, in words."""

    title: str
    run: Callable[[Path, Say], Awaitable[str]]
    needs_journal: bool = True


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
    if any(isinstance(error, JournalError | OSError) for error in failures):
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
        if failures and check.needs_journal and isinstance(failures[0], JournalError):
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
    except (Broken, UploaderError) as error:
        click.echo(f"FAILED  {check.title}: {error}")
        return error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        words = "the disk is full" if full else str(error)
        click.echo(f"FAILED  {check.title}: {words}")
        return JournalError(words)
    click.echo(f"held    {check.title}: {held}")
    return None
