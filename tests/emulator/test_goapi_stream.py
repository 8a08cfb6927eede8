import json

import aiohttp
import pytest

from tests.emulator.client import Client
from tests.emulator.goapi import Relay, answer, prompt
from uploader.emulator import Emulator, Switches


async def test_a_new_conversation_is_answered_by_a_stream(goapi: Client) -> None:
    said = await goapi.post("/conversation", prompt("hello"))

    *events, last = said.events
    system, echo, *snapshots, done = [event["message"] for event in events]
    assert said.status == 200
    assert last == "[DONE]"
    assert said.text.startswith('data: {"message":{')
    assert all(list(one) == ["message", "conversation_id", "error"] for one in events)
    assert len({event["conversation_id"] for event in events}) == 1
    assert {event["error"] for event in events} == {None}
    assert (system["author"]["role"], system["weight"]) == ("system", 0.0)
    assert (system["status"], system["end_turn"]) == ("finished_successfully", True)
    assert (echo["author"]["role"], echo["content"]["parts"]) == ("user", ["hello"])
    texts = [message["content"]["parts"][0] for message in snapshots]
    assert len(texts) >= 2
    assert all(done["content"]["parts"][0].startswith(text) for text in texts)
    assert {message["status"] for message in snapshots} == {"in_progress"}
    assert {message["id"] for message in snapshots} == {done["id"]}
    assert (done["status"], done["end_turn"]) == ("finished_successfully", True)
    assert (done["recipient"], done["channel"]) == ("all", None)
    assert done["metadata"]["parent_id"] == echo["id"]
    assert done["metadata"]["pad"] == "A" * 26
    assert done["content"]["parts"] == ["You asked: “hello”; and I was given no file."]


@pytest.mark.parametrize(
    ("switches", "end"),
    [
        (Switches(), "data: [DONE]\n\n"),
        (Switches(goapi_end="[none]"), "data: [none]\n\n"),
        (Switches(goapi_end="[none]", goapi_data_space=False), "data:[none]\n\n"),
        (Switches(goapi_end="nothing"), '"error":null}\n\n'),
    ],
)
async def test_a_stream_ends_as_the_switch_says(
    relay: Relay, emulator: Emulator, switches: Switches, end: str
) -> None:
    emulator.switches = switches

    said = await relay.say(prompt("hello"))

    assert said.text.endswith(end)
    assert "hello" in answer(said)


async def test_a_stream_may_end_in_the_middle_of_its_last_event(
    relay: Relay, emulator: Emulator
) -> None:
    emulator.switches = Switches(goapi_end="cut")

    said = await relay.say(prompt("hello"))

    assert said.status == 200
    assert not said.text.endswith("\n\n")
    with pytest.raises(json.JSONDecodeError):
        json.loads(said.text.rpartition("data: ")[2])


async def test_a_stream_may_break_off_with_an_error(
    relay: Relay, emulator: Emulator
) -> None:
    emulator.switches = Switches(goapi_stream_error="string")
    string = await relay.say(prompt("hello"))
    emulator.switches = Switches(goapi_stream_error="object")
    document = await relay.say(prompt("hello"))

    assert (string.status, document.status) == (200, 200)
    assert [event["error"] for event in string.events if event["error"]] == [
        "Something went wrong."
    ]
    assert any(
        event["error"] == {"message": "Something went wrong.", "code": "internal_error"}
        for event in document.events
    )
    assert "[DONE]" not in string.text


async def test_an_event_may_have_no_message_and_the_echo_may_be_missing(
    relay: Relay, emulator: Emulator
) -> None:
    emulator.switches = Switches(goapi_moderation=True, goapi_user_echo=False)

    said = await relay.say(prompt("hello"))

    assert [event["type"] for event in said.events[:-1] if "type" in event] == [
        "moderation"
    ]
    assert '"role":"user"' not in said.text


async def test_a_stream_is_cut_within_a_letter(
    relay: Relay, emulator: Emulator
) -> None:
    emulator.switches = Switches(stream_split=1)
    pieces = []

    async with relay.client.raw("POST", relay.path, json=prompt("é")) as response:
        async for piece, _ in response.content.iter_chunks():
            pieces.append(piece)

    assert "é".encode() not in pieces
    assert "“é”" in b"".join(pieces).decode()


async def test_a_lost_answer_is_not_a_lost_message(
    relay: Relay, emulator: Emulator
) -> None:
    for do in ("reset", "truncate"):
        emulator.add_entries([{"kind": "goapi_message", "do": do, "when": "after"}])
        with pytest.raises((ConnectionError, aiohttp.ClientError)):
            await relay.say(prompt("once"))

    counts = emulator.account().counts
    assert (counts["goapi_create"], counts["goapi_message"]) == (1, 2)
    statuses = [request.status for request in emulator.account().requests]
    assert statuses == [200, 200, 200]
