"""Programs that others wrote, from `.tools/`; `tests/tools/prepare` fills it.

Without it these tests are skipped: nothing is fetched by running tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

HOUSE = Path(__file__).parents[2]
TOOLS = HOUSE / ".tools"
SPEC = Path(__file__).with_name("openapi.yaml")

PATIENCE = 30.0
"""Seconds that a program gets to start."""


@pytest.fixture
def tool() -> Callable[[str], Path]:
    """Finds a program or directory below `.tools/`, or skips the test."""

    def find(name: str) -> Path:
        path = TOOLS / name
        if not path.exists():
            pytest.skip(f".tools/{name} is missing; tests/tools/prepare fetches it")
        return path

    return find


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def listening(url: str, *command: str | Path) -> AsyncIterator[None]:
    """A server of others, as soon as it answers at *url*, until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        # What npm installs may be a script that starts the program proper.
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await _answers(url, process)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _answers(url: str, process: asyncio.subprocess.Process) -> None:
    async with aiohttp.ClientSession() as session:
        while process.returncode is None:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    pytest.fail(f"it ended with {process.returncode} instead of listening at {url}")


async def output_of(*command: str | Path, cwd: Path = HOUSE, **environ: str) -> str:
    """Run a program to its end; return all that it says, whatever its exit code."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode()
