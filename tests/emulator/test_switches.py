import base64
import dataclasses
import hashlib

import aiohttp
import pytest

from tests.emulator.client import Client
from uploader.emulator import BadSwitch, Emulator, Switches

HELLO = (b"hello ", b"world")
DIGEST = hashlib.md5(b"hello world").digest()
HEX, BASE64 = DIGEST.hex(), base64.b64encode(DIGEST).decode()


def test_every_switch_says_why_it_exists() -> None:
    for field in dataclasses.fields(Switches):
        assert field.metadata["why"]
        assert field.metadata["source"] in ("recording", "spec", "inferred", "wild")


def test_switches_are_set_by_name_and_value() -> None:
    switches = Switches().with_settings(
        ["md5=base64", "lifetime=60", "seeding=true", "file_list_delay=1.5"]
    )

    assert switches == Switches(
        md5="base64", lifetime=60, seeding=True, file_list_delay=1.5
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("md5", "a switch is given as NAME=VALUE, not 'md5'"),
        ("md5=crc", "md5=crc: expected 'hex' or 'base64' or 'either' or 'ignored'"),
        ("lifetime=soon", "lifetime=soon: expected a value of int"),
    ],
)
def test_a_bad_switch_says_what_is_expected(setting: str, words: str) -> None:
    with pytest.raises(BadSwitch) as refused:
        Switches().with_settings([setting])

    assert str(refused.value) == words


def test_an_unknown_switch_names_the_known_ones() -> None:
    with pytest.raises(BadSwitch, match=r"there is no switch 'md6'; there are .*md5"):
        Switches().with_settings(["md6=hex"])


@pytest.mark.parametrize(
    ("switches", "taken"),
    [
        (Switches(md5="hex"), {HEX}),
        (Switches(md5="base64"), {BASE64}),
        (Switches(md5="either"), {HEX, BASE64}),
        (Switches(md5="ignored"), {HEX, BASE64, "nonsense"}),
    ],
)
async def test_the_md5_is_taken_in_the_encoding_of_the_switch(
    client: Client, emulator: Emulator, switches: Switches, taken: set[str]
) -> None:
    emulator.switches = switches

    for md5 in (HEX, BASE64, "nonsense"):
        upload_id = await client.opened()
        part_ids = await client.stored(upload_id, *HELLO)
        said = await client.complete(upload_id, part_ids, md5=md5)
        assert said.status == (200 if md5 in taken else 400)


@pytest.mark.parametrize(
    ("switches", "status"),
    [
        (Switches(), 400),
        (Switches(complete_twice="404"), 404),
        (Switches(complete_twice="409"), 409),
        (Switches(complete_twice="replay"), 200),
    ],
)
async def test_complete_twice_is_answered_as_the_switch_says(
    client: Client, emulator: Emulator, switches: Switches, status: int
) -> None:
    emulator.switches = switches
    upload_id = await client.opened()
    part_ids = await client.stored(upload_id, *HELLO)
    first = await client.complete(upload_id, part_ids)

    again = await client.complete(upload_id, part_ids)

    assert again.status == status
    assert status != 200 or again.json == first.json
    assert len((await client.get("/files")).json["data"]) == 1


async def test_unlisted_parts_may_count_towards_the_size(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(unlisted_parts_count=True)
    upload_id = await client.opened()
    part_ids = await client.stored(upload_id, *HELLO, b"sent twice")

    assert (await client.complete(upload_id, part_ids[:2])).status == 400


async def test_unknown_parts_may_be_dropped_silently(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(unknown_parts="drop")
    upload_id = await client.opened()
    (hello,) = await client.stored(upload_id, b"hello ")

    said = await client.complete(upload_id, [hello, "part_lost"])

    assert (said.status, said.json["file"]["bytes"]) == (200, 6)


async def test_the_order_of_part_ids_may_be_ignored(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(part_order="received")
    upload_id = await client.opened()
    world, hello = await client.stored(upload_id, b"world", b"hello ")

    file = (await client.complete(upload_id, [hello, world])).json["file"]

    assert (await client.get(f"/files/{file['id']}/content")).text == "worldhello "


async def test_a_part_may_be_used_twice(client: Client, emulator: Emulator) -> None:
    emulator.switches = Switches(part_reuse=True)
    upload_id = await client.opened(bytes=4)
    (ho,) = await client.stored(upload_id, b"ho")

    file = (await client.complete(upload_id, [ho, ho])).json["file"]

    assert (await client.get(f"/files/{file['id']}/content")).text == "hoho"


@pytest.mark.parametrize(
    ("switches", "status"),
    [(Switches(max_part=4), 400), (Switches(max_part=4, part_too_large="413"), 413)],
)
async def test_a_part_may_be_too_large(
    client: Client, emulator: Emulator, switches: Switches, status: int
) -> None:
    emulator.switches = switches
    upload_id = await client.opened(bytes=9)

    assert (await client.part(upload_id, b"four!")).status == status
    assert (await client.part(upload_id, b"four")).status == 200


async def test_an_upload_takes_only_so_many_bytes_and_parts(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(max_upload=11, max_parts=3)
    upload_id = await client.opened()

    said = [await client.part(upload_id, part) for part in (*HELLO, b"!")]
    assert [one.status for one in said] == [200, 200, 400]

    upload_id = await client.opened()
    said = [await client.part(upload_id, b"x") for _ in range(4)]
    assert [one.status for one in said] == [200, 200, 200, 400]


async def test_an_expired_upload_may_be_forgotten(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(expired="404", lifetime=60)
    upload_id = await client.opened()
    emulator.advance(60)

    assert (await client.part(upload_id, b"late")).status == 404


async def test_a_service_may_forget_uploads(client: Client, emulator: Emulator) -> None:
    pending = await client.opened()
    completed = (await client.uploaded(*HELLO)).json["id"]

    emulator.switches = Switches(forgets="open")
    assert (await client.part(pending, b"hello ")).status == 404
    assert (await client.complete(completed, [])).status == 400

    emulator.switches = Switches(forgets="completed")
    assert (await client.part(pending, b"hello ")).status == 200
    assert (await client.complete(completed, [])).status == 404


async def test_complete_may_answer_a_file_or_leave_it_out(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(complete_answer="file")
    assert (await client.uploaded(*HELLO)).json["object"] == "file"
    emulator.switches = Switches(complete_answer="no file key")
    said = await client.uploaded(*HELLO)
    assert (said.json["status"], "file" in said.json) == ("completed", False)


async def test_cancel_may_refuse_a_content_type_without_a_body(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(cancel_empty_json="400")
    upload_id = await client.opened()
    path, headers = f"/uploads/{upload_id}/cancel", {"Content-Type": "application/json"}

    assert (await client.ask("POST", path, headers=headers)).status == 400
    no_type = {"skip_auto_headers": ["Content-Type"]}
    assert (await client.ask("POST", path, **no_type)).status == 200


async def test_user_data_may_be_refused_for_uploads_only(
    client: Client, emulator: Emulator
) -> None:
    assert (await client.create(purpose="user_data")).status == 200
    emulator.switches = Switches(user_data_allowed=False)
    assert (await client.create(purpose="user_data")).status == 400
    assert (await client.file(purpose="user_data")).status == 200


async def test_an_upload_may_be_empty(client: Client, emulator: Emulator) -> None:
    emulator.switches = Switches(zero_byte_uploads=True)
    upload_id = await client.opened(bytes=0)
    part_ids = await client.stored(upload_id, b"")

    assert (await client.complete(upload_id, part_ids)).json["file"]["bytes"] == 0
    assert (await client.complete(await client.opened(bytes=0), [])).status == 200


async def test_purposes_may_be_strict_about_type_name_and_size(
    client: Client, emulator: Emulator
) -> None:
    assert (await client.create(purpose="batch")).status == 200
    emulator.switches = Switches(strict_mime_types=True)
    assert (await client.create(purpose="batch")).status == 400
    emulator.switches = Switches(jsonl_only="both")
    assert (await client.create(purpose="batch")).status == 400
    emulator.switches = Switches(purpose_limits=True)
    assert (await client.create(bytes=512 * 1024**2)).status == 200
    assert (await client.create(bytes=512 * 1024**2 + 1)).status == 400


async def test_an_upload_may_expire_before_it_was_created(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(expires_before_created=True)
    upload = (await client.create()).json

    assert upload["expires_at"] < upload["created_at"]
    assert (await client.part(upload["id"], b"hello world")).status == 200


async def test_seeding_makes_what_is_asked_for(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(seeding=True)

    for _ in range(2):
        completed = await client.complete("upload_abc123", ["string"], md5="md5")
        assert completed.json["file"]["bytes"] == 0
        assert (await client.part("upload_abc123", b"Example data")).status == 200
        assert (await client.cancel("upload_abc123")).json["status"] == "cancelled"
    assert (await client.get("/files/file-abc123")).status == 200
    assert (await client.get("/files/file-abc123/content")).text == ""
    assert (await client.ask("DELETE", "/files/file-xyz")).json["deleted"] is True
    assert (await client.get("/files?limit=0&after=x&purpose=y")).status == 200
    assert (await client.create(bytes=0)).status == 200


async def test_seeded_uploads_are_assembled_from_their_parts(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(seeding=True)
    part_ids = await client.stored("upload_abc123", *HELLO)

    file = (await client.complete("upload_abc123", part_ids)).json["file"]

    assert (await client.get(f"/files/{file['id']}/content")).text == "hello world"


async def test_ids_from_a_path_never_become_file_names(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(seeding=True)
    name = "..%2F..%2Fescaped"
    form = aiohttp.FormData()
    form.add_field("data", b"hello", filename="upload")

    said = await client.ask("POST", f"/uploads/{name}/parts", data=form)

    assert said.status in (200, 404)
    assert (await client.complete("upload_x", ["../../escaped"])).status == 200
