"""The emulator as a process of its own."""

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from uploader.emulator.faults import read_script
from uploader.emulator.server import KINDS, Emulator
from uploader.emulator.switches import Switches


class CannotStart(Exception):
    """The emulator was asked for something that is not possible, in one line."""


def serve(
    directory: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    faults: Path | None = None,
    switches: Iterable[str] = (),
    keys: Iterable[str] = (),
    goapi_keys: Iterable[str] = (),
    llmprovider_keys: Iterable[str] = (),
    client_pid: int | None = None,
    control: bool = False,
    until_stdin_closes: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; print the URL as the only line on stdout.

    *faults* is a script, *switches* are given as `name=value`, and no keys of a
    service mean that any will do.  With *until_stdin_closes* the emulator ends with
    the parent that holds its stdin.
    """
    try:
        emulator = Emulator(
            directory,
            host=host,
            port=port,
            switches=Switches().with_settings(switches),
            faults=read_script(faults, KINDS) if faults is not None else (),
            keys=frozenset(keys) or None,
            goapi_keys=frozenset(goapi_keys) or None,
            llmprovider_keys=frozenset(llmprovider_keys) or None,
            client_pid=client_pid,
            control=control,
        )
    except ValueError as error:
        raise CannotStart(_in_one_line(error)) from error
    asyncio.run(_serve(emulator, until_stdin_closes=until_stdin_closes))


async def _serve(emulator: Emulator, *, until_stdin_closes: bool) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if until_stdin_closes:
        _end_with_stdin(loop, ended)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(emulator)
        except (OSError, sqlite3.Error) as error:
            raise CannotStart(_in_one_line(error)) from error
        sys.stdout.write(f"{emulator.url}\n")
        sys.stdout.flush()
        await ended.wait()


def _end_with_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        loop.call_soon_threadsafe(ended.set)

    # A daemon, because nothing wakes it when a signal ends the emulator first.
    threading.Thread(target=wait, name="stdin", daemon=True).start()


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
