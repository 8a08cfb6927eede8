"""An emulator, a journal and a source of their own, and the command as a process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from uploader.config import Settings
from uploader.emulator import Emulator
from uploader.engine import open_journal
from uploader.errors import JournalError
from uploader.model import Upload
from uploader.selftest.report import Broken

KEY: Final = "sk-selftest"
FOREIGN: Final = ("UPLOADER_", "OPENAI_", "AZURE_", "GOAPI_", "LLMPROVIDER_")
PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy")
PATIENCE: Final = 120.0
"""Seconds that one process gets; it needs one or two."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    code: int
    complaint: str
    """Its last words about what went wrong."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where one upload is tried."""

    emulator: Emulator
    journal: Path
    source: Path
    part_size: int

    async def upload(self) -> Ended:
        """Upload the source by a process, the only one that faults may kill."""
        size = str(self.part_size)
        return await self._command("upload", str(self.source), "--part-size", size)

    async def resume(self) -> Ended:
        return await self._command("resume")

    async def _command(self, *arguments: str) -> Ended:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "uploader", *arguments, "--parallel", "3"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment(self.emulator.url, self.journal),
        )
        self.emulator.client_pid = process.pid
        try:
            async with asyncio.timeout(PATIENCE):
                _, said = await process.communicate()
        except TimeoutError:
            raise Broken(f"`uploader {arguments[0]}` hung") from None
        finally:
            self.emulator.client_pid = None
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        complaint = last_error(said)
        if process.returncode == JournalError.exit_code:
            raise JournalError(complaint)
        return Ended(process.returncode, complaint)

    async def recorded(self) -> frozenset[str]:
        """The SHA-256 of every part that the journal has."""
        journal = await open_journal(Settings(journal=self.journal))
        try:
            uploads = await journal.uploads()
        finally:
            await journal.aclose()
        return frozenset(self._digests(uploads[0])) if uploads else frozenset()

    def _digests(self, upload: Upload) -> list[str]:
        content = self.source.read_bytes()
        return [
            hashlib.sha256(content[part.offset : part.end]).hexdigest()
            for part in upload.plan.parts
            if part.number in upload.parts
        ]

    def received(self) -> list[str]:
        """The SHA-256 of every part that arrived whole at the service, in order."""
        receptions = self.emulator.account().receptions
        return [one.sha256 for one in receptions if one.part_id is not None]

    async def check_file(self) -> None:
        """Raises `Broken` unless the service has one file, equal to the source."""
        ids = [one["id"] for one in json.loads(await self._get("files"))["data"]]
        if len(ids) != 1:
            raise Broken(f"the service has {len(ids)} files instead of one")
        if await self._get(f"files/{ids[0]}/content") != self.source.read_bytes():
            raise Broken(f"{ids[0]} is not what was sent")

    async def _get(self, path: str) -> bytes:
        # Not with our own client: what it would get wrong it could overlook, too.
        request = urllib.request.Request(
            f"{self.emulator.url}/{path}", headers={"Authorization": f"Bearer {KEY}"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def get() -> bytes:
            try:
                with opener.open(request, timeout=PATIENCE) as answer:
                    content: bytes = answer.read()
            except urllib.error.URLError as error:
                raise Broken(f"the emulator does not answer: {error}") from None
            return content

        return await asyncio.to_thread(get)


@asynccontextmanager
async def ground(
    directory: Path, content: bytes, part_size: int
) -> AsyncIterator[Ground]:
    source = directory / "source.bin"
    source.write_bytes(content)
    async with Emulator(directory / "service") as emulator:
        yield Ground(emulator, directory / "journal.db", source, part_size)


def last_error(said: bytes) -> str:
    """What a process complained of at last, without the hint."""
    lines = [line for line in said.decode(errors="replace").splitlines() if line]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")


def environment(url: str, journal: Path) -> Mapping[str, str]:
    """Nothing of the user's settings, and no patience where none is needed."""
    kept: dict[str, Any] = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN) and name.lower() not in PROXIES
    }
    return {
        **kept,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": url,
        "UPLOADER_CONFIG": os.devnull,
        "UPLOADER_JOURNAL": str(journal),
        "UPLOADER_RETRY_BACKOFF_INITIAL": "0.01",
        "UPLOADER_RETRY_BACKOFF_MAX": "0.05",
        "UPLOADER_TIMEOUTS_ANSWER": "5",
        "UPLOADER_TIMEOUTS_SETTLE": "0",
    }
