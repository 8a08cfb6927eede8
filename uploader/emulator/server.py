"""The emulator itself: one directory, one port, all services."""

import asyncio
import os
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

from aiohttp import web

from uploader.emulator import (
    account,
    azure,
    clock,
    control,
    conversations,
    faults,
    files,
    goapi,
    history,
    indexes,
    llmprovider,
    records,
    relays,
    responses,
    uploads,
    vector_batches,
    vector_files,
    vector_stores,
)
from uploader.emulator.account import Account
from uploader.emulator.answers import Refusal
from uploader.emulator.call import Call, Route, Site
from uploader.emulator.clock import Clock
from uploader.emulator.dialect import OPENAI, Dialect
from uploader.emulator.dispatch import dispatch
from uploader.emulator.faults import Fault
from uploader.emulator.store import Store
from uploader.emulator.switches import MIB, Switches

SCHEMAS: Final = (
    clock.SCHEMA,
    account.SCHEMA,
    faults.SCHEMA,
    records.SCHEMA,
    history.SCHEMA,
    indexes.SCHEMA,
    relays.SCHEMA,
)

SERVICES: Final[tuple[tuple[Dialect, tuple[Route, ...]], ...]] = (
    (
        OPENAI,
        uploads.ROUTES
        + files.ROUTES
        + conversations.ROUTES
        + responses.ROUTES
        + vector_stores.ROUTES
        + vector_files.ROUTES
        + vector_batches.ROUTES,
    ),
    (azure.CLASSIC, uploads.ROUTES + files.ROUTES),
    (azure.V1, uploads.ROUTES + files.ROUTES),
    (goapi.DIALECT, goapi.ROUTES),
    (goapi.CONTENT, goapi.CONTENT_ROUTES),
    (llmprovider.DIALECT, llmprovider.ROUTES),
    (llmprovider.INTERNAL, llmprovider.INTERNAL_ROUTES),
)

KINDS: Final = frozenset(route.kind for _, routes in SERVICES for route in routes)

READ_BUFFER: Final = MIB
"""What the loop may take from a socket while a batch is being written."""
SHUTDOWN_TIMEOUT: Final = 1.0

DEFAULT_SWITCHES: Final = Switches()


class Emulator:
    """The services on loopback, as an async context manager.

    Everything it knows is in *directory*, where other emulators may work at the
    same time and the next one goes on.  *faults* replace what is left of an
    earlier script; without them it stays.  *keys* are the only ones accepted by
    OpenAI and Azure, and each relay has its own; None accepts any.  A fault may
    kill *client_pid* and nobody else.
    """

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        switches: Switches = DEFAULT_SWITCHES,
        faults: Sequence[Fault] = (),
        keys: Iterable[str] | None = None,
        goapi_keys: Iterable[str] | None = None,
        llmprovider_keys: Iterable[str] | None = None,
        client_pid: int | None = None,
        control: bool = False,
    ) -> None:
        self._directory = directory
        self._host = host
        self._port = port
        self._switches = switches
        self._script = [_known(fault) for fault in faults]
        self._keys = _by_dialect(
            (keys, OPENAI, azure.CLASSIC, azure.V1),
            (goapi_keys, goapi.DIALECT),
            (llmprovider_keys, llmprovider.DIALECT),
        )
        self._client_pid = _foreign(client_pid)
        self._control = control
        self._site: Site | None = None
        self._runner: web.AppRunner | None = None

    def __repr__(self) -> str:
        return f"Emulator({str(self._directory)!r})"

    async def __aenter__(self) -> Self:
        store = Store(self._directory, SCHEMAS)
        self._site = Site(
            store=store,
            clock=Clock(store),
            switches=self._switches,
            keys=self._keys,
            client_pid=self._client_pid,
            closing=asyncio.Event(),
        )
        try:
            self._begin()
            await self._listen()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.closing.set()
        if self._runner is not None:
            await self._runner.cleanup()
        self._running.store.close()
        self._site = None

    @property
    def _running(self) -> Site:
        if self._site is None:
            raise RuntimeError("the emulator is not running")
        return self._site

    def _begin(self) -> None:
        site = self._running
        if self._script:
            faults.replace_faults(site.store, self._script)
        with site.store.transaction() as db:
            expired = records.expired_content(db, site.clock.now())
            needed = records.needed_content(db) | relays.needed_content(db)
        site.store.drop(expired)
        site.store.sweep(needed)

    async def _listen(self) -> None:
        self._runner = web.AppRunner(
            self._app(),
            access_log=None,
            shutdown_timeout=SHUTDOWN_TIMEOUT,
            read_bufsize=READ_BUFFER,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        self._port = self._runner.addresses[0][1]

    def _app(self) -> web.Application:
        app = web.Application()
        if self._control:
            control.add_to(app, self)
        for dialect, routes in SERVICES:
            for route in routes:
                self._add(app, dialect.prefix + route.path, route, dialect)
        for dialect in (goapi.DIALECT, llmprovider.DIALECT):
            self._add(app, dialect.prefix + UNKNOWN.path, UNKNOWN, dialect)
        self._add(app, UNKNOWN.path, UNKNOWN, OPENAI)
        return app

    def _add(
        self, app: web.Application, path: str, route: Route, dialect: Dialect
    ) -> None:
        handler = partial(dispatch, self._running, route, dialect)
        app.router.add_route(route.method, path, handler)

    @property
    def origin(self) -> str:
        """Scheme, host and port: what Azure calls the endpoint."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def url(self) -> str:
        """The base URL of OpenAI's services."""
        return f"{self.origin}{OPENAI.prefix}"

    @property
    def goapi_url(self) -> str:
        """The base URL of GoAPI; its paths begin with `/api/chatgpt/v1`."""
        return self.origin

    @property
    def llmprovider_url(self) -> str:
        """The base URL of LLMProvider, whose own `/v1` OpenAI has here."""
        return f"{self.origin}{llmprovider.DIALECT.prefix}"

    @property
    def now(self) -> float:
        """The time of the service."""
        return self._running.clock.now()

    def advance(self, seconds: float) -> None:
        """Move the clock of the directory, for all its emulators."""
        self._running.clock.advance(seconds)

    def account(self) -> Account:
        """Return what the emulators of the directory saw so far."""
        return _account(self._running.store)

    def add_fault(self, fault: Fault) -> None:
        """Add *fault* to the script; it counts requests from now on."""
        faults.add_faults(self._running.store, [_known(fault)])

    def add_entries(self, entries: Iterable[object]) -> None:
        """Add faults as a script writes them, all or none."""
        parsed = [
            faults.parse_fault(entry, KINDS, where=f"entry {number}")
            for number, entry in enumerate(entries, start=1)
        ]
        faults.add_faults(self._running.store, parsed)

    def clear_faults(self) -> None:
        faults.replace_faults(self._running.store, [])

    @property
    def switches(self) -> Switches:
        return self._switches

    @switches.setter
    def switches(self, switches: Switches) -> None:
        self._switches = self._running.switches = switches

    @property
    def client_pid(self) -> int | None:
        return self._client_pid

    @client_pid.setter
    def client_pid(self, pid: int | None) -> None:
        self._client_pid = self._running.client_pid = _foreign(pid)


def read_account(directory: Path) -> Account:
    """Return the account of *directory*, whether an emulator is running or not."""
    store = Store(directory, SCHEMAS)
    try:
        return _account(store)
    finally:
        store.close()


def _account(store: Store) -> Account:
    return Account(
        requests=account.requests(store),
        receptions=account.receptions(store),
        remarks=account.remarks(store),
        faults_left=faults.faults_left(store),
    )


def _by_dialect(
    *given: tuple[Iterable[str] | None, *tuple[Dialect, ...]],
) -> dict[str, frozenset[str]]:
    by_dialect: dict[str, frozenset[str]] = {}
    for keys, *dialects in given:
        if keys is not None:
            by_dialect |= dict.fromkeys([one.name for one in dialects], frozenset(keys))
    return by_dialect


def _known(fault: Fault) -> Fault:
    faults.check_kind(fault, KINDS)
    return fault


def _foreign(pid: int | None) -> int | None:
    # To kill 0 or -1 means whole groups of processes.
    if pid is not None and (pid <= 1 or pid == os.getpid()):
        raise ValueError(f"client_pid {pid} is not the pid of a client")
    return pid


async def _unknown(call: Call) -> dict[str, object]:
    request = call.request
    raise Refusal(404, f"Invalid URL ({request.method} {request.path})")


UNKNOWN: Final = Route("unknown", "*", "/{path:.*}", _unknown)
