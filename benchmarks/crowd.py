"""A journal with a crowd of unfinished uploads in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

UPLOADS: Final = 12_500

UNFINISHED: Final = {
    "id": "'crowd' || i",
    "path": "path || i",
    "state": "'open'",
    "finished_at": "NULL",
    "delivered_at": "NULL",
    "completing": "NULL",
}

COPY: Final = """
    WITH RECURSIVE crowd (i) AS (
        SELECT 1 UNION ALL SELECT i + 1 FROM crowd WHERE i < {uploads}
    )
    INSERT INTO {table} ({columns}) SELECT {values} FROM {table}, crowd
"""


def multiply(journal: Path) -> None:
    """Copy the one upload in *journal* and its parts, as if each was interrupted.

    It goes round the journal's own methods, which would take minutes.
    """
    with closing(sqlite3.connect(journal)) as db, db:
        _copy(db, "uploads", UNFINISHED)
        _copy(db, "parts", {"upload": UNFINISHED["id"]})
        _copy(db, "leases", {"subject": UNFINISHED["id"]})


def _copy(db: sqlite3.Connection, table: str, changed: Mapping[str, str]) -> None:
    rows = db.execute(f"PRAGMA table_info({table})").fetchall()
    columns = [name for _, name, *_ in rows]
    values = [changed.get(name, name) for name in columns]
    db.execute(
        COPY.format(
            uploads=UPLOADS,
            table=table,
            columns=", ".join(columns),
            values=", ".join(values),
        )
    )
