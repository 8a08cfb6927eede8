"""Commands that show what holds: verify, orphans, selftest."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uploader.cli.group import cli
from uploader.cli.options import DURATION, PATH, common, take_call
from uploader.cli.running import each, read, run
from uploader.errors import RequestRejected, SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from uploader.engine import Uploader
    from uploader.model import Orphan
    from uploader.record import Journal


@cli.command()
@click.argument("id_", metavar="ID")
@common
def verify(id_: str, **options: Any) -> None:
    """Compare an upload's receipt with its source and with the file at the service.

    The source is read again, and the file too where the service hands it out.  The
    exit code is 0 if all that could be compared is equal, 3 if the source differs,
    and 4 if the file does.

    \b
    uploader verify k3v9
    """
    call = take_call(options)

    async def work(uploader: Uploader) -> None:
        from uploader.tables import verification_json, verification_table

        done = await uploader.verify(id_)
        show = verification_json if call.as_json else verification_table
        for line in show(done):
            click.echo(line)
        if done.file_differs:
            raise RequestRejected(
                f"{done.file_id} is not what was sent",
                hint="nothing was changed; upload the source again if it is whole",
            )
        if done.source_differs:
            raise SourceError(
                f"the source of upload {done.upload} is not what was sent",
                hint="the file at the service is the version that was sent",
            )

    run(call, work)


@cli.command()
@click.option("--cancel", is_flag=True, help="Cancel those whose id is known.")
@common
def orphans(cancel: bool, **options: Any) -> None:
    """Show what may be open at a service though nobody goes on with it.

    These are uploads whose create was never answered, and those that a restart or a
    failure gave up; the service drops each when it expires.  What `uploader resume`
    goes on with is none of them: `uploader list` shows it.

    \b
    uploader orphans
    uploader orphans --cancel
    """
    call = take_call(options)

    def show(found: Sequence[Orphan]) -> None:
        from uploader.tables import as_json, orphan_table

        for line in map(as_json, found) if call.as_json else orphan_table(found):
            click.echo(line)
        if not found and not call.as_json and not call.quiet:
            click.echo("nothing is left open", err=True)

    async def look(journal: Journal) -> None:
        from uploader.orphans import find

        show(await find(journal, now=time.time()))

    async def give_up(uploader: Uploader) -> None:
        known = [one for one in await uploader.orphans() if one.opened is not None]

        async def one(orphan: Orphan) -> None:
            await uploader.cancel_orphan(orphan)
            if not call.quiet and orphan.opened is not None:
                click.echo(f"cancelled {orphan.opened.upload_id}", err=True)

        try:
            await each(known, one)
        finally:
            show(await uploader.orphans())

    if cancel:
        run(call, give_up)
    else:
        read(call, look)


@cli.command()
@click.option("--dir", "directory", type=PATH, help="Where.  [where the journal is]")
@click.option("--chaos", type=DURATION, help="Go on with random faults, e.g. 10m.")
@click.option("--seed", type=int, help="Repeat the faults of an earlier --chaos.")
def selftest(directory: Path | None, chaos: float | None, seed: int | None) -> None:
    """Try on this machine what `uploader` promises, against the bundled emulator.

    It kills real uploads at every request and resumes them, kills a process that
    writes the journal, and sends a large file in little memory.  That takes about a
    minute and half a GiB of disk, which it gives back.  The exit code is 0 only if
    everything held.

    \b
    uploader selftest
    uploader selftest --dir /mnt/data
    uploader selftest --chaos 10m
    """
    if seed is not None and chaos is None:
        raise click.UsageError("--seed repeats the faults of --chaos SECONDS")
    from uploader.config import Settings
    from uploader.selftest import CHECKS, chaos_check, run_all

    checks = [*CHECKS, chaos_check(chaos, seed)] if chaos is not None else CHECKS
    run_all(directory or Settings.load().journal.parent, checks)
