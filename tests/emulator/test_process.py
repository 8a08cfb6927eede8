import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from tests.emulator.client import Client
from uploader.emulator import Emulator
from uploader.emulator.__main__ import main

PIPE = asyncio.subprocess.PIPE


async def started(directory: Path, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader.emulator", "--dir", str(directory)),
        *options,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
    )


async def first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_its_url_and_ends_at_a_signal(
    directory: Path, number: signal.Signals
) -> None:
    process = await started(directory, "--until-stdin-closes")
    url = (await first_line(process)).strip()
    async with Client(url) as client:
        assert (await client.create()).status == 200

    process.send_signal(number)
    output, errors = await process.communicate()

    assert (process.returncode, output, errors) == (0, b"", b"")


async def test_it_ends_with_its_parent(directory: Path) -> None:
    process = await started(directory, "--until-stdin-closes")
    await first_line(process)

    assert process.stdin is not None
    process.stdin.close()
    output, errors = await process.communicate()

    assert (process.returncode, output, errors) == (0, b"", b"")


async def test_it_takes_what_the_emulator_takes(tmp_path: Path) -> None:
    script = tmp_path / "faults.json"
    script.write_text(json.dumps([{"kind": "create", "do": "status", "nth": 2}]))
    process = await started(
        tmp_path / "emulator",
        *("--key", "sk-one", "--key", "sk-two", "--control"),
        *("--goapi-key", "g-one", "--llmprovider-key", "l-one"),
        *("--switch", "md5=base64", "--switch", "lifetime=60"),
        *("--faults", str(script), "--client-pid", "99999"),
    )
    url = (await first_line(process)).strip()

    async with Client(url, key="sk-two") as client:
        upload = (await client.create()).json
        assert upload["expires_at"] == upload["created_at"] + 60
        assert (await client.create()).status == 500
    async with Client(url, key="sk-three") as client:
        assert (await client.create()).status == 401
    async with Client(url.removesuffix("/v1")) as client:
        switches = (await client.get("/_emulator/switches")).json
        assert switches["md5"] == "base64"
    for path in ("/api/chatgpt/v1/conversation", "/llmprovider/v1/action"):
        headers = {"X-API-Key": "sk-two"}
        async with Client(url.removesuffix("/v1"), headers=headers) as client:
            assert (await client.post(path, {})).status == 401
    process.terminate()
    await process.communicate()


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_bad_switch_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = error_of(capsys, "--dir", str(tmp_path), "--switch", "md5=crc")

    assert "md5=crc: expected 'hex'" in error


def test_a_bad_script_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "faults.json"
    script.write_text('[{"kind": "part"}]')

    error = error_of(capsys, "--dir", str(tmp_path), "--faults", str(script))

    assert "entry 1: Object missing required field `do`" in error


async def test_a_port_in_use_is_one_line_and_exit_2(
    emulator: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = emulator.origin.rpartition(":")[2]

    process = await started(tmp_path, "--port", port)
    output, errors = await process.communicate()

    assert (process.returncode, output) == (2, b"")
    assert errors.count(b"\n") == 1
    assert b"address already in use" in errors


def test_a_directory_that_is_none_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    error_of(capsys, "--dir", str(tmp_path / "file"))


def test_help_tells_every_switch(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    assert "md5=hex" in capsys.readouterr().out
