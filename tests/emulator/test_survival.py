import asyncio
import os
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from tests.emulator.client import Client, until
from uploader.emulator import Emulator, Fault, read_account
from uploader.emulator.store import ABANDONED_AFTER


async def started(directory: Path, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader.emulator", "--dir", str(directory)),
        *options,
        stdout=asyncio.subprocess.PIPE,
    )


async def url_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()


async def test_an_upload_goes_on_after_a_restart(directory: Path) -> None:
    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        upload_id = await client.opened()
        (hello,) = await client.stored(upload_id, b"hello ")

    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        (world,) = await client.stored(upload_id, b"world")
        file = (await client.complete(upload_id, [hello, world])).json["file"]
        assert (await client.get(f"/files/{file['id']}/content")).text == "hello world"


async def test_an_upload_goes_on_after_kill_9(directory: Path) -> None:
    first = await started(directory)
    async with Client(await url_of(first)) as client:
        upload_id = await client.opened()
        (hello,) = await client.stored(upload_id, b"hello ")
        first.send_signal(signal.SIGKILL)
        await first.wait()

    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        (world,) = await client.stored(upload_id, b"world")
        assert (await client.complete(upload_id, [hello, world])).status == 200
        assert [one.bytes for one in emulator.account().receptions] == [6, 5]


async def test_a_kill_in_the_middle_of_a_part_leaves_no_part(directory: Path) -> None:
    script = directory.parent / "faults.json"
    script.write_text('[{"kind": "part", "do": "slow", "rate": 100}]')
    process = await started(directory, "--faults", str(script))
    async with Client(await url_of(process)) as client:
        upload_id = await client.opened()
        sending = asyncio.create_task(client.part(upload_id, b"hello world" * 1000))
        await until(lambda: read_account(directory).counts["part"] > 0)
        process.kill()
        await process.wait()
        with pytest.raises((ConnectionError, aiohttp.ClientError)):
            await sending

    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        assert (await client.part(upload_id, b"hello world")).status == 200
        assert len(emulator.account().part_bytes) == 1


async def test_the_clock_stays_moved(directory: Path) -> None:
    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        upload_id = await client.opened()
        emulator.advance(3600)

    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        assert (await client.part(upload_id, b"late")).status == 410
        assert emulator.now > time.time() + 3500


async def test_faults_stay_and_go_on_counting(directory: Path) -> None:
    fault = Fault(kind="create", do="status", nth=2)
    async with (
        Emulator(directory, faults=[fault]) as emulator,
        Client(emulator.url) as client,
    ):
        await client.create()

    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        assert emulator.account().faults_left == (fault,)
        assert (await client.create()).status == 500
        assert emulator.account().faults_left == ()


async def test_a_new_script_takes_the_place_of_the_old_one(directory: Path) -> None:
    old = Fault(kind="create", do="reset", nth=5)
    new = Fault(kind="part", do="reset")
    async with Emulator(directory, faults=[old]):
        pass

    async with Emulator(directory, faults=[new]) as emulator:
        assert emulator.account().faults_left == (new,)


async def test_two_emulators_serve_one_directory(directory: Path) -> None:
    async with (
        Emulator(directory) as one,
        Emulator(directory) as other,
        Client(one.url) as here,
        Client(other.url) as there,
    ):
        upload_id = await here.opened()
        (world,) = await there.stored(upload_id, b"world")
        (hello,) = await here.stored(upload_id, b"hello ")
        other.add_fault(Fault(kind="complete", do="status", status=503))
        assert (await here.complete(upload_id, [hello, world])).status == 503
        file = (await there.complete(upload_id, [hello, world])).json["file"]
        assert (await here.get(f"/files/{file['id']}/content")).text == "hello world"
        one.advance(7)
        assert other.now > time.time() + 6
        assert one.account() == other.account()


async def test_of_many_completes_at_once_one_makes_the_file(directory: Path) -> None:
    async with AsyncExitStack() as stack:
        emulators = [
            await stack.enter_async_context(Emulator(directory)) for _ in range(3)
        ]
        clients = [
            await stack.enter_async_context(Client(emulator.url))
            for emulator in emulators
        ]
        upload_id = await clients[0].opened()
        part_ids = await clients[0].stored(upload_id, b"hello ", b"world")

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(client.complete(upload_id, part_ids))
                for client in clients * 3
            ]

        statuses = sorted(task.result().status for task in tasks)
        assert statuses == [200] + [400] * 8
        assert len((await clients[0].get("/files")).json["data"]) == 1


async def test_emulators_may_start_at_once_in_a_new_directory(directory: Path) -> None:
    processes = [await started(directory) for _ in range(4)]

    urls = [await url_of(process) for process in processes]

    assert all(url.startswith("http://127.0.0.1:") for url in urls)
    assert len(set(urls)) == len(urls)
    for process in processes:
        process.terminate()
        assert await process.wait() == 0


async def test_emulators_in_different_directories_are_strangers(
    tmp_path: Path,
) -> None:
    async with (
        Emulator(tmp_path / "one") as one,
        Emulator(tmp_path / "other") as other,
        Client(one.url) as here,
        Client(other.url) as there,
    ):
        upload_id = await here.opened()
        assert (await there.part(upload_id, b"hello world")).status == 404


async def test_what_killed_emulators_left_is_swept_away(directory: Path) -> None:
    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        await client.stored(await client.opened(), b"hello world")
    left = [directory / "arriving" / "a", directory / "content" / "b"]
    fresh = directory / "arriving" / "c"
    for path in (*left, fresh):
        path.touch()
    long_ago = time.time() - ABANDONED_AFTER - 1
    for path in (*left, *contents(directory)):
        os.utime(path, (long_ago, long_ago))

    async with Emulator(directory):
        pass

    assert [path.read_bytes() for path in contents(directory)] == [b"hello world"]
    assert list((directory / "arriving").iterdir()) == [fresh]


def contents(directory: Path) -> list[Path]:
    return list((directory / "content").iterdir())


@pytest.mark.parametrize("end", ["cancel", "expire", "delete"])
async def test_content_that_nobody_needs_is_removed(directory: Path, end: str) -> None:
    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        if end == "delete":
            file = (await client.uploaded(b"hello ", b"world")).json["file"]
            await client.ask("DELETE", f"/files/{file['id']}")
        else:
            upload_id = await client.opened()
            await client.stored(upload_id, b"hello ", b"world")
            emulator.advance(3600)
            if end == "cancel":
                emulator.advance(-3600)
                await client.cancel(upload_id)

    async with Emulator(directory):
        assert contents(directory) == []
        assert list((directory / "arriving").iterdir()) == []


async def test_conversations_and_stores_survive_kill_9(directory: Path) -> None:
    first = await started(directory)
    async with Client(await url_of(first)) as client:
        file_id = (await client.file()).json["id"]
        content = [{"type": "input_file", "file_id": file_id}]
        items = {"items": [{"role": "user", "content": content}]}
        conversation = (await client.post("/conversations", items)).json
        vector_store = (await client.post("/vector_stores", {})).json
        path = f"/vector_stores/{vector_store['id']}/files"
        await client.post(path, {"file_id": file_id})
        first.send_signal(signal.SIGKILL)
        await first.wait()

    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        (item,) = (await client.get(f"/conversations/{conversation['id']}/items")).json[
            "data"
        ]
        assert item["content"] == content
        assert (await client.get(f"{path}/{file_id}")).json["status"] == "completed"
        assert emulator.account().counts["vector_file_create"] == 1


async def test_two_emulators_share_conversations(directory: Path) -> None:
    async with (
        Emulator(directory) as one,
        Emulator(directory) as other,
        Client(one.url) as here,
        Client(other.url) as there,
    ):
        conversation = (await here.post("/conversations", {})).json

        assert (await there.get(f"/conversations/{conversation['id']}")).json == (
            conversation
        )
