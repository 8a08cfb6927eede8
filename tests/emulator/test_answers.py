import json
from pathlib import Path

import pytest

from tests.emulator.client import Client
from uploader.emulator import Emulator, Switches

RECORDED = {
    "access-control-allow-origin",
    "alt-svc",
    "cf-cache-status",
    "cf-ray",
    "content-length",
    "content-type",
    "date",
    "openai-organization",
    "openai-processing-ms",
    "openai-project",
    "openai-version",
    "server",
    "strict-transport-security",
    "x-content-type-options",
    "x-envoy-upstream-service-time",
    "x-openai-proxy-wasm",
    "x-request-id",
}


async def test_answers_have_the_recorded_headers(client: Client) -> None:
    yes, no = await client.create(), await client.get("/files/fake_id")

    for said in (yes, no):
        assert {name.lower() for name in said.headers} >= RECORDED
        assert said.headers["Content-Type"] == "application/json"
        assert said.headers["openai-version"] == "2020-10-01"
        assert not any("ratelimit" in name.lower() for name in said.headers)


async def test_json_is_pretty_and_ends_with_a_new_line(client: Client) -> None:
    said = await client.create()

    assert said.text == json.dumps(said.json, indent=2) + "\n"


async def test_an_error_is_the_recorded_one(client: Client) -> None:
    said = await client.get("/files/fake_id")

    assert said.status == 404
    assert said.headers["Content-Length"] == "224"
    assert said.json == {
        "error": {
            "message": "No such File object: fake_id",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        },
        "detail": {"message": "No such File object: fake_id", "code": None},
    }


async def test_an_unknown_purpose_is_refused_in_the_recorded_words(
    client: Client,
) -> None:
    said = await client.file(purpose="world_domination")

    assert said.status == 400
    assert said.headers["Content-Length"] == "399"
    assert said.message == (
        "'world_domination' is not one of ['fine-tune', 'assistants', 'batch',"
        " 'user_data', 'vision', 'evals'] - 'purpose'"
    )


@pytest.mark.parametrize("key", [None, ""])
async def test_a_request_needs_a_key(emulator: Emulator, key: str | None) -> None:
    async with Client(emulator.url, key=key) as client:
        said = await client.create()

    assert said.status == 401
    assert said.json["error"]["code"] == "invalid_api_key"


async def test_with_keys_only_these_open(directory: Path) -> None:
    async with Emulator(directory, keys=["sk-right"]) as emulator:
        async with Client(emulator.url, key="sk-right") as client:
            right = await client.create()
        async with Client(emulator.url, key="sk-wrong") as client:
            wrong = await client.create()

    assert (right.status, wrong.status) == (200, 401)
    assert "sk-wrong" not in wrong.text
    assert "sk-right" not in repr(emulator)


async def test_error_bodies_can_be_of_any_kind(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(error_detail=False)
    assert list((await client.get("/files/none")).json) == ["error"]
    emulator.switches = Switches(error_body="detail")
    assert list((await client.get("/files/none")).json) == ["detail"]
    emulator.switches = Switches(error_body="text")
    assert (await client.get("/files/none")).text == "No such File object: none"
    emulator.switches = Switches(error_body="html")
    said = await client.get("/files/none")
    assert said.text.startswith("<html>")
    assert said.headers["Content-Type"].startswith("text/html")


async def test_json_can_be_compact(client: Client, emulator: Emulator) -> None:
    emulator.switches = Switches(compact_json=True)

    said = await client.create()

    assert said.text == json.dumps(said.json, separators=(",", ":"))


async def test_a_yes_can_be_broken_json(client: Client, emulator: Emulator) -> None:
    emulator.switches = Switches(invalid_answer="create")

    said = await client.create()

    assert said.status == 200
    with pytest.raises(json.JSONDecodeError):
        _ = said.json


async def test_too_many_requests_of_a_kind_are_429(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(requests_per_minute=2, retry_after=7)
    first, second, third = [await client.create() for _ in range(3)]

    assert (first.status, second.status, third.status) == (200, 200, 429)
    assert third.json["error"]["code"] == "rate_limit_exceeded"
    assert third.headers["Retry-After"] == "7"

    emulator.advance(61)
    assert (await client.create()).status == 200


async def test_retry_after_is_absent_unless_asked_for(
    client: Client, emulator: Emulator
) -> None:
    emulator.switches = Switches(requests_per_minute=1)
    await client.create()

    assert "Retry-After" not in (await client.create()).headers
