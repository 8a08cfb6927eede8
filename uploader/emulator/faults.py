"""Failures by script: which request is hit, when, and what happens to it.

A script is a JSON list such as

    [{"kind": "part", "nth": 3, "when": "after", "do": "reset"}]

It is kept in the directory of the emulator, so it is one script for all
emulators there, and a restart does not start it again.
"""

import sqlite3
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

from uploader.emulator.store import Store, insert

ANY_KIND: Final = "any"

SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS faults (
        number  INTEGER PRIMARY KEY,
        kind    TEXT NOT NULL,
        nth     INTEGER NOT NULL,
        times   INTEGER NOT NULL,
        seen    INTEGER NOT NULL DEFAULT 0,
        hits    INTEGER NOT NULL DEFAULT 0,
        fault   TEXT NOT NULL
    )
"""

# Counting and choosing happen in the transaction that records the request, so
# two emulators never disagree about which request was the n-th.
COUNT: Final = """
    UPDATE faults SET seen = seen + 1
     WHERE kind IN (:kind, 'any') AND hits < times
"""
DUE: Final = """
    SELECT number, fault FROM faults
     WHERE kind IN (:kind, 'any') AND hits < times AND seen >= nth
     ORDER BY number LIMIT 1
"""


class BadFault(ValueError):
    """A fault that makes no sense, or a script that cannot be read."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One failure.

    It hits the *nth* request of its *kind*, counted from when it was given, and
    the following ones until it has hit *times* requests.  *after* means that the
    request takes effect and its answer is lost; *before*, that it has none.

    | do       | what happens |
    | -------- | ------------ |
    | status   | the answer is *status* with *headers* and *body* |
    | reset    | the connection is reset |
    | stall    | there is no answer; the connection stays, for *seconds* at most |
    | truncate | the answer breaks off in the middle |
    | slow     | before: the body is read, after: the answer comes, at *rate* bytes/s |
    | kill     | SIGKILL to the declared client, then the connection is dropped |

    With *unread*, a fault *before* leaves the body of the request unread.  With
    *events*, so many events of a stream go out before a fault *after* strikes.
    """

    kind: str
    do: Literal["status", "reset", "stall", "truncate", "slow", "kill"]
    when: Literal["before", "after"] = "before"
    nth: int = 1
    times: int = 1
    status: int = 500
    headers: dict[str, str] = {}
    body: str | dict[str, object] | None = None
    unread: bool = False
    events: int = 0
    rate: float = 1024.0
    seconds: float = 600.0

    def __post_init__(self) -> None:
        if self.nth < 1:
            raise ValueError(f"nth must be at least 1, not {self.nth}")
        if self.times < 1:
            raise ValueError(f"times must be at least 1, not {self.times}")
        if not 200 <= self.status <= 599:
            raise ValueError(f"status must be within 200 and 599, not {self.status}")
        if self.rate <= 0:
            raise ValueError(f"rate must be above 0, not {self.rate}")
        if self.unread and self.when == "after":
            raise ValueError("unread makes no sense after the effect")
        if self.events < 0:
            raise ValueError(f"events must be at least 0, not {self.events}")
        if self.events and self.when == "before":
            raise ValueError("events makes no sense before the effect")

    def as_document(self) -> dict[str, object]:
        document: dict[str, object] = msgspec.to_builtins(self)
        return document


def read_script(path: Path, kinds: Collection[str]) -> list[Fault]:
    """Read a script; an error names the file and the entry."""
    try:
        entries = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise BadFault(f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise BadFault(f"{path}: {error}") from None
    if not isinstance(entries, list):
        raise BadFault(f"{path}: a script is a list of faults")
    return [
        parse_fault(entry, kinds, where=f"{path}: entry {number}")
        for number, entry in enumerate(entries, start=1)
    ]


def parse_fault(entry: object, kinds: Collection[str], *, where: str) -> Fault:
    try:
        fault = msgspec.convert(entry, Fault)
        check_kind(fault, kinds)
    except ValueError as error:
        raise BadFault(f"{where}: {error}") from None
    return fault


def check_kind(fault: Fault, kinds: Collection[str]) -> None:
    if fault.kind != ANY_KIND and fault.kind not in kinds:
        known = ", ".join([*sorted(kinds), ANY_KIND])
        raise BadFault(f"there is no kind {fault.kind!r}; there are {known}")


def add_faults(store: Store, faults: Iterable[Fault]) -> None:
    with store.transaction() as db:
        for fault in faults:
            _add(db, fault)


def replace_faults(store: Store, faults: Iterable[Fault]) -> None:
    """Forget what is left of an earlier script and begin *faults*."""
    with store.transaction() as db:
        db.execute("DELETE FROM faults")
        for fault in faults:
            _add(db, fault)


def faults_left(store: Store) -> tuple[Fault, ...]:
    """The faults that have not hit as often as they should."""
    rows = store.rows("SELECT fault FROM faults WHERE hits < times ORDER BY number")
    return tuple(_fault(row) for row in rows)


def take_due(db: sqlite3.Connection, kind: str) -> Fault | None:
    """Count a request of *kind* and return the fault that hits it, if any."""
    db.execute(COUNT, {"kind": kind})
    row = db.execute(DUE, {"kind": kind}).fetchone()
    if row is None:
        return None
    db.execute("UPDATE faults SET hits = hits + 1 WHERE number = ?", [row["number"]])
    return _fault(row)


def _add(db: sqlite3.Connection, fault: Fault) -> None:
    row = {
        "kind": fault.kind,
        "nth": fault.nth,
        "times": fault.times,
        "fault": msgspec.json.encode(fault).decode(),
    }
    insert(db, "faults", row)


def _fault(row: sqlite3.Row) -> Fault:
    return msgspec.json.decode(row["fault"], type=Fault)
