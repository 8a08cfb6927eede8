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

SUITE = ("test_uploads.py", "uploads", "test_files.py")
FLOOR = 200
"""Of 205 tests of openai 3.54 three are skipped; a later suite may only be longer."""


async def test_the_client_s_own_tests_of_uploads_and_files_pass(
    tool: Callable[[str], Path], tmp_path: Path
) -> None:
    sdk = tool("sdk")
    seeding = Switches(seeding=True)

    async with Emulator(tmp_path / "service", switches=seeding) as emulator:
        said = await output_of(
            *(sys.executable, "-m", "pytest", "-q", "-o", "addopts="),
            *("-p", "no:cacheprovider"),
            *(f"tests/api_resources/{name}" for name in SUITE),
            cwd=sdk,
            TEST_API_BASE_URL=emulator.url,
        )

    last_line = said.strip().splitlines()[-1]
    counts = {word: int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", last_line)}
    assert counts.get("passed", 0) >= FLOOR, said
    assert not counts.keys() & {"failed", "error", "errors"}, said
