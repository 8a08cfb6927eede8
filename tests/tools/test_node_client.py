"""The official client for Node against the emulator."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.conftest import output_of
from uploader.emulator import Emulator

pytestmark = pytest.mark.tools


async def test_it_goes_through_the_life_of_an_upload(
    tool: Callable[[str], Path], emulator: Emulator
) -> None:
    modules = tool("node_modules/openai").parent
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")

    said = await output_of(
        node,
        Path(__file__).with_name("client.cjs"),
        emulator.url,
        NODE_PATH=str(modules),
    )

    assert json.loads(said) == {
        "status": "completed",
        "content": "hello world",
        "cancelled": "cancelled",
        "refused": "BadRequestError",
        "listed": 2,
        "deleted": True,
        "unknown": "NotFoundError",
    }
