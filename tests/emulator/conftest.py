from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.emulator.client import Client
from tests.emulator.goapi import Relay, at, prompt
from uploader.emulator import Emulator


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "emulator"


@pytest.fixture
async def emulator(directory: Path) -> AsyncIterator[Emulator]:
    async with Emulator(directory) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator: Emulator) -> AsyncIterator[Client]:
    async with Client(emulator.url) as client:
        yield client


@pytest.fixture
async def goapi(emulator: Emulator) -> AsyncIterator[Client]:
    async with at(emulator) as client:
        yield client


@pytest.fixture
async def relay(goapi: Client) -> Relay:
    created = await goapi.post("/conversation", prompt("hello"))
    return Relay(goapi, created.events[0]["conversation_id"])
