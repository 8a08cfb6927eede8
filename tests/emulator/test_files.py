import aiohttp
import pytest

from tests.emulator.client import Client
from uploader.emulator import Emulator, Switches


async def ids(client: Client, query: str = "") -> list[str]:
    return [file["id"] for file in (await client.get(f"/files{query}")).json["data"]]


async def made(client: Client, emulator: Emulator, number: int) -> list[str]:
    """Make files one second apart; the newest is the last."""
    names = []
    for _ in range(number):
        names.append((await client.file()).json["id"])
        emulator.advance(1)
    return names


async def test_a_whole_file_looks_as_recorded(client: Client) -> None:
    said = await client.file(b"whole", purpose="user_data", filename="a.pdf")

    assert said.status == 200
    created_at, file_id = said.json["created_at"], said.json["id"]
    assert list(said.json.items()) == [
        ("object", "file"),
        ("id", file_id),
        ("purpose", "user_data"),
        ("filename", "a.pdf"),
        ("bytes", 5),
        ("created_at", created_at),
        ("expires_at", None),
        ("status", "processed"),
        ("status_details", None),
    ]
    assert (await client.get(f"/files/{file_id}")).json == said.json


async def test_its_content_comes_back(client: Client) -> None:
    file_id = (await client.file(b"whole")).json["id"]

    said = await client.get(f"/files/{file_id}/content")

    assert said.text == "whole"
    assert said.headers["Content-Length"] == "5"
    assert said.headers["Content-Type"] == "application/octet-stream"


async def test_a_deleted_file_is_gone(client: Client) -> None:
    file_id = (await client.file()).json["id"]

    said = await client.ask("DELETE", f"/files/{file_id}")

    assert said.json == {"object": "file", "deleted": True, "id": file_id}
    for path in (f"/files/{file_id}", f"/files/{file_id}/content"):
        assert (await client.get(path)).status == 404
    assert (await client.ask("DELETE", f"/files/{file_id}")).status == 404


async def test_a_file_of_an_upload_is_deleted_with_its_parts(
    client: Client, emulator: Emulator
) -> None:
    file_id = (await client.uploaded(b"hello ", b"world")).json["file"]["id"]

    await client.ask("DELETE", f"/files/{file_id}")

    assert (await client.get(f"/files/{file_id}/content")).status == 404


async def test_the_newest_file_is_listed_first(
    client: Client, emulator: Emulator
) -> None:
    first, second, third = await made(client, emulator, 3)

    said = (await client.get("/files")).json

    assert list(said) == ["object", "data", "has_more", "first_id", "last_id"]
    assert [file["id"] for file in said["data"]] == [third, second, first]
    assert (said["first_id"], said["last_id"]) == (third, first)
    assert said["has_more"] is False
    assert await ids(client, "?order=asc") == [first, second, third]


async def test_an_empty_list_has_no_ids(client: Client) -> None:
    said = (await client.get("/files")).json

    assert said == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


async def test_pages_follow_one_another(client: Client, emulator: Emulator) -> None:
    first, second, third = await made(client, emulator, 3)

    page = (await client.get("/files?limit=2")).json

    assert page["has_more"] is True
    assert page["last_id"] == second
    assert await ids(client, f"?limit=2&after={second}") == [first]
    assert third not in await ids(client, f"?after={third}")


async def test_a_list_can_be_of_one_purpose(client: Client) -> None:
    await client.file(purpose="assistants")
    wanted = (await client.file(purpose="user_data")).json["id"]

    assert await ids(client, "?purpose=user_data") == [wanted]
    assert await ids(client, "?purpose=vision") == []


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "order=up"])
async def test_bad_parameters_of_a_list_are_refused(client: Client, query: str) -> None:
    said = await client.get(f"/files?{query}")

    assert said.status == 400
    assert said.json["error"]["param"] == query.partition("=")[0]


async def test_an_unknown_cursor_is_404(client: Client) -> None:
    assert (await client.get("/files?after=file-none")).status == 404


async def test_a_file_expires_when_asked_to(client: Client, emulator: Emulator) -> None:
    after = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    file = (await client.file(b"whole", filename="a.txt", **after)).json

    assert file["expires_at"] == file["created_at"] + 3600
    emulator.advance(3600)
    assert (await client.get(f"/files/{file['id']}")).status == 404


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"surprise": "1"}, id="unknown field"),
        pytest.param({"expires_after[anchor]": "created_at"}, id="no seconds"),
        pytest.param(
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "60"},
            id="too few seconds",
        ),
        pytest.param({"purpose": "batch"}, id="not .jsonl"),
    ],
)
async def test_bad_fields_of_a_file_are_refused(
    client: Client, fields: dict[str, str]
) -> None:
    assert (await client.file(b"whole", filename="a.txt", **fields)).status == 400
    assert await ids(client) == []


async def test_a_file_needs_its_fields(client: Client) -> None:
    nothing, text = aiohttp.MultipartWriter("form-data"), aiohttp.FormData()
    text.add_field("purpose", "assistants", content_type="text/plain")
    text.add_field("file", "not a file", content_type="text/plain")

    assert (await client.ask("POST", "/files", data=nothing)).status == 400
    said = await client.ask("POST", "/files", data=text)
    assert (said.status, said.json["error"]["param"]) == (400, "file")


async def test_a_file_can_be_too_large(client: Client, emulator: Emulator) -> None:
    emulator.switches = Switches(max_file=4)

    assert (await client.file(b"whole")).status == 400
    assert emulator.account().receptions[-1].bytes == 5


async def test_a_file_appears_in_the_list_only_after_a_while(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(file_list_delay=30)
    file_id = (await client.uploaded(b"hello world")).json["file"]["id"]

    assert await ids(client) == []
    assert (await client.get(f"/files/{file_id}")).status == 200
    emulator.advance(30)
    assert await ids(client) == [file_id]


async def test_a_service_may_have_no_list(client: Client, emulator: Emulator) -> None:
    await client.file()

    emulator.switches = Switches(file_list="empty")
    assert await ids(client) == []
    emulator.switches = Switches(file_list="404")
    assert (await client.get("/files")).status == 404
    emulator.switches = Switches(file_list="405")
    assert (await client.get("/files")).status == 405


async def test_a_service_may_refuse_to_give_content(
    client: Client, emulator: Emulator
) -> None:
    file_id = (await client.file()).json["id"]
    emulator.switches = Switches(file_content="refused")

    assert (await client.get(f"/files/{file_id}/content")).status == 400


async def test_a_file_may_have_failed(client: Client, emulator: Emulator) -> None:
    emulator.switches = Switches(file_status="error")

    assert (await client.file()).json["status"] == "error"


async def test_the_size_may_be_unknown_for_ever_or_at_first(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(file_bytes="null at first")
    file = (await client.uploaded(b"hello world")).json["file"]
    assert file["bytes"] is None
    assert (await client.get(f"/files/{file['id']}")).json["bytes"] == 11

    emulator.switches = Switches(file_bytes="null")
    assert (await client.get(f"/files/{file['id']}")).json["bytes"] is None
