"""The emulator's own endpoint, beside the services: `/_emulator/…`.

Only for programs on the same machine, and only where it was asked for.
"""

import dataclasses
import json
from collections.abc import Awaitable, Callable
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from uploader.emulator.server import Emulator

PREFIX: Final = "/_emulator"

Action = Callable[["Emulator", web.Request], Awaitable[object]]


async def account(emulator: "Emulator", _: web.Request) -> object:
    return emulator.account().as_document()


async def faults(emulator: "Emulator", _: web.Request) -> object:
    return [fault.as_document() for fault in emulator.account().faults_left]


async def add_faults(emulator: "Emulator", request: web.Request) -> object:
    """Take one fault or a list of them; all or none."""
    given = await request.json()
    emulator.add_entries(given if isinstance(given, list) else [given])
    return await faults(emulator, request)


async def clear_faults(emulator: "Emulator", request: web.Request) -> object:
    emulator.clear_faults()
    return await faults(emulator, request)


class Advance(msgspec.Struct, forbid_unknown_fields=True):
    advance: float


async def clock(emulator: "Emulator", request: web.Request) -> object:
    emulator.advance(msgspec.json.decode(await request.read(), type=Advance).advance)
    return {"now": emulator.now}


async def switches(emulator: "Emulator", _: web.Request) -> object:
    return dataclasses.asdict(emulator.switches)


async def set_switches(emulator: "Emulator", request: web.Request) -> object:
    given = await request.json()
    emulator.switches = emulator.switches.with_values(given)
    return await switches(emulator, request)


ACTIONS: Final[tuple[tuple[str, str, Action], ...]] = (
    ("GET", "/account", account),
    ("GET", "/faults", faults),
    ("POST", "/faults", add_faults),
    ("DELETE", "/faults", clear_faults),
    ("POST", "/clock", clock),
    ("GET", "/switches", switches),
    ("POST", "/switches", set_switches),
)


def add_to(app: web.Application, emulator: "Emulator") -> None:
    for method, path, action in ACTIONS:
        app.router.add_route(method, PREFIX + path, partial(_act, emulator, action))


async def _act(
    emulator: "Emulator", action: Action, request: web.Request
) -> web.Response:
    if not _is_local(request):
        raise web.HTTPForbidden(text="only for programs on this machine")
    try:
        result = await action(emulator, request)
    except ValueError as error:
        return _json({"error": str(error)}, status=400)
    return _json(result)


def _is_local(request: web.Request) -> bool:
    return request.remote is not None and ip_address(request.remote).is_loopback


def _json(document: object, *, status: int = 200) -> web.Response:
    text = json.dumps(document, indent=2) + "\n"
    return web.Response(text=text, status=status, content_type="application/json")
