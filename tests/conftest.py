import os
from collections.abc import AsyncIterator
from pathlib import Path

import hypothesis
import pytest

from tests.command import Command
from tests.fakes import FakeClock
from uploader.emulator import Emulator

hypothesis.settings.register_profile(
    "uploader", deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("uploader")


@pytest.fixture(autouse=True)
def nobodys_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings, key, proxy or journal of whoever runs the tests."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    for variable in list(os.environ):
        if variable.startswith(
            ("UPLOADER_", "OPENAI_", "AZURE_", "GOAPI_", "LLMPROVIDER_")
        ):
            monkeypatch.delenv(variable)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(tmp_path / "emulator") as emulator:
        yield emulator


@pytest.fixture
def command(emulator: Emulator, tmp_path: Path) -> Command:
    return Command(emulator.url, tmp_path / "state" / "journal.db")
