from pathlib import Path

import pytest

from tests.emulator.client import Client, Said, png
from uploader.emulator import Emulator, Switches


def message(*content: object, role: str = "user") -> dict[str, object]:
    return {"type": "message", "role": role, "content": list(content)}


def text(words: str) -> dict[str, object]:
    return {"type": "input_text", "text": words}


def file(file_id: str) -> dict[str, object]:
    return {"type": "input_file", "file_id": file_id}


def image(file_id: str) -> dict[str, object]:
    return {"type": "input_image", "file_id": file_id, "detail": "auto"}


async def conversation(client: Client, *items: object) -> str:
    document = {"items": list(items)} if items else {}
    return str((await client.post("/conversations", document)).json["id"])


async def add(client: Client, conversation_id: str, *items: object) -> Said:
    path = f"/conversations/{conversation_id}/items"
    return await client.post(path, {"items": list(items)})


async def texts(client: Client, conversation_id: str, query: str = "") -> list[str]:
    said = await client.get(f"/conversations/{conversation_id}/items{query}")
    return [item["content"][0]["text"] for item in said.json["data"]]


async def test_a_conversation_looks_as_recorded(client: Client) -> None:
    asked = {"metadata": {"topic": "test"}, "items": [message(text("tell me a joke"))]}

    said = await client.post("/conversations", asked)

    assert said.status == 200
    conversation_id, created_at = said.json["id"], said.json["created_at"]
    assert list(said.json.items()) == [
        ("id", conversation_id),
        ("object", "conversation"),
        ("created_at", created_at),
        ("metadata", {"topic": "test"}),
    ]
    assert conversation_id.startswith(f"conv_{created_at:08x}")
    assert (await client.get(f"/conversations/{conversation_id}")).json == said.json


async def test_an_update_replaces_the_metadata(client: Client) -> None:
    made = await client.post("/conversations", {"metadata": {"topic": "test"}})
    path = f"/conversations/{made.json['id']}"
    metadata = {"topic": "updated-test", "purpose": "conversation-test"}

    said = await client.post(path, {"metadata": metadata})

    assert said.json == {**made.json, "metadata": metadata}
    assert (await client.get(path)).json == said.json
    assert (await client.post(path, {})).status == 400


async def test_a_deleted_conversation_is_gone(client: Client) -> None:
    path = f"/conversations/{await conversation(client)}"

    said = await client.delete(path)

    assert list(said.json.items()) == [
        ("id", path.rpartition("/")[2]),
        ("object", "conversation.deleted"),
        ("deleted", True),
    ]
    for tried in (path, f"{path}/items"):
        assert (await client.get(tried)).status == 404


async def test_items_look_as_recorded(client: Client) -> None:
    conversation_id = await conversation(client, message(text("first item")))

    said = await add(client, conversation_id, message(text("second item")))

    item_id = said.json["data"][0]["id"]
    assert item_id.startswith("msg_")
    assert item_id[-16:] == conversation_id[-16:]
    assert list(said.json) == ["object", "data", "first_id", "has_more", "last_id"]
    assert list(said.json["data"][0].items()) == [
        ("id", item_id),
        ("type", "message"),
        ("status", "completed"),
        ("content", [{"type": "input_text", "text": "second item"}]),
        ("role", "user"),
    ]
    assert said.json["first_id"] == said.json["last_id"] == item_id
    path = f"/conversations/{conversation_id}/items"
    listed = (await client.get(f"{path}?include[]=file_search_call.results")).json
    assert list(listed) == list(said.json)
    assert listed["data"][0] == said.json["data"][0]
    assert await texts(client, conversation_id) == ["second item", "first item"]
    assert (await client.get(f"{path}/{item_id}")).json == said.json["data"][0]


async def test_pages_of_items_follow_one_another(client: Client) -> None:
    conversation_id = await conversation(client)
    await add(client, conversation_id, *[message(text(word)) for word in "abc"])
    path = f"/conversations/{conversation_id}/items"

    page = (await client.get(f"{path}?limit=2")).json

    assert page["has_more"] is True
    assert await texts(client, conversation_id, f"?after={page['last_id']}") == ["a"]
    assert await texts(client, conversation_id, "?order=asc") == ["a", "b", "c"]
    for query in ("limit=0", "limit=101", "order=up", "include=nothing"):
        assert (await client.get(f"{path}?{query}")).status == 400
    assert (await client.get(f"{path}?after=msg_none")).status == 404


async def test_a_deleted_item_is_no_longer_there(client: Client) -> None:
    conversation_id = await conversation(client, message(text("one")))
    path = f"/conversations/{conversation_id}"
    (item,) = (await client.get(f"{path}/items")).json["data"]

    said = await client.delete(f"{path}/items/{item['id']}")

    assert said.json == (await client.get(path)).json
    assert await texts(client, conversation_id) == []
    assert (await client.delete(f"{path}/items/{item['id']}")).status == 404


async def test_files_and_images_stand_in_a_message(client: Client) -> None:
    pdf = (await client.file(b"%PDF", purpose="user_data")).json["id"]
    photo = (await client.file(png(), filename="photo.png", purpose="vision")).json[
        "id"
    ]
    conversation_id = await conversation(client)

    said = await add(
        client, conversation_id, message(text("look"), file(pdf), image(photo))
    )

    assert said.json["data"][0]["content"] == [
        {"type": "input_text", "text": "look"},
        {"type": "input_file", "file_id": pdf},
        {
            "type": "input_image",
            "detail": "auto",
            "file_id": photo,
            "image_url": None,
        },
    ]


async def test_the_url_of_an_image_is_shown_on_request(client: Client) -> None:
    url = "https://example.com/photo.png"
    given = {"type": "input_image", "image_url": url, "detail": "low"}
    conversation_id = await conversation(client, message(given))
    path = f"/conversations/{conversation_id}/items"

    hidden = await client.get(path)
    shown = await client.get(f"{path}?include[]=message.input_image.image_url")

    assert hidden.json["data"][0]["content"][0]["image_url"] is None
    assert shown.json["data"][0]["content"][0]["image_url"] == url


@pytest.mark.parametrize(
    ("item", "param"),
    [
        pytest.param(message(file("file-none")), "content[0].file_id", id="unknown"),
        pytest.param(message(file("a b")), "content[0].file_id", id="no id"),
        pytest.param(message({"type": "input_file"}), "content[0]", id="nothing"),
        pytest.param(
            message({"type": "input_image", "file_id": "file-none"}),
            "content[0].detail",
            id="no detail",
        ),
        pytest.param(message(text("hello"), role="assistant"), "content[0]", id="role"),
        pytest.param({"type": "reasoning"}, "type", id="other item"),
        pytest.param({"role": "user"}, "content", id="no content"),
    ],
)
async def test_bad_items_are_refused_and_none_is_added(
    client: Client, item: object, param: str
) -> None:
    conversation_id = await conversation(client)

    said = await add(client, conversation_id, message(text("good")), item)

    assert said.status == 400
    assert said.json["error"]["param"] == f"items[1].{param}"
    assert await texts(client, conversation_id) == []


async def test_at_most_20_items_come_at_a_time(client: Client) -> None:
    items = [message(text("hello"))] * 21

    assert (await client.post("/conversations", {"items": items})).status == 400
    assert (await add(client, await conversation(client), *items)).status == 400
    assert (await add(client, await conversation(client), *items[1:])).status == 200


async def test_metadata_have_their_limits(client: Client) -> None:
    for metadata in ({str(n): "" for n in range(17)}, {"k" * 65: ""}, {"k": "v" * 513}):
        said = await client.post("/conversations", {"metadata": metadata})
        assert said.status == 400


async def test_an_item_is_in_a_conversation_once(client: Client) -> None:
    conversation_id = await conversation(client, message(text("one")))
    path = f"/conversations/{conversation_id}/items"
    (item,) = (await client.get(path)).json["data"]
    reference = {"type": "item_reference", "id": item["id"]}

    again = await add(client, conversation_id, reference)
    copied = await add(client, await conversation(client), reference)

    assert (again.status, copied.status) == (400, 200)
    assert "is already in the conversation" in again.message
    assert copied.json["data"] == [item]


async def test_the_same_message_may_come_twice(client: Client) -> None:
    conversation_id = await conversation(client)

    for _ in range(2):
        assert (await add(client, conversation_id, message(text("a")))).status == 200

    assert await texts(client, conversation_id) == ["a", "a"]


async def test_files_have_a_limit_each_and_together(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(max_input_file=10)
    small, large = [(await client.file(bytes(size))).json["id"] for size in (6, 10)]
    conversation_id = await conversation(client)

    one = await add(client, conversation_id, message(file(large)))
    two = await add(client, conversation_id, message(file(small), file(small)))
    fits = await add(client, conversation_id, message(file(small)))

    assert (one.status, two.status, fits.status) == (400, 400, 200)
    assert "10 bytes" in one.message
    assert "12 bytes" in two.message


async def test_an_image_must_be_one(client: Client, emulator: Emulator) -> None:
    text_file = (await client.file(b"no image", filename="photo.png")).json["id"]
    conversation_id = await conversation(client)

    said = await add(client, conversation_id, message(image(text_file)))

    assert said.status == 400
    assert said.json["error"]["code"] == "invalid_image_format"
    emulator.switches = Switches(images_are_checked=False)
    assert (await add(client, conversation_id, message(image(text_file)))).status == 200


async def test_the_detail_of_an_image_may_be_left_out(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(image_detail_required=False)
    photo = (await client.file(png())).json["id"]
    given = message({"type": "input_image", "file_id": photo})

    assert (await add(client, await conversation(client), given)).status == 200


async def test_a_new_item_may_be_seen_only_after_a_while(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(items_delay=30)
    conversation_id = await conversation(client)
    item_id = (await add(client, conversation_id, message(text("a")))).json["first_id"]
    path = f"/conversations/{conversation_id}/items/{item_id}"

    assert await texts(client, conversation_id) == []
    assert (await client.get(path)).status == 404
    emulator.advance(30)
    assert await texts(client, conversation_id) == ["a"]
    assert (await client.get(path)).status == 200


async def test_a_locked_conversation_takes_nothing(
    client: Client, emulator: Emulator
) -> None:
    conversation_id = await conversation(client)
    emulator.switches = Switches(locked_conversations=True)

    said = await add(client, conversation_id, message(text("a")))

    assert (said.status, said.json["error"]["code"]) == (400, "conversation_locked")
    assert (await client.get(f"/conversations/{conversation_id}")).status == 200


async def test_a_conversation_may_be_seen_by_its_own_key_only(
    client: Client, emulator: Emulator
) -> None:
    conversation_id = await conversation(client)
    emulator.switches = Switches(own_conversations=True)

    async with Client(emulator.url, key="sk-other") as other:
        assert (await other.get(f"/conversations/{conversation_id}")).status == 404
        assert (await add(other, conversation_id, message(text("a")))).status == 404
    assert (await add(client, conversation_id, message(text("a")))).status == 200


async def test_a_conversation_survives_a_restart(directory: Path) -> None:
    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        conversation_id = await conversation(client, message(text("before")))

    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        await add(client, conversation_id, message(text("after")))
        assert await texts(client, conversation_id) == ["after", "before"]


async def test_an_unknown_conversation_is_404(client: Client) -> None:
    said = await add(client, "conv_none", message(text("a")))

    assert said.status == 404
    assert said.message == "Conversation with id 'conv_none' not found."


async def test_the_retired_assistants_are_404(client: Client) -> None:
    for path in ("/assistants", "/threads"):
        assert (await client.post(path, {})).status == 404
