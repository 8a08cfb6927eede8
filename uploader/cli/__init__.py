"""The command line: people and scripts."""

from __future__ import annotations

import sys

import click

from uploader.cli import (
    batches,
    benchmark,
    daemon,
    files,
    machine,
    proof,
    records,
    uploads,
)
from uploader.cli.group import cli
from uploader.errors import UploaderError

__all__ = [
    "batches",
    "benchmark",
    "cli",
    "daemon",
    "files",
    "machine",
    "main",
    "proof",
    "records",
    "uploads",
]


def main() -> None:
    """Run the command; every expected failure becomes words and an exit code."""
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except UploaderError as error:
        from uploader.render import report

        report(error)
        sys.exit(error.exit_code)
