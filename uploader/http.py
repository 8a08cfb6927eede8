"""The door to HTTP: one session, error translation, streaming part bodies.

Nothing above this module sees aiohttp or a status that has not become an error.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from uploader.answer import Answer, printable, refusal
from uploader.backend import Body
from uploader.config import Timeouts
from uploader.errors import (
    BackendUnavailable,
    RequestRejected,
    UnexpectedAnswer,
    Unreachable,
    UsageError,
)
from uploader.model import MIB

Headers = Callable[[], Awaitable[Mapping[str, str]]]
"""Asked before every request, so that a token may be renewed in mid-upload."""

MAX_ANSWER: Final = 16 * MIB


class Http:
    """One session to one service."""

    def __init__(
        self,
        base_url: str,
        headers: Headers,
        *,
        timeouts: Timeouts,
        ca_bundle: Path | None = None,
        query: Mapping[str, str] | None = None,
    ) -> None:
        """*query* goes with every request."""
        self.base_url = parse_url(base_url)
        self.query = dict(query or {})
        self._headers = headers
        self._timeouts = timeouts
        self._ca_bundle = ca_bundle
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        json: object = None,
        part: Body | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask once.  *operation* names the request in errors.

        Raises the `BackendError` that a bad answer, or none, stands for.
        """
        headers = dict(await self._headers())
        data: Payload | bytes | None = None
        if part is not None:
            data = PartPayload(operation, part, self._timeouts.progress)
        elif json is not None:
            data = msgspec.json.encode(json)
            headers["Content-Type"] = "application/json"
        url = self.base_url.joinpath(path, encoded=True)
        with self._translated(operation, data):
            async with self._open_session().request(
                method,
                url,
                params={**self.query, **(query or {})},
                data=data,
                headers=headers,
                # Some services refuse a content type that has no content.
                skip_auto_headers=("Content-Type",) if data is None else None,
                allow_redirects=False,
            ) as response:
                body = await _read(response, operation)
        answer = Answer(operation, response.status, response.headers, body)
        if not 200 <= answer.status < 300:
            secret = headers.get("api-key") or headers.get("Authorization", "")
            raise refusal(answer, secret=secret.removeprefix("Bearer "))
        return answer

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=self._ssl() if self.base_url.scheme == "https" else True,
                socket_factory=_open_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=True,
                auto_decompress=True,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=self._timeouts.connect,
                    sock_read=self._timeouts.answer,
                ),
            )
        return self._session

    def _ssl(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._ca_bundle is not None:
            try:
                context.load_verify_locations(self._ca_bundle)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(
                    f"{self._ca_bundle} holds no certificates: {error.strerror or error}",
                    hint="ca_bundle names a PEM file",
                ) from None
        return context

    @contextmanager
    def _translated(self, operation: str, data: object) -> Iterator[None]:
        """Turn aiohttp's exceptions into ours."""
        host = self.base_url.host
        try:
            yield
        except aiohttp.ClientConnectorCertificateError as error:
            raise RequestRejected(
                f"{operation}: the certificate of {host} is not trusted:"
                f" {error.certificate_error}",
                hint="set ca_bundle if your network brings its own authority",
            ) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(
                f"{operation}: no connection to {self.base_url.authority}:"
                f" {_reason(error)}",
                hint=f"is {self.base_url} right, and the network up?",
                effect_possible=False,
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # What our own body raised comes wrapped in aiohttp's words.
            if isinstance(data, PartPayload) and data.failure is not None:
                raise data.failure from None
            raise BackendUnavailable(f"{operation}: {_reason(error)}") from error


class PartPayload(Payload):
    """A whole multipart body with one file field, sent as it is read.

    Its size is known beforehand, so it goes out with a Content-Length: aiohttp's
    own form data would be chunked, or hold the part in memory.
    """

    _autoclose = True

    def __init__(self, operation: str, body: Body, progress: float) -> None:
        boundary = secrets.token_hex(16)
        super().__init__(body, content_type=f"multipart/form-data; boundary={boundary}")
        self._head = (
            f"--{boundary}\r\n"
            'Content-Disposition: form-data; name="data"; filename="part"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._size = len(self._head) + body.size + len(self._tail)
        self._operation = operation
        self._body = body
        self._progress = progress
        self.failure: Exception | None = None
        """What ended the body; aiohttp hides it in an error of its own."""

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._progress) as stall:
                await writer.write(self._head)
                async for chunk in self._chunks():
                    await writer.write(chunk)
                    stall.reschedule(loop.time() + self._progress)
                await writer.write(self._tail)
        except TimeoutError:
            if stall.expired():
                self.failure = BackendUnavailable(
                    f"{self._operation}: nothing moved for {self._progress:g} s;"
                    " the connection was given up"
                )
            raise

    async def _chunks(self) -> AsyncIterator[bytes | bytearray]:
        try:
            async for chunk in self._body.chunks():
                yield chunk
        except Exception as error:
            self.failure = error
            raise

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a part is never held in memory")


def parse_url(text: str) -> URL:
    """A base URL that requests can be built on.  Raises `UsageError`."""
    hint = "a base URL looks like https://api.openai.com/v1"
    try:
        url = URL(text.strip().rstrip("/"))
        valid = url.scheme in ("http", "https") and bool(url.host) and bool(url.port)
    except ValueError:
        valid = False
    if not valid:
        # What stands before an @ may be a password.
        shown = re.sub(r"^(\w+://)?.*@", r"\1***@", text)
        raise UsageError(f"{shown!r} is no base URL", hint=hint)
    if url.user or url.password:
        raise UsageError(
            f"the base URL for {url.host} holds credentials",
            hint="leave them out and set the key as OPENAI_API_KEY",
        )
    if url.query_string or url.fragment:
        # A query may hold a key.
        raise UsageError(
            f"a query or a fragment follows {url.with_query(None).with_fragment(None)}",
            hint=hint,
        )
    return url


async def _read(response: aiohttp.ClientResponse, operation: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise UnexpectedAnswer(
                f"{operation}: an answer of more than {MAX_ANSWER} bytes",
                status=response.status,
            )
    return bytes(body)


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ServerTimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno:
        # asyncio's own words leave out why.
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return printable(str(error)) or type(error).__name__


def _open_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    """A socket that notices a peer which is gone without a word.

    After a suspend, or behind a middlebox that forgot the connection, nothing else
    would tell.
    """
    family, kind, protocol, _, _ = info
    opened = socket.socket(family=family, type=kind, proto=protocol)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 60_000),
    ):
        if hasattr(socket, option):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return opened
