"""Commands about this machine: emulator, config, completion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from uploader.cli.group import cli
from uploader.config import build, gather


@cli.command()
@click.option("--profile", help="An account of the settings file.")
@click.option("--config", "file", type=Path, help="Another settings file.")
def config(profile: str | None, file: Path | None) -> None:
    """Show what is in force, and where it comes from; secrets are masked."""
    from uploader.tables import settings_table

    given = gather(file, profile, os.environ, {})
    for line in settings_table(build(given), given):
        click.echo(line)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(uploader completion bash)"
    zsh:   eval "$(uploader completion zsh)"
    fish:  uploader completion fish | source
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(cli, {}, "uploader", "_UPLOADER_COMPLETE").source())


@cli.command()
@click.option("--port", type=int, default=8080, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--dir", "directory", type=Path, required=True, help="Its state.")
@click.option("--faults", type=Path, help="A JSON file of faults to inject.")
@click.option("--control", is_flag=True, help="Let /_emulator/ steer it.")
@click.option("--switch", "switches", multiple=True, metavar="NAME=VALUE")
@click.option("--key", "keys", multiple=True, help="Accept only these keys.")
@click.option("--client-pid", type=int, help="The process that a fault may kill.")
def emulator(**options: Any) -> None:
    """Run the services on this machine, strictly, with faults on command."""
    from uploader.emulator.process import CannotStart, serve

    try:
        serve(**options)
    except CannotStart as error:
        raise click.ClickException(str(error)) from None
