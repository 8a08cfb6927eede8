"""Our requests, checked against the published description by mocks that others wrote.

They answer with its examples, so a source of the example's ten bytes goes all the way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.command import KEY
from tests.tools.conftest import SPEC, free_port, listening
from uploader import Settings, Uploader
from uploader.backends import open_backend
from uploader.backends.openai import PURPOSES
from uploader.config import RetryPolicy, Timeouts
from uploader.errors import Interrupted, RequestRejected
from uploader.events import Event, UploadOpened
from uploader.model import FileId, UploadSpec, UploadState

pytestmark = pytest.mark.tools

Tool = Callable[[str], Path]

BRACKETS = tuple(
    f"--validator-{place}-{kind}-format=brackets"
    for place in ("query", "form")
    for kind in ("array", "object")
)


@asynccontextmanager
async def steady(tool: Tool) -> AsyncIterator[str]:
    program, port = tool("node_modules/.bin/steady"), free_port()
    url = f"http://127.0.0.1:{port}"
    where = ("--host", "127.0.0.1", "-p", str(port))
    async with listening(url, program, *where, "-q", *BRACKETS, SPEC):
        yield url


@asynccontextmanager
async def prism(tool: Tool) -> AsyncIterator[str]:
    program, port = tool("node_modules/.bin/prism"), free_port()
    url = f"http://127.0.0.1:{port}"
    where = ("-h", "127.0.0.1", "-p", str(port))
    async with listening(url, program, "mock", "--errors", *where, SPEC):
        yield url


@pytest.fixture(params=[steady, prism], ids=["steady", "prism"])
async def settings(
    request: pytest.FixtureRequest, tool: Tool, tmp_path: Path
) -> AsyncIterator[Settings]:
    async with request.param(tool) as url:
        yield Settings(
            base_url=url,
            api_key=KEY,
            organization="org-1",
            project="proj-1",
            journal=tmp_path / "journal.db",
            retry=RetryPolicy(max_attempts=1),
            timeouts=Timeouts(settle=0.0),
        )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789")
    return path


async def test_an_upload_is_by_the_book(settings: Settings, source: Path) -> None:
    async with Uploader(settings) as uploader:
        file = await uploader.upload(source, expires_after=3600)

    assert file.file_id == "file-abc123"


async def test_a_cancel_is_by_the_book(settings: Settings, source: Path) -> None:
    def stop(event: Event) -> None:
        if isinstance(event, UploadOpened):
            uploader.drain()

    async with Uploader(settings, observers=[stop]) as uploader:
        with pytest.raises(Interrupted):
            await uploader.upload(source)
        (left,) = await uploader.resumable()
    async with Uploader(settings) as uploader:
        await uploader.cancel(left.id)
        (cancelled,) = await uploader.uploads()

    assert cancelled.state is UploadState.CANCELLED


async def test_questions_about_files_are_by_the_book(settings: Settings) -> None:
    backend = open_backend(settings)
    try:
        await backend.list_files("batch")
        await backend.get_file(FileId("file-abc123"))
        await backend.delete_file(FileId("file-abc123"))
    finally:
        await backend.aclose()


def spec(purpose: str) -> UploadSpec:
    return UploadSpec(
        filename="a.jsonl", purpose=purpose, size=10, mime_type="text/jsonl"
    )


async def test_every_purpose_of_ours_is_known_and_another_is_noticed(
    settings: Settings,
) -> None:
    backend = open_backend(settings)
    try:
        for purpose in PURPOSES:
            await backend.create(spec(purpose))
        with pytest.raises(RequestRejected):
            await backend.create(spec("fun"))
    finally:
        await backend.aclose()
