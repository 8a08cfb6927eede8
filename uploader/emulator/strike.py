"""What a fault does to a connection."""

import asyncio
import os
import re
import signal
import socket
import struct
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import web

from uploader.emulator.answers import Answer, Refusal, Reply, answered
from uploader.emulator.call import Call
from uploader.emulator.faults import Fault

STALL_CHECK: Final = 0.05
SLOW_STEP: Final = 0.05
EVENT_END: Final = rb"\n\n"
# l_onoff and l_linger: close sends RST instead of FIN.
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


async def strike(fault: Fault, call: Call, reply: Reply) -> web.StreamResponse:
    """Do to *reply* and its connection what *fault* says."""
    match fault.do:
        case "status":
            return await send(call.request, scripted(fault, call))
        case "truncate":
            return await _truncate(call.request, reply, fault.events)
        case "slow":
            return await _dribble(call.request, reply, fault.rate)
    if fault.events:
        await _send_some(call.request, reply, fault.events)
    match fault.do:
        case "stall":
            await _stall(call, fault.seconds)
        case "kill":
            _kill(call)
    _reset(call.request)
    return web.Response()


async def send(request: web.Request, reply: Reply) -> web.StreamResponse:
    """Send *reply* whole."""
    if isinstance(reply.body, bytes):
        return web.Response(body=reply.body, status=reply.status, headers=reply.headers)
    stream = await _begin(request, reply)
    async for chunk in reply.body:
        await stream.write(chunk)
    return stream


def scripted(fault: Fault, call: Call) -> Reply:
    """The answer that the script gives in place of the service's."""
    if fault.body is None:
        category = "server_error" if fault.status >= 500 else "invalid_request_error"
        refusal = Refusal(fault.status, "This is a fault by script.", category=category)
        reply = call.refused(refusal)
    elif isinstance(fault.body, str):
        text = {"Content-Type": "text/plain"}
        reply = Reply(fault.body.encode(), fault.status, text)
    else:
        document = Answer(fault.body, fault.status)
        reply = answered(document, call.switches)
    call.dialect.dress(reply, 0)
    given = {name.lower() for name in fault.headers}
    for name in list(reply.headers):
        if name.lower() in given:
            del reply.headers[name]
    reply.headers.update(fault.headers)
    return reply


async def _begin(request: web.Request, reply: Reply) -> web.StreamResponse:
    stream = web.StreamResponse(status=reply.status, headers=reply.headers)
    if isinstance(reply.body, bytes):
        stream.content_length = len(reply.body)
    await stream.prepare(request)
    return stream


async def _truncate(
    request: web.Request, reply: Reply, events: int
) -> web.StreamResponse:
    if "text/event-stream" in reply.headers.get("Content-Type", ""):
        stream = await _send_some(request, reply, events)
    else:
        stream = await _send_half(request, reply)
    if request.transport is not None:
        request.transport.close()
    return stream


async def _send_half(request: web.Request, reply: Reply) -> web.StreamResponse:
    stream = await _begin(request, reply)
    left = (stream.content_length or 0) // 2
    async for piece in _pieces(reply, 64 * 1024):
        await stream.write(piece[:left])
        left -= len(piece)
        if left <= 0:
            break
    return stream


async def _send_some(
    request: web.Request, reply: Reply, events: int
) -> web.StreamResponse:
    """Send the first *events* of a stream; none means half of its bytes."""
    stream = await _begin(request, reply)
    whole = b"".join([chunk async for chunk in _chunks(reply)])
    ends = [match.end() for match in re.finditer(EVENT_END, whole)]
    sent = ends[:events][-1] if events and ends else len(whole) // 2
    await stream.write(whole[:sent])
    return stream


async def _dribble(
    request: web.Request, reply: Reply, rate: float
) -> web.StreamResponse:
    stream = await _begin(request, reply)
    async for piece in _pieces(reply, max(1, int(rate * SLOW_STEP))):
        await stream.write(piece)
        await asyncio.sleep(len(piece) / rate)
    return stream


async def _pieces(reply: Reply, size: int) -> AsyncIterator[bytes]:
    async for chunk in _chunks(reply):
        for offset in range(0, len(chunk), size):
            yield chunk[offset : offset + size]


async def _chunks(reply: Reply) -> AsyncIterator[bytes]:
    if isinstance(reply.body, bytes):
        yield reply.body
    else:
        async for chunk in reply.body:
            yield chunk


async def _stall(call: Call, seconds: float) -> None:
    """Say nothing until the client hangs up, the emulator closes, or time is up."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + seconds
    while _is_connected(call.request) and loop.time() < give_up:
        try:
            async with asyncio.timeout(STALL_CHECK):
                await call.site.closing.wait()
        except TimeoutError:
            continue
        return


def _is_connected(request: web.Request) -> bool:
    return request.transport is not None and not request.transport.is_closing()


def _kill(call: Call) -> None:
    if call.site.client_pid is not None:
        os.kill(call.site.client_pid, signal.SIGKILL)


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()
