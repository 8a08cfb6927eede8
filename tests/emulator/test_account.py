import hashlib
from pathlib import Path

from tests.emulator.client import CREATE, Client
from uploader.emulator import Emulator, read_account


async def test_every_request_is_recorded_in_order(
    client: Client, emulator: Emulator
) -> None:
    upload_id = await client.opened()
    await client.part(upload_id, b"hello world")
    await client.get("/files?limit=5&order=asc")
    await client.get("/nowhere")

    requests = emulator.account().requests

    assert [(one.kind, one.method, one.path, one.status) for one in requests] == [
        ("create", "POST", "/v1/uploads", 200),
        ("part", "POST", f"/v1/uploads/{upload_id}/parts", 200),
        ("file_list", "GET", "/v1/files", 200),
        ("unknown", "GET", "/v1/nowhere", 404),
    ]
    assert requests[0].body == CREATE
    assert requests[2].query == {"limit": "5", "order": "asc"}
    assert [one.number for one in requests] == [1, 2, 3, 4]
    assert emulator.account().counts["create"] == 1


async def test_every_part_is_accounted_with_its_digest(
    client: Client, emulator: Emulator
) -> None:
    upload_id = await client.opened()
    (part_id,) = await client.stored(upload_id, b"hello world")
    await client.part("upload_none", b"lost")

    account = emulator.account()

    stored, lost = account.receptions
    assert (stored.upload_id, stored.part_id) == (upload_id, part_id)
    assert stored.sha256 == hashlib.sha256(b"hello world").hexdigest()
    assert (lost.upload_id, lost.part_id, lost.stored) == ("upload_none", None, False)
    assert lost.sha256 == hashlib.sha256(b"lost").hexdigest()
    assert account.part_bytes == {part_id: 11}


async def test_a_whole_file_is_accounted_like_a_part(
    client: Client, emulator: Emulator
) -> None:
    file_id = (await client.file(b"whole")).json["id"]

    (reception,) = emulator.account().receptions

    assert (reception.file_id, reception.part_id) == (file_id, None)
    assert (reception.bytes, reception.stored) == (5, True)


def holds(directory: Path, secret: bytes) -> bool:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return any(secret in path.read_bytes() for path in files)


async def test_no_secret_is_ever_recorded(directory: Path) -> None:
    async with Emulator(directory) as emulator:
        async with Client(emulator.url, key="sk-secret") as client:
            await client.get("/files?api_key=sk-secret&limit=3")
        async with Client(emulator.url, key=None) as client:
            for headers in (
                {"api-key": "sk-secret", "Cookie": "sk-secret"},
                {"Authorization": "sk-secret", "X-Token": "sk-secret"},
            ):
                await client.ask("GET", "/files", headers=headers)
        bearer, api_key, bare = emulator.account().requests

    assert bearer.headers["authorization"] == "Bearer ***"
    assert bearer.query == {"api_key": "***", "limit": "3"}
    assert api_key.headers["api-key"] == "***"
    assert bare.headers["authorization"] == "***"
    assert not holds(directory, b"sk-secret")


async def test_the_account_can_be_read_without_an_emulator(directory: Path) -> None:
    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        await client.uploaded(b"hello ", b"world")
        account = emulator.account()

    assert read_account(directory) == account
