"""The door to HTTP: one session, error translation, bodies and answers as streams.

Nothing above this module sees aiohttp or a status that has not become an error.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import replace
from pathlib import Path
from typing import Final

import aiohttp
import msgspec
from aiohttp.payload import Payload

from uploader.answer import Answer, printable, refusal
from uploader.backend import Body
from uploader.config import Timeouts
from uploader.connection import open_socket, parse_url, proxy_for, tls_context
from uploader.errors import (
    BackendUnavailable,
    RequestRejected,
    UnexpectedAnswer,
    Unreachable,
)
from uploader.headers import Headers
from uploader.model import MIB
from uploader.multipart import Form
from uploader.payload import PartPayload

StatusOf = Callable[[Answer], int]

_Asked = AbstractAsyncContextManager[aiohttp.ClientResponse]
_Translated = Callable[[str, object], AbstractContextManager[None]]

MAX_ANSWER: Final = 16 * MIB
MAX_STREAM: Final = 64 * MIB
MAX_STREAM_LIFE: Final = 3600.0
"""Seconds; some services send signs of life without ever saying anything."""

SLOWEST: Final = 10
"""How many times as long as it may be silent an answer may take in all."""

SECRET_HEADERS: Final = ("api-key", "X-API-Key", "Authorization")


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
        status_of: StatusOf | None = None,
        key_name: str | None = None,
    ) -> None:
        """*query* goes with every request.

        *status_of* tells what a document really means where a service says "200" and
        refuses within it; *key_name* is the variable that a refused key came from.
        """
        self.base_url = parse_url(base_url)
        self.query = dict(query or {})
        self._headers = headers
        self._status_of = status_of
        self._key_name = key_name
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
        form: Form | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Ask once.  *operation* names the request in errors.

        *part* goes out as the file of *form*.
        Raises the `BackendError` that a bad answer, or none, stands for.
        """
        headers = dict(await self._headers())
        data: PartPayload | None = None
        if part is not None:
            data = PartPayload(operation, part, form or Form(), self._timeouts.progress)
        with self._translated(operation, data):
            async with asyncio.timeout(None) as limit:
                self._await_answer(limit, data)
                async with self._asked(
                    method, path, headers, data=data, json=json, query=query
                ) as response:
                    body = await _read(response, operation)
        return self._checked(
            Answer(operation, response.status, response.headers, body), headers
        )

    @asynccontextmanager
    async def stream(
        self,
        operation: str,
        method: str,
        path: str,
        *,
        json: object = None,
        whole: bool = False,
    ) -> AsyncIterator[Stream]:
        """Ask once, and read the answer as it comes.

        A bad status is refused as `request` does.  An answer may also be one whole
        document: see its `content_type`.  With *whole* it is a file, of any type and
        any size: how much of it is read is the reader's to bound.
        """
        headers = dict(await self._headers())
        headers["Accept"] = "*/*" if whole else "text/event-stream, application/json"
        asked = self._asked(method, path, headers, json=json)
        with self._translated(operation, None):
            response = await asked.__aenter__()
        try:
            stream = Stream(operation, response, self._translated, whole=whole)
            if not _is_good(stream.status) or stream.is_document:
                self._checked(await stream.read(), headers)
            # What its reader raises is not the connection's and stays as it is.
            yield stream
        finally:
            # Closed, not read to its end: nobody knows how much is still to come.
            response.close()

    def _await_answer(self, limit: asyncio.Timeout, part: PartPayload | None) -> None:
        """Limit how long an answer may dribble; a part may take as long as it moves."""

        def start() -> None:
            longest = self._timeouts.connect + SLOWEST * self._timeouts.answer
            # A body may end after its request was given up.
            with suppress(RuntimeError):
                limit.reschedule(asyncio.get_running_loop().time() + longest)

        if part is None:
            start()
        else:
            part.on_sent = start

    def _checked(self, answer: Answer, headers: Mapping[str, str]) -> Answer:
        """*answer* if it is a good one.  Raises what it stands for otherwise."""
        if _is_good(answer.status) and self._status_of is not None:
            answer = replace(answer, status=self._status_of(answer))
        if _is_good(answer.status):
            return answer
        error = refusal(answer, secret=_secret(headers))
        if self._key_name is not None and error.status in (401, 403):
            error.hint = f"check {self._key_name}: the key, and what its plan allows"
        raise error

    def _asked(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        *,
        data: Payload | bytes | None = None,
        json: object = None,
        query: Mapping[str, str] | None = None,
    ) -> _Asked:
        if not {".", ".."}.isdisjoint(path.split("/")):
            # An id that somebody made up, to lead a request elsewhere.
            raise RequestRejected(f"{path}: no request goes to such a path")
        if json is not None:
            data = msgspec.json.encode(json)
            headers["Content-Type"] = "application/json"
        return self._open_session().request(
            method,
            self.base_url.joinpath(path, encoded=True),
            params={**self.query, **(query or {})},
            data=data,
            headers=headers,
            # Some services refuse a content type that has no content.
            skip_auto_headers=("Content-Type",) if data is None else None,
            allow_redirects=False,
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            is_tls = self.base_url.scheme == "https"
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=tls_context(self._ca_bundle) if is_tls else True,
                socket_factory=open_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                proxy=proxy_for(self.base_url),
                auto_decompress=True,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=self._timeouts.connect,
                    sock_read=self._timeouts.answer,
                ),
            )
        return self._session

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
        except aiohttp.ClientHttpProxyError as error:
            raise RequestRejected(
                f"{operation}: the proxy answers HTTP {error.status}",
                hint="see HTTPS_PROXY in the environment, and its user and password",
                status=error.status,
            ) from error
        except aiohttp.ClientProxyConnectionError as error:
            raise Unreachable(
                f"{operation}: no connection to the proxy: {_reason(error)}",
                hint="see HTTPS_PROXY in the environment",
                effect_possible=False,
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


class Stream:
    """A good answer on its way: its chunks, each as soon as it is there."""

    def __init__(
        self,
        operation: str,
        response: aiohttp.ClientResponse,
        translated: _Translated,
        *,
        whole: bool = False,
    ) -> None:
        self.operation = operation
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content_type = response.content_type
        """Without its parameters: `text/event-stream`."""
        self._response = response
        self._translated = translated
        self._whole = whole
        self._document: Answer | None = None

    @property
    def request_id(self) -> str | None:
        return Answer(self.operation, self.status, self.headers, b"").request_id

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises `BackendUnavailable` when the connection ends before the answer."""
        if self._document is not None:
            yield self._document.body
            return
        size, loop = 0, asyncio.get_running_loop()
        until = loop.time() + MAX_STREAM_LIFE
        while True:
            with self._translated(self.operation, None):
                chunk = await self._response.content.readany()
            if not chunk:
                return
            if loop.time() > until:
                raise BackendUnavailable(
                    f"{self.operation}: no end of the answer after"
                    f" {MAX_STREAM_LIFE:g} s"
                )
            size += len(chunk)
            if size > MAX_STREAM and not self._whole:
                raise _too_long(self.operation, self.status, MAX_STREAM)
            yield chunk

    @property
    def is_document(self) -> bool:
        """Whether the answer is one JSON document: then `read` it."""
        return self.content_type == "application/json" and not self._whole

    async def read(self) -> Answer:
        """The whole answer, for one that is no stream of events."""
        if self._document is None:
            with self._translated(self.operation, None):
                body = await _read(self._response, self.operation)
            self._document = Answer(self.operation, self.status, self.headers, body)
        return self._document


async def _read(response: aiohttp.ClientResponse, operation: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER:
            raise _too_long(operation, response.status, MAX_ANSWER)
    return bytes(body)


def _is_good(status: int) -> bool:
    return 200 <= status < 300


def _too_long(operation: str, status: int, limit: int) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"{operation}: an answer of more than {limit} bytes", status=status
    )


def _secret(headers: Mapping[str, str]) -> str:
    """What of our headers must not come back in an error."""
    found = (headers[name] for name in SECRET_HEADERS if name in headers)
    return next(found, "").removeprefix("Bearer ")


def _reason(error: BaseException) -> str:
    if isinstance(error, aiohttp.ServerTimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno:
        # asyncio's own words leave out why.
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return printable(str(error)) or type(error).__name__
