"""Doing work with an `Uploader`, a journal or a service: set-up, signals, several items."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from uploader import place
from uploader.cli.options import Call
from uploader.config import Settings
from uploader.errors import Interrupted, SomeFailed, UploaderError

if TYPE_CHECKING:
    from uploader.backend import Backend
    from uploader.engine import Uploader
    from uploader.record import Journal

T = TypeVar("T")


def read(call: Call, work: Callable[[Journal], Coroutine[Any, Any, None]]) -> None:
    """Look into the journal; no service is needed."""

    async def look() -> None:
        from uploader.engine import open_journal

        journal = await open_journal(call.settings)
        try:
            await work(journal)
        finally:
            await journal.aclose()

    asyncio.run(look())


def ask(call: Call, work: Callable[[Backend], Coroutine[Any, Any, None]]) -> None:
    """Ask the service; no journal is needed."""

    async def talk(settings: Settings) -> None:
        from uploader.backends import open_backend

        backend = open_backend(settings)
        try:
            await work(backend)
        finally:
            await backend.aclose()

    with service(call) as settings:
        asyncio.run(talk(settings))


def run(call: Call, work: Callable[[Uploader], Coroutine[Any, Any, None]]) -> None:
    """Open an `Uploader` and do *work* with it, with bars and signals."""
    from uploader.render import choose

    _look_at_place(call)
    show = choose(as_json=call.as_json, quiet=call.quiet, verbose=call.verbose)
    with service(call) as settings:
        asyncio.run(_work(settings, show, work))


def _look_at_place(call: Call) -> None:
    """Say once, when the journal is made, that its place speaks against it."""
    journal = call.settings.journal
    if call.quiet or call.as_json or call.emulator or journal.exists():
        return
    found = place.look(journal)
    if found is not None and found.warning is not None:
        click.echo(
            f"hint: the journal {found.warning}; --journal names another place",
            err=True,
        )


@contextlib.contextmanager
def service(call: Call) -> Iterator[Settings]:
    """The settings, pointed at the bundled emulator if that is wanted."""
    if not call.emulator:
        yield call.settings
        return
    from uploader.bundled import emulated, running_emulator

    directory = call.settings.journal.parent / "emulator"
    with running_emulator(directory) as url:
        yield emulated(call.settings, url)


async def _work(
    settings: Settings, show: Any, work: Callable[[Uploader], Awaitable[None]]
) -> None:
    from uploader.engine import Uploader
    from uploader.render import log

    with show.shown():
        async with Uploader(settings, observers=[show, log]) as uploader:
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


async def each(items: Any, do: Callable[[Any], Coroutine[Any, Any, object]]) -> None:
    """Do it to several at a time; one failure does not stop the others."""
    from uploader.pacing import MOST_OPEN
    from uploader.render import report

    places = asyncio.Semaphore(MOST_OPEN)
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
