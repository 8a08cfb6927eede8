"""The journal: `uploader.record.Journal` over one SQLite file.

Each method hands one function to the writer, which does it in a transaction.  What
the functions do is in `leases`, `facts` and `queries`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

from sqlite_utils import Database

from uploader.clock import Clock
from uploader.errors import JournalError, UsageError
from uploader.journal import facts, queries
from uploader.journal.leases import absent, begin, claim, release, release_all, renew
from uploader.journal.owners import Owner
from uploader.journal.writer import Work, Writer
from uploader.model import (
    CompleteIntent,
    File,
    FileId,
    Fingerprint,
    Identity,
    Lease,
    LocalId,
    Opened,
    Plan,
    Receipt,
    SentPart,
    Upload,
    UploadSpec,
)
from uploader.record import Claim, Heartbeat

# Whoever works on it is told at its next heartbeat.
REQUEST_CANCEL = "UPDATE uploads SET cancel_requested = 1 WHERE id = ?"

REMEMBER_RATE = """
    INSERT INTO services (service, rate, measured_at) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET rate = excluded.rate, measured_at = excluded.measured_at
"""

# A slice at a time, so that other writers get their turn.
PRUNE = """
    DELETE FROM uploads WHERE id IN (
        SELECT id FROM uploads WHERE finished_at < ? ORDER BY finished_at LIMIT ?
    )
"""
SLICE: Final = 1000


class SqliteJournal:
    """One open journal, which is one owner of leases."""

    def __init__(
        self, writer: Writer, owner: Owner, *, clock: Clock, lease_ttl: float
    ) -> None:
        self._writer = writer
        self._owner = owner
        self._clock = clock
        self._lease_ttl = lease_ttl
        self._closed = False

    @classmethod
    async def open(
        cls, path: Path, *, clock: Clock, lease_ttl: float, keep_finished: float
    ) -> Self:
        """Open the journal at *path*, made if it is missing, and prune it.

        Raises `JournalError`.
        """
        writer = Writer(path)
        journal = cls(writer, Owner(writer.path), clock=clock, lease_ttl=lease_ttl)
        try:
            await journal.prune(before=clock.wall() - keep_finished)
        except BaseException:
            await writer.aclose()
            raise
        return journal

    async def begin(
        self,
        identity: Identity,
        spec: UploadSpec,
        fingerprint: Fingerprint,
        plan: Plan,
        *,
        now: float,
    ) -> Claim:
        return await self._claim(
            partial(
                begin,
                identity=identity,
                spec=spec,
                fingerprint=fingerprint,
                plan=plan,
                owner=self._owner,
                now=now,
                expires_at=now + self._lease_ttl,
            )
        )

    async def take(self, upload: LocalId, *, now: float) -> Claim:
        return await self._claim(
            partial(
                claim,
                upload=upload,
                owner=self._owner,
                now=now,
                expires_at=now + self._lease_ttl,
            )
        )

    async def renew(self, leases: Sequence[Lease], *, now: float) -> Heartbeat:
        expires_at = now + self._lease_ttl
        return await self._writer.write(
            lambda db: renew(db, leases, expires_at=expires_at)
        )

    async def release(self, lease: Lease) -> None:
        await self._writer.write(lambda db: release(db, lease))

    async def intend_create(self, lease: Lease, *, now: float) -> float:
        return await self._writer.write(
            lambda db: facts.intend_create(db, lease, now=now)
        )

    async def record_opened(self, lease: Lease, opened: Opened, *, now: float) -> None:
        await self._writer.write(
            lambda db: facts.record_opened(db, lease, opened, now=now)
        )

    async def record_part(self, lease: Lease, part: SentPart) -> None:
        await self._writer.write(lambda db: facts.record_part(db, lease, part))

    async def forget_parts(self, lease: Lease, numbers: Collection[int]) -> None:
        await self._writer.write(lambda db: facts.forget_parts(db, lease, numbers))

    async def note_orphan_parts(self, lease: Lease) -> None:
        await self._writer.write(lambda db: facts.note_orphan_parts(db, lease))

    async def record_fingerprint(self, lease: Lease, fingerprint: Fingerprint) -> None:
        await self._writer.write(
            lambda db: facts.record_fingerprint(db, lease, fingerprint)
        )

    async def intend_complete(self, lease: Lease, intent: CompleteIntent) -> None:
        await self._writer.write(lambda db: facts.intend_complete(db, lease, intent))

    async def note_yes(self, lease: Lease) -> None:
        await self._writer.write(lambda db: facts.note_yes(db, lease))

    async def record_refusal(self, lease: Lease, evidence: str) -> None:
        now = self._clock.wall()
        await self._writer.write(
            lambda db: facts.record_refusal(db, lease, evidence, now=now)
        )

    async def record_file(self, lease: Lease, file: File, evidence: str) -> None:
        now = self._clock.wall()
        await self._writer.write(
            lambda db: facts.record_file(db, lease, file, evidence, now=now)
        )

    async def record_receipt(self, lease: Lease, receipt: Receipt) -> None:
        await self._writer.write(lambda db: facts.record_receipt(db, lease, receipt))

    async def receipt(self, upload: LocalId) -> Receipt | None:
        return await self._writer.read(lambda db: queries.receipt(db, upload))

    async def restart(self, lease: Lease, reason: str, *, orphans: bool) -> None:
        await self._writer.write(
            lambda db: facts.restart(db, lease, reason, orphans=orphans)
        )

    async def fail(self, lease: Lease, failure: str) -> None:
        now = self._clock.wall()
        await self._writer.write(lambda db: facts.fail(db, lease, failure, now=now))

    async def note_failure(self, lease: Lease, failure: str) -> None:
        await self._writer.write(lambda db: facts.note_failure(db, lease, failure))

    async def cancel(self, lease: Lease) -> None:
        now = self._clock.wall()
        await self._writer.write(lambda db: facts.cancel(db, lease, now=now))

    async def request_cancel(self, upload: LocalId) -> None:
        await self._writer.write(lambda db: _request_cancel(db, upload))

    async def deliver(self, lease: Lease, *, now: float) -> None:
        await self._writer.write(lambda db: facts.deliver(db, lease, now=now))

    async def uploads(self, *, unfinished: bool = False) -> Sequence[Upload]:
        return await self._writer.read(
            lambda db: queries.uploads(db, unfinished=unfinished)
        )

    async def absent_owners(self, *, now: float) -> Collection[str]:
        return await self._writer.write(lambda db: absent(db, self._owner, now=now))

    async def find(self, name: str) -> Upload:
        return await self._writer.read(lambda db: queries.find(db, name))

    async def claimed_files(
        self, service: str, but: LocalId
    ) -> tuple[Collection[FileId], Collection[int]]:
        return await self._writer.read(
            lambda db: queries.claimed_files(db, service, but)
        )

    async def remember_rate(self, service: str, rate: float, *, now: float) -> None:
        await self._writer.write(
            lambda db: db.execute(REMEMBER_RATE, [service, rate, now])
        )

    async def rate(self, service: str) -> float | None:
        return await self._writer.read(lambda db: queries.rate(db, service))

    async def prune(self, *, before: float) -> int:
        dropped = 0
        while count := await self._writer.write(
            lambda db: db.execute(PRUNE, [before, SLICE]).rowcount
        ):
            dropped += count
        return dropped

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._writer.write(lambda db: release_all(db, self._owner))
        finally:
            await self._writer.aclose()
            self._owner.vanish()

    async def _claim(self, work: Work[Claim]) -> Claim:
        """Give back at once what nobody waits for any more.

        A lease that its asker never got would keep everybody else waiting.
        """
        claiming = self._writer.submit(work)
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            claiming.add_done_callback(self._give_back)
            raise

    def _give_back(self, claiming: asyncio.Future[Claim]) -> None:
        if claiming.exception() is None:
            lease = claiming.result().lease
            # A journal that is closing releases all its leases anyway.
            with contextlib.suppress(JournalError):
                self._writer.submit(lambda db: release(db, lease))


def _request_cancel(db: Database, upload: LocalId) -> None:
    if db.execute(REQUEST_CANCEL, [upload]).rowcount == 0:
        raise UsageError(f"no upload {upload}", hint="`uploader list` shows all")
