"""A service that lies, or wants harm: bounded, refused in words, never believed."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.command import KEY, Command
from tests.fakes import listening, read_head, serving
from tests.faults.conftest import PART_SIZE, PARTS, Site
from uploader import Settings, Uploader, http
from uploader.config import RetryPolicy, Timeouts
from uploader.emulator import Fault
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    OutcomeUnknown,
    RequestRejected,
    UnexpectedAnswer,
    WrongFile,
)
from uploader.headers import constant
from uploader.model import MIB, UploadState

KINDS = ("create", "part", "complete", "file_list")
ESCAPES = "\x1b[2J\x1b]0;gotcha\x07\x9b31m\u202egnp\r\n"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def says(kind: str, body: object, **fault: Any) -> Fault:
    """The service does not do it, and says *body*."""
    asked: Any = {"status": 200, **fault}
    return Fault(kind=kind, do="status", body=body, **asked)  # type: ignore[arg-type]


# -- redirects ----------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_redirect_takes_neither_key_nor_bytes_elsewhere(
    site: Site, kind: str, status: int
) -> None:
    visitors = []

    async def elsewhere(request: web.Request) -> web.Response:
        visitors.append(request)
        return web.json_response({})

    async with serving(elsewhere) as url:
        if kind == "file_list":
            lost = Fault(kind="complete", do="status", status=404, when="after")
            site.emulator.add_fault(lost)
        headers = {"location": url}
        site.emulator.add_fault(says(kind, {}, status=status, headers=headers))

        if kind == "complete":
            # It is looked into, and had no effect.
            file = await site.upload()
            assert await site.files() == {file.file_id: site.source.read_bytes()}
        else:
            with pytest.raises((RequestRejected, OutcomeUnknown), match="redirect"):
                await site.upload()

    assert visitors == []


# -- size and time ------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 400, 503])
async def test_an_answer_of_gigabytes_is_left_after_megabytes(
    settings: Settings, source: Path, status: int
) -> None:
    written = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal written
        await request.read()
        response = web.StreamResponse(status=status)
        response.content_type = "application/json"
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while written < 4096 * MIB:
                await response.write(b" " * MIB)
                written += MIB
        return response

    async with serving(flood) as url:
        with pytest.raises(BackendError):
            await upload(settings, url, source)

    # What the sockets held besides counts, too.
    assert written < 8 * http.MAX_ANSWER


@pytest.mark.parametrize("where", ["head", "body"])
async def test_an_answer_that_dribbles_for_ever_is_given_up(
    settings: Settings, source: Path, where: str
) -> None:
    async def dribble(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await read_head(reader)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
        writer.write(head + (b"x-long: " if where == "head" else b"\r\n"))
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.01)

    async with listening(dribble) as url, asyncio.timeout(20):
        with pytest.raises(BackendUnavailable, match="no answer in time"):
            await upload(settings, url, source, answer=0.05)


async def test_a_stream_of_nothing_but_signs_of_life_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "MAX_STREAM_LIFE", 0.1)

    async def alive(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_type = "text/event-stream"
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(b": still here\n\n")
                await asyncio.sleep(0.01)
        return response

    async with serving(alive) as url, asyncio.timeout(10):
        client = http.Http(url, constant({}), timeouts=Timeouts())

        async def listen() -> None:
            async with client.stream("ask", "POST", "responses") as stream:
                async for _ in stream:
                    pass

        with pytest.raises(BackendUnavailable, match="no end of the answer"):
            await listen()
        await client.aclose()


# -- wrong types, other ids, strange numbers ----------------------------------

GOOD_UPLOAD: dict[str, object] = {
    "id": "upload_1",
    "object": "upload",
    "created_at": 1_700_000_000,
    "expires_at": 1_700_003_600,
    "status": "pending",
}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("[]", id="a list"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="nothing"),
        pytest.param("{" * 100_000, id="deep"),
        pytest.param("[" * 100_000, id="deeper"),
        pytest.param("\ud800".encode("utf-8", "replace").decode(), id="no JSON"),
        pytest.param({**GOOD_UPLOAD, "id": 7}, id="a number for an id"),
        pytest.param({**GOOD_UPLOAD, "id": None}, id="no id"),
        pytest.param({**GOOD_UPLOAD, "id": ""}, id="an empty id"),
        pytest.param({**GOOD_UPLOAD, "id": "."}, id="a dot"),
        pytest.param({**GOOD_UPLOAD, "id": ".."}, id="two dots"),
        pytest.param({**GOOD_UPLOAD, "id": "x" * 100_000}, id="a long id"),
        pytest.param({**GOOD_UPLOAD, "id": ESCAPES}, id="escapes for an id"),
        pytest.param({**GOOD_UPLOAD, "created_at": "now"}, id="a word for a time"),
        pytest.param({**GOOD_UPLOAD, "created_at": 1e300}, id="the end of time"),
        pytest.param({**GOOD_UPLOAD, "created_at": -1e300}, id="its beginning"),
        pytest.param({**GOOD_UPLOAD, "expires_at": 1e300}, id="never expires"),
        pytest.param({**GOOD_UPLOAD, "expires_at": [1]}, id="a list for a time"),
    ],
)
async def test_a_create_that_is_answered_with_nonsense_is_refused_and_nothing_sent(
    site: Site, body: object
) -> None:
    site.emulator.add_fault(says("create", body))

    with pytest.raises(UnexpectedAnswer) as raised:
        await site.upload()

    assert not CONTROL.search(str(raised.value))
    assert len(str(raised.value)) < 2000
    assert site.emulator.account().counts["part"] == 0


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("[]", id="a list"),
        pytest.param({"id": 7}, id="a number"),
        pytest.param({"id": ""}, id="empty"),
        pytest.param({"id": "x" * 100_000}, id="long"),
        pytest.param({"id": ["part_1"]}, id="a list of ids"),
    ],
)
async def test_a_part_that_is_answered_with_nonsense_does_not_count_as_sent(
    site: Site, body: object
) -> None:
    site.emulator.add_fault(says("part", body, nth=2))

    with pytest.raises(UnexpectedAnswer):
        await site.upload()
    file = await site.upload()

    assert await site.files() == {file.file_id: site.source.read_bytes()}


@pytest.mark.parametrize("parallel", [1, 3])
async def test_parts_with_one_id_are_never_joined(site: Site, parallel: int) -> None:
    """Where ids may be listed twice and MD5 is ignored the size alone would be right."""
    site.emulator.switches = site.emulator.switches.with_values(
        {"part_reuse": True, "md5": "ignored", "unknown_parts": "drop"}
    )
    site.emulator.add_fault(says("part", {"id": "part_same"}, nth=2, times=2))

    with pytest.raises(UnexpectedAnswer, match="got part_same, the id of part"):
        await site.upload(parallel=parallel)

    assert site.emulator.account().counts["complete"] == 0
    file = await site.upload()
    assert await site.files() == {file.file_id: site.source.read_bytes()}


async def test_an_id_that_an_earlier_run_recorded_is_not_given_again(
    site: Site,
) -> None:
    site.emulator.add_fault(Fault(kind="part", nth=3, do="status", status=401))
    with pytest.raises(BackendError):
        await site.upload()
    async with Uploader(site.settings) as uploader:
        (left,) = await uploader.uploads()
    site.emulator.add_fault(says("part", {"id": left.parts[1].part_id}))

    with pytest.raises(UnexpectedAnswer, match="the id of part 1"):
        await site.upload()

    file = await site.upload()
    assert await site.files() == {file.file_id: site.source.read_bytes()}


def completed(**file: object) -> dict[str, object]:
    size = PARTS * PART_SIZE - 100
    return {
        **GOOD_UPLOAD,
        "status": "completed",
        "file": {
            "id": "file-made-up",
            "object": "file",
            "bytes": size,
            "created_at": 1_700_000_000,
            "filename": "source.bin",
            "purpose": "assistants",
            **file,
        },
    }


async def test_a_complete_that_speaks_of_another_upload_is_looked_into(
    site: Site,
) -> None:
    """A made-up success: there is no such file, and so none is reported."""
    site.emulator.add_fault(says("complete", completed()))

    with pytest.raises(OutcomeUnknown, match="lists no such file"):
        await site.upload()

    assert site.emulator.account().counts["create"] == 1


@pytest.mark.parametrize("size", [0, 1, PARTS * PART_SIZE - 101, 2**70, -1])
async def test_a_file_of_another_size_is_named_and_is_no_success(
    site: Site, size: int
) -> None:
    async with answering_complete(site, bytes=size) as settings:
        with pytest.raises((WrongFile, UnexpectedAnswer, OutcomeUnknown)):
            await site.upload(base_url=settings.base_url)

    async with Uploader(settings) as uploader:
        (left,) = await uploader.uploads()
    assert left.state is not UploadState.COMPLETED


@pytest.mark.parametrize("words", ["file_id", "message", "request id", "content type"])
async def test_no_word_of_a_service_can_move_the_cursor(
    site: Site, words: str, tmp_path: Path
) -> None:
    command = Command(site.emulator.url, tmp_path / "state" / "journal.db")
    arguments = ("--part-size", str(PART_SIZE))
    settings = {"UPLOADER_TIMEOUTS_SETTLE": "0", "UPLOADER_RETRY_MAX_ATTEMPTS": "1"}
    match words:
        case "file_id":
            async with answering_complete(site, id=ESCAPES) as there:
                command = replace(command, base_url=there.base_url)
                shown = await command.tell(
                    "upload", str(site.source), *arguments, **settings
                )
        case "message":
            body = {"error": {"message": ESCAPES, "code": ESCAPES, "type": ESCAPES}}
            site.emulator.add_fault(says("create", body, status=400))
            shown = await command.tell("upload", str(site.source), *arguments)
        case "request id":
            headers = {"x-request-id": ESCAPES.replace("\r\n", "").replace("\x07", "")}
            strange = {k: v.encode().decode("latin-1") for k, v in headers.items()}
            site.emulator.add_fault(says("create", {}, status=400, headers={**strange}))
            shown = await command.tell("upload", str(site.source), *arguments)
        case _:
            site.emulator.add_fault(
                says("create", "<", headers={"content-type": "text/\x1b[2J"})
            )
            shown = await command.tell("upload", str(site.source), *arguments)
    listed = await command.tell("list")

    for text in (shown.stdout, shown.stderr, listed.stdout, listed.stderr):
        assert not CONTROL.search(text.replace("\n", "")), repr(text)
    assert "Traceback" not in shown.stderr


# -- ids that are paths -------------------------------------------------------


@pytest.mark.parametrize("bad", ["../files", "a/b", "a?b", "a#b", "%2e%2e", "a b"])
async def test_an_id_stays_within_its_place_in_the_path(site: Site, bad: str) -> None:
    site.emulator.add_fault(says("create", {**GOOD_UPLOAD, "id": bad}))

    with pytest.raises(BackendError):
        await site.upload()

    paths = {r.path for r in site.emulator.account().requests if r.kind != "create"}
    assert paths <= {f"/v1/uploads/{bad}/parts"}


# -- how ----------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        api_key=KEY,
        journal=tmp_path / "state" / "journal.db",
        retry=RetryPolicy(backoff_initial=0.001, backoff_max=0.001, max_attempts=2),
        timeouts=Timeouts(settle=0.0, connect=0.3),
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "small.bin"
    path.write_bytes(bytes(1000))
    return path


async def upload(settings: Settings, url: str, source: Path, **timeouts: float) -> None:
    waits = replace(settings.timeouts, **timeouts)
    chosen = replace(settings, base_url=url, timeouts=waits)
    async with Uploader(chosen) as uploader:
        await uploader.upload(source)


@contextlib.asynccontextmanager
async def answering_complete(site: Site, **file: object) -> AsyncIterator[Settings]:
    """The service, but for complete, which is answered with such a file."""

    async def answer(request: web.Request) -> web.Response:
        body = await request.read()
        parts = request.path.split("/")
        match parts[2:]:
            case ["uploads"]:
                found = GOOD_UPLOAD
            case ["uploads", _, "parts"]:
                found = {"id": f"part_{hash(body)}"}
            case ["uploads", _, "complete"]:
                found = completed(**file)
            case _:
                found = {"data": [completed(**file)["file"]], "has_more": False}
                if len(parts) > 3:
                    found = completed(**file)["file"]  # type: ignore[assignment]
        return web.json_response(found)

    async with serving(answer) as url:
        yield replace(site.settings, base_url=url)
