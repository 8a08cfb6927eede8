"""The right to write about an upload: taken, renewed, released, lost.

Everything here runs inside BEGIN IMMEDIATE, so nobody can take a lease between a
look at it and the write that follows.  `HELD` stands in every later write of an
owner: after a take-over the epoch has moved on, and nothing is updated.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Sequence
from typing import Final

from sqlite_utils import Database

from uploader.errors import LeaseLost, UploadOwned, UsageError
from uploader.journal.owners import Owner, described
from uploader.journal.queries import read_upload
from uploader.journal.rows import identity_values, json_of, json_of_plan
from uploader.model import (
    Fingerprint,
    Identity,
    Lease,
    LocalId,
    Plan,
    UploadSpec,
    UploadState,
)
from uploader.record import Claim, Heartbeat

ALPHABET: Final = "23456789abcdefghjkmnpqrstuvwxyz"
"""What can be read out and typed without asking back: no 0 o 1 i l."""

HELD: Final = "id = :upload AND lease_owner = :owner AND lease_epoch = :epoch"

FIND_UNFINISHED = """
    SELECT id FROM uploads
     WHERE finished_at IS NULL AND path = :path AND service = :service
       AND purpose = :purpose AND filename = :filename
       AND expires_after IS :expires_after AND target IS :target
"""

INSERT_UPLOAD = """
    INSERT INTO uploads (
        id, service, path, purpose, filename, expires_after, target,
        size, spec, fingerprint, plan, state, created_at
    ) VALUES (
        :id, :service, :path, :purpose, :filename, :expires_after, :target,
        :size, :spec, :fingerprint, :plan, :state, :now
    )
"""

HOLDERS = """
    SELECT DISTINCT lease_owner, lease_host, lease_pid, lease_expires_at FROM uploads
     WHERE finished_at IS NULL AND lease_owner IS NOT NULL
"""

LEASE = """
    SELECT path, lease_owner, lease_host, lease_pid, lease_expires_at
      FROM uploads WHERE id = ?
"""

# Parts that the owner before had in flight may have arrived.
CLAIM = """
    UPDATE uploads
       SET lease_owner = :owner, lease_host = :host, lease_pid = :pid,
           lease_epoch = lease_epoch + 1, lease_expires_at = :expires_at,
           may_have_orphan_parts =
               may_have_orphan_parts OR (:unclean AND state = 'open')
     WHERE id = :upload
    RETURNING lease_epoch
"""

RENEW = f"""
    UPDATE uploads SET lease_expires_at = :expires_at WHERE {HELD}
    RETURNING cancel_requested
"""

RELEASED = """
    UPDATE uploads
       SET lease_owner = NULL, lease_host = NULL, lease_pid = NULL,
           lease_expires_at = NULL
"""
RELEASE = f"{RELEASED} WHERE {HELD}"
RELEASE_ALL = f"{RELEASED} WHERE lease_owner = ?"


def values_of(lease: Lease) -> dict[str, object]:
    """Return what `HELD` asks for."""
    return {"upload": lease.upload, "owner": lease.owner, "epoch": lease.epoch}


def lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"upload {lease.upload}")


def begin(
    db: Database,
    identity: Identity,
    spec: UploadSpec,
    fingerprint: Fingerprint,
    plan: Plan,
    *,
    owner: Owner,
    now: float,
    expires_at: float,
) -> Claim:
    """Claim the unfinished upload of *identity*, or record a new one."""
    values = identity_values(identity)
    known = db.execute(FIND_UNFINISHED, values).fetchone()
    if known is not None:
        upload = LocalId(known["id"])
    else:
        upload = _new_id(db)
        values |= {
            "id": upload,
            "size": spec.size,
            "spec": json_of(spec),
            "fingerprint": json_of(fingerprint),
            "plan": json_of_plan(plan),
            "state": UploadState.PLANNED,
            "now": now,
        }
        db.execute(INSERT_UPLOAD, values)
    return claim(db, upload, owner=owner, now=now, expires_at=expires_at)


def claim(
    db: Database, upload: LocalId, *, owner: Owner, now: float, expires_at: float
) -> Claim:
    """Take the lease of *upload*.  Raises `UploadOwned`."""
    row = db.execute(LEASE, [upload]).fetchone()
    if row is None:
        raise UsageError(f"no upload {upload}", hint="`uploader list` shows all")
    _refuse_while_owned(row, owner, now)
    owner.appear()
    unclean = row["lease_owner"] is not None
    values = {
        "upload": upload,
        "owner": owner.id,
        "host": owner.host,
        "pid": owner.pid,
        "expires_at": expires_at,
        "unclean": unclean,
    }
    [[epoch]] = db.execute(CLAIM, values).fetchall()
    lease = Lease(upload=upload, owner=owner.id, epoch=epoch)
    return Claim(upload=read_upload(db, upload), lease=lease, unclean=unclean)


def renew(db: Database, leases: Sequence[Lease], *, expires_at: float) -> Heartbeat:
    gone: list[LocalId] = []
    cancel_requested: list[LocalId] = []
    for lease in leases:
        values = {**values_of(lease), "expires_at": expires_at}
        rows = db.execute(RENEW, values).fetchall()
        if not rows:
            gone.append(lease.upload)
        elif rows[0]["cancel_requested"]:
            cancel_requested.append(lease.upload)
    return Heartbeat(lost=gone, cancel_requested=cancel_requested)


def release(db: Database, lease: Lease) -> None:
    db.execute(RELEASE, values_of(lease))


def release_all(db: Database, owner: Owner) -> None:
    db.execute(RELEASE_ALL, [owner.id])


def absent(db: Database, owner: Owner, *, now: float) -> frozenset[str]:
    """Name the owners on record who hold nothing any more, in words for people."""
    return frozenset(
        described(row["lease_host"], row["lease_pid"])
        for row in db.execute(HOLDERS).fetchall()
        if not _holds(row, owner, now)
    )


def _holds(row: sqlite3.Row, owner: Owner, now: float) -> bool:
    # A stopped process keeps its lock, but nobody heard of it for the whole lease.
    if row["lease_owner"] is None or row["lease_expires_at"] <= now:
        return False
    return row["lease_host"] != owner.host or owner.is_alive(row["lease_owner"])


def _refuse_while_owned(row: sqlite3.Row, owner: Owner, now: float) -> None:
    if not _holds(row, owner, now):
        return
    name = described(row["lease_host"], row["lease_pid"])
    if row["lease_owner"] == owner.id:
        name = "this process"
    raise UploadOwned(os.fsdecode(row["path"]), name)


def _new_id(db: Database) -> LocalId:
    while True:
        name = "".join(secrets.choice(ALPHABET) for _ in range(8))
        if not db.execute("SELECT 1 FROM uploads WHERE id = ?", [name]).fetchall():
            return LocalId(name)
