"""Commands that carry uploads on: upload, resume, cancel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uploader.cli.group import cli
from uploader.cli.options import DURATION, SIZE, common, sending, take_call
from uploader.cli.running import each, run

if TYPE_CHECKING:
    from uploader.engine import Uploader


@cli.command()
@click.argument("paths", nargs=-1, required=True, type=Path, metavar="PATH...")
@click.option("--purpose", help="What the service may use it for.  [user_data]")
@click.option("--filename", help="What the service shall call it.")
@click.option("--mime-type", help="Its type, if the name does not tell.")
@click.option("--expires-after", type=DURATION, help="Life of the file, e.g. 7d.")
@click.option("--part-size", type=SIZE, help="E.g. 16MiB; chosen by size if left out.")
@sending
@common
def upload(
    paths: tuple[Path, ...],
    purpose: str | None,
    filename: str | None,
    mime_type: str | None,
    expires_after: float | None,
    **options: Any,
) -> None:
    """Upload files, or go on with them where an earlier run stopped.

    The file id is the last line on stdout.
    """
    if filename is not None and len(paths) > 1:
        raise click.UsageError("--filename names one file; there are several paths")
    details: dict[str, Any] = {
        "filename": filename,
        "mime_type": mime_type,
        "expires_after": None if expires_after is None else int(expires_after),
    }
    if purpose is not None:
        details["purpose"] = purpose

    async def work(uploader: Uploader) -> None:
        await each(paths, lambda path: uploader.upload(path, **details))

    run(take_call(options), work)


@cli.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--accept", metavar="FILE_ID", help="This file is it; go on from there.")
@click.option("--again", is_flag=True, help="There is no file; send it once more.")
@sending
@common
def resume(
    ids: tuple[str, ...], accept: str | None, again: bool, **options: Any
) -> None:
    """Go on with unfinished uploads: those named, or all of this service."""
    if (accept or again) and len(ids) != 1:
        raise click.UsageError("--accept and --again speak of one upload; give its ID")
    if accept and again:
        raise click.UsageError("--accept and --again contradict each other")

    async def work(uploader: Uploader) -> None:
        from uploader.model import FileId

        known = FileId(accept) if accept else None
        names = ids or [upload.id for upload in await uploader.resumable()]
        await each(names, lambda name: uploader.resume(name, accept=known, again=again))

    run(take_call(options), work)


@cli.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@common
def cancel(ids: tuple[str, ...], **options: Any) -> None:
    """Give uploads up, here and at the service."""

    async def work(uploader: Uploader) -> None:
        await each(ids, uploader.cancel)

    run(take_call(options), work)
