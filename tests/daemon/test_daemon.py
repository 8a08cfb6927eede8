"""The daemon as a process: what it takes, survives, and is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from tests.daemon.conftest import Yard, until
from tests.fakes import serving
from uploader.emulator import Fault


async def test_once_does_what_there_is_to_do_and_says_that_some_failed(
    yard: Yard,
) -> None:
    yard.write(yard.rule(pattern="*.jsonl", purpose="batch"))
    line = {"custom_id": "1", "method": "POST", "url": "/v1/x", "body": {}}
    good = json.dumps(line).encode() + b"\n"
    yard.drop("good.jsonl", good)
    yard.drop("bad.jsonl", b"{")
    yard.drop("other.txt", b"not for this rule")

    done = await yard.once()

    assert done.returncode == 11, done
    assert await yard.contents() == [good]
    assert (yard.done / "good.jsonl").exists()
    assert "line 1" in yard.reasons()["bad.jsonl"]["error"]
    assert (yard.inbox / "other.txt").exists()
    (receipt,) = yard.receipts.iterdir()
    assert json.loads(receipt.read_text())["file"]["filename"] == "good.jsonl"


async def test_what_is_kept_is_sent_once_and_again_when_it_changed(yard: Yard) -> None:
    yard.write(yard.rule(afterwards="keep", move_to=None))
    path = yard.drop("a.txt", b"one")
    for _ in range(2):
        assert (await yard.once()).returncode == 0
    assert await yard.contents() == [b"one"]

    path.write_bytes(b"two")
    assert (await yard.once()).returncode == 0

    assert await yard.contents() == [b"one", b"two"]


async def test_a_file_that_changed_on_the_way_is_neither_deleted_nor_lost(
    yard: Yard,
) -> None:
    yard.write(yard.rule(afterwards="delete", move_to=None))
    path = yard.drop("a.txt", b"one")
    yard.emulator.add_fault(Fault(kind="complete", do="stall", seconds=1.0))
    async with yard.running() as daemon:
        await until(lambda: yard.emulator.account().counts["complete"])
        other = yard.root / "other"
        other.write_bytes(b"two")
        other.replace(path)
        await until(lambda: not path.exists())
        daemon.send(signal.SIGTERM)
        assert await daemon.ended() == 0

    assert await yard.contents() == [b"one", b"two"]


async def test_sigterm_drains_and_the_next_start_goes_on(yard: Yard) -> None:
    path = yard.drop("a.bin", os.urandom(8 * 65536))
    content = path.read_bytes()
    yard.emulator.add_fault(Fault(kind="part", nth=4, times=9, do="stall"))
    async with yard.running(UPLOADER_TIMEOUTS_DRAIN="0.2") as daemon:
        await until(lambda: yard.emulator.account().counts["part"] >= 4)
        daemon.send(signal.SIGTERM)
        await daemon.hear("draining")
        assert await daemon.ended() == 0
    yard.emulator.clear_faults()

    done = await yard.once()

    assert done.returncode == 0, done
    assert await yard.contents() == [content]
    assert yard.emulator.account().counts["create"] == 1


async def test_sighup_reads_the_rules_again_and_a_broken_file_changes_nothing(
    yard: Yard,
) -> None:
    async with yard.running() as daemon:
        await daemon.hear("watching for 1 rule")
        yard.file.write_text("[[rules]]\nfolder = 7\n")
        daemon.send(signal.SIGHUP)
        assert "line 2" in await daemon.hear("the old rules stay")
        yard.drop("old.txt", b"old")
        await until(lambda: (yard.done / "old.txt").exists())

        second = yard.root / "second"
        yard.write(yard.rule(), yard.rule(name="second", folder=second))
        daemon.send(signal.SIGHUP)
        await daemon.hear("watching for 2 rules")
        second.mkdir(exist_ok=True)
        (second / "new.txt").write_bytes(b"new")
        await until(lambda: (yard.done / "new.txt").exists())


async def test_systemd_hears_that_it_is_ready_and_that_it_ends(yard: Yard) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(yard.root / "notify"))
        line.setblocking(False)
        async with yard.running(NOTIFY_SOCKET=str(yard.root / "notify")) as daemon:
            await daemon.hear("watching")
            daemon.send(signal.SIGTERM)
            assert await daemon.ended() == 0
        said = [line.recv(500), line.recv(500)]

    assert said[0].startswith(b"READY=1")
    assert said[1] == b"STOPPING=1"


async def test_a_folder_may_vanish_and_come_back(yard: Yard) -> None:
    async with yard.running() as daemon:
        await daemon.hear("watching")
        shutil.rmtree(yard.inbox)
        yard.drop("a.txt", b"back again")
        await until(lambda: (yard.done / "a.txt").exists())

    assert await yard.contents() == [b"back again"]


async def test_a_file_that_is_deleted_in_mid_upload_harms_nobody(yard: Yard) -> None:
    path = yard.drop("a.bin", os.urandom(4 * 65536))
    yard.emulator.add_fault(Fault(kind="part", nth=2, do="stall", seconds=0.5))
    async with yard.running() as daemon:
        await until(lambda: yard.emulator.account().counts["part"] >= 2)
        path.unlink()
        yard.drop("b.txt", b"next")
        await until(lambda: (yard.done / "b.txt").exists())
        daemon.send(signal.SIGTERM)
        assert await daemon.ended() == 0


async def test_a_key_that_is_revoked_pauses_its_service_and_no_other(
    yard: Yard,
) -> None:
    yard.write(
        yard.rule(pattern="*.txt"),
        yard.rule(name="azure", pattern="*.bin", backend="azure", purpose="assistants"),
    )
    origin = yard.emulator.url.removesuffix("/v1")
    azure = {"AZURE_OPENAI_ENDPOINT": origin, "AZURE_OPENAI_API_KEY": "azure-key"}
    yard.emulator.add_entries(
        [{"kind": "create", "do": "status", "status": 401, "times": 1}]
    )
    yard.drop("a.txt", b"refused")
    async with yard.running(**azure) as daemon:
        await daemon.hear("openai is paused")
        yard.drop("b.bin", b"azure")
        await until(lambda: (yard.done / "b.bin").exists())
        assert (yard.inbox / "a.txt").exists()

        daemon.send(signal.SIGHUP)
        await until(lambda: (yard.done / "a.txt").exists())


async def test_a_program_hears_of_what_is_done_and_its_failure_harms_nobody(
    yard: Yard, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    script = (
        "import sys, pathlib; "
        f"pathlib.Path({str(told)!r}).open('a').write(sys.stdin.read() + '\\n'); "
        "sys.exit(1)"
    )
    notify = (
        f"[notify]\ntries = 1\ncommand = {json.dumps([sys.executable, '-c', script])}"
    )
    yard.write(notify, yard.rule())
    yard.drop("a b;$(x).txt", b"x")
    yard.drop("empty", b"")

    done = await yard.once()

    assert done.returncode == 11
    heard = [json.loads(line) for line in told.read_text().splitlines()]
    by_event = {notice["event"]: notice for notice in heard}
    assert by_event["done"]["receipt"]["filename"] == "a b;$(x).txt"
    assert "empty" in by_event["failed"]["error"]
    assert await yard.contents() == [b"x"]


async def test_a_webhook_is_tried_again_and_then_given_up(yard: Yard) -> None:
    heard: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        heard.append(await request.json())
        return web.Response(status=500 if len(heard) == 1 else 200)

    async with serving(handler) as url:
        yard.write(f'[notify]\nwebhook = "{url}"\ntries = 2', yard.rule())
        yard.drop("a.txt", b"x")
        done = await yard.once()

    assert done.returncode == 0
    assert len(heard) == 2
    assert "500" in done.stderr
    assert url not in done.stderr


async def test_a_receipt_that_cannot_be_written_is_written_later_and_nothing_is_sent_twice(
    yard: Yard,
) -> None:
    yard.receipts.write_bytes(b"in the way, as a full disk would be")
    yard.drop("a.txt", b"x")
    async with yard.running() as daemon:
        await daemon.hear("receipts")
        assert (yard.inbox / "a.txt").exists()
        yard.receipts.unlink()
        await until(lambda: (yard.done / "a.txt").exists())

    assert len(list(yard.receipts.iterdir())) == 1
    assert await yard.contents() == [b"x"]
    assert yard.emulator.account().counts["create"] == 1
