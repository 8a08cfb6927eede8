from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.emulator.client import Client
from uploader.emulator import Emulator, Fault


@pytest.fixture
async def emulator(directory: Path) -> AsyncIterator[Emulator]:
    async with Emulator(directory, control=True) as emulator:
        yield emulator


@pytest.fixture
async def control(emulator: Emulator) -> AsyncIterator[Client]:
    async with Client(f"{emulator.origin}/_emulator", key=None) as client:
        yield client


async def test_the_account_is_the_one_of_the_emulator(
    client: Client, control: Client, emulator: Emulator
) -> None:
    upload_id = await client.opened()
    (part_id,) = await client.stored(upload_id, b"hello world")

    account = (await control.get("/account")).json

    assert account["counts"] == {"create": 1, "part": 1}
    assert account["part_bytes"] == {part_id: 11}
    assert [one["stored"] for one in account["receptions"]] == [True]
    assert [one["kind"] for one in account["requests"]] == ["create", "part"]
    assert account["faults_left"] == []
    assert account == emulator.account().as_document()


async def test_faults_are_added_listed_and_cleared(
    client: Client, control: Client, emulator: Emulator
) -> None:
    entry = {"kind": "create", "do": "status", "status": 503}

    one = await control.post("/faults", entry)
    two = await control.post("/faults", [entry])

    assert (len(one.json), len(two.json)) == (1, 2)
    assert (await client.create()).status == 503
    assert emulator.account().faults_left == (
        Fault(kind="create", do="status", status=503),
    )
    assert (await control.ask("DELETE", "/faults")).json == []
    assert (await client.create()).status == 200


async def test_of_several_faults_all_are_taken_or_none(
    control: Client, emulator: Emulator
) -> None:
    entries = [{"kind": "create", "do": "reset"}, {"kind": "create", "do": "nothing"}]

    said = await control.post("/faults", entries)

    assert said.status == 400
    assert said.json["error"].startswith("entry 2: ")
    assert emulator.account().faults_left == ()


async def test_the_clock_is_advanced(client: Client, control: Client) -> None:
    upload_id = await client.opened()

    said = await control.post("/clock", {"advance": 3600})

    assert said.status == 200
    assert (await client.part(upload_id, b"late")).status == 410


async def test_switches_are_shown_and_set(client: Client, control: Client) -> None:
    assert (await control.get("/switches")).json["md5"] == "hex"

    said = await control.post("/switches", {"md5": "base64", "max_part": 4})

    assert said.json["md5"] == "base64"
    assert (await client.part(await client.opened(), b"four!")).status == 400


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("/clock", {"advance": "soon"}),
        ("/clock", {}),
        ("/switches", {"md6": "hex"}),
        ("/switches", {"md5": "crc"}),
        ("/faults", {"kind": "create"}),
    ],
)
async def test_nonsense_is_refused(
    control: Client, path: str, document: dict[str, object]
) -> None:
    said = await control.post(path, document)

    assert said.status == 400
    assert said.json["error"]


async def test_there_is_no_control_unless_it_was_asked_for(tmp_path: Path) -> None:
    async with (
        Emulator(tmp_path) as emulator,
        Client(emulator.origin, key="k") as client,
    ):
        assert (await client.get("/_emulator/account")).status == 404
