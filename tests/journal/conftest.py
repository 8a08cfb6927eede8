from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.journal.nouns import StandingClock, open_journal
from tests.journal.process import Process
from uploader.journal import SqliteJournal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
async def journal(path: Path, clock: StandingClock) -> AsyncIterator[SqliteJournal]:
    journal = await open_journal(path, clock=clock)
    yield journal
    await journal.aclose()


@pytest.fixture
async def other(journal: SqliteJournal, path: Path) -> AsyncIterator[SqliteJournal]:
    """A second owner of the same file."""
    other = await open_journal(path)
    yield other
    await other.aclose()


@pytest.fixture
def start() -> Iterator[Callable[[], Process]]:
    """Start real processes; none outlives its test."""
    with ExitStack() as processes:
        yield lambda: processes.enter_context(Process())


@pytest.fixture
def seal() -> Iterator[Callable[[Path], None]]:
    """Forbid writing to a path, also to root, whom modes do not concern."""
    with ExitStack() as undo:

        def seal(path: Path) -> None:
            if os.geteuid() != 0:
                undo.callback(path.chmod, path.stat().st_mode)
                path.chmod(0o500 if path.is_dir() else 0o400)
                return
            if _chattr("+i", path) != 0:
                pytest.skip("root, and a file system without immutable files")
            undo.callback(_chattr, "-i", path)

        yield seal


def _chattr(flag: str, path: Path) -> int:
    command = ["chattr", flag, str(path)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode
    except FileNotFoundError:
        return 1
