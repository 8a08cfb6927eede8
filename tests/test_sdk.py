"""`Uploader.from_openai`: what an `openai` client object has is what is sent."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

from tests.command import KEY, files_at
from tests.fakes import Told, serving
from uploader import Settings, Uploader
from uploader.backends.openai import OpenAI as Backend
from uploader.backends.sdk import from_client
from uploader.config import RetryPolicy, Timeouts
from uploader.emulator import Emulator, Fault
from uploader.errors import CredentialsRefused, UsageError
from uploader.events import PartSent
from uploader.model import GIB

VERSION = "2024-10-21"
PARTS = 3
PART_SIZE = 4096

Client = OpenAI | AsyncOpenAI

openai_clients = pytest.mark.parametrize("kind", [OpenAI, AsyncOpenAI])
azure_clients = pytest.mark.parametrize("kind", [AzureOpenAI, AsyncAzureOpenAI])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Nothing of a service, for that is the client's to say."""
    return Settings(
        base_url="http://127.0.0.1:9/v1",
        journal=tmp_path / "state" / "journal.db",
        part_size=PART_SIZE,
        retry=RetryPolicy(backoff_initial=0.001, backoff_max=0.001),
        timeouts=Timeouts(settle=0.0),
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.jsonl"
    path.write_bytes(random.Random(6).randbytes(PARTS * PART_SIZE))
    return path


@asynccontextmanager
async def closing(client: Client) -> AsyncIterator[Client]:
    try:
        yield client
    finally:
        closed = client.close()
        if closed is not None:
            await closed


class Listener:
    """A service that keeps the headers and URLs of its requests."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        return web.json_response({"object": "list", "data": [], "has_more": False})

    def headers(self, name: str) -> list[str | None]:
        return [request.headers.get(name) for request in self.requests]

    async def hears(self, client: Client, times: int = 1) -> None:
        """Let a backend made of *client* ask for something."""
        async with closing(client), talking(client) as backend:
            for _ in range(times):
                await backend.list_files()


@asynccontextmanager
async def talking(client: Client) -> AsyncIterator[Backend]:
    backend = from_client(client, Settings())
    try:
        yield backend
    finally:
        await backend.aclose()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    async with serving(listener.handle) as listener.url:
        yield listener


# -- whole uploads ------------------------------------------------------------


@openai_clients
async def test_an_upload_goes_where_the_client_would_send_it(
    settings: Settings, source: Path, emulator: Emulator, kind: type[Client]
) -> None:
    client = kind(base_url=emulator.url, api_key=KEY)

    async with closing(client), Uploader.from_openai(client, settings) as uploader:
        file = await uploader.upload(source, purpose="batch")

    assert file.receipt.service == f"openai {emulator.url}"
    assert await files_at(emulator.url) == {file.file_id: source.read_bytes()}


@azure_clients
async def test_an_upload_goes_to_azure_where_the_client_is_one(
    settings: Settings, source: Path, emulator: Emulator, kind: type[Client]
) -> None:
    client = kind(  # type: ignore[call-arg]
        azure_endpoint=emulator.origin, api_key=KEY, api_version=VERSION
    )

    async with closing(client), Uploader.from_openai(client, settings) as uploader:
        file = await uploader.upload(source, purpose="batch")

    account = emulator.account()
    assert {request.query["api-version"] for request in account.requests} == {VERSION}
    assert account.requests[0].path == "/openai/uploads"
    assert account.requests[0].headers["api-key"] == "***"
    assert file.receipt.service == f"azure {emulator.origin}"
    assert await files_at(emulator.url) == {file.file_id: source.read_bytes()}


async def test_what_a_client_left_is_resumed_by_settings_and_the_other_way_round(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    async def upload(uploader: Uploader) -> str:
        async with uploader:
            return (await uploader.upload(source, purpose="batch")).file_id

    client = AsyncOpenAI(base_url=emulator.url, api_key=KEY)
    plain = replace(settings, base_url=emulator.url, api_key=KEY, parallel=1)
    told = Told()
    async with closing(client):
        emulator.add_fault(Fault(kind="part", nth=2, do="status", status=401))
        with pytest.raises(CredentialsRefused):
            await upload(Uploader.from_openai(client, replace(plain, api_key=None)))
        emulator.add_fault(Fault(kind="part", nth=2, do="status", status=401))
        with pytest.raises(CredentialsRefused):
            await upload(Uploader(plain))
        await upload(Uploader.from_openai(client, plain, observers=[told]))

    assert len(told.of(PartSent)) == 1


async def test_it_works_where_the_settings_are_read_from_the_environment(
    source: Path, emulator: Emulator
) -> None:
    client = AsyncOpenAI(base_url=emulator.url, api_key=KEY)

    async with closing(client), Uploader.from_openai(client) as uploader:
        file = await uploader.upload(source)

    assert list(await files_at(emulator.url)) == [file.file_id]


# -- credentials --------------------------------------------------------------


@openai_clients
async def test_the_key_of_the_client_is_sent(
    listener: Listener, kind: type[Client]
) -> None:
    await listener.hears(kind(base_url=listener.url, api_key=KEY))

    assert listener.headers("Authorization") == [f"Bearer {KEY}"]


def numbered() -> Callable[[], str]:
    """A function that gives another key each time."""
    keys = iter(f"key-{number}" for number in range(1, 99))
    return lambda: next(keys)


def waiting(function: Callable[[], str]) -> Any:
    async def ask() -> str:
        return function()

    return ask


async def test_a_key_that_is_a_function_is_asked_for_before_each_request(
    listener: Listener,
) -> None:
    expected = ["Bearer key-1", "Bearer key-2", "Bearer key-3"]

    await listener.hears(OpenAI(base_url=listener.url, api_key=numbered()), 3)
    assert listener.headers("Authorization") == expected

    listener.requests.clear()
    key = waiting(numbered())
    await listener.hears(AsyncOpenAI(base_url=listener.url, api_key=key), 3)
    assert listener.headers("Authorization") == expected


async def test_a_provider_of_entra_tokens_is_asked_before_each_request(
    listener: Listener,
) -> None:
    expected = ["Bearer key-1", "Bearer key-2", "Bearer key-3"]
    azure: Any = {"azure_endpoint": listener.url, "api_version": VERSION}
    clients: list[Client] = [
        AzureOpenAI(**azure, azure_ad_token_provider=numbered()),
        AsyncAzureOpenAI(**azure, azure_ad_token_provider=numbered()),
        AsyncAzureOpenAI(**azure, azure_ad_token_provider=waiting(numbered())),
    ]

    for client in clients:
        listener.requests.clear()
        await listener.hears(client, 3)
        assert listener.headers("Authorization") == expected
        assert listener.headers("api-key") == [None] * 3


@azure_clients
async def test_azure_takes_a_token_a_key_or_a_function_for_a_key(
    listener: Listener, kind: Any
) -> None:
    azure: Any = {"azure_endpoint": listener.url, "api_version": VERSION}
    function = numbered() if kind is AzureOpenAI else waiting(numbered())

    await listener.hears(kind(**azure, azure_ad_token="entra"))
    await listener.hears(kind(**azure, api_key=KEY))
    await listener.hears(kind(**azure, api_key=function), 2)

    assert listener.headers("Authorization") == ["Bearer entra", None, None, None]
    assert listener.headers("api-key") == [None, KEY, "key-1", "key-2"]


async def test_a_header_of_the_owner_wins_over_the_key(listener: Listener) -> None:
    client = OpenAI(
        base_url=listener.url,
        api_key=KEY,
        default_headers={"authorization": "Basic cHJveHk="},
    )

    await listener.hears(client)

    assert listener.headers("Authorization") == ["Basic cHJveHk="]


async def test_a_function_that_fails_ends_the_upload_with_its_own_error(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    def ask() -> str:
        raise LookupError("the vault is closed")

    client = OpenAI(base_url=emulator.url, api_key=ask)

    with pytest.raises(LookupError, match="the vault is closed"):
        async with closing(client), Uploader.from_openai(client, settings) as uploader:
            await uploader.upload(source)

    assert emulator.account().requests == ()


async def test_a_key_is_in_no_repr_and_no_error(
    settings: Settings, source: Path, tmp_path: Path
) -> None:
    async with Emulator(tmp_path / "strict", keys=["another"]) as emulator:
        client = OpenAI(base_url=emulator.url, api_key=KEY)
        async with closing(client), Uploader.from_openai(client, settings) as uploader:
            with pytest.raises(CredentialsRefused) as refused:
                await uploader.upload(source)

            assert KEY not in repr(uploader)
    assert KEY not in str(refused.value)


# -- what else a client has ---------------------------------------------------


@openai_clients
async def test_account_and_headers_are_sent_and_what_speaks_of_the_client_is_not(
    listener: Listener, kind: type[Client]
) -> None:
    client = kind(
        base_url=listener.url,
        api_key=KEY,
        organization="org-1",
        project="proj-1",
        default_headers={"X-Team": "blue"},
        default_query={"tier": "2"},
    )
    service = from_client(client, Settings()).service

    await listener.hears(client)

    (request,) = listener.requests
    assert request.headers["OpenAI-Organization"] == "org-1"
    assert request.headers["OpenAI-Project"] == "proj-1"
    assert request.headers["X-Team"] == "blue"
    assert request.query["tier"] == "2"
    assert request.headers["User-Agent"].startswith("uploader/")
    assert not [name for name in request.headers if "stainless" in name.lower()]
    assert "Content-Type" not in request.headers
    assert service == f"openai {listener.url} org-1/proj-1"


async def test_options_of_a_copy_of_the_client_count(listener: Listener) -> None:
    client = OpenAI(base_url="http://127.0.0.1:9/v1", api_key="sk-other")

    await listener.hears(client.with_options(base_url=listener.url, api_key=KEY))

    assert listener.headers("Authorization") == [f"Bearer {KEY}"]


@azure_clients
async def test_a_deployment_has_no_uploads_and_is_left_out(
    listener: Listener, kind: Any
) -> None:
    client = kind(
        azure_endpoint=listener.url.removesuffix("/v1"),
        azure_deployment="gpt",
        api_version=VERSION,
        api_key=KEY,
    )

    await listener.hears(client)

    assert [request.path for request in listener.requests] == ["/openai/files"]


@pytest.mark.parametrize(
    ("given", "timeouts"),
    [
        pytest.param(
            openai.Timeout(90.0, connect=2.0, write=7.0),
            Timeouts(connect=2.0, answer=90.0, progress=7.0),
            id="each",
        ),
        pytest.param(20.0, Timeouts(answer=20.0), id="one number"),
        pytest.param(None, Timeouts(), id="none"),
        pytest.param(openai.Timeout(None), Timeouts(), id="none of each"),
        # Its ten minutes for a write would be a sixth of an upload's life.
        pytest.param(openai.NOT_GIVEN, Timeouts(connect=5.0), id="its defaults"),
    ],
)
async def test_timeouts_are_the_client_s(given: Any, timeouts: Timeouts) -> None:
    client = OpenAI(base_url="http://127.0.0.1:9/v1", api_key=KEY, timeout=given)

    async with closing(client), talking(client) as backend:
        assert backend._http._timeouts == timeouts


@azure_clients
async def test_the_limits_are_the_service_s(kind: Any) -> None:
    azure = kind(
        azure_endpoint="https://x.openai.azure.com", api_version=VERSION, api_key=KEY
    )
    plain = OpenAI(api_key=KEY)

    async with closing(azure), closing(plain):
        limits = [from_client(client, Settings()).limits for client in (azure, plain)]

    assert [limit.upload_size for limit in limits] == [9 * GIB, 8 * GIB]
    assert [limit.lifetime for limit in limits] == [7200.0, 3600.0]


# -- what is no client --------------------------------------------------------


@pytest.mark.parametrize("stranger", [None, "sk-test", OpenAI, openai, object()])
def test_a_stranger_is_refused(stranger: object, settings: Settings) -> None:
    with pytest.raises(UsageError, match="is no openai client") as refused:
        Uploader.from_openai(stranger, settings)

    assert "AsyncOpenAI" in str(refused.value.hint)


async def test_a_client_of_another_library_is_refused(settings: Settings) -> None:
    async with aiohttp.ClientSession("http://127.0.0.1:9") as client:
        with pytest.raises(UsageError, match="ClientSession is no openai client"):
            Uploader.from_openai(client, settings)


async def test_credentials_that_cannot_be_asked_for_are_refused(
    settings: Settings,
) -> None:
    identity: Any = {
        "provider": {"token_type": "jwt", "get_token": lambda: "subject"},
        "identity_provider_id": "idp",
        "service_account_id": "account",
        "client_id": "client",
    }
    client = OpenAI(workload_identity=identity)

    async with closing(client):
        with pytest.raises(UsageError, match="workload_identity") as refused:
            Uploader.from_openai(client, settings)

    assert "api_key" in str(refused.value.hint)
