"""Commands that look into the journal: list, show, receipt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from uploader.cli.group import cli
from uploader.cli.options import common, take_call
from uploader.cli.running import read

if TYPE_CHECKING:
    from uploader.record import Journal

FIRST: Final = 20
"""Of what waits so many are shown."""


@cli.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Finished ones, too.")
@click.option("--batches", "by_batch", is_flag=True, help="A line for each batch.")
@common
def list_(everything: bool, by_batch: bool, **options: Any) -> None:
    """Show what the journal knows.

    \b
    uploader list
    uploader list --all --json | jq .file.id
    uploader list --batches
    """
    call = take_call(options)

    async def work(journal: Journal) -> None:
        from uploader.tables import as_json, queue_table, table

        # For people what waits is a few lines, however much it is.
        queued = everything or call.as_json
        uploads = await journal.uploads(unfinished=not everything, queued=queued)
        messages = await journal.attachments(unfinished=not everything, queued=queued)
        waiting = () if queued else await journal.next_queued(limit=FIRST)
        if call.as_json:
            for line in (*map(as_json, uploads), *map(as_json, messages)):
                click.echo(line)
        elif uploads or messages or waiting:
            absent = await journal.absent_owners(now=time.time())
            for line in table(uploads, messages, absent):
                click.echo(line)
            for line in queue_table(waiting, *await journal.queue_size()):
                click.echo(line)
        elif not call.quiet:
            click.echo("nothing is unfinished", err=True)

    async def sum_up(journal: Journal) -> None:
        from uploader.tables import as_json, batch_table

        batches = await journal.batches()
        for line in map(as_json, batches) if call.as_json else batch_table(batches):
            click.echo(line)

    read(call, sum_up if by_batch else work)


@cli.command()
@click.argument("id_", metavar="ID")
@common
def show(id_: str, **options: Any) -> None:
    """Show all that the journal knows of one upload.

    The beginning of an ID will do.

    \b
    uploader show k3v9
    """
    call = take_call(options)

    async def work(journal: Journal) -> None:
        from uploader.tables import as_json, details

        upload = await journal.find(id_)
        for line in [as_json(upload)] if call.as_json else details(upload):
            click.echo(line)

    read(call, work)


@cli.command()
@click.argument("id_", metavar="ID")
@common
def receipt(id_: str, **options: Any) -> None:
    """Show what was sent, when, with which ids and digests.

    \b
    uploader receipt k3v9
    uploader receipt k3v9 --json > big.receipt.json
    """
    call = take_call(options)

    async def work(journal: Journal) -> None:
        from uploader.engine import no_receipt
        from uploader.tables import as_json, details

        upload = await journal.find(id_)
        found = await journal.receipt(upload.id)
        if found is None:
            raise no_receipt(upload)
        for line in [as_json(found)] if call.as_json else details(found):
            click.echo(line)

    read(call, work)
