import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.emulator.client import Client, until
from uploader.emulator import BadFault, Emulator, Fault
from uploader.emulator.faults import read_script
from uploader.emulator.server import KINDS

HELLO = (b"hello ", b"world")


async def test_a_status_before_has_no_effect(
    client: Client, emulator: Emulator
) -> None:
    upload_id = await client.opened()
    emulator.add_fault(Fault(kind="part", do="status", status=503))

    said = await client.part(upload_id, b"hello world")

    assert said.status == 503
    assert said.json["error"]["type"] == "server_error"
    (reception,) = emulator.account().receptions
    assert (reception.bytes, reception.stored) == (11, False)


async def test_a_status_after_loses_the_answer_only(
    client: Client, emulator: Emulator
) -> None:
    upload_id = await client.opened()
    part_ids = await client.stored(upload_id, *HELLO)
    emulator.add_fault(Fault(kind="complete", do="status", when="after", status=502))

    assert (await client.complete(upload_id, part_ids)).status == 502
    assert len((await client.get("/files")).json["data"]) == 1
    assert (await client.complete(upload_id, part_ids)).status == 400


async def test_a_status_comes_with_the_headers_and_body_of_the_script(
    client: Client, emulator: Emulator
) -> None:
    emulator.add_fault(
        Fault(
            kind="create",
            do="status",
            status=429,
            headers={"Retry-After": "3", "content-type": "text/html"},
            body="<h1>slow down</h1>",
        )
    )
    emulator.add_fault(
        Fault(kind="create", do="status", status=200, body={"id": "other"})
    )

    html, other = await client.create(), await client.create()

    assert (html.status, html.text) == (429, "<h1>slow down</h1>")
    assert html.headers["Retry-After"] == "3"
    assert html.headers["Content-Type"] == "text/html"
    assert other.json == {"id": "other"}


@pytest.mark.parametrize("unread", [False, True])
async def test_a_reset_before_leaves_no_part(
    client: Client, emulator: Emulator, unread: bool
) -> None:
    upload_id = await client.opened()
    emulator.add_fault(Fault(kind="part", do="reset", unread=unread))

    with pytest.raises((ConnectionResetError, aiohttp.ClientError)):
        await client.part(upload_id, b"hello world")

    receptions = emulator.account().receptions
    assert [one.stored for one in receptions] == ([] if unread else [False])
    assert (await client.complete(upload_id, ["part_none"])).status == 400


async def test_a_reset_after_leaves_the_part(
    client: Client, emulator: Emulator
) -> None:
    upload_id = await client.opened()
    emulator.add_fault(Fault(kind="part", do="reset", when="after"))

    with pytest.raises((ConnectionResetError, aiohttp.ClientError)):
        await client.part(upload_id, b"hello world")

    (reception,) = emulator.account().receptions
    assert reception.stored
    assert reception.part_id is not None
    assert (await client.complete(upload_id, [reception.part_id])).status == 200


async def test_a_reset_is_a_reset(client: Client, emulator: Emulator) -> None:
    emulator.add_fault(Fault(kind="file_list", do="reset"))
    host, port = emulator.origin.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n")

    with pytest.raises(ConnectionResetError):
        await reader.read()

    writer.close()


async def test_a_truncated_answer_promises_more_than_it_holds(
    client: Client, emulator: Emulator
) -> None:
    file_id = (await client.file(b"0123456789")).json["id"]
    emulator.add_fault(Fault(kind="any", do="truncate", when="after", times=2))

    with pytest.raises(aiohttp.ClientPayloadError):
        await client.create()
    with pytest.raises(aiohttp.ClientPayloadError):
        await client.get(f"/files/{file_id}/content")


async def test_a_truncated_answer_before_is_the_scripted_one(
    client: Client, emulator: Emulator
) -> None:
    emulator.add_fault(Fault(kind="create", do="truncate", status=200, body="{}{}"))

    with pytest.raises(aiohttp.ClientPayloadError):
        await client.create()

    assert emulator.account().requests[-1].status is None


async def test_a_stalled_request_is_never_answered(
    client: Client, emulator: Emulator
) -> None:
    emulator.add_fault(Fault(kind="create", do="stall", when="after"))

    with pytest.raises(TimeoutError):
        await client.ask(
            "POST",
            "/uploads",
            json={},
            timeout=aiohttp.ClientTimeout(total=0.1),
        )

    assert emulator.account().requests[-1].fault == "stall after"


async def test_a_stall_ends_in_time(client: Client, emulator: Emulator) -> None:
    emulator.add_fault(Fault(kind="create", do="stall", seconds=0.01))

    with pytest.raises((ConnectionResetError, aiohttp.ClientError)):
        await client.create()


async def test_an_emulator_closes_at_once_in_spite_of_a_stall(
    directory: Path,
) -> None:
    async with Emulator(directory) as emulator, Client(emulator.url) as client:
        emulator.add_fault(Fault(kind="create", do="stall"))
        asking = asyncio.create_task(client.create())
        await until(lambda: bool(emulator.account().requests))

        await emulator.__aexit__()

        with pytest.raises((ConnectionResetError, aiohttp.ClientError)):
            await asking
        await emulator.__aenter__()


async def test_a_slow_answer_arrives_whole(client: Client, emulator: Emulator) -> None:
    emulator.add_fault(Fault(kind="create", do="slow", when="after", rate=10_000))

    assert (await client.create()).json["status"] == "pending"


async def test_a_body_that_is_read_slowly_takes_effect(
    client: Client, emulator: Emulator
) -> None:
    upload_id = await client.opened()
    emulator.add_fault(Fault(kind="part", do="slow", rate=10_000))

    assert (await client.part(upload_id, b"hello world")).status == 200


@pytest.mark.parametrize("when", ["before", "after"])
async def test_kill_ends_the_declared_client(
    client: Client, emulator: Emulator, when: str
) -> None:
    upload_id = await client.opened()
    program = (
        "import sys, urllib.request as http\n"
        "form = ('--x\\r\\nContent-Disposition: form-data; name=\"data\"\\r\\n\\r\\n'\n"
        "        'hello world\\r\\n--x--\\r\\n').encode()\n"
        "headers = {'Content-Type': 'multipart/form-data; boundary=x',\n"
        "           'Authorization': 'Bearer x'}\n"
        "sys.stdin.readline()\n"
        "http.urlopen(http.Request(sys.argv[1], form, headers))\n"
    )
    url = f"{emulator.url}/uploads/{upload_id}/parts"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, url, stdin=asyncio.subprocess.PIPE
    )
    emulator.client_pid = process.pid
    emulator.add_entries([{"kind": "part", "do": "kill", "when": when}])

    await process.communicate(b"go\n")

    assert process.returncode == -signal.SIGKILL
    (reception,) = emulator.account().receptions
    assert (reception.bytes, reception.stored) == (11, when == "after")


async def test_without_a_declared_client_nobody_is_killed(
    client: Client, emulator: Emulator
) -> None:
    emulator.add_fault(Fault(kind="create", do="kill"))

    assert (await client.create()).status == 500


@pytest.mark.parametrize("pid", [-1, 0, 1, pytest.param(os.getpid(), id="its own")])
def test_only_a_client_can_be_declared(directory: Path, pid: int) -> None:
    with pytest.raises(ValueError, match="is not the pid of a client"):
        Emulator(directory, client_pid=pid)


async def test_a_fault_hits_the_nth_request_of_its_kind(
    client: Client, emulator: Emulator
) -> None:
    emulator.add_fault(Fault(kind="create", do="status", nth=2, times=2))
    await client.get("/files")

    said = [await client.create() for _ in range(4)]

    assert [one.status for one in said] == [200, 500, 500, 200]


async def test_any_counts_every_request(client: Client, emulator: Emulator) -> None:
    emulator.add_fault(Fault(kind="any", do="status", nth=2))

    assert (await client.create()).status == 200
    assert (await client.get("/files")).status == 500


async def test_two_faults_on_one_request_hit_one_after_the_other(
    client: Client, emulator: Emulator
) -> None:
    emulator.add_fault(Fault(kind="create", do="status", status=502))
    emulator.add_fault(Fault(kind="create", do="status", status=503))

    said = [await client.create() for _ in range(3)]

    assert [one.status for one in said] == [502, 503, 200]


async def test_the_account_tells_which_faults_are_left(
    client: Client, emulator: Emulator
) -> None:
    first = Fault(kind="create", do="status")
    second = Fault(kind="part", do="reset", nth=3)
    emulator.add_fault(first)
    emulator.add_fault(second)

    await client.create()

    assert emulator.account().faults_left == (second,)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"kind": "part"}, "missing required field `do`"),
        ({"kind": "part", "do": "explode"}, "Invalid enum value 'explode'"),
        ({"kind": "parts", "do": "reset"}, "there is no kind 'parts'; there are"),
        ({"kind": "part", "do": "reset", "nth": 0}, "nth must be at least 1, not 0"),
        ({"kind": "part", "do": "reset", "times": 0}, "times must be at least 1"),
        ({"kind": "part", "do": "slow", "rate": 0}, "rate must be above 0"),
        ({"kind": "part", "do": "status", "status": 20}, "within 200 and 599, not 20"),
        ({"kind": "part", "do": "reset", "delay": 1}, "unknown field `delay`"),
        ({"kind": "part", "do": "reset", "events": -1}, "events must be at least 0"),
        (
            {"kind": "part", "do": "reset", "events": 1},
            "events makes no sense before the effect",
        ),
        (
            {"kind": "part", "do": "reset", "when": "after", "unread": True},
            "unread makes no sense after the effect",
        ),
    ],
)
def test_a_bad_entry_is_named(
    tmp_path: Path, entry: dict[str, object], words: str
) -> None:
    script = tmp_path / "faults.json"
    script.write_text(json.dumps([{"kind": "part", "do": "reset"}, entry]))

    with pytest.raises(BadFault) as refused:
        read_script(script, KINDS)

    assert str(refused.value).startswith(f"{script}: entry 2: ")
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [('{"kind": "part"}', "a script is a list of faults"), ("[", "truncated")],
)
def test_a_script_that_is_no_list_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    script = tmp_path / "faults.json"
    script.write_text(text)

    with pytest.raises(BadFault, match=words):
        read_script(script, KINDS)


def test_a_script_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFault, match="No such file"):
        read_script(tmp_path / "none.json", KINDS)


async def half(content: bytes) -> AsyncIterator[bytes]:
    yield b'--x\r\nContent-Disposition: form-data; name="data"\r\n\r\n' + content
    raise ConnectionAbortedError


async def test_a_part_that_breaks_off_is_accounted_but_not_stored(
    client: Client, emulator: Emulator
) -> None:
    upload_id = await client.opened(bytes=3_000_000)
    headers = {
        "Content-Type": "multipart/form-data; boundary=x",
        "Content-Length": "4000000",
    }

    with pytest.raises((ConnectionError, aiohttp.ClientError)):
        await client.ask(
            "POST",
            f"/uploads/{upload_id}/parts",
            data=half(bytes(2_000_000)),
            headers=headers,
        )
    await until(lambda: bool(emulator.account().receptions))

    (reception,) = emulator.account().receptions
    assert (reception.part_id, reception.stored) == (None, False)
    assert 0 < reception.bytes <= 2_000_000
    assert emulator.account().requests[-1].status is None
