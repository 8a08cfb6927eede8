"""One request on its way through the emulator, and what all requests share."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from uploader.emulator import account
from uploader.emulator.answers import JSON, Answer, Document, Refusal, Reply, refused
from uploader.emulator.clock import Clock
from uploader.emulator.dialect import Dialect
from uploader.emulator.store import Store
from uploader.emulator.switches import MIB, Switches

MAX_JSON: Final = 16 * MIB
SLOW_STEP: Final = 0.05
"""Seconds between two bites of a body that is read slowly."""

T = TypeVar("T")


class ConnectionBroken(Exception):
    """The client went away in the middle of its request."""


@dataclass(kw_only=True)
class Site:
    """What all requests to one emulator share."""

    store: Store
    clock: Clock
    switches: Switches
    keys: Mapping[str, frozenset[str]] = field(repr=False)
    """By the name of the dialect; where there are none, any key will do."""
    client_pid: int | None
    closing: asyncio.Event


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of a service; its kind is what faults and the account call it."""

    kind: str
    method: str
    path: str
    handle: "Handler"
    file_fields: tuple[str, ...] = ()
    """The names that the content of a file may have in its form."""


class Call:
    """One request.  It has one time, whatever it takes."""

    def __init__(
        self, site: Site, route: Route, dialect: Dialect, request: web.Request
    ) -> None:
        self.site = site
        self.route = route
        self.dialect = dialect
        self.request = request
        self.store = site.store
        self.switches = site.switches
        self.now = site.clock.now()
        self.number = 0
        self.rate: float | None = None

    @property
    def ids(self) -> Mapping[str, str]:
        """The ids in the path."""
        return self.request.match_info

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, slowly where a fault says so.

        Every body is read here.
        """
        try:
            while chunk := await self._next_chunk():
                yield chunk
        except (ConnectionError, web.RequestPayloadError) as error:
            raise ConnectionBroken from error

    async def _next_chunk(self) -> bytes:
        content = self.request.content
        if self.rate is None:
            return await content.readany()
        await asyncio.sleep(SLOW_STEP)
        return await content.read(max(1, int(self.rate * SLOW_STEP)))

    async def body(self) -> bytes:
        """Read the body of anything but a file and note it in the account."""
        body = bytearray()
        async for chunk in self.chunks():
            body += chunk
            if len(body) > MAX_JSON:
                raise Refusal(413, f"The body is larger than {MAX_JSON} bytes.")
        if body:
            account.note_body(self.store, self.number, bytes(body))
        return bytes(body)

    async def json(self, shape: type[T]) -> T:
        """Read the body as *shape*; what does not fit is refused, as are extras."""
        body = await self.body()
        if self.request.content_type != JSON:
            raise Refusal(
                400,
                f"Unsupported content type: '{self.request.content_type}'."
                f" This API method only accepts '{JSON}' requests.",
                code="unsupported_content_type",
            )
        try:
            return msgspec.json.decode(body, type=shape)
        except msgspec.ValidationError as error:
            raise refused_shape(str(error)) from None
        except msgspec.DecodeError as error:
            raise Refusal(400, f"The body is not JSON: {error}") from None

    @property
    def boundary(self) -> str | None:
        """What separates the fields of a form, if the body is one."""
        header = Message()
        header["content-type"] = self.request.headers.get("Content-Type", "")
        boundary = header.get_param("boundary")
        is_form = header.get_content_type() == "multipart/form-data"
        return boundary if is_form and isinstance(boundary, str) else None

    @property
    def key(self) -> str:
        """The key of the client, wherever the dialect takes it; or nothing."""
        header = self.dialect.key_header
        if header is not None and header in self.request.headers:
            return self.request.headers[header].strip()
        scheme, _, key = self.request.headers.get("Authorization", "").partition(" ")
        is_bearer = self.dialect.takes_bearer and scheme.lower() == "bearer"
        return key.strip() if is_bearer else ""

    @property
    def owner(self) -> str:
        """Whose key it is, in a form that gives no key away."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:16]

    def remark(self, words: str) -> None:
        """Note in the account what the service only noticed."""
        account.note_remark(self.store, self.number, words)

    def refused(self, refusal: Refusal) -> Reply:
        document = self.dialect.error(refusal, self.switches)
        status = self.dialect.error_status(refusal, self.switches)
        return refused(refusal, document, self.switches, status=status)


Handler = Callable[[Call], Awaitable[Document | Answer | Reply]]


def unexpected(name: str) -> Refusal:
    # The words of python-jsonschema, which the service shows (recording).
    return Refusal(
        400, f"Additional properties are not allowed ('{name}' was unexpected)"
    )


def required(name: str) -> Refusal:
    return Refusal(400, f"'{name}' is a required property", param=name)


def refused_shape(problem: str) -> Refusal:
    if name := re.search(r"unknown field `(.+?)`", problem):
        return unexpected(name[1])
    if name := re.search(r"missing required field `(.+?)`", problem):
        return required(name[1])
    place = re.search(r"`\$\.(\w+)", problem)
    return Refusal(400, problem, param=place[1] if place else None)
