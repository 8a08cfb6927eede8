"""Azure OpenAI, classic and v1: whole uploads, and every request as the contract has it."""

from __future__ import annotations

import hashlib
import os
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.command import KEY, Command, files_at, finish
from tests.fakes import Told
from uploader import Settings, Uploader, __version__
from uploader.backends import open_backend
from uploader.backends.azure import LIMITS
from uploader.config import Azure, RetryPolicy, Timeouts
from uploader.emulator import Emulator, Fault, Request, Switches
from uploader.errors import (
    CredentialsRefused,
    RequestRejected,
    SourceError,
    UploadExpired,
    UsageError,
)
from uploader.events import PartSent, UploadRestarted
from uploader.model import GIB

VERSION = "2024-10-21"
PART_SIZE = 4096
PARTS = 4

Paths = Literal["classic", "v1"]
PREFIX = {"classic": "/openai", "v1": "/openai/v1"}
QUERY = {"classic": {"api-version": VERSION}, "v1": {}}

both = pytest.mark.parametrize("paths", ["classic", "v1"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.jsonl"
    path.write_bytes(random.Random(5).randbytes(PARTS * PART_SIZE - 7))
    return path


@pytest.fixture
def settings(emulator: Emulator, tmp_path: Path) -> Settings:
    return Settings(
        backend="azure",
        azure=Azure(endpoint=emulator.origin, api_key=KEY),
        journal=tmp_path / "state" / "journal.db",
        part_size=PART_SIZE,
        parallel=1,
        retry=RetryPolicy(backoff_initial=0.001, backoff_max=0.001),
        timeouts=Timeouts(settle=0.0),
    )


def with_azure(settings: Settings, **changes: Any) -> Settings:
    return replace(settings, azure=replace(settings.azure, **changes))


async def upload(settings: Settings, source: Path, *observers: Told) -> str:
    async with Uploader(settings, observers=observers) as uploader:
        return (await uploader.upload(source, purpose="fine-tune")).file_id


# -- the requests -------------------------------------------------------------


@both
async def test_the_requests_are_the_contract_s(
    settings: Settings, source: Path, emulator: Emulator, paths: Paths
) -> None:
    content = source.read_bytes()

    file_id = await upload(with_azure(settings, paths=paths), source)

    account = emulator.account()
    create, *parts, complete, get = account.requests
    upload_id = parts[0].path.split("/")[-2]
    at = f"{PREFIX[paths]}/uploads"
    assert [(r.method, r.path) for r in (create, complete, get)] == [
        ("POST", at),
        ("POST", f"{at}/{upload_id}/complete"),
        ("GET", f"{PREFIX[paths]}/files/{file_id}"),
    ]
    assert [(r.method, r.path) for r in parts] == [
        ("POST", f"{at}/{upload_id}/parts")
    ] * PARTS
    assert create.body == {
        "filename": "source.jsonl",
        "purpose": "fine-tune",
        "bytes": len(content),
        "mime_type": "text/jsonl",
    }
    assert complete.body == {
        "part_ids": list(account.part_bytes),
        "md5": hashlib.md5(content).hexdigest(),
    }
    for request in account.requests:
        assert request.query == QUERY[paths]
        assert_headers(request, {"api-key": "***"})
    assert await files_at(emulator.url) == {file_id: content}


def assert_headers(request: Request, credentials: dict[str, str]) -> None:
    """Ours, and no others."""
    headers = dict(request.headers)
    kind, size = headers.pop("content-type", ""), headers.pop("content-length", "")
    assert headers == {
        "accept": "application/json",
        "user-agent": f"uploader/{__version__}",
        **credentials,
    }
    match request.kind:
        case "part":
            assert kind.startswith("multipart/form-data; boundary=")
            assert int(size) > 0
        case "create" | "complete":
            assert kind == "application/json"
            assert int(size) > 0
        case _:
            assert (kind, size) == ("", "")


@both
async def test_a_token_goes_as_a_bearer_and_wins_over_the_key(
    settings: Settings, source: Path, emulator: Emulator, paths: Paths
) -> None:
    await upload(with_azure(settings, ad_token="entra", paths=paths), source)

    for request in emulator.account().requests:
        assert_headers(request, {"authorization": "Bearer ***"})


@both
async def test_a_cancel_has_neither_a_body_nor_a_content_type(
    settings: Settings, source: Path, emulator: Emulator, paths: Paths
) -> None:
    settings = with_azure(settings, paths=paths)
    emulator.add_fault(Fault(kind="part", nth=2, do="status", status=400))
    with pytest.raises(RequestRejected):
        await upload(settings, source)

    async with Uploader(settings) as uploader:
        (left,) = await uploader.uploads()
        await uploader.cancel(left.id)

    cancel = emulator.account().requests[-1]
    assert left.opened is not None
    assert cancel.path == f"{PREFIX[paths]}/uploads/{left.opened.upload_id}/cancel"
    assert (cancel.kind, cancel.query, cancel.body) == ("cancel", QUERY[paths], None)
    assert cancel.headers["content-length"] == "0"
    assert "content-type" not in cancel.headers


@pytest.mark.parametrize("ending", ["", "/", "/openai", "/openai/", "/openai/v1/"])
@both
async def test_the_endpoint_may_be_pasted_with_the_paths_behind_it(
    settings: Settings, source: Path, emulator: Emulator, paths: Paths, ending: str
) -> None:
    endpoint = f"{emulator.origin}{ending}"

    await upload(with_azure(settings, paths=paths, endpoint=endpoint), source)

    assert emulator.account().requests[0].path == f"{PREFIX[paths]}/uploads"


async def test_another_api_version_is_sent_as_it_is(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    await upload(with_azure(settings, api_version="2026-01-01-preview"), source)

    queries = [request.query for request in emulator.account().requests]
    assert queries == [{"api-version": "2026-01-01-preview"}] * len(queries)


# -- stopped and resumed ------------------------------------------------------


@both
async def test_what_a_failure_left_is_resumed_without_sending_a_part_again(
    settings: Settings, source: Path, emulator: Emulator, paths: Paths
) -> None:
    settings = with_azure(settings, paths=paths)
    emulator.add_fault(Fault(kind="part", nth=3, do="status", status=401))
    with pytest.raises(CredentialsRefused):
        await upload(settings, source)
    told = Told()

    file_id = await upload(settings, source, told)

    assert [event.number for event in told.of(PartSent)] == [3, 4]
    assert await files_at(emulator.url) == {file_id: source.read_bytes()}


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@both
async def test_a_killed_command_is_resumed_from_the_environment_alone(
    source: Path, emulator: Emulator, tmp_path: Path, paths: Paths
) -> None:
    command = Command("http://127.0.0.1:9/v1", tmp_path / "state" / "journal.db")
    environ = {
        "UPLOADER_BACKEND": "azure",
        "UPLOADER_AZURE_PATHS": paths,
        "AZURE_OPENAI_ENDPOINT": emulator.origin,
        "AZURE_OPENAI_API_KEY": KEY,
        "OPENAI_API_VERSION": VERSION,
        "UPLOADER_PARALLEL": "1",
        "UPLOADER_PART_SIZE": str(PART_SIZE),
    }
    emulator.add_fault(Fault(kind="part", nth=3, do="kill", when="before"))
    process = await command.start(
        "upload", str(source), "--purpose", "batch", "--no-preflight", **environ
    )
    emulator.client_pid = process.pid
    assert (await finish(process)).returncode == -9

    done = await command("resume", **environ)

    assert done.returncode == 0, done
    account = emulator.account()
    # The third was asked for once more, as its first time was the kill.
    assert account.counts["part"] == PARTS + 1
    for request in account.requests:
        assert request.path.startswith(f"{PREFIX[paths]}/")
        assert request.query == QUERY[paths]
        assert request.headers["api-key"] == "***"
    assert await files_at(emulator.url) == {done.last_line: source.read_bytes()}


async def test_either_paths_lead_to_the_same_resource_and_journal(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.add_fault(Fault(kind="part", nth=3, do="status", status=401))
    with pytest.raises(CredentialsRefused):
        await upload(settings, source)
    told = Told()

    file_id = await upload(with_azure(settings, paths="v1"), source, told)

    assert len(told.of(PartSent)) == PARTS - 2
    assert await files_at(emulator.url) == {file_id: source.read_bytes()}


# -- what Azure alone has -----------------------------------------------------


async def test_block_ids_are_kept_and_part_ids_are_sent(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.switches = Switches(azure_part_ids="id")

    async with Uploader(settings) as uploader:
        file = await uploader.upload(source, purpose="fine-tune")
        (kept,) = await uploader.uploads()

    blocks = [str(part.details["azure_block_id"]) for part in kept.parts.values()]
    assert [part.details["azure_block_id"] for part in file.receipt.parts] == blocks
    assert all(re.fullmatch(r"[0-9A-Za-z+/]{22}==", block) for block in blocks)
    assert len(set(blocks)) == PARTS
    complete = emulator.account().requests[-2].body
    assert isinstance(complete, dict)
    assert not set(complete["part_ids"]) & set(blocks)


async def test_a_pending_upload_that_shows_a_file_is_not_complete(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.switches = Switches(azure_pending_file=True)

    file_id = await upload(settings, source)

    assert emulator.account().counts["complete"] == 1
    assert await files_at(emulator.url) == {file_id: source.read_bytes()}


async def test_nine_gibibytes_are_the_limit(
    settings: Settings, tmp_path: Path, emulator: Emulator
) -> None:
    huge = tmp_path / "huge.jsonl"
    with huge.open("wb") as file:
        file.truncate(9 * GIB + 1)

    with pytest.raises(SourceError, match=f"at most {9 * GIB}"):
        await upload(replace(settings, part_size=None), huge)

    assert emulator.account().requests == ()
    assert LIMITS.upload_size == 9 * GIB


async def test_an_upload_lives_two_hours(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.add_fault(Fault(kind="part", nth=3, do="status", status=401))
    with pytest.raises(CredentialsRefused):
        await upload(settings, source)
    emulator.advance(7100)
    emulator.add_fault(Fault(kind="part", do="status", status=401))
    with pytest.raises(CredentialsRefused):
        await upload(settings, source)
    emulator.advance(200)
    told = Told()

    await upload(settings, source, told)

    assert LIMITS.lifetime == 7200
    assert len(told.of(UploadRestarted)) == 1
    assert len(told.of(PartSent)) == PARTS


# -- what goes wrong ----------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "switches", "other"),
    [
        pytest.param("classic", {"azure_classic": False}, "v1", id="classic"),
        pytest.param("v1", {"azure_v1": False}, "classic", id="v1"),
    ],
)
async def test_a_404_at_create_names_the_path_and_how_to_set_the_other(
    settings: Settings,
    source: Path,
    emulator: Emulator,
    paths: Paths,
    switches: dict[str, object],
    other: Paths,
) -> None:
    emulator.switches = Switches().with_values(switches)

    with pytest.raises(RequestRejected) as refused:
        await upload(with_azure(settings, paths=paths), source)

    tried = f"tried {emulator.origin}{PREFIX[paths]}/uploads"
    assert tried in str(refused.value)
    assert f'azure.paths = "{other}"' in str(refused.value.hint)
    assert f"UPLOADER_AZURE_PATHS={other}" in str(refused.value.hint)
    await upload(with_azure(settings, paths=other), source)
    assert len(await files_at(emulator.url)) == 1


@both
async def test_the_words_of_an_error_are_told(
    settings: Settings, source: Path, emulator: Emulator, paths: Paths
) -> None:
    settings = with_azure(settings, paths=paths)

    async with Uploader(settings) as uploader:
        with pytest.raises(RequestRejected, match=r"HTTP 400: .*'user_data'"):
            await uploader.upload(source)

    assert emulator.account().counts["create"] == 1


async def test_a_key_that_is_refused_is_said_and_not_shown(
    settings: Settings, source: Path, tmp_path: Path
) -> None:
    async with Emulator(tmp_path / "strict", keys=["another"]) as emulator:
        strict = with_azure(settings, endpoint=emulator.origin)
        with pytest.raises(CredentialsRefused, match="HTTP 401") as refused:
            await upload(strict, source)

    assert KEY not in str(refused.value)


@pytest.mark.parametrize("status", [400, 429])
async def test_a_used_up_quota_is_no_reason_to_wait(
    settings: Settings, source: Path, emulator: Emulator, status: int
) -> None:
    body: dict[str, object] = {
        "error": {"code": "quotaExceeded", "message": "The quota is used up."}
    }
    emulator.add_fault(
        Fault(kind="create", do="status", status=status, body=body, times=9)
    )

    with pytest.raises((RequestRejected, CredentialsRefused), match="quota is used"):
        await upload(settings, source)

    assert emulator.account().counts["create"] == 1


async def test_a_410_starts_over_and_is_given_up_at_last(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.add_fault(Fault(kind="part", do="status", status=410, times=9))

    with pytest.raises(UploadExpired):
        await upload(settings, source)

    assert emulator.account().counts["create"] == 3


async def test_classic_refuses_expires_after_before_a_byte_is_sent(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    async def upload(settings: Settings) -> None:
        async with Uploader(settings) as uploader:
            await uploader.upload(source, purpose="batch", expires_after=3600)

    with pytest.raises(UsageError, match="expires_after") as refused:
        await upload(settings)
    assert emulator.account().requests == ()
    assert 'azure.paths = "v1"' in str(refused.value.hint)

    await upload(with_azure(settings, paths="v1"))
    body = emulator.account().requests[0].body
    assert isinstance(body, dict)
    assert body["expires_after"] == {"anchor": "created_at", "seconds": 3600}


@pytest.mark.parametrize(
    ("azure", "words"),
    [
        pytest.param(Azure(api_key=KEY), "AZURE_OPENAI_ENDPOINT", id="endpoint"),
        pytest.param(
            Azure(endpoint="https://x.openai.azure.com"),
            "AZURE_OPENAI_API_KEY",
            id="key",
        ),
    ],
)
def test_what_is_missing_is_named_with_its_variable(azure: Azure, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        open_backend(Settings(backend="azure", azure=azure))

    assert words in str(refused.value.hint)


def test_the_variables_of_azure_are_understood() -> None:
    settings = Settings.load(
        environ={
            "UPLOADER_BACKEND": "azure",
            "AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com",
            "AZURE_OPENAI_API_KEY": "key",
            "AZURE_OPENAI_AD_TOKEN": "token",
            "OPENAI_API_VERSION": "2025-01-01",
            "UPLOADER_AZURE_PATHS": "v1",
        }
    )

    assert settings.azure == Azure(
        endpoint="https://x.openai.azure.com",
        api_key="key",
        ad_token="token",
        api_version="2025-01-01",
        paths="v1",
    )
    assert "key" not in repr(settings.azure).replace("api_key", "")
    assert "token" not in repr(settings.azure).replace("ad_token", "")
