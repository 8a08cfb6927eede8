"""A process of its own that works on a journal and does as it is told."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.journal.nouns import (
    NOW,
    begin,
    begin_attachment,
    named,
    open_journal,
    open_upload,
    sent,
)
from uploader.errors import UploaderError
from uploader.journal import SqliteJournal
from uploader.model import Lease

ROOT = Path(__file__).parents[2]


class Process:
    """One line to it is one command; its answer is one line."""

    def __init__(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tests.journal.process"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = self._popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        with self._popen:
            pass

    def tell(self, command: str) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write(f"{command}\n")

    def hear(self) -> str:
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().strip()

    def do(self, command: str) -> str:
        self.tell(command)
        return self.hear()

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    def stop(self) -> None:
        self._popen.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._popen.send_signal(signal.SIGCONT)


class _Worker:
    """What the process does."""

    journal: SqliteJournal
    lease: Lease

    async def open(self, path: str) -> str:
        self.journal = await open_journal(Path(path))
        return "opened"

    async def begin(self, name: str) -> str:
        self.lease = (await begin(self.journal, named(name), now=NOW)).lease
        return self.lease.upload

    async def create(self, _: str) -> str:
        await open_upload(self.journal, self.lease)
        return "created"

    async def attach(self, cursor: str) -> str:
        self.lease = await begin_attachment(self.journal)
        await self.journal.intend_attach(self.lease, cursor=cursor, now=NOW)
        return self.lease.upload

    async def record(self, number: str) -> str:
        await self.journal.record_part(self.lease, sent(int(number)))
        return "recorded"

    async def close(self, _: str) -> str:
        await self.journal.aclose()
        return "closed"


async def _obey() -> None:
    worker = _Worker()
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        try:
            answer = await getattr(worker, command)(argument)
        except UploaderError as error:
            answer = type(error).__name__
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_obey())
