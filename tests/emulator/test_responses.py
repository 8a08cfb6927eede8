import asyncio
import sys

import aiohttp
import pytest

from tests.emulator.client import Client
from tests.emulator.test_conversations import conversation, file, message, text, texts
from uploader.emulator import Emulator, Fault, Switches

KEYS = [
    "id",
    "object",
    "created_at",
    "status",
    "background",
    "error",
    "incomplete_details",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "model",
    "output",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "usage",
    "user",
    "metadata",
]


def ask(words: object = "why?", **changes: object) -> dict[str, object]:
    return {"model": "gpt-4o-mini", "input": words, **changes}


def answer(response: dict[str, list[dict[str, list[dict[str, str]]]]]) -> str:
    return response["output"][0]["content"][0]["text"]


async def test_a_response_looks_as_recorded_and_names_question_and_file(
    client: Client,
) -> None:
    pdf = (await client.file(b"%PDF", filename="food.pdf")).json["id"]

    said = await client.post("/responses", ask([message(text("why?"), file(pdf))]))

    assert said.status == 200
    assert list(said.json) == KEYS
    assert said.json["id"].startswith("resp_")
    assert said.json["status"] == "completed"
    assert said.json["model"] == "gpt-4o-mini"
    (output,) = said.json["output"]
    assert list(output) == ["id", "type", "status", "content", "role"]
    (part,) = output["content"]
    assert list(part) == ["type", "annotations", "logprobs", "text"]
    assert part["text"] == "You asked: “why?”; and I was given “food.pdf”."
    assert (await client.get(f"/responses/{said.json['id']}")).json == said.json


async def test_a_response_has_the_settings_that_were_asked_for(client: Client) -> None:
    said = await client.post("/responses", ask(temperature=0.5, metadata={"a": "b"}))

    assert (said.json["temperature"], said.json["metadata"]) == (0.5, {"a": "b"})


async def test_question_and_answer_are_added_to_the_conversation(
    client: Client,
) -> None:
    pdf = (await client.file(b"%PDF", filename="food.pdf")).json["id"]
    conversation_id = await conversation(client, message(text("here"), file(pdf)))

    said = await client.post("/responses", ask(conversation=conversation_id))
    again = await client.post(
        "/responses", ask("and?", conversation={"id": conversation_id})
    )

    assert said.json["conversation"] == {"id": conversation_id}
    assert "“food.pdf”" in answer(again.json)
    assert await texts(client, conversation_id, "?order=asc") == [
        "here",
        "why?",
        answer(said.json),
        "and?",
        answer(again.json),
    ]


async def test_a_response_goes_on_from_the_one_before(client: Client) -> None:
    pdf = (await client.file(b"%PDF", filename="food.pdf")).json["id"]
    first = await client.post("/responses", ask([message(text("why?"), file(pdf))]))

    said = await client.post(
        "/responses", ask("and?", previous_response_id=first.json["id"])
    )

    assert said.json["previous_response_id"] == first.json["id"]
    assert answer(said.json) == "You asked: “and?”; and I was given “food.pdf”."


async def test_a_stream_tells_the_id_first_and_the_whole_last(client: Client) -> None:
    said = await client.post("/responses", ask(stream=True))

    kinds = [event["type"] for event in said.events]
    words = [event["delta"] for event in said.events if "delta" in event]
    response = said.events[-1]["response"]
    assert said.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert [kind for kind in kinds if kind != "response.output_text.delta"] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert said.text.startswith("event: response.created\ndata: {")
    assert said.events[0]["response"]["id"] == response["id"]
    assert said.events[0]["response"]["status"] == "in_progress"
    assert "".join(words) == answer(response)
    assert [event["sequence_number"] for event in said.events] == list(
        range(len(kinds))
    )
    assert (await client.get(f"/responses/{response['id']}")).json == response


async def test_a_response_can_be_asked_for_when_its_stream_broke_off(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(response_seconds=5)
    conversation_id = await conversation(client)
    emulator.add_fault(
        Fault(kind="response_create", do="reset", when="after", events=1)
    )

    async with client.raw(
        "POST", "/responses", json=ask(stream=True, conversation=conversation_id)
    ) as response:
        first = await response.content.readuntil(b"\n\n")
        with pytest.raises((ConnectionError, aiohttp.ClientError)):
            await response.content.read()
    response_id = first.partition(b'"id":"')[2].partition(b'"')[0].decode()
    path = f"/responses/{response_id}"

    running = (await client.get(path)).json
    assert (running["status"], running["output"]) == ("in_progress", [])
    assert await texts(client, conversation_id) == []
    locked = await client.post("/responses", ask(conversation=conversation_id))
    assert locked.json["error"]["code"] == "conversation_locked"
    emulator.advance(5)
    assert (await client.get(path)).json["status"] == "completed"
    assert len(await texts(client, conversation_id)) == 2


async def test_a_client_is_killed_in_the_middle_of_a_stream(
    client: Client, emulator: Emulator
) -> None:
    script = "import sys; print(flush=True); sys.stdin.read()"
    victim = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), stdin=-1, stdout=-1
    )
    emulator.client_pid = victim.pid
    emulator.add_fault(Fault(kind="response_create", do="kill", when="after", events=2))

    async with client.raw("POST", "/responses", json=ask(stream=True)) as response:
        for _ in range(2):
            await response.content.readuntil(b"\n\n")

    assert await victim.wait() == -9


async def test_a_response_may_fail_or_stay_incomplete(
    client: Client, emulator: Emulator
) -> None:
    conversation_id = await conversation(client)

    emulator.switches = Switches(response_ends="failed")
    failed = await client.post(
        "/responses", ask(stream=True, conversation=conversation_id)
    )
    emulator.switches = Switches(response_ends="incomplete")
    incomplete = await client.post("/responses", ask())

    assert failed.events[-1]["type"] == "response.failed"
    assert failed.events[-1]["response"]["error"]["code"] == "server_error"
    assert incomplete.json["incomplete_details"] == {"reason": "max_output_tokens"}
    assert await texts(client, conversation_id) == []


@pytest.mark.parametrize(
    ("asked", "status", "param"),
    [
        ({"input": "why?"}, 400, "model"),
        (ask(surprise=1), 400, None),
        (ask([message(file("file-none"))]), 400, "input[0].content[0].file_id"),
        (ask(conversation="conv_none"), 404, None),
        (ask(previous_response_id="resp_none"), 400, "previous_response_id"),
        (ask(conversation="conv_a", previous_response_id="resp_b"), 400, None),
        (ask(background=True), 400, "background"),
    ],
)
async def test_bad_questions_are_refused(
    client: Client, asked: object, status: int, param: str | None
) -> None:
    said = await client.post("/responses", asked)

    assert said.status == status
    assert said.json["error"]["param"] == param


async def test_a_response_that_is_not_stored_is_unknown(client: Client) -> None:
    said = await client.post("/responses", ask(store=False))

    unknown = await client.get(f"/responses/{said.json['id']}")

    assert said.json["store"] is False
    assert unknown.status == 404
    assert unknown.json["error"] == {
        "message": f"Response with id '{said.json['id']}' not found.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


async def test_a_stream_can_be_cut_anywhere(client: Client, emulator: Emulator) -> None:
    emulator.switches = Switches(stream_split=1)
    pieces = []

    async with client.raw("POST", "/responses", json=ask(stream=True)) as response:
        async for piece, _ in response.content.iter_chunks():
            pieces.append(piece)

    assert set(map(len, pieces)) == {1}
    assert "“why?”" in b"".join(pieces).decode()


async def test_a_stream_can_break_off_in_the_middle(
    client: Client, emulator: Emulator
) -> None:
    emulator.add_fault(Fault(kind="response_create", do="truncate", when="after"))

    with pytest.raises(aiohttp.ClientPayloadError):
        await client.post("/responses", ask(stream=True))
