from pathlib import Path

import pytest

from tests.emulator.client import Client, Said
from uploader.emulator import Emulator, Fault, Switches


async def store(client: Client, **fields: object) -> str:
    return str((await client.post("/vector_stores", fields)).json["id"])


async def attach(client: Client, store_id: str, file_id: str, **fields: object) -> Said:
    document = {"file_id": file_id, **fields}
    return await client.post(f"/vector_stores/{store_id}/files", document)


async def watch(client: Client, store_id: str, file_id: str) -> Said:
    return await client.get(f"/vector_stores/{store_id}/files/{file_id}")


@pytest.fixture
async def file_id(client: Client) -> str:
    return str((await client.file(b"my favourite is pizza")).json["id"])


async def test_a_store_looks_as_recorded(client: Client) -> None:
    said = await client.post("/vector_stores", {})

    created_at = said.json["created_at"]
    assert said.status == 200
    assert said.json["id"].startswith(f"vs_{created_at:08x}")
    assert list(said.json.items()) == [
        ("id", said.json["id"]),
        ("object", "vector_store"),
        ("created_at", created_at),
        ("name", None),
        ("description", None),
        ("usage_bytes", 0),
        (
            "file_counts",
            {
                "in_progress": 0,
                "completed": 0,
                "failed": 0,
                "cancelled": 0,
                "total": 0,
            },
        ),
        ("status", "completed"),
        ("expires_after", None),
        ("expires_at", None),
        ("last_active_at", created_at),
        ("metadata", {}),
    ]
    path = f"/vector_stores/{said.json['id']}"
    assert (await client.get(path)).json == said.json


async def test_an_attached_file_looks_as_recorded(client: Client, file_id: str) -> None:
    store_id = await store(client)

    said = await attach(client, store_id, file_id)

    assert said.status == 200
    assert list(said.json.items()) == [
        ("id", file_id),
        ("object", "vector_store.file"),
        ("usage_bytes", 0),
        ("created_at", said.json["created_at"]),
        ("vector_store_id", store_id),
        ("status", "in_progress"),
        ("last_error", None),
        (
            "chunking_strategy",
            {
                "type": "static",
                "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
            },
        ),
        ("attributes", {}),
    ]
    done = (await watch(client, store_id, file_id)).json
    assert done == {**said.json, "status": "completed", "usage_bytes": 1045}
    listed = (await client.get(f"/vector_stores/{store_id}/files")).json
    assert list(listed.items()) == [
        ("object", "list"),
        ("data", [done]),
        ("first_id", file_id),
        ("last_id", file_id),
        ("has_more", False),
    ]


async def test_indexing_takes_as_many_polls_and_seconds_as_the_switches_say(
    client: Client, emulator: Emulator, file_id: str
) -> None:
    emulator.switches = Switches(indexing_polls=2, indexing_seconds=30)
    store_id = await store(client)
    await attach(client, store_id, file_id)

    seen = [(await watch(client, store_id, file_id)).json["status"] for _ in range(3)]
    counts = (await client.get(f"/vector_stores/{store_id}")).json["file_counts"]
    emulator.advance(30)

    assert seen == ["in_progress"] * 3
    assert (counts["in_progress"], counts["total"]) == (1, 1)
    assert (await watch(client, store_id, file_id)).json["status"] == "completed"


@pytest.mark.parametrize("code", ["server_error", "unsupported_file", "invalid_file"])
async def test_indexing_fails_on_command(directory: Path, code: str) -> None:
    switches = Switches().with_settings(
        ["indexing_ends=failed", f"indexing_error={code}"]
    )
    async with (
        Emulator(directory, switches=switches) as emulator,
        Client(emulator.url) as client,
    ):
        file_id = (await client.file()).json["id"]
        store_id = await store(client, file_ids=[file_id])

        said = await watch(client, store_id, file_id)

        assert said.json["status"] == "failed"
        assert said.json["last_error"]["code"] == code
        assert said.json["usage_bytes"] == 0
        whole = (await client.get(f"/vector_stores/{store_id}")).json
        assert (whole["status"], whole["file_counts"]["failed"]) == ("completed", 1)


async def test_how_indexing_ends_is_settled_when_the_file_is_attached(
    client: Client, emulator: Emulator, file_id: str
) -> None:
    emulator.switches = Switches(indexing_ends="cancelled")
    store_id = await store(client)
    await attach(client, store_id, file_id)
    emulator.switches = Switches()

    assert (await watch(client, store_id, file_id)).json["status"] == "cancelled"


async def test_a_file_is_attached_once(client: Client, file_id: str) -> None:
    store_id = await store(client)
    first = await attach(client, store_id, file_id, attributes={"upload": "a1b2"})

    again = await attach(client, store_id, file_id)

    assert again.status == 200
    assert again.json["created_at"] == first.json["created_at"]
    assert again.json["attributes"] == {"upload": "a1b2"}
    listed = (await client.get(f"/vector_stores/{store_id}/files")).json["data"]
    assert [one["id"] for one in listed] == [file_id]


async def test_a_detached_file_is_still_a_file(client: Client, file_id: str) -> None:
    store_id = await store(client)
    await attach(client, store_id, file_id)

    said = await client.delete(f"/vector_stores/{store_id}/files/{file_id}")

    assert list(said.json.items()) == [
        ("id", file_id),
        ("object", "vector_store.file.deleted"),
        ("deleted", True),
    ]
    assert (await watch(client, store_id, file_id)).status == 404
    assert (await client.get(f"/files/{file_id}")).status == 200


async def test_a_deleted_store_is_gone(client: Client, file_id: str) -> None:
    store_id = await store(client, file_ids=[file_id])

    said = await client.delete(f"/vector_stores/{store_id}")

    assert said.json == {
        "id": store_id,
        "object": "vector_store.deleted",
        "deleted": True,
    }
    assert (await client.get(f"/vector_stores/{store_id}")).status == 404
    assert (await attach(client, store_id, file_id)).status == 404


async def test_stores_are_listed_page_by_page(
    client: Client, emulator: Emulator
) -> None:
    first, second, third = [await store(client, name=name) for name in "abc"]

    page = (await client.get("/vector_stores?limit=2")).json

    assert [one["id"] for one in page["data"]] == [third, second]
    assert page["has_more"] is True
    path = f"/vector_stores?order=asc&before={third}"
    assert [one["name"] for one in (await client.get(path)).json["data"]] == ["a", "b"]
    behind = (await client.get(f"/vector_stores?after={second}")).json
    assert [one["id"] for one in behind["data"]] == [first]


async def test_a_store_is_changed(client: Client) -> None:
    path = f"/vector_stores/{await store(client, name='a', metadata={'b': 'c'})}"
    after = {"anchor": "last_active_at", "days": 1}

    said = await client.post(path, {"name": None, "expires_after": after})

    assert (said.json["name"], said.json["metadata"]) == (None, {"b": "c"})
    assert said.json["expires_at"] == said.json["last_active_at"] + 24 * 3600
    assert (await client.get(path)).json == said.json


async def test_a_store_that_expired_takes_nothing(
    client: Client, emulator: Emulator, file_id: str
) -> None:
    after = {"anchor": "last_active_at", "days": 1}
    store_id = await store(client, expires_after=after)
    emulator.advance(24 * 3600)

    assert (await attach(client, store_id, file_id)).status == 400
    said = await client.get(f"/vector_stores/{store_id}")
    assert said.json["status"] == "expired"


async def test_files_of_one_status_are_listed(
    client: Client, emulator: Emulator, file_id: str
) -> None:
    store_id = await store(client)
    await attach(client, store_id, file_id)
    path = f"/vector_stores/{store_id}/files?filter="

    assert len((await client.get(path + "completed")).json["data"]) == 1
    assert (await client.get(path + "failed")).json["data"] == []
    assert (await client.get(path + "lost")).status == 400


async def test_attributes_and_chunks_are_taken_as_asked_for(
    client: Client, file_id: str
) -> None:
    store_id = await store(client)
    static = {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 50}
    attributes = {"page": 1, "draft": True, "name": "a"}

    said = await attach(
        client,
        store_id,
        file_id,
        attributes=attributes,
        chunking_strategy={"type": "static", "static": static},
    )

    assert said.json["chunking_strategy"]["static"] == static
    assert said.json["attributes"] == attributes
    path = f"/vector_stores/{store_id}/files/{file_id}"
    changed = await client.post(path, {"attributes": {"page": 2}})
    assert changed.json["attributes"] == {"page": 2}


@pytest.mark.parametrize(
    "fields",
    [
        {"chunking_strategy": {"type": "static"}},
        {
            "chunking_strategy": {
                "type": "static",
                "static": {"max_chunk_size_tokens": 100, "chunk_overlap_tokens": 51},
            }
        },
        {"attributes": {"k" * 65: ""}},
        {"attributes": {str(number): "" for number in range(17)}},
        {"surprise": 1},
    ],
)
async def test_bad_fields_of_an_attachment_are_refused(
    client: Client, file_id: str, fields: dict[str, object]
) -> None:
    store_id = await store(client)

    assert (await attach(client, store_id, file_id, **fields)).status == 400
    assert (await watch(client, store_id, file_id)).status == 404


async def test_an_unknown_file_is_400_or_404(
    client: Client, emulator: Emulator
) -> None:
    store_id = await store(client)

    assert (await attach(client, store_id, "file-none")).status == 400
    emulator.switches = Switches(attach_unknown_file="404")
    assert (await attach(client, store_id, "file-none")).status == 404


async def test_a_file_that_is_too_large_is_refused_or_fails(
    client: Client, emulator: Emulator, file_id: str
) -> None:
    store_id = await store(client)

    emulator.switches = Switches(max_indexed_file=20)
    assert (await attach(client, store_id, file_id)).status == 400
    emulator.switches = Switches(max_indexed_file=20, oversized_file="failed")
    assert (await attach(client, store_id, file_id)).status == 200
    said = (await watch(client, store_id, file_id)).json
    assert (said["status"], said["last_error"]["code"]) == ("failed", "invalid_file")


async def test_an_attached_file_may_be_unknown_at_first(
    client: Client, emulator: Emulator, file_id: str
) -> None:
    emulator.switches = Switches(attached_delay=5)
    store_id = await store(client)
    await attach(client, store_id, file_id)

    assert (await watch(client, store_id, file_id)).status == 404
    listed = await client.get(f"/vector_stores/{store_id}/files")
    assert listed.json["data"] == []
    emulator.advance(5)
    assert (await watch(client, store_id, file_id)).json["status"] == "completed"


async def test_a_new_store_may_be_busy(
    client: Client, emulator: Emulator, file_id: str
) -> None:
    emulator.switches = Switches(store_busy_seconds=5, retry_after=2)
    store_id = await store(client)

    busy = await attach(client, store_id, file_id)
    emulator.advance(5)

    assert (busy.status, busy.headers["Retry-After"]) == (409, "2")
    assert (await attach(client, store_id, file_id)).status == 200


async def test_a_script_says_404_to_the_first_questions(
    client: Client, emulator: Emulator, file_id: str
) -> None:
    emulator.add_fault(Fault(kind="vector_file_get", do="status", status=404, times=2))
    store_id = await store(client)
    await attach(client, store_id, file_id)

    seen = [(await watch(client, store_id, file_id)).status for _ in range(3)]

    assert seen == [404, 404, 200]


async def test_a_batch_is_attached_watched_and_cancelled(
    client: Client, emulator: Emulator, file_id: str
) -> None:
    other = (await client.file(b"other")).json["id"]
    emulator.switches = Switches(indexing_polls=5)
    store_id = await store(client)
    path = f"/vector_stores/{store_id}/file_batches"

    said = await client.post(path, {"file_ids": [file_id, other]})
    batch = f"{path}/{said.json['id']}"
    watched = (await client.get(batch)).json
    cancelled = (await client.post(f"{batch}/cancel", {})).json

    assert list(said.json) == [
        "id",
        "object",
        "created_at",
        "vector_store_id",
        "status",
        "file_counts",
    ]
    assert said.json["object"] == "vector_store.file_batch"
    assert (watched["status"], watched["file_counts"]["total"]) == ("in_progress", 2)
    assert (cancelled["status"], cancelled["file_counts"]["cancelled"]) == (
        "cancelled",
        2,
    )
    listed = (await client.get(f"{batch}/files?order=asc")).json["data"]
    assert [one["id"] for one in listed] == [file_id, other]
    assert (await client.post(path, {})).status == 400
    assert (await client.get(f"{path}/vsfb_none")).status == 404


async def test_what_was_read_of_a_file_can_be_seen(
    client: Client, file_id: str
) -> None:
    store_id = await store(client, file_ids=[file_id])

    said = await client.get(f"/vector_stores/{store_id}/files/{file_id}/content")

    assert said.json["data"] == [{"type": "text", "text": "my favourite is pizza"}]


async def test_a_store_survives_a_restart(directory: Path) -> None:
    switches = Switches(indexing_polls=2)
    async with (
        Emulator(directory, switches=switches) as emulator,
        Client(emulator.url) as client,
    ):
        file_id = (await client.file()).json["id"]
        store_id = await store(client, file_ids=[file_id])
        assert (await watch(client, store_id, file_id)).json["status"] == "in_progress"

    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        assert (await watch(client, store_id, file_id)).json["status"] == "in_progress"
        assert (await watch(client, store_id, file_id)).json["status"] == "completed"
