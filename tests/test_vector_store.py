from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes import serving
from tests.services import KEY, add_file, ask, bodies
from uploader.config import Settings
from uploader.emulator import Emulator, Fault, Switches
from uploader.errors import (
    BackendUnavailable,
    RequestRejected,
    SourceError,
    UsageError,
)
from uploader.message import Attached, FileRef
from uploader.model import MIB, FileId, Scope
from uploader.target import Message
from uploader.targets.vector_store import VectorStore

DAY = 86_400


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(tmp_path / "service", keys=[KEY]) as emulator:
        yield emulator


@asynccontextmanager
async def talking(
    url: str, name: str = "vector-store:new"
) -> AsyncIterator[VectorStore]:
    target = VectorStore.from_settings(name, Settings(base_url=url, api_key=KEY))
    try:
        yield target
    finally:
        await target.aclose()


@pytest.fixture
async def target(emulator: Emulator) -> AsyncIterator[VectorStore]:
    async with talking(emulator.url) as target:
        yield target


@pytest.fixture
async def scope(target: VectorStore) -> Scope:
    return await target.prepare()


def switch(emulator: Emulator, **switches: Any) -> None:
    emulator.switches = replace(Switches(), **switches)


def on_delta(text: str) -> None:
    raise AssertionError(f"a vector store says {text!r}")


async def on_response(response_id: str) -> None:
    raise AssertionError(f"a vector store answers {response_id}")


async def attach(target: VectorStore, message: Message) -> Attached:
    return await target.attach(message, on_delta=on_delta, on_response=on_response)


async def test_each_file_is_attached_by_its_id(
    target: VectorStore, emulator: Emulator, scope: Scope
) -> None:
    files = (await add_file(emulator, "a.txt"), await add_file(emulator, "b.txt"))

    attached = await attach(target, Message(scope=scope, files=files))

    assert bodies(emulator, "vector_file_create") == [
        {"file_id": file.file_id} for file in files
    ]
    assert attached.conversation_id == scope.conversation_id
    assert attached.message_id == f"{files[0].file_id},{files[1].file_id}"


async def test_a_new_store_has_a_name(
    target: VectorStore, emulator: Emulator, scope: Scope
) -> None:
    assert bodies(emulator, "vector_store_create") == [{"name": "uploader"}]
    assert scope.conversation_id.startswith("vs_")


async def test_a_store_that_is_not_there_is_named(emulator: Emulator) -> None:
    async with talking(emulator.url, "vector-store:vs_gone") as target:
        with pytest.raises(RequestRejected, match="vs_gone") as raised:
            await target.prepare()

    assert raised.value.status == 404
    assert raised.value.hint


async def test_a_store_that_has_expired_is_a_refusal(emulator: Emulator) -> None:
    expires = {"expires_after": {"anchor": "last_active_at", "days": 1}}
    store = await ask(emulator, "POST", "/vector_stores", expires)
    emulator.advance(2 * DAY)

    async with talking(emulator.url, f"vector-store:{store['id']}") as target:
        with pytest.raises(RequestRejected, match="expired"):
            await target.prepare()


async def test_files_are_found_when_all_of_them_are_there(
    target: VectorStore, emulator: Emulator, scope: Scope
) -> None:
    files = (await add_file(emulator, "a.txt"), await add_file(emulator, "b.txt"))
    message = Message(scope=scope, files=files)

    assert await target.find(message) is None
    await attach(target, replace(message, files=files[:1]))
    assert await target.find(message) is None
    await attach(target, message)

    found = await target.find(message)
    assert found is not None
    assert found.message_id == f"{files[0].file_id},{files[1].file_id}"


async def test_a_file_that_is_attached_twice_is_there_once(
    target: VectorStore, emulator: Emulator, scope: Scope
) -> None:
    message = Message(scope=scope, files=(await add_file(emulator),))

    await attach(target, message)
    await attach(target, message)

    path = f"/vector_stores/{scope.conversation_id}/files"
    assert len((await ask(emulator, "GET", path))["data"]) == 1


async def test_a_store_that_is_busy_is_asked_again_when_it_says(
    target: VectorStore, emulator: Emulator
) -> None:
    switch(emulator, store_busy_seconds=10.0, retry_after=7)
    message = Message(scope=await target.prepare(), files=(await add_file(emulator),))

    with pytest.raises(BackendUnavailable) as raised:
        await attach(target, message)

    assert raised.value.status == 409
    assert raised.value.retry_after == 7
    assert not raised.value.effect_possible
    emulator.advance(10)
    await attach(target, message)


async def test_a_store_that_does_not_see_the_file_yet_is_asked_again(
    target: VectorStore, emulator: Emulator, scope: Scope
) -> None:
    message = Message(scope=scope, files=(await add_file(emulator),))
    emulator.add_fault(Fault(kind="vector_file_create", do="status", status=404))

    with pytest.raises(BackendUnavailable) as raised:
        await attach(target, message)

    assert not raised.value.effect_possible
    await attach(target, message)


async def test_a_store_that_has_gone_meanwhile_is_a_refusal(
    target: VectorStore, emulator: Emulator, scope: Scope
) -> None:
    file = await add_file(emulator)
    await ask(emulator, "DELETE", f"/vector_stores/{scope.conversation_id}")

    with pytest.raises(RequestRejected, match=scope.conversation_id):
        await attach(target, Message(scope=scope, files=(file,)))


async def test_files_are_waited_for_until_all_are_indexed(
    target: VectorStore, emulator: Emulator, scope: Scope
) -> None:
    switch(emulator, indexing_seconds=30.0)
    files = [await add_file(emulator, "a.txt"), await add_file(emulator, "b.txt")]
    early = Message(scope=scope, files=(files[0],))
    await attach(target, early)
    emulator.advance(20)
    message = Message(scope=scope, files=tuple(files))
    attached = await attach(target, message)

    assert not await target.wait(message, attached)
    emulator.advance(10)
    assert await target.wait(early, attached)
    assert not await target.wait(message, attached)
    emulator.advance(20)
    assert await target.wait(message, attached)


async def test_a_file_that_is_not_known_yet_is_waited_for(
    target: VectorStore, emulator: Emulator, scope: Scope
) -> None:
    switch(emulator, attached_delay=5.0)
    message = Message(scope=scope, files=(await add_file(emulator),))
    attached = await attach(target, message)

    assert await target.find(message) is None
    assert not await target.wait(message, attached)
    emulator.advance(5)
    assert await target.wait(message, attached)


@pytest.mark.parametrize(
    ("ending", "said"),
    [("failed", "failed.*unsupported_file: "), ("cancelled", "cancelled")],
)
async def test_a_file_that_cannot_be_indexed_says_why(
    target: VectorStore, emulator: Emulator, scope: Scope, ending: str, said: str
) -> None:
    switch(emulator, indexing_ends=ending, indexing_error="unsupported_file")
    message = Message(scope=scope, files=(await add_file(emulator),))
    attached = await attach(target, message)

    with pytest.raises(RequestRejected, match=said) as raised:
        await target.wait(message, attached)

    assert message.files[0].file_id in str(raised.value)
    assert raised.value.hint


async def test_the_reason_of_a_failure_hides_the_key() -> None:
    # The recorded answer, shortened.
    document = {
        "id": "file-1",
        "object": "vector_store.file",
        "status": "failed",
        "last_error": {"code": "server_error", "message": f"no key {KEY}"},
    }

    async def handle(_: web.Request) -> web.Response:
        return web.json_response(document)

    files = (FileRef(file_id=FileId("file-1"), name="a.txt"),)
    message = Message(scope=Scope(conversation_id="vs_1"), files=files)
    async with serving(handle) as url, talking(url) as target:
        with pytest.raises(RequestRejected, match="server_error: no key") as raised:
            await target.wait(message, Attached(conversation_id="vs_1"))

    assert KEY not in str(raised.value)


def file(name: str, size: int | None) -> FileRef:
    return FileRef(file_id=FileId(""), name=name, size=size)


@pytest.mark.parametrize("size", [1, 512 * MIB, None])
async def test_a_file_up_to_512_mib_is_accepted(
    target: VectorStore, size: int | None
) -> None:
    target.accepts([file("a.txt", 1), file("b.pdf", size)], None)


@pytest.mark.parametrize(
    ("refused", "hint"),
    [
        pytest.param(file("a.txt", 512 * MIB + 1), "split", id="one byte over"),
        pytest.param(file("a.png", 1), "conversation:new", id="an image"),
    ],
)
async def test_a_file_that_no_store_takes_is_refused_with_a_way_out(
    target: VectorStore, emulator: Emulator, refused: FileRef, hint: str
) -> None:
    with pytest.raises(SourceError, match=refused.name) as raised:
        target.accepts([refused], None)

    assert hint in str(raised.value.hint)
    assert emulator.account().requests == ()


async def test_a_store_takes_no_prompt_and_no_model(
    target: VectorStore, emulator: Emulator
) -> None:
    some = file("a.txt", 1)
    with pytest.raises(UsageError) as raised:
        target.accepts([some], "look")
    assert "conversation:new" in str(raised.value.hint)

    message = Message(scope=Scope(conversation_id="vs_1"), files=(some,), model="m")
    with pytest.raises(UsageError):
        await attach(target, message)
    assert emulator.account().requests == ()


async def test_a_store_without_a_file_is_no_target(target: VectorStore) -> None:
    with pytest.raises(UsageError):
        target.accepts([], None)


async def test_a_store_answers_nothing(target: VectorStore) -> None:
    with pytest.raises(UsageError):
        await target.fetch("resp_1")
