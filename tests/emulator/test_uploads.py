import hashlib
import re

import aiohttp
import pytest

from tests.emulator.client import CREATE, Client
from uploader.emulator import Emulator

HELLO = (b"hello ", b"world")
MD5 = hashlib.md5(b"hello world").hexdigest()


async def test_a_new_upload_looks_as_recorded(
    client: Client, emulator: Emulator
) -> None:
    said = await client.create()

    assert said.status == 200
    assert list(said.json) == [
        "id",
        "object",
        "bytes",
        "created_at",
        "filename",
        "purpose",
        "status",
        "expires_at",
    ]
    assert said.json["object"] == "upload"
    assert said.json["status"] == "pending"
    assert said.json["expires_at"] == said.json["created_at"] + 3600
    assert abs(said.json["created_at"] - emulator.now) < 10


async def test_ids_begin_with_the_second_in_which_they_were_made(
    client: Client,
) -> None:
    upload = (await client.create()).json
    part = (await client.part(upload["id"], b"hello world")).json

    assert re.fullmatch(r"upload_[0-9a-f]{32}", upload["id"])
    assert re.fullmatch(r"part_[0-9a-f]{32}", part["id"])
    assert int(upload["id"].removeprefix("upload_")[:8], 16) == upload["created_at"]
    assert int(part["id"].removeprefix("part_")[:8], 16) == part["created_at"]


async def test_a_part_looks_as_recorded(client: Client) -> None:
    upload_id = await client.opened()

    said = await client.part(upload_id, b"hello world")

    assert said.status == 200
    assert list(said.json) == ["id", "object", "created_at", "upload_id"]
    assert said.json["object"] == "upload.part"
    assert said.json["upload_id"] == upload_id


async def test_a_completed_upload_looks_as_recorded(client: Client) -> None:
    upload_id = await client.opened()
    part_ids = await client.stored(upload_id, *HELLO)

    said = await client.complete(upload_id, part_ids, md5=MD5)

    assert said.status == 200
    assert said.json["status"] == "completed"
    assert list(said.json)[-1] == "file"
    file = said.json["file"]
    assert list(file) == [
        "object",
        "id",
        "purpose",
        "filename",
        "bytes",
        "created_at",
        "expires_at",
        "status",
        "status_details",
    ]
    assert re.fullmatch(r"file-[1-9A-HJ-NP-Za-km-z]{22}", file["id"])
    assert (file["bytes"], file["filename"]) == (11, "report.txt")
    assert (file["status"], file["expires_at"]) == ("processed", None)


async def test_a_file_is_as_old_as_its_upload(
    client: Client, emulator: Emulator
) -> None:
    upload = (await client.create()).json
    emulator.advance(60)
    part_ids = await client.stored(upload["id"], *HELLO)

    file = (await client.complete(upload["id"], part_ids)).json["file"]

    assert file["created_at"] == upload["created_at"]


async def test_the_bytes_stand_in_the_order_of_the_part_ids(client: Client) -> None:
    upload_id = await client.opened()
    world, hello = await client.stored(upload_id, b"world", b"hello ")

    file = (await client.complete(upload_id, [hello, world], md5=MD5)).json["file"]

    assert (await client.get(f"/files/{file['id']}/content")).text == "hello world"


async def test_a_cancelled_upload_has_no_file_and_takes_no_part(
    client: Client,
) -> None:
    upload_id = await client.opened()

    cancelled = await client.cancel(upload_id)

    assert cancelled.json["status"] == "cancelled"
    assert "file" not in cancelled.json
    assert (await client.part(upload_id, b"hello world")).status == 400
    assert (await client.complete(upload_id, [])).status == 400
    assert (await client.cancel(upload_id)).status == 400


async def test_a_completed_upload_is_closed_for_everything(client: Client) -> None:
    said = await client.uploaded(*HELLO)
    upload_id = said.json["id"]

    assert (await client.part(upload_id, b"more")).status == 400
    assert (await client.complete(upload_id, [])).status == 400
    assert (await client.cancel(upload_id)).status == 400


async def test_an_upload_expires_after_its_hour(
    client: Client, emulator: Emulator
) -> None:
    upload_id = await client.opened()
    part_ids = await client.stored(upload_id, *HELLO)
    emulator.advance(3600)

    assert (await client.part(upload_id, b"late")).status == 410
    assert (await client.complete(upload_id, part_ids)).status == 410
    assert (await client.cancel(upload_id)).status == 410


async def test_an_unknown_upload_is_404(client: Client) -> None:
    said = await client.part("upload_none", b"hello")

    assert said.status == 404
    assert said.json["error"] == {
        "message": "No such Upload object: upload_none",
        "type": "invalid_request_error",
        "param": "id",
        "code": None,
    }
    assert (await client.complete("upload_none", [])).status == 404
    assert (await client.cancel("upload_none")).status == 404


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        pytest.param({"purpose": "world_domination"}, "purpose", id="unknown purpose"),
        pytest.param({"bytes": 0}, "bytes", id="no bytes"),
        pytest.param({"bytes": -1}, "bytes", id="fewer than no bytes"),
        pytest.param({"bytes": "11"}, "bytes", id="bytes as text"),
        pytest.param({"bytes": True}, "bytes", id="bytes as a boolean"),
        pytest.param({"bytes": 8 * 1024**3 + 1}, None, id="one byte over 8 GiB"),
        pytest.param({"filename": None}, "filename", id="no filename"),
        pytest.param({"filename": ""}, "filename", id="empty filename"),
        pytest.param({"surprise": 1}, None, id="unknown field"),
        pytest.param(
            {"expires_after": {"anchor": "created_at", "seconds": 3599}},
            "expires_after",
            id="file expires too soon",
        ),
        pytest.param(
            {"expires_after": {"anchor": "now", "seconds": 3600}},
            "expires_after",
            id="unknown anchor",
        ),
        pytest.param({"expires_after": None}, "expires_after", id="null"),
    ],
)
async def test_create_refuses(
    client: Client, changes: dict[str, object], param: str | None
) -> None:
    said = await client.create(**changes)

    assert said.status == 400
    assert said.json["error"]["param"] == param


@pytest.mark.parametrize("field", sorted(CREATE))
async def test_create_refuses_a_missing_field(client: Client, field: str) -> None:
    document = {name: value for name, value in CREATE.items() if name != field}

    said = await client.post("/uploads", document)

    assert said.status == 400
    assert said.message == f"'{field}' is a required property"


async def test_an_unknown_field_is_named_in_the_recorded_words(
    client: Client,
) -> None:
    said = await client.create(surprise=1)

    assert said.message == (
        "Additional properties are not allowed ('surprise' was unexpected)"
    )


async def test_create_refuses_what_is_not_json(client: Client) -> None:
    headers = {"Content-Type": "application/json"}
    broken = await client.ask("POST", "/uploads", data=b'{"bytes":', headers=headers)
    form = await client.ask("POST", "/uploads", data={"bytes": "1"})

    assert (broken.status, form.status) == (400, 400)
    assert form.json["error"]["code"] == "unsupported_content_type"


async def test_a_file_expires_as_its_upload_asked(
    client: Client, emulator: Emulator
) -> None:
    after = {"anchor": "created_at", "seconds": 3600}
    file = (await client.uploaded(*HELLO, expires_after=after)).json["file"]

    assert file["expires_at"] == file["created_at"] + 3600
    emulator.advance(3601)
    assert (await client.get(f"/files/{file['id']}")).status == 404
    assert (await client.get("/files")).json["data"] == []


async def test_a_batch_file_is_kept_for_thirty_days(client: Client) -> None:
    file = (await client.uploaded(*HELLO, purpose="batch")).json["file"]

    assert file["expires_at"] == file["created_at"] + 30 * 24 * 3600


async def test_complete_refuses_a_wrong_sum_and_the_upload_stays_open(
    client: Client,
) -> None:
    upload_id = await client.opened()
    hello, world = await client.stored(upload_id, *HELLO)

    assert (await client.complete(upload_id, [hello])).status == 400
    assert (await client.complete(upload_id, [hello, world])).status == 200


async def test_complete_refuses_bad_part_ids(client: Client) -> None:
    upload_id, other = await client.opened(), await client.opened()
    hello, world = await client.stored(upload_id, *HELLO)
    (foreign,) = await client.stored(other, b"hello ")

    for part_ids in ([], [hello, hello], ["part_none", world], [foreign, world]):
        said = await client.complete(upload_id, part_ids)
        assert (said.status, said.json["error"]["param"]) == (400, "part_ids")


async def test_complete_refuses_a_wrong_md5(client: Client) -> None:
    upload_id = await client.opened()
    part_ids = await client.stored(upload_id, *HELLO)

    said = await client.complete(upload_id, part_ids, md5="0" * 32)

    assert (said.status, said.json["error"]["param"]) == (400, "md5")
    assert (await client.complete(upload_id, part_ids, md5=MD5)).status == 200


async def test_unlisted_parts_are_no_part_of_the_file(client: Client) -> None:
    upload_id = await client.opened()
    part_ids = await client.stored(upload_id, *HELLO)
    await client.stored(upload_id, b"a part that was sent twice")

    said = await client.complete(upload_id, part_ids)

    assert said.json["file"]["bytes"] == 11


async def test_parts_are_refused_when_empty_or_without_data(client: Client) -> None:
    upload_id = await client.opened()
    path = f"/uploads/{upload_id}/parts"

    assert (await client.part(upload_id, b"")).status == 400
    assert (await client.post(path, {"data": "hello"})).status == 400
    other = aiohttp.FormData()
    other.add_field("other", b"hello", filename="upload")
    assert (await client.ask("POST", path, data=other)).status == 400


async def test_cancel_takes_a_content_type_without_a_body(client: Client) -> None:
    upload_id = await client.opened()
    headers = {"Content-Type": "application/json"}

    said = await client.ask("POST", f"/uploads/{upload_id}/cancel", headers=headers)

    assert said.status == 200


async def test_cancel_takes_no_body(client: Client) -> None:
    upload_id = await client.opened()

    said = await client.post(f"/uploads/{upload_id}/cancel", {"why": "not"})

    assert said.status == 400


async def test_an_upload_cannot_be_asked_for(client: Client) -> None:
    upload_id = await client.opened()

    assert (await client.get(f"/uploads/{upload_id}")).status == 404
    assert (await client.get("/uploads")).status == 404
