"""The right to write about an upload or an attachment: taken, renewed, released, lost.

Everything here runs inside BEGIN IMMEDIATE, so nobody can take a lease between a
look at it and the write that follows.  `LEASED` or `HELD` stands in every later write
of an owner: after a take-over the epoch has moved on, and nothing is updated.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlite_utils import Database

from uploader.errors import LeaseLost, UploadOwned
from uploader.journal.owners import Owner, described
from uploader.model import Lease, LocalId
from uploader.record import Heartbeat

ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
"""What can be read out and typed without asking back: no 0 o 1 i l."""

LEASED: Final = "subject = :subject AND owner = :owner AND epoch = :epoch"
HELD: Final = f"id = (SELECT subject FROM leases WHERE {LEASED})"

_draw = random.SystemRandom()

NEW_SUBJECT = "INSERT OR IGNORE INTO leases (subject) VALUES (?)"

LEASE = "SELECT owner, host, pid, expires_at FROM leases WHERE subject = ?"

HOLDERS = """
    SELECT owner, host, pid, MAX(expires_at) AS expires_at FROM leases
     WHERE owner IS NOT NULL GROUP BY owner, host, pid
"""

TAKE = """
    UPDATE leases
       SET owner = :owner, host = :host, pid = :pid,
           epoch = epoch + 1, expires_at = :expires_at
     WHERE subject = :subject
    RETURNING epoch
"""

# An attachment cannot be cancelled, so for it this is NULL.
RENEW = f"""
    UPDATE leases SET expires_at = :expires_at WHERE {LEASED}
    RETURNING (SELECT cancel_requested FROM uploads WHERE id = subject) AS cancel
"""

RELEASED = "UPDATE leases SET owner = NULL, host = NULL, pid = NULL, expires_at = NULL"
RELEASE = f"{RELEASED} WHERE {LEASED}"
RELEASE_ALL = f"{RELEASED} WHERE owner = ?"

IS_ATTACHMENT = "SELECT 1 FROM attachments WHERE id = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks for a lease, when, and until when."""

    owner: Owner
    now: float
    expires_at: float


def values_of(lease: Lease) -> dict[str, object]:
    """Return what `LEASED` and `HELD` ask for."""
    return {"subject": lease.upload, "owner": lease.owner, "epoch": lease.epoch}


def lost(db: Database, lease: Lease) -> LeaseLost:
    is_attachment = db.execute(IS_ATTACHMENT, [lease.upload]).fetchone()
    return LeaseLost(f"{'attachment' if is_attachment else 'upload'} {lease.upload}")


def write(db: Database, lease: Lease, sql: str, **values: object) -> None:
    """Do *sql*, in which `LEASED` or `HELD` stands.  Raises `LeaseLost`."""
    if db.execute(sql, {**values_of(lease), **values}).rowcount == 0:
        raise lost(db, lease)


def new_subject(db: Database) -> LocalId:
    """Return an id that nothing else has, with a lease that nobody holds."""
    while True:
        name = "".join(_draw.choices(ALPHABET, k=8))
        if db.execute(NEW_SUBJECT, [name]).rowcount:
            return LocalId(name)


def take(
    db: Database, subject: LocalId, asker: Asker, *, title: str
) -> tuple[Lease, bool]:
    """Return the lease, and whether the owner before did not let go by itself.

    Raises `UploadOwned`, which calls the subject *title*.
    """
    row = db.execute(LEASE, [subject]).fetchone()
    owner = asker.owner
    if _holds(row, owner, asker.now):
        is_own = row["owner"] == owner.id
        name = "this process" if is_own else described(row["host"], row["pid"])
        raise UploadOwned(title, name)
    owner.appear()
    values = {
        "subject": subject,
        "owner": owner.id,
        "host": owner.host,
        "pid": owner.pid,
        "expires_at": asker.expires_at,
    }
    [[epoch]] = db.execute(TAKE, values).fetchall()
    lease = Lease(upload=subject, owner=owner.id, epoch=epoch)
    return lease, row["owner"] is not None


def renew(db: Database, leases: Sequence[Lease], *, expires_at: float) -> Heartbeat:
    gone: list[LocalId] = []
    cancel_requested: list[LocalId] = []
    for lease in leases:
        values = {**values_of(lease), "expires_at": expires_at}
        rows = db.execute(RENEW, values).fetchall()
        if not rows:
            gone.append(lease.upload)
        elif rows[0]["cancel"]:
            cancel_requested.append(lease.upload)
    return Heartbeat(lost=gone, cancel_requested=cancel_requested)


def release(db: Database, lease: Lease) -> None:
    db.execute(RELEASE, values_of(lease))


def release_all(db: Database, owner: Owner) -> None:
    db.execute(RELEASE_ALL, [owner.id])


def absent(db: Database, owner: Owner, *, now: float) -> frozenset[str]:
    """Name the owners on record who hold nothing any more, in words for people."""
    return frozenset(
        described(row["host"], row["pid"])
        for row in db.execute(HOLDERS).fetchall()
        if not _holds(row, owner, now)
    )


def _holds(row: sqlite3.Row, owner: Owner, now: float) -> bool:
    # A stopped process keeps its lock, but nobody heard of it for the whole lease.
    if row["owner"] is None or row["expires_at"] <= now:
        return False
    return row["host"] != owner.host or owner.is_alive(row["owner"])
