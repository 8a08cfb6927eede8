"""What SQLite says of a journal in its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uploader.journal.failures import explained
from uploader.journal.schema import open_database

LEVELS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")


@dataclass(frozen=True, slots=True)
class Health:
    mode: str
    """Of the log: `wal`, unless the file system does not permit that."""
    synchronous: str
    sound: bool

    @property
    def is_durable(self) -> bool:
        return self.mode == "wal" and self.synchronous in ("FULL", "EXTRA")


def examine(path: Path) -> Health:
    """Open the journal as every run does, and ask.  Raises `JournalError`."""
    db = open_database(path)
    with explained(path):
        try:
            [[mode]] = db.execute("PRAGMA journal_mode").fetchall()
            [[level]] = db.execute("PRAGMA synchronous").fetchall()
            [[verdict]] = db.execute("PRAGMA integrity_check(1)").fetchall()
        finally:
            db.close()
    return Health(mode=mode, synchronous=LEVELS[level], sound=verdict == "ok")
