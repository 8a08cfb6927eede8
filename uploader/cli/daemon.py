"""The command that stays: daemon."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import click

from uploader.cli import running
from uploader.cli.group import cli
from uploader.cli.options import PATH, common, sending, take_call
from uploader.config import FILE, default_file


@cli.command()
@click.option("--once", is_flag=True, help="Do what there is to do, and end.")
@click.option("--listen", metavar="ADDRESS", help="127.0.0.1:PORT or unix:PATH.")
@click.option("--token-file", type=PATH, help="Keep the token in this file.")
@sending
@common
def daemon(
    once: bool, listen: str | None, token_file: Path | None, **options: Any
) -> None:
    """Upload whatever arrives in folders, as the rules of the settings file say.

    SIGTERM drains, SIGHUP reads the rules again.  With --listen there is a page to
    watch it, metrics and a JSON API.

    \b
    uploader daemon --config uploader.toml
    uploader daemon --config uploader.toml --listen 127.0.0.1:8484
    uploader daemon --config uploader.toml --once
    """
    from uploader.daemon.service import Daemon
    from uploader.render import log

    configured = options.get("file") or os.environ.get(FILE)
    file = Path(configured) if configured else default_file()
    call = take_call(options)
    given = {"listen": listen, "token_file": token_file}

    def say(line: str) -> None:
        if not call.quiet or "token" in line:
            click.echo(f"uploader: {line}", err=True)

    with running.service(call) as settings:
        running_daemon = Daemon(
            settings,
            file,
            say=say,
            observers=(log,),
            once=once,
            overrides={name: value for name, value in given.items() if value},
        )
        asyncio.run(running_daemon.run())
