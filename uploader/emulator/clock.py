"""The time of the service, which can be moved: hours pass without waiting."""

import math
import time
from typing import Final

from uploader.emulator.store import Store

SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS clock (
        id     INTEGER PRIMARY KEY CHECK (id = 1),
        ahead  REAL NOT NULL
    );
    INSERT OR IGNORE INTO clock VALUES (1, 0)
"""


class Clock:
    """Unix time, ahead of the machine's by what it was advanced.

    How far is kept in the directory, so all its emulators agree, also after a
    restart.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def now(self) -> float:
        (row,) = self._store.rows("SELECT ahead FROM clock")
        ahead: float = row["ahead"]
        return time.time() + ahead

    def advance(self, seconds: float) -> None:
        if not math.isfinite(seconds):
            raise ValueError(f"the clock cannot be advanced by {seconds} seconds")
        with self._store.transaction() as db:
            db.execute("UPDATE clock SET ahead = ahead + ?", [seconds])
