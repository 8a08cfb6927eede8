"""Commands that look into the journal: list, show, receipt."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from uploader.cli.group import cli
from uploader.cli.options import common, take_call
from uploader.cli.running import read

if TYPE_CHECKING:
    from uploader.record import Journal


@cli.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Finished ones, too.")
@common
def list_(everything: bool, **options: Any) -> None:
    """Show what the journal knows.

    \b
    uploader list
    uploader list --all --json | jq .file.id
    """
    call = take_call(options)

    async def work(journal: Journal) -> None:
        from uploader.tables import as_json, table

        uploads = await journal.uploads(unfinished=not everything)
        messages = await journal.attachments(unfinished=not everything)
        if call.as_json:
            for line in (*map(as_json, uploads), *map(as_json, messages)):
                click.echo(line)
        elif uploads or messages:
            absent = await journal.absent_owners(now=time.time())
            for line in table(uploads, messages, absent):
                click.echo(line)
        elif not call.quiet:
            click.echo("nothing is unfinished", err=True)

    read(call, work)


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
