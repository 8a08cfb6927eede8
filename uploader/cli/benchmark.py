"""The command that measures: benchmark."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uploader.cli.group import cli
from uploader.cli.options import SIZE, common, sending, take_call
from uploader.cli.running import service

if TYPE_CHECKING:
    from uploader.config import Settings


@cli.command()
@click.option(
    "--size", type=SIZE, default="256MiB", show_default=True, help="How much to send."
)
@click.option(
    "--dir",
    "directory",
    type=Path,
    default=Path(),
    help="Where the file to send is made.  [here]",
)
@sending
@common
def benchmark(size: float, directory: Path, **options: Any) -> None:
    """Measure the rate to the service, and say what limits it.

    A file of random bytes is uploaded, and removed at the service afterwards.
    """
    call = take_call(options)

    async def work(settings: Settings) -> None:
        from uploader.benchmark import measure, report

        measures = await measure(settings, size=int(size), directory=directory)
        if call.as_json:
            click.echo(json.dumps(asdict(measures)))
        else:
            for line in report(measures):
                click.echo(line)

    with service(call) as settings:
        asyncio.run(work(settings))
