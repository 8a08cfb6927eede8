"""What every request passes: account, faults, key, handler, answer.

A service gets all of it by being in the table of routes.
"""

import hmac
import logging
import time

from aiohttp import web

from uploader.emulator import account
from uploader.emulator.answers import (
    Answer,
    Refusal,
    Reply,
    answered,
    broken,
)
from uploader.emulator.call import Call, ConnectionBroken, Route, Site
from uploader.emulator.dialect import Dialect
from uploader.emulator.faults import Fault, take_due
from uploader.emulator.receive import swallow
from uploader.emulator.strike import scripted, send, strike

logger = logging.getLogger(__name__)


async def dispatch(
    site: Site, route: Route, dialect: Dialect, request: web.Request
) -> web.StreamResponse:
    """Take one request from its arrival to its answer, or to its fault."""
    call = Call(site, route, dialect, request)
    fault = _arrive(call)
    try:
        if fault is None:
            return await send(request, await _reply(call))
        return await _fail(call, fault)
    except (ConnectionBroken, ConnectionResetError):
        logger.debug("request %d (%s) was broken off", call.number, route.kind)
        return web.Response()


def _arrive(call: Call) -> Fault | None:
    with call.store.transaction() as db:
        call.number = account.note_arrival(
            db, call.request, kind=call.route.kind, now=call.now
        )
        fault = take_due(db, call.route.kind)
        if fault is not None:
            account.note_fault(db, call.number, fault)
    return fault


async def _fail(call: Call, fault: Fault) -> web.StreamResponse:
    if fault.do == "kill" and call.site.client_pid is None:
        raise web.HTTPInternalServerError(text="a kill needs the pid of the client")
    if fault.when == "after":
        return await strike(fault, call, await _reply(call))
    if fault.do == "slow":
        call.rate = fault.rate
        return await send(call.request, await _reply(call))
    if not fault.unread:
        await swallow(call)
    return await strike(fault, call, scripted(fault, call))


async def _reply(call: Call) -> Reply:
    began = time.perf_counter()
    reply = await _decide(call)
    account.note_status(call.store, call.number, reply.status)
    call.dialect.dress(reply, time.perf_counter() - began)
    return reply


async def _decide(call: Call) -> Reply:
    try:
        _check_path(call)
        _check_key(call)
        _check_rate(call)
        answer = await call.route.handle(call)
    except Refusal as refusal:
        return call.refused(refusal)
    if call.switches.invalid_answer == call.route.kind:
        return broken()
    if isinstance(answer, Reply):
        return answer
    if not isinstance(answer, Answer):
        answer = Answer(answer)
    return answered(answer, call.switches)


def _check_path(call: Call) -> None:
    if not call.dialect.is_on(call.switches):
        raise Refusal(404, "Resource not found")
    if call.dialect.wants_api_version and "api-version" not in call.query:
        raise Refusal(404, "Resource not found")


def _check_key(call: Call) -> None:
    if not call.dialect.wants_key:
        return
    key = call.key
    known = call.site.keys.get(call.dialect.name)
    if not key or (known is not None and not _is_one_of(key, known)):
        # The service shows most of the key here; a record of it is no place for one.
        words = "Incorrect API key provided." if key else "No API key was provided."
        raise Refusal(401, words, code="invalid_api_key")


def _is_one_of(key: str, known: frozenset[str]) -> bool:
    return any(hmac.compare_digest(key.encode(), one.encode()) for one in known)


def _check_rate(call: Call) -> None:
    allowed = call.switches.requests_per_minute
    if not allowed:
        return
    if account.recent_requests(call.store, call.route.kind, call.now - 60) > allowed:
        raise Refusal(
            429,
            f"Rate limit reached: {allowed} requests per minute.",
            code="rate_limit_exceeded",
            category="requests",
        )
