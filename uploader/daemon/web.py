"""To be watched: a page, a JSON API and metrics, for whoever has the token.

Answers to a browser's tricks: a name that is not ours (DNS rebinding) is refused by its
Host, a page of others (CSRF) by its Origin; there is no cookie that could be sent along;
and the page runs no script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from uploader.daemon.address import (
    Address,
    bound,
    hosts_of,
    new_token,
    parse_address,
    read_token,
)
from uploader.daemon.arrivals import FINISHED, Arrival, Stage
from uploader.daemon.folders import is_straight, look_at
from uploader.errors import UsageError

if TYPE_CHECKING:
    from uploader.daemon.service import Daemon

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LARGEST_BODY: Final = 64 * 1024
OPEN: Final = frozenset({"/healthz", "/readyz"})
SHOWN: Final = 200
"""Arrivals of a stage that the page is told of; it says how many there are."""


class Submit(msgspec.Struct, forbid_unknown_fields=True):
    path: str


class Service(msgspec.Struct, forbid_unknown_fields=True):
    service: str | None = None


class Rate(msgspec.Struct, forbid_unknown_fields=True):
    bytes_per_second: int | None


class Door:
    """The HTTP server of a daemon."""

    def __init__(self, daemon: Daemon, listen: str, token_file: Path | None) -> None:
        self._daemon = daemon
        self._address = parse_address(listen)
        self._token_file = token_file
        self._token = ""
        self._hosts: frozenset[str] = frozenset()
        self._page, self._policy = _page()
        self._runner: web.AppRunner | None = None

    async def open(self, say: Callable[[str], None]) -> None:
        """Listen, and say where.  Raises `UsageError`."""
        app = web.Application(middlewares=[self._guard], client_max_size=LARGEST_BODY)
        app.add_routes(self._routes())
        # What a handler had begun is not torn off when the other side leaves.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        if self._address.socket is not None:
            line = bound(self._address.socket)
            await web.SockSite(self._runner, line).start()
            say(f"to be watched at unix:{self._address.socket}")
            return
        port = await self._listen(self._address)
        self._hosts = hosts_of(port)
        host = f"[{self._address.host}]" if ":" in self._address.host else None
        say(f"to be watched at http://{host or self._address.host}:{port}/")
        if self._token_file is not None:
            self._token = read_token(self._token_file)
            say(f"its token is in {self._token_file}")
        else:
            self._token = new_token()
            say(f"its token is {self._token}")

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._address.socket is not None:
            self._address.socket.unlink(missing_ok=True)

    async def _listen(self, address: Address) -> int:
        assert self._runner is not None
        try:
            await web.TCPSite(self._runner, address.host, address.port).start()
        except OSError as error:
            raise UsageError(
                f"{address.host}:{address.port}: {error.strerror}",
                hint="name another port with --listen",
            ) from None
        port: int = self._runner.addresses[0][1]
        return port

    def _routes(self) -> list[web.RouteDef]:
        one = "/api/uploads/{id}"
        return [
            web.get("/", self._show_page),
            web.get("/healthz", self._healthz),
            web.get("/readyz", self._readyz),
            web.get("/metrics", self._metrics),
            web.get("/api/state", self._state),
            web.get("/api/uploads", self._list),
            web.post("/api/uploads", self._submit),
            web.get(one, self._show),
            *(
                web.post(f"{one}/{verb}", self._act)
                for verb in ("pause", "resume", "restart", "cancel")
            ),
            web.post("/api/pause", self._pause),
            web.post("/api/resume", self._resume),
            web.put("/api/rate", self._rate),
        ]

    # -- who may ------------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        refused = self._refusal(request)
        try:
            answer = refused or await handler(request)
        except web.HTTPException as error:
            answer = _error(error.status, error.reason)
        except UsageError as error:
            answer = _error(409, str(error))
        answer.headers.update(self._headers())
        return answer

    def _refusal(self, request: web.Request) -> web.Response | None:
        is_local = self._address.socket is not None
        if not is_local:
            if request.headers.get("Host", "").lower() not in self._hosts:
                return _error(421, "this name is not ours")
            origin = request.headers.get("Origin")
            own = {f"http://{host}" for host in self._hosts}
            if origin is not None and origin.lower() not in own:
                return _error(403, "not for other pages")
            if request.headers.get("Sec-Fetch-Site", "none") not in (
                "none",
                "same-origin",
            ):
                return _error(403, "not for other pages")
        if request.method not in ("GET", "HEAD") and (
            request.content_type != "application/json"
        ):
            return _error(415, "send application/json")
        if is_local or request.path in OPEN or request.path == "/":
            return None
        return None if self._knows(request) else _unauthorized()

    def _knows(self, request: web.Request) -> bool:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        known = hmac.compare_digest(
            token.strip().encode("utf-8", "surrogateescape"), self._token.encode()
        )
        return known and kind.lower() == "bearer" and bool(self._token)

    def _headers(self) -> Mapping[str, str]:
        return {
            "Content-Security-Policy": self._policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
            "Server": "uploader",
        }

    # -- to be seen ---------------------------------------------------------------

    async def _show_page(self, _: web.Request) -> web.Response:
        return web.Response(body=self._page, content_type="text/html", charset="utf-8")

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _readyz(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self._daemon.is_ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        answer = web.Response(body=self._daemon.metrics.text())
        answer.headers["Content-Type"] = CONTENT_TYPE_LATEST
        return answer

    async def _state(self, _: web.Request) -> web.Response:
        daemon, turns = self._daemon, self._daemon.desk.turns
        counts = Counter(arrival.stage for arrival in daemon.arrivals)
        waiting = [each for each in daemon.arrivals if each.stage not in FINISHED]
        uploads: list[Arrival] = []
        for stage in Stage:
            staged = daemon.arrivals.within(stage)
            uploads += sorted(staged, key=_newest_last)[-SHOWN:]
        return _json(
            {
                "now": daemon.now,
                "paused": turns.is_paused,
                "pauses": {
                    name: {"reason": pause.reason, "until": pause.until}
                    for name, pause in turns.pauses.items()
                },
                "rules": [rule.name for rule in daemon.orders.rules],
                "rates": daemon.arrivals.rates,
                "can_limit": True,
                "limit_rate": daemon.limit_rate,
                "bytes_left": sum(each.size - each.bytes_there for each in waiting),
                "counts": {stage: counts[stage] for stage in Stage},
                "uploads": [each.as_document() for each in reversed(uploads)],
            }
        )

    async def _list(self, request: web.Request) -> web.Response:
        wanted = request.query.get("stage")
        return _json(
            [
                arrival.as_document()
                for arrival in self._daemon.arrivals
                if wanted in (None, arrival.stage)
            ]
        )

    async def _show(self, request: web.Request) -> web.Response:
        return _json(self._named(request).as_document())

    # -- to be done ---------------------------------------------------------------

    async def _submit(self, request: web.Request) -> web.Response:
        """Take a regular file below a rule's folder, as that rule says."""
        path = Path((await _body(request, Submit)).path)
        orders = self._daemon.orders
        rule = orders.rule_of(path) or orders.rule_above(path)
        is_plain = path.is_absolute() and ".." not in path.parts
        if rule is None or not is_plain or orders.is_own(path):
            return _error(403, "not below the folder of a rule")
        if not is_straight(path) or look_at(path) is None:
            return _error(403, "no regular file")
        known = self._daemon.arrivals.at(path)
        if (
            known is not None
            and not known.is_finished
            and known.stage is not (Stage.GROWING)
        ):
            return _error(409, f"it is {known.stage}")
        return _json(self._daemon.submit(path, rule).as_document(), status=202)

    async def _act(self, request: web.Request) -> web.Response:
        arrival, desk = self._named(request), self._daemon.desk
        match request.path.rpartition("/")[2]:
            case "pause":
                await desk.pause(arrival)
            case "resume":
                desk.resume(arrival)
            case "restart":
                await desk.restart(arrival)
            case "cancel":
                await desk.cancel(arrival)
        found = self._daemon.arrivals.get(arrival.id)
        return _json((found or arrival).as_document())

    async def _pause(self, request: web.Request) -> web.Response:
        service, desk = (await _body(request, Service)).service, self._daemon.desk
        if service is None:
            await desk.pause_all()
        elif service in self._daemon.services():
            await desk.pause_service(service)
        else:
            return _error(404, "no such service")
        return _json({})

    async def _resume(self, request: web.Request) -> web.Response:
        service, desk = (await _body(request, Service)).service, self._daemon.desk
        if service is None:
            desk.resume_all()
        else:
            desk.resume_service(service)
        return _json({})

    async def _rate(self, request: web.Request) -> web.Response:
        rate = (await _body(request, Rate)).bytes_per_second
        try:
            self._daemon.set_rate(rate)
        except ValueError as error:
            return _error(400, str(error))
        return _json({"bytes_per_second": rate})

    def _named(self, request: web.Request) -> Arrival:
        arrival = self._daemon.arrivals.get(request.match_info["id"])
        if arrival is None:
            raise web.HTTPNotFound
        return arrival


def _newest_last(arrival: Arrival) -> float:
    return arrival.finished_at or -arrival.arrived_at


async def _body(request: web.Request, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except ValueError as error:
        raise web.HTTPBadRequest(reason=" ".join(str(error).split())) from None


def _json(document: object, *, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(document),
        status=status,
        content_type="application/json",
    )


def _error(status: int, words: str) -> web.Response:
    return _json({"error": words}, status=status)


def _unauthorized() -> web.Response:
    answer = _error(401, "the token is missing or wrong")
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _page() -> tuple[bytes, str]:
    """The page, and the policy that lets its own script and style run, and no other."""
    text = files("uploader.daemon").joinpath("page.html").read_text(encoding="utf-8")
    hashes = {}
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = hashlib.sha256(content.encode()).digest()
        hashes[tag] = base64.b64encode(digest).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}';"
        f" style-src 'sha256-{hashes['style']}'; img-src data:; connect-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return text.encode(), policy
