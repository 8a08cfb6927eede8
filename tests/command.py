"""The command `uploader` as a real process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import aiohttp

from uploader.cli import main

KEY = "sk-test-0123456789"
GOAPI_KEY = "goapi-test-0123456789"
LLMPROVIDER_KEY = "llm-test-0123456789"


@dataclass(frozen=True, slots=True)
class Done:
    """What a process left behind."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        return self.stdout.splitlines()[-1]


@dataclass(frozen=True, slots=True)
class Command:
    """Runs `uploader` against one service and one journal."""

    base_url: str
    journal: Path

    async def start(
        self, *arguments: str, **environ: str
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "uploader",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**self._environ(), **environ},
        )

    async def __call__(self, *arguments: str, **environ: str) -> Done:
        return await finish(await self.start(*arguments, **environ))

    async def tell(self, *arguments: str, **environ: str) -> Done:
        """The same within this process: quicker, for commands without signals."""
        environ = {**self._environ(), **environ}
        return await asyncio.to_thread(_run_here, arguments, environ)

    def _environ(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(
                ("UPLOADER_", "OPENAI_", "AZURE_", "GOAPI_", "LLMPROVIDER_")
            )
        }
        # The emulator has all services at one address.
        origin = self.base_url.removesuffix("/v1")
        return {
            **kept,
            "GOAPI_API_KEY": GOAPI_KEY,
            "GOAPI_BASE_URL": origin,
            "LLMPROVIDER_API_KEY": LLMPROVIDER_KEY,
            "LLMPROVIDER_BASE_URL": f"{origin}/llmprovider/v1",
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": self.base_url,
            "UPLOADER_JOURNAL": str(self.journal),
            "UPLOADER_CONFIG": os.devnull,
        }


def _no_signals(_: object) -> contextlib.nullcontext[list[object]]:
    return contextlib.nullcontext([])


def _run_here(arguments: Sequence[str], environ: Mapping[str, str]) -> Done:
    stdout, stderr, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, environ, clear=True),
        mock.patch.object(sys, "argv", ["uploader", *arguments]),
        # Only a main thread hears signals.
        mock.patch("uploader.cli.running._signals", _no_signals),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as done:
            code = int(done.code or 0)
    return Done(code, stdout.getvalue(), stderr.getvalue())


async def finish(process: asyncio.subprocess.Process) -> Done:
    stdout, stderr = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, stdout.decode(), stderr.decode())


async def files_at(url: str) -> dict[str, bytes]:
    """Every file of the service at *url*, with its content."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.get(f"{url}/files") as answer:
            ids = [file["id"] for file in (await answer.json())["data"]]
        contents = {}
        for file_id in ids:
            async with session.get(f"{url}/files/{file_id}/content") as answer:
                contents[file_id] = await answer.read()
    return contents
