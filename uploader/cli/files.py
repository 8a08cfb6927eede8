"""Commands for files at the service: list, get, rm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from uploader.cli.group import cli
from uploader.cli.options import common, take_call
from uploader.cli.running import ask

if TYPE_CHECKING:
    from uploader.backend import Backend


@cli.group()
def files() -> None:
    """List, look at and remove files at the service."""


@files.command(name="list")
@click.option("--purpose", help="Only files of this purpose.")
@common
def files_list(purpose: str | None, **options: Any) -> None:
    """List the files of the account, newest first.

    \b
    uploader files list --purpose batch
    """
    call = take_call(options)

    async def work(backend: Backend) -> None:
        from uploader.tables import as_json, file_table

        found = await backend.list_files(purpose)
        for line in map(as_json, found) if call.as_json else file_table(found):
            click.echo(line)

    ask(call, work)


@files.command(name="get")
@click.argument("file_ids", nargs=-1, required=True, metavar="FILE_ID...")
@common
def files_get(file_ids: tuple[str, ...], **options: Any) -> None:
    """Show what the service says of files.

    \b
    uploader files get file-PKdN3T9UGQsHPLmWfarMbK
    """
    call = take_call(options)

    async def work(backend: Backend) -> None:
        from uploader.model import FileId
        from uploader.tables import as_json, details

        for file_id in file_ids:
            file = await backend.get_file(FileId(file_id))
            for line in [as_json(file)] if call.as_json else details(file):
                click.echo(line)

    ask(call, work)


@files.command(name="rm")
@click.argument("file_ids", nargs=-1, required=True, metavar="FILE_ID...")
@common
def files_rm(file_ids: tuple[str, ...], **options: Any) -> None:
    """Remove files at the service.

    \b
    uploader files rm file-PKdN3T9UGQsHPLmWfarMbK
    """
    call = take_call(options)

    async def work(backend: Backend) -> None:
        from uploader.model import FileId

        for file_id in file_ids:
            await backend.delete_file(FileId(file_id))
            if not call.quiet:
                click.echo(f"removed {file_id}", err=True)

    ask(call, work)
