"""What every command is told: settings, and how to talk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from uploader.config import Settings
from uploader.errors import UsageError
from uploader.spelling import parse_duration, parse_size

F = TypeVar("F", bound=Callable[..., Any])


class Quantity(click.ParamType[float]):
    """A number with a unit."""

    def __init__(self, name: str, parse: Callable[[str], float]) -> None:
        self.name = name
        self._parse = parse

    def convert(
        self,
        value: Any,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        try:
            return self._parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE = Quantity("size", parse_size)
PATH = click.Path(path_type=Path)
"""A path that shells complete."""
DURATION = Quantity("duration", parse_duration)


@dataclass(frozen=True, slots=True)
class Call:
    """What every command is told: settings, and how to talk."""

    settings: Settings
    emulator: bool
    as_json: bool
    quiet: bool
    verbose: bool


def choosing(command: F) -> F:
    """The options that choose a service, an account and a journal."""
    options = [
        click.option("--journal", type=PATH, help="Where the journal is."),
        click.option("--base-url", help="The service, e.g. https://api.openai.com/v1"),
        click.option("--backend", help="openai or azure.  [openai]"),
        click.option("--profile", help="An account of the settings file."),
        click.option("--config", "file", type=PATH, help="Another settings file."),
    ]
    return _with(options, command)


def common(command: F) -> F:
    """The options of every command that opens the journal or asks a service."""
    options = [
        click.option("--emulator", is_flag=True, help="Use the bundled emulator."),
        click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout."),
        click.option("-q", "--quiet", is_flag=True, help="Only results and errors."),
        click.option("-v", "--verbose", is_flag=True, help="Say more."),
    ]
    return choosing(_with(options, command))


def sending(command: F) -> F:
    """The options of every command that sends parts."""
    options = [
        click.option("--parallel", type=int, help="Parts at once, at most.  [64]"),
        click.option(
            "--md5",
            type=click.Choice(["hex", "base64", "off"]),
            help="Spelling of the file's MD5 for the service.  [hex]",
        ),
        click.option("--digest", help="Digest of each part, or off.  [blake3]"),
        click.option(
            "--limit-rate",
            type=SIZE,
            help="Bytes per second over all files, e.g. 2MiB.",
        ),
        click.option(
            "--keep-trying",
            is_flag=True,
            default=None,
            help="Restart an expired upload on a link that is too slow, too.",
        ),
    ]
    return _with(options, command)


def _with(options: Iterable[Callable[[F], F]], command: F) -> F:
    for option in reversed([*options]):
        command = option(command)
    return command


def take_call(options: dict[str, Any]) -> Call:
    """Take the options that are not the command's own out of *options*."""
    talk = {
        key: options.pop(key) for key in ("emulator", "as_json", "quiet", "verbose")
    }
    chosen = {
        key: options.pop(key)
        for key in (
            "file",
            "profile",
            "backend",
            "journal",
            "base_url",
            "parallel",
            "part_size",
            "md5",
            "digest",
            "limit_rate",
            "keep_trying",
        )
        if key in options
    }
    settings = Settings.load(**chosen)
    _log(settings, verbose=talk["verbose"])
    return Call(settings, **talk)


def _log(settings: Settings, *, verbose: bool) -> None:
    """Write what the settings ask for, where they ask for it."""
    handlers: list[logging.Handler] = [logging.StreamHandler()] if verbose else []
    if settings.log_file is not None:
        try:
            handlers.append(logging.FileHandler(settings.log_file, encoding="utf-8"))
        except OSError as error:
            raise UsageError(
                f"log_file {settings.log_file}: {error.strerror}",
                hint="name a file that can be written",
            ) from None
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
    )
