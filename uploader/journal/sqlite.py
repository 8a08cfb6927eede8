"""The journal: `uploader.record.Journal` over one SQLite file.

Each method hands one function to the writer, which does it in a transaction.  What
the functions do is in `claims`, `leases`, `facts`, `attachments` and `queries`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

from sqlite_utils import Database

from uploader.clock import Clock
from uploader.errors import JournalError
from uploader.journal import (
    attachments,
    catalogue,
    claims,
    facts,
    queries,
    queue,
)
from uploader.journal.leases import Asker, absent, release, release_all, renew
from uploader.journal.owners import Owner
from uploader.journal.writer import Writer
from uploader.message import Attached, Attachment, AttachmentSpec
from uploader.model import (
    Batch,
    BatchId,
    CompleteIntent,
    File,
    FileId,
    Fingerprint,
    Identity,
    Lease,
    LocalId,
    Opened,
    Orphan,
    Plan,
    Queued,
    Scope,
    SentPart,
    Unfinished,
    Upload,
    UploadId,
    UploadSpec,
)
from uploader.record import AttachmentClaim, Claim, Entry, Heartbeat
from uploader.result import Receipt

P = ParamSpec("P")
T = TypeVar("T")
AnyClaim = TypeVar("AnyClaim", Claim, AttachmentClaim)

# Whoever works on it is told at its next heartbeat.
REQUEST_CANCEL = "UPDATE uploads SET cancel_requested = 1 WHERE id = ?"

REMEMBER_RATE = """
    INSERT INTO services (service, rate, measured_at) VALUES (?, ?, ?)
    ON CONFLICT DO UPDATE SET rate = excluded.rate, measured_at = excluded.measured_at
"""

# Not the one that its upload goes on with.
CLOSE_ORPHAN = """
    UPDATE intents SET outcome = 'closed', answered_at = ?
     WHERE upload = ? AND upload_id = ? AND kind = 'create'
       AND NOT EXISTS (SELECT 1 FROM uploads
                        WHERE uploads.opening = intents.id AND state <> 'failed')
"""

KEEP_QUIET = """
    INSERT INTO services (service, quiet_until) VALUES (?, ?)
    ON CONFLICT DO UPDATE
       SET quiet_until = MAX(COALESCE(quiet_until, 0), excluded.quiet_until)
"""

# A slice at a time, so that other writers get their turn.  All that hangs on a lease
# goes with it.
PRUNE = """
    DELETE FROM leases WHERE subject IN (
        SELECT id FROM uploads
         WHERE finished_at < :before AND NOT EXISTS (
               SELECT 1 FROM attachment_files
                 JOIN attachments ON attachments.id = attachment_files.attachment
                WHERE attachment_files.upload = uploads.id
                  AND attachments.finished_at IS NULL)
         UNION ALL
        SELECT id FROM attachments WHERE finished_at < :before
         LIMIT :slice
    )
"""
SLICE: Final = 1000

LEAST_KEPT: Final = 10.0
"""Seconds.  A twin of an upload that is forgotten sooner could be made in the same
second, and the file of the one be taken for the other's.
"""

PRUNE_BATCHES = """
    DELETE FROM batches
     WHERE created_at < ?
       AND NOT EXISTS (SELECT 1 FROM uploads WHERE batch = batches.id)
"""


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
            await journal.prune(before=clock.wall() - max(keep_finished, LEAST_KEPT))
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
        reuse: bool = False,
    ) -> Claim:
        return await self._claim(
            claims.begin,
            identity,
            spec,
            fingerprint,
            plan,
            self._asker(now),
            reuse=reuse,
        )

    async def take(self, upload: LocalId, *, now: float) -> Claim:
        return await self._claim(claims.claim, upload, self._asker(now))

    async def renew(self, leases: Sequence[Lease], *, now: float) -> Heartbeat:
        expires_at = now + self._lease_ttl
        return await self._write(renew, leases, expires_at=expires_at)

    async def release(self, lease: Lease) -> None:
        await self._write(release, lease)

    async def intend_create(self, lease: Lease, *, now: float) -> float:
        return await self._write(facts.intend_create, lease, now=now)

    async def record_opened(
        self, lease: Lease, opened: Opened, *, now: float
    ) -> Upload:
        return await self._write(facts.record_opened, lease, opened, now=now)

    async def withdraw_create(self, lease: Lease) -> None:
        await self._write(facts.withdraw_create, lease, now=self._clock.wall())

    async def record_part(self, lease: Lease, part: SentPart) -> None:
        await self._write(facts.record_part, lease, part)

    async def forget_parts(self, lease: Lease, numbers: Collection[int]) -> None:
        await self._write(facts.forget_parts, lease, numbers)

    async def note_orphan_parts(self, lease: Lease) -> None:
        await self._write(facts.note_orphan_parts, lease)

    async def record_fingerprint(self, lease: Lease, fingerprint: Fingerprint) -> None:
        await self._write(facts.record_fingerprint, lease, fingerprint)

    async def intend_complete(self, lease: Lease, intent: CompleteIntent) -> None:
        await self._write(facts.intend_complete, lease, intent)

    async def note_yes(self, lease: Lease) -> None:
        await self._write(facts.note_yes, lease)

    async def record_refusal(self, lease: Lease, evidence: str) -> None:
        now = self._clock.wall()
        await self._write(facts.record_refusal, lease, evidence, now=now)

    async def record_file(self, lease: Lease, file: File, evidence: str) -> Upload:
        now = self._clock.wall()
        return await self._write(facts.record_file, lease, file, evidence, now=now)

    async def record_reused(self, lease: Lease, file: File) -> Upload:
        return await self._write(facts.record_reused, lease, file)

    async def catalogued(self, upload: Upload) -> Mapping[str, FileId]:
        return await self._read(catalogue.known, upload)

    async def record_catalogued(
        self, upload: Upload, digest: str, file_id: FileId
    ) -> None:
        await self._write(catalogue.record, upload, digest, file_id)

    async def forget_catalogued(self, upload: Upload, digest: str) -> None:
        await self._write(catalogue.forget, upload, digest)

    async def record_receipt(self, lease: Lease, receipt: Receipt) -> None:
        await self._write(facts.record_receipt, lease, receipt)

    async def receipt(self, upload: LocalId) -> Receipt | None:
        return await self._read(queries.receipt, upload)

    async def restart(self, lease: Lease, reason: str, *, orphans: bool) -> Upload:
        return await self._write(facts.restart, lease, reason, orphans=orphans)

    async def fail(self, lease: Lease, failure: str) -> None:
        now = self._clock.wall()
        await self._write(facts.fail, lease, failure, now=now)

    async def note_failure(self, lease: Lease, failure: str) -> None:
        await self._write(facts.note_failure, lease, failure)

    async def cancel(self, lease: Lease) -> None:
        now = self._clock.wall()
        await self._write(facts.cancel, lease, now=now)

    async def request_cancel(self, upload: LocalId) -> None:
        await self._write(_request_cancel, upload)

    async def deliver(self, lease: Lease, *, now: float) -> None:
        await self._write(facts.deliver, lease, now=now)

    async def uploads(
        self, *, unfinished: bool = False, queued: bool = True
    ) -> Sequence[Upload]:
        return await self._read(queries.uploads, unfinished=unfinished, queued=queued)

    async def unfinished(self) -> Sequence[Unfinished]:
        return await self._read(queries.unfinished)

    async def enqueue(
        self, entries: Sequence[Entry], *, batch: BatchId | None = None, now: float
    ) -> tuple[BatchId, Sequence[LocalId]]:
        return await self._write(queue.enqueue, entries, batch, now=now)

    async def next_queued(
        self,
        *,
        batch: BatchId | None = None,
        but: Collection[str] = (),
        limit: int = 1,
    ) -> Sequence[Queued]:
        return await self._read(queue.waiting, batch=batch, but=but, limit=limit)

    async def queue_size(self) -> tuple[int, int]:
        return await self._read(queue.count)

    async def batches(self) -> Sequence[Batch]:
        return await self._read(queue.batches)

    async def batch(self, name: str) -> Batch:
        return await self._read(queue.one_batch, name)

    async def failed(self, batch: BatchId | None = None) -> Sequence[Upload]:
        return await self._read(queue.failed, batch)

    async def requeue(self, upload: LocalId) -> None:
        await self._write(_execute, queue.REQUEUE, [upload])

    async def messages_with(
        self, upload: LocalId, *, unfinished: bool = True
    ) -> Sequence[LocalId]:
        return await self._read(queue.messages_with, upload, unfinished=unfinished)

    async def find_file(self, file_id: FileId) -> Upload | None:
        return await self._writer.read(lambda db: queries.find_file(db, file_id))

    async def absent_owners(self, *, now: float) -> Collection[str]:
        return await self._write(absent, self._owner, now=now)

    async def find(self, name: str) -> Upload:
        return await self._read(queries.find, name)

    async def claimed_files(
        self, service: str, but: LocalId
    ) -> tuple[Collection[FileId], Collection[int]]:
        return await self._read(queries.claimed_files, service, but)

    async def record_scope(self, lease: Lease, scope: Scope) -> None:
        await self._write(attachments.record_scope, lease, scope)

    async def intend_put(self, lease: Lease, *, now: float) -> None:
        await self._write(facts.intend_put, lease, now=now)

    async def withdraw_put(self, lease: Lease) -> None:
        await self._write(facts.withdraw_put, lease, now=self._clock.wall())

    async def begin_attachment(
        self, spec: AttachmentSpec, *, now: float
    ) -> AttachmentClaim:
        return await self._claim(claims.begin_attachment, spec, self._asker(now))

    async def take_attachment(
        self, attachment: LocalId, *, now: float
    ) -> AttachmentClaim:
        return await self._claim(claims.claim_attachment, attachment, self._asker(now))

    async def intend_attach(
        self, lease: Lease, *, cursor: str | None, now: float
    ) -> None:
        await self._write(attachments.intend, lease, cursor=cursor, now=now)

    async def record_response(self, lease: Lease, response_id: str) -> None:
        await self._write(attachments.record_response, lease, response_id)

    async def withdraw_attach(self, lease: Lease) -> None:
        await self._write(attachments.withdraw, lease)

    async def record_attached(self, lease: Lease, attached: Attached) -> None:
        await self._write(attachments.record_attached, lease, attached)

    async def fail_attachment(self, lease: Lease, failure: str) -> None:
        await self._write(attachments.fail, lease, failure, now=self._clock.wall())

    async def note_attachment_failure(self, lease: Lease, failure: str) -> None:
        await self._write(attachments.note_failure, lease, failure)

    async def deliver_attachment(self, lease: Lease, *, now: float) -> None:
        await self._write(attachments.deliver, lease, now=now)

    async def attachments(
        self, *, unfinished: bool = False, queued: bool = True
    ) -> Sequence[Attachment]:
        return await self._read(
            queries.attachments, unfinished=unfinished, queued=queued
        )

    async def find_attachment(self, name: str) -> Attachment:
        return await self._read(queries.find_attachment, name)

    async def last_message(self, service: str, conversation_id: str) -> str | None:
        return await self._read(queries.last_message, service, conversation_id)

    async def remember_rate(self, service: str, rate: float, *, now: float) -> None:
        await self._write(_execute, REMEMBER_RATE, [service, rate, now])

    async def rate(self, service: str) -> float | None:
        return await self._read(queries.rate, service)

    async def keep_quiet(self, service: str, until: float) -> None:
        await self._write(_execute, KEEP_QUIET, [service, until])

    async def quiet_until(self, service: str) -> float | None:
        return await self._read(queries.quiet_until, service)

    async def orphans(self, *, since: float) -> Sequence[Orphan]:
        return await self._read(queries.orphans, since=since)

    async def close_orphan(self, upload: LocalId, upload_id: UploadId) -> None:
        await self._write(
            _execute, CLOSE_ORPHAN, [self._clock.wall(), upload, upload_id]
        )

    async def prune(self, *, before: float) -> int:
        values: dict[str, object] = {"before": before, "slice": SLICE}
        dropped = 0
        while count := await self._write(_execute, PRUNE, values):
            dropped += count
        await self._write(_execute, PRUNE_BATCHES, [before])
        return dropped

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            await self._write(release_all, self._owner)
        finally:
            await self._writer.aclose()
            self._owner.vanish()

    def _asker(self, now: float) -> Asker:
        expires_at = now + self._lease_ttl
        return Asker(owner=self._owner, now=now, expires_at=expires_at)

    async def _write(
        self,
        fact: Callable[Concatenate[Database, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._writer.write(lambda db: fact(db, *args, **kwargs))

    async def _read(
        self,
        query: Callable[Concatenate[Database, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._writer.read(lambda db: query(db, *args, **kwargs))

    async def _claim(
        self,
        claim: Callable[Concatenate[Database, P], AnyClaim],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AnyClaim:
        """Give back at once what nobody waits for any more.

        A lease that its asker never got would keep everybody else waiting.
        """
        claiming = self._writer.submit(lambda db: claim(db, *args, **kwargs))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            claiming.add_done_callback(self._give_back)
            raise

    def _give_back(self, claiming: asyncio.Future[AnyClaim]) -> None:
        if claiming.exception() is None:
            lease = claiming.result().lease
            # A journal that is closing releases all its leases anyway.
            with contextlib.suppress(JournalError):
                self._writer.submit(lambda db: release(db, lease))


def _execute(
    db: Database, sql: str, values: Sequence[object] | dict[str, object]
) -> int:
    return db.execute(sql, values).rowcount


def _request_cancel(db: Database, upload: LocalId) -> None:
    if not _execute(db, REQUEST_CANCEL, [upload]):
        raise queries.no_upload(db, upload)
