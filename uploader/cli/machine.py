"""Commands about this machine: emulator, config, completion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from uploader.cli.group import cli
from uploader.cli.options import PATH, SIZE, choosing, sending
from uploader.config import build, gather


@cli.command()
@click.option("--part-size", type=SIZE, help="E.g. 16MiB; chosen by size if left out.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout.")
@sending
@choosing
def config(
    profile: str | None, file: Path | None, as_json: bool, **overrides: Any
) -> None:
    """Show what is in force, and where it comes from; secrets are masked.

    Later ones win: defaults, the settings file, the environment, a profile of that
    file, the flags of this command line.

    \b
    uploader config
    uploader config --profile work --parallel 4
    """
    from uploader.tables import settings_json, settings_table

    given = gather(file, profile, os.environ, overrides)
    show = settings_json if as_json else settings_table
    for line in show(build(given), given):
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
@click.option(
    "--port", type=int, default=8080, show_default=True, help="0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--dir", "directory", type=PATH, required=True, help="Its state.")
@click.option("--faults", type=PATH, help="A JSON file of faults to inject.")
@click.option("--control", is_flag=True, help="Let /_emulator/ steer it.")
@click.option(
    "--switch",
    "switches",
    multiple=True,
    metavar="NAME=VALUE",
    help="Behave otherwise.",
)
@click.option("--key", "keys", multiple=True, help="Accept only these keys.")
@click.option("--client-pid", type=int, help="The process that a fault may kill.")
def emulator(**options: Any) -> None:
    """Run the services on this machine, strictly, with faults on command.

    Its URL is the only line on stdout.  A script of faults is a JSON list:

    \b
    [{"kind": "part", "nth": 3, "when": "after", "do": "reset"}]

    \b
    uploader emulator --dir service --faults faults.json --switch md5=base64
    """
    from uploader.emulator.process import CannotStart, serve

    try:
        serve(**options)
    except CannotStart as error:
        raise click.ClickException(str(error)) from None
