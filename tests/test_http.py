import asyncio
import contextlib
import hashlib
import random
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes import FakeBody, Handler, listening, read_head, serving
from uploader import http as http_module
from uploader.answer import Answer
from uploader.config import Timeouts
from uploader.errors import (
    BackendUnavailable,
    CredentialsRefused,
    RequestRejected,
    SourceChanged,
    UnexpectedAnswer,
    Unreachable,
    UploadExpired,
    UsageError,
)
from uploader.http import MAX_ANSWER, Http
from uploader.model import MIB, Part
from uploader.source import Source

KEY = "sk-proj-0123456789abcdefghij"
CHUNK = random.Random(3).randbytes(MIB)
IMPATIENT = Timeouts(connect=0.1, progress=0.1, answer=0.1)


async def with_key() -> Mapping[str, str]:
    return {"Authorization": f"Bearer {KEY}"}


@contextlib.asynccontextmanager
async def asking(
    url: str, timeouts: Timeouts | None = None, **options: Any
) -> AsyncIterator[Http]:
    http = Http(url, with_key, timeouts=timeouts or Timeouts(), **options)
    try:
        yield http
    finally:
        await http.aclose()


async def put(url: str, body: FakeBody, timeouts: Timeouts | None = None) -> Answer:
    async with asking(url, timeouts) as http:
        return await http.request("part 1", "POST", "parts", part=body)


async def post(url: str, timeouts: Timeouts | None = None) -> Answer:
    async with asking(url, timeouts) as http:
        return await http.request("create", "POST", "uploads", json={"a": 1})


async def yes(request: web.Request) -> web.Response:
    return web.json_response({"id": "x"}, headers={"X-Request-ID": "req_1"})


async def test_a_good_answer_comes_with_its_request_id() -> None:
    async with serving(yes) as url:
        answer = await post(url)

    assert answer.decode(dict) == {"id": "x"}
    assert (answer.status, answer.request_id) == (200, "req_1")


async def test_the_query_and_the_key_arrive() -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response({})

    async with serving(handler) as url, asking(url + "/") as http:
        await http.request("list", "GET", "files", query={"purpose": "fine-tune"})

    assert seen[0].path_qs == "/v1/files?purpose=fine-tune"
    assert seen[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_a_proxy_of_the_environment_gets_the_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    async def proxy(request: web.Request) -> web.Response:
        seen.append((str(request.url), request.headers["Proxy-Authorization"]))
        return web.json_response({})

    async with serving(proxy) as url:
        monkeypatch.setenv("HTTP_PROXY", url.replace("//", "//user:word@"))
        monkeypatch.setenv("http_proxy", url.replace("//", "//user:word@"))
        await post("http://service.invalid/v1")

    assert seen == [("http://service.invalid/v1/uploads", "Basic dXNlcjp3b3Jk")]


async def test_a_host_that_needs_no_proxy_is_asked_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    async with serving(yes) as url:
        answer = await post(url)

    assert answer.status == 200


async def test_a_proxy_of_another_kind_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "socks5://user:word@127.0.0.1:1080")

    with pytest.raises(UsageError, match="HTTP_PROXY is 'socks5://") as caught:
        await post("http://service.invalid/v1")

    assert "word" not in str(caught.value)


async def test_passwords_of_a_netrc_file_are_not_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password word\n")
    monkeypatch.setenv("NETRC", str(netrc))
    seen = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response({})

    async with serving(handler) as url:
        await post(url)

    assert seen == [f"Bearer {KEY}"]


async def test_the_headers_are_asked_for_before_every_request() -> None:
    keys = iter(["first", "second"])
    seen = []

    async def renewed() -> Mapping[str, str]:
        return {"Authorization": f"Bearer {next(keys)}"}

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.headers["Authorization"])
        return web.json_response({})

    async with serving(handler) as url:
        http = Http(url, renewed, timeouts=Timeouts())
        await http.request("one", "GET", "files")
        await http.request("two", "GET", "files")
        await http.aclose()

    assert seen == ["Bearer first", "Bearer second"]


async def test_a_part_has_a_length_and_is_the_range_of_the_file(
    tmp_path: Path,
) -> None:
    content = random.Random(5).randbytes(3 * MIB)
    (tmp_path / "big").write_bytes(content)
    part = Part(number=2, offset=MIB - 1, size=MIB + 7)
    seen: dict[str, Any] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(headers=request.headers.copy(), raw=await request.content.read())
        return web.json_response({})

    async def grant(sent: int, pending: int) -> int:
        return MIB

    async with serving(handler) as url:
        with Source.open(tmp_path / "big") as source:
            body = source.body(part, "sha256", grant)
            async with asking(url) as http:
                await http.request("part 2", "POST", "parts", part=body)

    assert int(seen["headers"]["Content-Length"]) == len(seen["raw"])
    assert "Transfer-Encoding" not in seen["headers"]
    kind, _, boundary = seen["headers"]["Content-Type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    head, _, rest = seen["raw"].partition(b"\r\n\r\n")
    assert head.decode().splitlines() == [
        f"--{boundary}",
        'Content-Disposition: form-data; name="data"; filename="part"',
        "Content-Type: application/octet-stream",
    ]
    assert rest == content[part.offset : part.end] + f"\r\n--{boundary}--\r\n".encode()
    digest = hashlib.sha256(content[part.offset : part.end]).hexdigest()
    assert body.digest == f"sha256:{digest}"


async def test_a_part_is_one_file_field_for_those_who_parse_it() -> None:
    seen = []

    async def handler(request: web.Request) -> web.Response:
        form = await request.post()
        for name, field in form.items():
            assert isinstance(field, web.FileField)
            seen.append((name, field.filename, field.file.read()))
            field.file.close()
        return web.json_response({})

    async with serving(handler) as url:
        await put(url, FakeBody(b"one ", b"part"))

    assert seen == [("data", "part", b"one part")]


async def test_an_empty_post_has_no_content_type_and_no_body() -> None:
    seen: dict[str, Any] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(headers=request.headers.copy(), raw=await request.read())
        return web.json_response({})

    async with serving(handler) as url, asking(url) as http:
        await http.request("cancel", "POST", "uploads/x/cancel")

    assert "Content-Type" not in seen["headers"]
    assert seen["headers"]["Content-Length"] == "0"
    assert seen["raw"] == b""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed_and_the_key_goes_nowhere_else(
    status: int,
) -> None:
    asked_elsewhere = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked_elsewhere.append(request)
        return web.json_response({})

    async with serving(elsewhere) as other:

        async def handler(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": other})

        async with serving(handler) as url:
            with pytest.raises(RequestRejected, match=f"a redirect to {other}"):
                await post(url)
            with pytest.raises(RequestRejected, match=f"a redirect to {other}"):
                await put(url, FakeBody(b"x"))

    assert asked_elsewhere == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def test_a_refused_connection_is_unreachable_and_had_no_effect() -> None:
    port = free_port()

    with pytest.raises(Unreachable, match=f"127.0.0.1:{port}: Connect") as raised:
        await post(f"http://127.0.0.1:{port}/v1")

    assert not raised.value.effect_possible
    assert f"http://127.0.0.1:{port}/v1" in (raised.value.hint or "")


async def test_a_name_that_leads_nowhere_is_unreachable() -> None:
    with pytest.raises(Unreachable) as raised:
        await post("http://nowhere.invalid/v1")

    assert not raised.value.effect_possible


async def test_a_connection_that_does_not_come_about_in_time_is_unreachable() -> None:
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # Nobody accepts: when the queue is full nobody gets in.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())

        with pytest.raises(Unreachable, match="no answer in time"):
            await post(f"http://127.0.0.1:{full.getsockname()[1]}/v1", IMPATIENT)


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def reset_after_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await read_head(reader)
    await reset(reader, writer)


async def close(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await read_head(reader)


async def truncate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"id": ')
    await writer.drain()


async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    await writer.drain()


async def be_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(MIB):
        pass


async def answer_slowly(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await read_head(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await be_silent(reader, writer)


@pytest.mark.parametrize(
    "fault",
    [
        reset,
        reset_after_request,
        close,
        truncate,
        babble,
        be_silent,
        answer_slowly,
    ],
)
async def test_a_lost_answer_is_tried_again_and_may_have_had_an_effect(
    fault: Any,
) -> None:
    async with listening(fault) as url:
        with pytest.raises(BackendUnavailable, match="create: ") as raised:
            await post(url, IMPATIENT)

    assert type(raised.value) is BackendUnavailable
    assert raised.value.effect_possible
    assert KEY not in str(raised.value)


async def test_a_body_may_ask_what_is_pending_of_a_connection_that_is_gone() -> None:
    gone = asyncio.Event()

    class Asking(FakeBody):
        async def chunks(self) -> AsyncIterator[bytes | bytearray]:
            yield CHUNK
            await gone.wait()
            while True:
                await asyncio.sleep(0)
                self.pending()
                yield CHUNK

    async def hang_up(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_head(reader)
        await reset(reader, writer)
        writer.close()
        gone.set()

    async with listening(hang_up) as url:
        with pytest.raises(BackendUnavailable, match="part 1: "):
            await put(url, Asking(CHUNK, CHUNK, CHUNK))


async def test_an_answer_may_take_long_as_long_as_it_moves() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"id"', b': "', b"x", b'"', b"}"):
            await asyncio.sleep(0.05)
            await response.write(piece)
        return response

    async with serving(handler) as url:
        answer = await post(url, Timeouts(answer=0.2))

    assert answer.decode(dict) == {"id": "x"}


async def test_a_huge_answer_is_not_read_to_its_end() -> None:
    written = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                await response.write(bytes(MIB))
                written += MIB
        return response

    async with serving(handler) as url:
        with pytest.raises(UnexpectedAnswer, match=f"more than {MAX_ANSWER}"):
            await post(url)

    assert MAX_ANSWER <= written < 8 * MAX_ANSWER


async def test_a_yes_in_bad_json_is_an_unexpected_answer() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    async with serving(handler) as url:
        answer = await post(url)

    with pytest.raises(UnexpectedAnswer, match="text/html"):
        answer.decode(dict)


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_head(reader)
    # What is not read fills the buffers, and then nothing moves.
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_stall_while_sending_is_noticed() -> None:
    async with listening(swallow) as url:
        with pytest.raises(
            BackendUnavailable, match=r"part 1: nothing moved"
        ) as raised:
            await put(url, FakeBody(*[CHUNK] * 64), Timeouts(progress=0.1))

    assert raised.value.effect_possible


async def test_a_part_may_take_long_as_long_as_it_moves() -> None:
    class Slow(FakeBody):
        async def chunks(self) -> AsyncIterator[bytes | bytearray]:
            async for chunk in super().chunks():
                await asyncio.sleep(0.05)
                yield chunk

    async def read_first(request: web.Request) -> web.Response:
        await request.read()
        return await yes(request)

    async with serving(read_first) as url:
        answer = await put(url, Slow(*[b"x"] * 6), Timeouts(progress=0.2))

    assert answer.status == 200


async def test_an_early_refusal_is_seen_while_the_body_is_being_sent() -> None:
    async def refuse(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n")
        await swallow_rest(writer)

    async def swallow_rest(writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async with listening(refuse) as url:
        with pytest.raises(UploadExpired, match="HTTP 410"):
            await put(url, FakeBody(*[CHUNK] * 64))


@pytest.mark.parametrize("chunks", [0, 1, 64])
async def test_a_source_that_changed_surfaces_as_itself(chunks: int) -> None:
    changed = SourceChanged(Path("/f"), "it became shorter")

    async with listening(be_silent) as url:
        with pytest.raises(SourceChanged) as raised:
            await put(url, FakeBody(*[CHUNK] * chunks, failure=changed))

    assert raised.value is changed


@pytest.mark.parametrize(
    "failure", [KeyError("a bug"), TimeoutError("of its own"), OSError(5, "a disk")]
)
async def test_whatever_ends_a_body_is_not_taken_for_the_service(
    failure: Exception,
) -> None:
    async with listening(be_silent) as url:
        with pytest.raises(type(failure)) as raised:
            await put(url, FakeBody(CHUNK, failure=failure))

    assert raised.value is failure


async def test_a_connection_is_not_used_again_after_a_body_that_ended_early() -> None:
    heads: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        peer = request.transport.get_extra_info("peername") if request.transport else 0
        heads.append(str(peer))
        await request.read()
        return web.json_response({"id": "x"})

    async with serving(handler) as url, asking(url) as http:
        with pytest.raises(KeyError):
            await http.request(
                "part 1", "POST", "parts", part=FakeBody(CHUNK, failure=KeyError())
            )
        answer = await http.request("create", "POST", "uploads", json={})

    assert answer.status == 200
    assert len(set(heads)) == 2


async def test_cancellation_passes_through_and_closes_the_connection() -> None:
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        arrived.set()
        await be_silent(reader, writer)
        closed.set()

    async with listening(wait) as url, asking(url) as http:
        task = asyncio.create_task(http.request("create", "POST", "uploads", json={}))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await closed.wait()


async def test_a_key_that_the_service_repeats_is_not_shown() -> None:
    async def handler(request: web.Request) -> web.Response:
        key = request.headers["Authorization"].removeprefix("Bearer ")
        message = f"Incorrect API key provided: {key}."
        return web.json_response({"error": {"message": message}}, status=401)

    async with serving(handler) as url:
        with pytest.raises(CredentialsRefused, match=r"provided: \*\*\*\.") as raised:
            await post(url)

    assert KEY not in str(raised.value)


async def test_a_ca_bundle_that_is_no_pem_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")

    for bundle, words in [("ca.pem", "holds no cert"), ("absent.pem", "No such file")]:
        async with asking("https://localhost/v1", ca_bundle=tmp_path / bundle) as http:
            with pytest.raises(UsageError, match=words) as raised:
                await http.request("create", "POST", "uploads")
        assert bundle in str(raised.value)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl here")
    path = tmp_path / "own.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    command += ["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost"]
    command += ["-keyout", str(path), "-out", str(tmp_path / "cert.pem")]
    subprocess.run(command, check=True, capture_output=True)
    with path.open("a") as file:
        file.write((tmp_path / "cert.pem").read_text())
    return path


@pytest.mark.tools
async def test_an_authority_is_trusted_once_it_is_named(certificate: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
        async with asking(url) as http:
            with pytest.raises(RequestRejected, match="is not trusted") as raised:
                await http.request("list", "GET", "files")
        async with asking(url, ca_bundle=certificate) as http:
            trusted = await http.request("list", "GET", "files")

    assert "ca_bundle" in (raised.value.hint or "")
    assert trusted.status == 200


async def test_what_is_closed_twice_is_closed() -> None:
    async with serving(yes) as url, asking(url) as http:
        await http.request("list", "GET", "files")
        await http.aclose()


async def streamed(url: str, timeouts: Timeouts | None = None) -> list[bytes]:
    async with (
        asking(url, timeouts) as http,
        http.stream("ask", "POST", "responses", json={"a": 1}) as stream,
    ):
        return [chunk async for chunk in stream]


def streaming(
    *chunks: bytes, end: str = "well", kind: str = "text/event-stream"
) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": kind, "X-Request-ID": "req_1"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if end == "hangs":
            await asyncio.Event().wait()
        if end == "breaks" and request.transport is not None:
            request.transport.close()
        return response

    return handler


async def test_an_answer_is_streamed_with_its_type_and_request_id() -> None:
    async with (
        serving(streaming(b"data: 1\n\n")) as url,
        asking(url) as http,
        http.stream("ask", "POST", "responses", json={}) as stream,
    ):
        chunks = [chunk async for chunk in stream]

    assert (stream.content_type, stream.is_document) == ("text/event-stream", False)
    assert stream.request_id == "req_1"
    assert b"".join(chunks) == b"data: 1\n\n"


async def test_a_document_can_be_read_or_iterated() -> None:
    async with (
        serving(yes) as url,
        asking(url) as http,
        http.stream("ask", "POST", "responses", json={}) as stream,
    ):
        assert stream.is_document
        chunks = [chunk async for chunk in stream]
        answer = await stream.read()

    assert answer.decode(dict) == {"id": "x"}
    assert b"".join(chunks) == answer.body


async def test_a_stream_with_a_bad_status_is_refused_without_the_key() -> None:
    async def handler(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": f"not {KEY}"}}, status=401)

    async with serving(handler) as url:
        with pytest.raises(CredentialsRefused, match=r"HTTP 401: not \*\*\*"):
            await streamed(url)


@pytest.mark.parametrize("end", ["hangs", "breaks"])
async def test_a_stream_that_stops_may_have_had_its_effect(end: str) -> None:
    async with serving(streaming(b"data: 1\n\n", end=end)) as url:
        with pytest.raises(BackendUnavailable) as caught:
            await streamed(url, IMPATIENT)

    assert caught.value.effect_possible


async def test_a_stream_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "MAX_STREAM", 100)

    async with serving(streaming(b"x" * 101)) as url:
        with pytest.raises(UnexpectedAnswer, match="more than 100 bytes"):
            await streamed(url)


async def test_what_the_reader_of_a_stream_raises_stays_as_it_is() -> None:
    async with serving(streaming(b"x")) as url, asking(url) as http:
        with pytest.raises(BrokenPipeError):
            async with http.stream("ask", "POST", "responses", json={}):
                raise BrokenPipeError


async def test_a_status_within_the_document_counts() -> None:
    async with serving(yes) as url, asking(url, status_of=lambda _: 404) as http:
        with pytest.raises(RequestRejected, match="HTTP 404"):
            await http.request("get", "GET", "files/1")
