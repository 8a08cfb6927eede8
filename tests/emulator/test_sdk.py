"""The official client, which nobody here wrote."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from uploader.emulator import Emulator, Fault, Switches

HELLO = b"hello world"
MD5 = hashlib.md5(HELLO).hexdigest()


@pytest.fixture
async def sdk(emulator: Emulator) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=emulator.url, api_key="sk-test", max_retries=0
    ) as client:
        yield client


async def create(sdk: AsyncOpenAI) -> str:
    upload = await sdk.uploads.create(
        bytes=len(HELLO), filename="a.txt", mime_type="text/plain", purpose="assistants"
    )
    return upload.id


async def test_an_upload_by_hand(sdk: AsyncOpenAI) -> None:
    upload_id = await create(sdk)
    hello = await sdk.uploads.parts.create(upload_id, data=b"hello ")
    world = await sdk.uploads.parts.create(upload_id, data=b"world")

    upload = await sdk.uploads.complete(
        upload_id, part_ids=[hello.id, world.id], md5=MD5
    )

    assert upload.status == "completed"
    assert upload.file is not None
    assert upload.file.bytes == len(HELLO)
    assert (await sdk.files.content(upload.file.id)).read() == HELLO


async def test_an_upload_by_the_helper(sdk: AsyncOpenAI, tmp_path: Path) -> None:
    source = tmp_path / "source.txt"
    source.write_bytes(HELLO * 1000)

    upload = await sdk.uploads.upload_file_chunked(
        file=source, mime_type="text/plain", purpose="user_data", part_size=4096
    )

    assert upload.file is not None
    assert upload.file.filename == "source.txt"
    assert (await sdk.files.content(upload.file.id)).read() == HELLO * 1000


async def test_the_blocking_client_works_too(
    emulator: Emulator, tmp_path: Path
) -> None:
    source = tmp_path / "source.txt"
    source.write_bytes(HELLO)

    def upload() -> bytes:
        with OpenAI(base_url=emulator.url, api_key="sk-test") as client:
            upload = client.uploads.upload_file_chunked(
                file=source, mime_type="text/plain", purpose="assistants", md5=MD5
            )
            assert upload.file is not None
            return client.files.content(upload.file.id).read()

    assert await asyncio.to_thread(upload) == HELLO


async def test_the_blocking_client_goes_through_all_of_it(emulator: Emulator) -> None:
    def live() -> list[str]:
        with OpenAI(base_url=emulator.url, api_key="sk-test", max_retries=0) as client:
            upload, other = (
                client.uploads.create(
                    bytes=len(HELLO),
                    filename=f"{name}.txt",
                    mime_type="text/plain",
                    purpose="assistants",
                )
                for name in "ab"
            )
            parts = [
                client.uploads.parts.create(upload.id, data=data).id
                for data in (b"hello ", b"world")
            ]
            done = client.uploads.complete(upload.id, part_ids=parts, md5=MD5)
            assert client.uploads.cancel(other.id).status == "cancelled"
            with pytest.raises(openai.BadRequestError):
                client.uploads.cancel(other.id)
            assert done.file is not None
            assert client.files.retrieve(done.file.id).bytes == len(HELLO)
            assert client.files.content(done.file.id).read() == HELLO
            listed = [file.id for file in client.files.list(purpose="assistants")]
            assert client.files.delete(done.file.id).deleted
            with pytest.raises(openai.NotFoundError):
                client.files.retrieve(done.file.id)
            return listed

    assert len(await asyncio.to_thread(live)) == 1


async def test_cancel(sdk: AsyncOpenAI) -> None:
    upload_id = await create(sdk)

    assert (await sdk.uploads.cancel(upload_id)).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="is already cancelled"):
        await sdk.uploads.cancel(upload_id)


async def test_files(sdk: AsyncOpenAI) -> None:
    made = [
        await sdk.files.create(file=(f"{number}.txt", HELLO), purpose="user_data")
        for number in range(3)
    ]

    listed = [file.id async for file in sdk.files.list(limit=1, order="asc")]

    assert listed == [file.id for file in made]
    assert (await sdk.files.retrieve(made[0].id)).filename == "0.txt"
    assert (await sdk.files.delete(made[0].id)).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        await sdk.files.retrieve(made[0].id)


async def test_a_file_that_expires(sdk: AsyncOpenAI) -> None:
    file = await sdk.files.create(
        file=HELLO,
        purpose="assistants",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )

    assert file.expires_at == file.created_at + 3600


async def test_errors_are_the_classes_of_the_client(
    sdk: AsyncOpenAI, emulator: Emulator
) -> None:
    upload_id = await create(sdk)

    with pytest.raises(openai.NotFoundError):
        await sdk.uploads.parts.create("upload_none", data=HELLO)
    with pytest.raises(openai.BadRequestError) as wrong_size:
        await sdk.uploads.complete(upload_id, part_ids=[])
    assert wrong_size.value.request_id is not None
    emulator.advance(3600)
    with pytest.raises(openai.APIStatusError) as expired:
        await sdk.uploads.parts.create(upload_id, data=HELLO)
    assert expired.value.status_code == 410
    emulator.switches = Switches(requests_per_minute=1)
    with pytest.raises(openai.RateLimitError):
        await sdk.uploads.parts.create(upload_id, data=HELLO)


async def test_an_unknown_key_is_an_authentication_error(directory: Path) -> None:
    async with (
        Emulator(directory, keys=["sk-right"]) as emulator,
        AsyncOpenAI(base_url=emulator.url, api_key="sk-wrong") as sdk,
    ):
        with pytest.raises(openai.AuthenticationError) as refused:
            await sdk.files.list()

    assert refused.value.code == "invalid_api_key"


async def test_a_retried_part_leaves_an_orphan(
    emulator: Emulator, sdk: AsyncOpenAI
) -> None:
    upload_id = await create(sdk)
    emulator.add_fault(
        Fault(
            kind="part",
            do="status",
            when="after",
            headers={"retry-after-ms": "1"},
        )
    )

    part = await sdk.with_options(max_retries=1).uploads.parts.create(
        upload_id, data=HELLO
    )

    assert len(emulator.account().part_bytes) == 2
    upload = await sdk.uploads.complete(upload_id, part_ids=[part.id])
    assert upload.status == "completed"


async def test_a_conversation_with_a_file(sdk: AsyncOpenAI) -> None:
    file = await sdk.files.create(file=("a.pdf", HELLO), purpose="user_data")
    conversation = await sdk.conversations.create(metadata={"topic": "test"})
    added = await sdk.conversations.items.create(
        conversation.id,
        items=[
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "look"},
                    {"type": "input_file", "file_id": file.id},
                ],
            }
        ],
    )

    listed = [
        item
        async for item in sdk.conversations.items.list(
            conversation.id, include=["message.input_image.image_url"]
        )
    ]

    assert listed == added.data
    assert (await sdk.conversations.delete(conversation.id)).deleted


async def test_a_response_that_is_streamed(sdk: AsyncOpenAI) -> None:
    file = await sdk.files.create(file=("a.pdf", HELLO), purpose="user_data")
    conversation = await sdk.conversations.create()
    stream = await sdk.responses.create(
        model="gpt-4o-mini",
        conversation=conversation.id,
        stream=True,
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "why?"},
                    {"type": "input_file", "file_id": file.id},
                ],
            }
        ],
    )

    events = [event async for event in stream]

    assert events[0].type == "response.created"
    assert events[-1].type == "response.completed"
    again = await sdk.responses.retrieve(events[0].response.id)
    assert again == events[-1].response
    assert again.output_text == "You asked: “why?”; and I was given “a.pdf”."


async def test_a_vector_store_with_a_file(sdk: AsyncOpenAI, emulator: Emulator) -> None:
    emulator.switches = Switches(indexing_polls=2)
    file = await sdk.files.create(file=("a.txt", HELLO), purpose="assistants")
    store = await sdk.vector_stores.create(name="store")

    indexed = await sdk.vector_stores.files.create_and_poll(
        file.id, vector_store_id=store.id, poll_interval_ms=1
    )

    assert (indexed.id, indexed.status) == (file.id, "completed")
    assert (await sdk.vector_stores.retrieve(store.id)).file_counts.completed == 1
    emulator.switches = Switches(store_busy_seconds=60)
    with pytest.raises(openai.ConflictError):
        await sdk.vector_stores.files.create(store.id, file_id=file.id)
