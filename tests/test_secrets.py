"""Three keys, much that goes wrong, and none of them is found anywhere afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from aiohttp import web

from tests.command import Command, Done
from tests.fakes import serving
from tests.pictures import PNG
from uploader.emulator import Emulator, Fault

KEYS = {
    "OPENAI_API_KEY": "sk-secret-Zq3nVbTw8",
    "GOAPI_API_KEY": "goapi-secret-Xc7mKdRy2",
    "LLMPROVIDER_API_KEY": "llm-secret-Hf5pLsJw9",
}
SECRETS = tuple(key.encode() for key in KEYS.values())

WAYS = (
    ("a.txt", "conversation:new", "--model", "gpt-6-astra"),
    ("a.txt", "conversation:new"),
    ("a.png", "goapi:new"),
    ("a.png", "llmprovider:new"),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"hello")
    (folder / "a.png").write_bytes(PNG)
    return folder


async def send(
    command: Command, folder: Path, way: Sequence[str], *options: str, **environ: str
) -> Done:
    name, target, *more = way
    return await command(
        *("upload", str(folder / name), "--to", target, "--prompt", "?"),
        *(*more, *options),
        **{
            **KEYS,
            "UPLOADER_LOG_FILE": str(folder.parent / "uploader.log"),
            "UPLOADER_TIMEOUTS_SETTLE": "0",
            "UPLOADER_RETRY_MAX_ATTEMPTS": "2",
            "UPLOADER_RETRY_BACKOFF_INITIAL": "0.001",
            "UPLOADER_RETRY_BACKOFF_MAX": "0.001",
            **environ,
        },
    )


def places_of_keys(directory: Path, *runs: Done) -> list[str]:
    """Where a key is to be read: files, by name, and output."""
    found = []
    for path in directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found += [str(path) for secret in SECRETS if secret in content]
    for done in runs:
        said = (done.stdout + done.stderr).encode()
        found += [f"output: {done}" for secret in SECRETS if secret in said]
    return found


async def test_no_key_is_left_by_runs_with_faults(tmp_path: Path, folder: Path) -> None:
    page = "<html><body>Bad gateway</body></html>"
    async with Emulator(
        tmp_path / "service",
        keys=[KEYS["OPENAI_API_KEY"]],
        goapi_keys=[KEYS["GOAPI_API_KEY"]],
        llmprovider_keys=[KEYS["LLMPROVIDER_API_KEY"]],
    ) as emulator:
        command = Command(emulator.url, tmp_path / "state" / "journal.db")
        for kind in ("part", "goapi_upload", "llmprovider_upload"):
            emulator.add_fault(Fault(kind=kind, do="status", status=401))
        for kind in ("item_create", "goapi_message", "llmprovider_chat"):
            emulator.add_fault(Fault(kind=kind, do="status", status=502, body=page))
        emulator.add_fault(Fault(kind="response_create", do="reset", when="after"))

        runs = [
            await send(command, folder, way, option)
            for way in WAYS
            for option in ("-v", "--json")
        ]
        runs.append(await command("resume", "-v", "--again", "nobody", **KEYS))
        runs.append(await command("list", "--all", **KEYS))
        runs.append(await command("config", **KEYS))

    assert {done.returncode for done in runs} >= {0, 6, 10}
    assert "journal.db" in {path.name for path in (tmp_path / "state").iterdir()}
    assert (tmp_path / "uploader.log").stat().st_size > 0
    assert places_of_keys(tmp_path, *runs) == []


@pytest.mark.parametrize("shape", ["json", "page", "text", "stream"])
async def test_a_service_that_repeats_the_key_is_not_quoted(
    tmp_path: Path, folder: Path, shape: str
) -> None:
    repeated = []

    async def handler(request: web.Request) -> web.Response:
        headers = request.headers
        key = headers.get("X-API-Key") or headers["Authorization"].split()[1]
        repeated.append(key)
        words = f"{key} is no key for {key[:6]}"
        if shape == "json":
            return web.json_response({"error": {"message": words}}, status=400)
        if shape == "page":
            page = f"<html>{words}</html>"
            return web.Response(text=page, status=400, content_type="text/html")
        if shape == "text":
            return web.Response(text=words, status=400)
        return web.Response(
            text=f'data: {{"error": "{words}"}}\n\n', content_type="text/event-stream"
        )

    async with serving(handler) as url:
        command = Command(url, tmp_path / "state" / "journal.db")
        runs = [
            await send(command, folder, way, option)
            for way, option in zip(WAYS[1:], ("-v", "--json", "-q"), strict=True)
        ]

    assert {done.returncode for done in runs} <= {4, 5, 6}
    assert set(repeated) == set(KEYS.values())
    assert places_of_keys(tmp_path, *runs) == []
