"""A folder, a service and the daemon between them, as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.command import KEY, Command, Done, files_at, finish
from uploader.emulator import Emulator


@dataclass(slots=True)
class Running:
    """A daemon under way; *said* is what it wrote to stderr so far."""

    process: asyncio.subprocess.Process
    said: list[str]
    _reader: asyncio.Task[None]

    async def hear(self, words: str) -> str:
        """Wait for a line that holds *words*."""
        while True:
            for line in self.said:
                if words in line:
                    self.said.remove(line)
                    return line
            assert not self._reader.done(), "\n".join(self.said)
            await asyncio.sleep(0.02)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    async def ended(self) -> int:
        code = await self.process.wait()
        await self._reader
        return code


@dataclass(frozen=True, slots=True)
class Yard:
    """Where a test happens."""

    root: Path
    emulator: Emulator
    command: Command

    @property
    def inbox(self) -> Path:
        return self.root / "in"

    @property
    def done(self) -> Path:
        return self.root / "done"

    @property
    def bad(self) -> Path:
        return self.root / "bad"

    @property
    def receipts(self) -> Path:
        return self.root / "receipts"

    @property
    def file(self) -> Path:
        return self.root / "uploader.toml"

    def rule(self, *lines: str, name: str = "in", **values: object) -> str:
        """The text of a rule for the inbox that moves what arrived."""
        values = {
            "name": name,
            "folder": self.inbox,
            "afterwards": "move",
            "move_to": self.done,
            "receipts": self.receipts,
            "quarantine": self.bad,
            **values,
        }
        pairs = [
            f"{key} = {_toml(value)}"
            for key, value in values.items()
            if value is not None
        ]
        return "\n".join(["[[rules]]", *pairs, *lines, ""])

    def write(self, *tables: str, quiet: float = 0.1) -> None:
        daemon = f"[daemon]\nquiet = {quiet}\nrescan = 1\n"
        self.file.write_text("\n".join(["part_size = 65536", daemon, *tables]))

    def drop(self, name: str, content: bytes) -> Path:
        """A file that an atomic rename brings."""
        path = self.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.tmp")
        draft.write_bytes(content)
        os.utime(draft, ns=(1, 1_700_000_000_000_000_000))
        return draft.rename(path)

    @asynccontextmanager
    async def running(self, *arguments: str, **environ: str) -> AsyncIterator[Running]:
        process = await self.command.start(
            "daemon", "--config", str(self.file), *arguments, **environ
        )
        said: list[str] = []
        running = Running(process, said, asyncio.create_task(_read(process, said)))
        try:
            yield running
        finally:
            await running.kill()
            await running._reader

    async def once(self, **environ: str) -> Done:
        return await finish(
            await self.command.start(
                "daemon", "--config", str(self.file), "--once", **environ
            )
        )

    async def contents(self) -> list[bytes]:
        """What the service has, sorted."""
        return sorted((await files_at(self.emulator.url)).values())

    async def digests(self) -> list[str]:
        """The SHA-256 of every file of the service, read one by one."""
        headers = {"Authorization": f"Bearer {KEY}"}
        found: list[str] = []
        async with aiohttp.ClientSession(headers=headers) as session:
            for id_ in await self._ids(session):
                whole = hashlib.sha256()
                address = f"{self.emulator.url}/files/{id_}/content"
                async with session.get(address) as answer:
                    async for chunk in answer.content.iter_chunked(1024 * 1024):
                        whole.update(chunk)
                found.append(whole.hexdigest())
        return found

    async def _ids(self, session: aiohttp.ClientSession) -> list[str]:
        ids: list[str] = []
        while True:
            after = f"&after={ids[-1]}" if ids else ""
            address = f"{self.emulator.url}/files?limit=1000{after}"
            async with session.get(address) as answer:
                page = await answer.json()
            ids += [file["id"] for file in page["data"]]
            if not page.get("has_more"):
                return ids

    def reasons(self) -> dict[str, Any]:
        return {
            path.name.removesuffix(".reason.json"): json.loads(path.read_text())
            for path in self.bad.glob("*.reason.json")
        }


def _toml(value: object) -> str:
    return json.dumps(str(value) if isinstance(value, Path) else value)


async def _read(process: asyncio.subprocess.Process, said: list[str]) -> None:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        said.append(line.decode())


@pytest.fixture
async def yard(tmp_path: Path) -> AsyncIterator[Yard]:
    async with Emulator(tmp_path / "service") as emulator:
        yard = Yard(
            tmp_path, emulator, Command(emulator.url, tmp_path / "state" / "journal.db")
        )
        yard.inbox.mkdir()
        yard.write(yard.rule())
        yield yard


async def until(is_so: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait for another process to make something true."""
    async with asyncio.timeout(seconds):
        while not is_so():
            await asyncio.sleep(0.02)
