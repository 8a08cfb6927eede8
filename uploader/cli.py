"""The command `uploader`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from uploader import __version__
from uploader.config import Settings, parse_duration, parse_size
from uploader.errors import Interrupted, SomeFailed, UploaderError

if TYPE_CHECKING:
    from uploader.engine import Uploader

F = TypeVar("F", bound=Callable[..., Any])

AT_ONCE = 4
"""Files in progress at the same time; their parts share the slots."""


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
DURATION = Quantity("duration", parse_duration)


@dataclass(frozen=True, slots=True)
class Call:
    """What every command is told: settings, and how to talk."""

    settings: Settings
    emulator: bool
    as_json: bool
    quiet: bool
    verbose: bool


def common(command: F) -> F:
    """The options of every command that opens the journal."""
    options = [
        click.option("--journal", type=Path, help="Where the journal is."),
        click.option("--base-url", help="The service, e.g. https://api.openai.com/v1"),
        click.option("--config", "file", type=Path, help="Another settings file."),
        click.option("--emulator", is_flag=True, help="Use the bundled emulator."),
        click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout."),
        click.option("-q", "--quiet", is_flag=True, help="Only results and errors."),
        click.option("-v", "--verbose", is_flag=True, help="Say more."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def sending(command: F) -> F:
    """The options of every command that sends parts."""
    options = [
        click.option("--parallel", type=int, help="Parts at once, at most.  [8]"),
        click.option("--md5", type=click.Choice(["hex", "base64", "off"])),
        click.option("--digest", help="Digest of each part, or off.  [blake3]"),
        click.option(
            "--keep-trying",
            is_flag=True,
            default=None,
            help="Restart an expired upload on a link that is too slow, too.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _call(options: dict[str, Any]) -> Call:
    """Take the options that are not the command's own out of *options*."""
    talk = {
        key: options.pop(key) for key in ("emulator", "as_json", "quiet", "verbose")
    }
    chosen = {
        key: options.pop(key)
        for key in (
            "file",
            "journal",
            "base_url",
            "parallel",
            "part_size",
            "md5",
            "digest",
            "keep_trying",
        )
        if key in options
    }
    if talk["verbose"]:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
    return Call(Settings.load(**chosen), **talk)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="uploader %(version)s")
def cli() -> None:
    """Upload large files into AI platforms, and never start over.

    \b
    uploader upload big.jsonl --purpose batch     send a file
    uploader resume                               go on after a crash
    uploader upload big.bin --emulator            try it without an account
    """


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
        await _each(paths, lambda path: uploader.upload(path, **details))

    _run(_call(options), work)


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
        await _each(
            names, lambda name: uploader.resume(name, accept=known, again=again)
        )

    _run(_call(options), work)


@cli.command(name="list")
@click.option("--all", "everything", is_flag=True, help="Finished ones, too.")
@common
def list_(everything: bool, **options: Any) -> None:
    """Show what the journal knows."""
    call = _call(options)

    async def work() -> None:
        from uploader.engine import open_journal
        from uploader.render import as_json, table

        journal = await open_journal(call.settings)
        try:
            uploads = await journal.uploads(unfinished=not everything)
            absent = await journal.absent_owners(now=time.time())
        finally:
            await journal.aclose()
        if call.as_json:
            for upload in uploads:
                click.echo(as_json(upload))
        elif uploads:
            for line in table(uploads, absent):
                click.echo(line)
        elif not call.quiet:
            click.echo("nothing is unfinished", err=True)

    asyncio.run(work())


@cli.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@common
def cancel(ids: tuple[str, ...], **options: Any) -> None:
    """Give uploads up, here and at the service."""

    async def work(uploader: Uploader) -> None:
        await _each(ids, uploader.cancel)

    _run(_call(options), work)


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


def _run(call: Call, work: Callable[[Uploader], Coroutine[Any, Any, None]]) -> None:
    """Open an `Uploader` and do *work* with it, with bars and signals."""
    from uploader.render import choose

    show = choose(as_json=call.as_json, quiet=call.quiet, verbose=call.verbose)
    with _service(call) as settings:
        asyncio.run(_work(settings, show, work))


@contextlib.contextmanager
def _service(call: Call) -> Iterator[Settings]:
    """The settings, pointed at the bundled emulator if that is wanted."""
    if not call.emulator:
        yield call.settings
        return
    from dataclasses import replace

    from uploader.bundled import KEY, SERVICE, running_emulator

    directory = call.settings.journal.parent / "emulator"
    with running_emulator(directory) as url:
        yield replace(call.settings, base_url=url, api_key=KEY, service=SERVICE)


async def _work(
    settings: Settings, show: Any, work: Callable[[Uploader], Awaitable[None]]
) -> None:
    from uploader.engine import Uploader

    with show.shown():
        async with Uploader(settings, observers=[show]) as uploader:
            with _signals(uploader) as received:
                try:
                    await work(uploader)
                except Interrupted as error:
                    raise _by_signal(error, received) from error
                except asyncio.CancelledError:
                    raise _by_signal(Interrupted("stopped"), received) from None


@contextlib.contextmanager
def _signals(uploader: Uploader) -> Iterator[list[signal.Signals]]:
    """The first signal drains, the second stops at once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    received: list[signal.Signals] = []
    assert task is not None

    def on_signal(number: signal.Signals) -> None:
        received.append(number)
        if len(received) == 1:
            click.echo("stopping; once more stops at once", err=True)
            uploader.drain()
        else:
            task.cancel()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, on_signal, number)
    try:
        yield received
    finally:
        for number in numbers:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)


def _by_signal(error: Interrupted, received: list[signal.Signals]) -> Interrupted:
    return Interrupted(
        str(error), hint=error.hint, number=received[0] if received else None
    )


async def _each(items: Any, do: Callable[[Any], Coroutine[Any, Any, object]]) -> None:
    """Do it to several, a few at a time; one failure does not stop the others."""
    from uploader.render import report

    places = asyncio.Semaphore(AT_ONCE)
    failures: list[UploaderError] = []

    async def one(item: Any) -> None:
        async with places:
            try:
                await do(item)
            except UploaderError as error:
                failures.append(error)
                if len(items) > 1 and not isinstance(error, Interrupted):
                    report(error)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))
    interrupted = [error for error in failures if isinstance(error, Interrupted)]
    if interrupted or len(items) == 1:
        for error in interrupted or failures:
            raise error
    if failures:
        raise SomeFailed(f"{len(failures)} of {len(items)} failed")


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
