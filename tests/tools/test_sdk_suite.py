"""The tests that the official Python client brings along, against the emulator."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.conftest import output_of
from uploader.emulator import Emulator, Switches

pytestmark = pytest.mark.tools

FILES = ("test_uploads.py", "uploads", "test_files.py")
CONVERSATIONS = ("conversations", "vector_stores")


@pytest.mark.parametrize(
    ("suite", "floor"),
    [
        # Of 205 tests of openai 3.54 three are skipped; a later suite may be longer.
        pytest.param(FILES, 200, id="uploads and files"),
        pytest.param(CONVERSATIONS, 315, id="conversations and vector stores"),
    ],
)
async def test_the_client_s_own_tests_pass(
    tool: Callable[[str], Path], tmp_path: Path, suite: tuple[str, ...], floor: int
) -> None:
    sdk = tool("sdk")
    # The client expects the description's word for a batch, not the recorded one.
    seeding = Switches(seeding=True, batch_object="vector_store.files_batch")

    async with Emulator(tmp_path / "service", switches=seeding) as emulator:
        said = await output_of(
            *(sys.executable, "-m", "pytest", "-q", "-o", "addopts="),
            *("-p", "no:cacheprovider"),
            *(f"tests/api_resources/{name}" for name in suite),
            cwd=sdk,
            TEST_API_BASE_URL=emulator.url,
        )

    last_line = said.strip().splitlines()[-1]
    counts = {word: int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", last_line)}
    assert counts.get("passed", 0) >= floor, said
    assert not counts.keys() & {"failed", "error", "errors"}, said
