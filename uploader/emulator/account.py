"""What the service saw: every request, and every file body that arrived.

A test asks the account what really happened.  It holds no secret: of a key
only the scheme is kept.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from aiohttp import web

from uploader.emulator.faults import Fault
from uploader.emulator.store import Store, insert

SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS requests (
        number   INTEGER PRIMARY KEY,
        at       REAL NOT NULL,
        kind     TEXT NOT NULL,
        method   TEXT NOT NULL,
        path     TEXT NOT NULL,
        query    TEXT NOT NULL,
        headers  TEXT NOT NULL,
        body     TEXT,
        status   INTEGER,
        fault    TEXT
    );
    CREATE TABLE IF NOT EXISTS receptions (
        number     INTEGER PRIMARY KEY,
        request    INTEGER NOT NULL,
        upload_id  TEXT,
        part_id    TEXT,
        file_id    TEXT,
        bytes      INTEGER NOT NULL,
        sha256     TEXT NOT NULL,
        stored     INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS remarks (
        number   INTEGER PRIMARY KEY,
        request  INTEGER NOT NULL,
        words    TEXT NOT NULL
    )
"""

KEPT_HEADERS: Final = frozenset(
    {
        "accept",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "idempotency-key",
        "openai-organization",
        "openai-project",
        "range",
        "transfer-encoding",
        "user-agent",
        "x-stainless-retry-count",
    }
)
KEPT_QUERY: Final = frozenset(
    {
        "after",
        "api-version",
        "before",
        "filter",
        "include",
        "include[]",
        "limit",
        "order",
        "purpose",
    }
)
MASK: Final = "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, and the status that the service decided on.

    There is no status when it was broken off, or hit by a fault before it took
    effect.  A fault *after* has lost the answer on its way to the client.
    """

    number: int
    at: float
    kind: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: object
    status: int | None
    fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """The content of one part or file, as far as it arrived.

    `stored` is false when it had no effect: broken off, refused, or lost to a
    fault.  The digest is of the bytes that arrived.
    """

    number: int
    request: int
    upload_id: str | None
    part_id: str | None
    file_id: str | None
    bytes: int
    sha256: str
    stored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What a service noticed in a request that it took all the same."""

    request: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Everything the emulators of one directory saw, in order."""

    requests: tuple[Request, ...]
    receptions: tuple[Reception, ...]
    remarks: tuple[Remark, ...]
    faults_left: tuple[Fault, ...]

    @property
    def counts(self) -> Counter[str]:
        """Requests of each kind."""
        return Counter(request.kind for request in self.requests)

    @property
    def part_bytes(self) -> dict[str, int]:
        """Bytes of each part that was stored."""
        return {
            reception.part_id: reception.bytes
            for reception in self.receptions
            if reception.part_id is not None
        }

    def as_document(self) -> dict[str, object]:
        """Return what the control endpoint answers."""
        return {
            "counts": dict(self.counts),
            "part_bytes": self.part_bytes,
            "receptions": [asdict(reception) for reception in self.receptions],
            "remarks": [asdict(remark) for remark in self.remarks],
            "requests": [asdict(request) for request in self.requests],
            "faults_left": [fault.as_document() for fault in self.faults_left],
        }


def note_arrival(
    db: sqlite3.Connection, request: web.Request, *, kind: str, now: float
) -> int:
    """Record that a request arrived and return its number."""
    row = {
        "at": now,
        "kind": kind,
        "method": request.method,
        "path": request.path,
        "query": json.dumps(_without_secrets(request.query, KEPT_QUERY)),
        "headers": json.dumps(_kept_headers(request.headers)),
    }
    return insert(db, "requests", row)


def note_body(store: Store, number: int, body: bytes) -> None:
    text = body.decode("utf-8", "replace")
    with store.transaction() as db:
        db.execute("UPDATE requests SET body = ? WHERE number = ?", [text, number])


def note_fault(db: sqlite3.Connection, number: int, fault: Fault) -> None:
    words = f"{fault.do} {fault.when}"
    db.execute("UPDATE requests SET fault = ? WHERE number = ?", [words, number])


def note_status(store: Store, number: int, status: int) -> None:
    with store.transaction() as db:
        db.execute("UPDATE requests SET status = ? WHERE number = ?", [status, number])


def note_remark(store: Store, number: int, words: str) -> None:
    with store.transaction() as db:
        insert(db, "remarks", {"request": number, "words": words})


def recent_requests(store: Store, kind: str, since: float) -> int:
    (row,) = store.rows(
        "SELECT count(*) AS number FROM requests WHERE kind = ? AND at > ?",
        [kind, since],
    )
    number: int = row["number"]
    return number


def requests(store: Store) -> tuple[Request, ...]:
    rows = store.rows("SELECT * FROM requests ORDER BY number")
    return tuple(_request(row) for row in rows)


def receptions(store: Store) -> tuple[Reception, ...]:
    rows = store.rows("SELECT * FROM receptions ORDER BY number")
    return tuple(
        Reception(**{**dict(row), "stored": bool(row["stored"])}) for row in rows
    )


def remarks(store: Store) -> tuple[Remark, ...]:
    rows = store.rows("SELECT request, words FROM remarks ORDER BY number")
    return tuple(Remark(**row) for row in rows)


def _request(row: sqlite3.Row) -> Request:
    parsed = {
        "query": json.loads(row["query"]),
        "headers": json.loads(row["headers"]),
        "body": _json_or_text(row["body"]),
    }
    return Request(**{**dict(row), **parsed})


def _json_or_text(body: str | None) -> object:
    try:
        return None if body is None else json.loads(body)
    except json.JSONDecodeError:
        return body


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name.lower(): value for name, value in headers.items()}
    scheme, _, key = kept.get("authorization", "").partition(" ")
    secrets = {
        "authorization": f"{scheme} {MASK}" if key else MASK,
        "api-key": MASK,
        "x-api-key": MASK,
    }
    return {
        name: secrets.get(name, value)
        for name, value in kept.items()
        if name in KEPT_HEADERS or name in secrets
    }


def _without_secrets(query: Mapping[str, str], kept: frozenset[str]) -> dict[str, str]:
    return {name: value if name in kept else MASK for name, value in query.items()}
