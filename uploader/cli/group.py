"""The command `uploader`, without its subcommands."""

from __future__ import annotations

import click

from uploader import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="uploader %(version)s")
def cli() -> None:
    """Upload large files into AI platforms, and never start over.

    \b
    uploader upload big.jsonl --purpose batch     send a file
    uploader resume                               go on after a crash
    uploader list                                 what is unfinished
    uploader upload big.bin --emulator            try it without an account

    The key is OPENAI_API_KEY, the service OPENAI_BASE_URL; `uploader config` shows
    what is in force.  Each command has a --help of its own.
    """
