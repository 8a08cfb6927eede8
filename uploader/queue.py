"""What waits for its turn: put there in one go, taken by priority, then arrival."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from uploader import carrier
from uploader.errors import UploaderError, UsageError
from uploader.events import BatchFinished, BatchStarted, UploadFailed
from uploader.intake import Item, plan_items
from uploader.machines import Machines
from uploader.model import Batch, BatchId, LocalId, Queued, Upload
from uploader.outbox import Outbox
from uploader.record import Entry
from uploader.result import UploadedFile
from uploader.run import Machine

NO_FILES: Final = "check folder, --include and --exclude"


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What was queued: ids and entries in the order of the items."""

    batch: BatchId
    ids: tuple[LocalId, ...]
    entries: tuple[Entry, ...]


class Queue:
    """The queue of a journal, as one `Uploader` sees it.

    The journal has it all, so any process may go on with what another one queued.
    Who does that, and how many at once, is `uploader.batch`'s to decide.
    """

    def __init__(self, machines: Machines, default: Machine | None) -> None:
        self._machines = machines
        self._default = default

    async def plan(self, items: Iterable[Item]) -> Sequence[Entry]:
        """What `add` would queue; nothing is recorded or sent.

        A file that cannot be uploaded is an entry with its failure.
        """
        return await plan_items(self._machines, self._default, items)

    async def add(
        self, items: Iterable[Item], *, batch: BatchId | None = None
    ) -> Added:
        """Queue all *items*, or none of them, as a new batch or in *batch*.

        Returns when that would survive a power cut.  What cannot be uploaded is
        recorded as failed, and announced.  Equal items are one upload.  Raises
        `UsageError` for no items at all.
        """
        entries = await self.plan(items)
        if not entries:
            raise UsageError("there are no files in the list", hint=NO_FILES)
        return await self._add(entries, batch)

    async def _add(self, entries: Sequence[Entry], batch: BatchId | None) -> Added:
        batch, ids = await self._machines.journal.enqueue(
            entries, batch=batch, now=self._machines.clock.wall()
        )
        known = await self.batch(batch)
        self._machines.observe(
            BatchStarted(
                batch=batch,
                uploads=known.uploads,
                bytes=known.bytes,
                refused=sum(entry.failure is not None for entry in entries),
            )
        )
        for entry, id_ in zip(entries, ids, strict=True):
            if entry.failure is not None:
                self._announce(id_, entry)
        return Added(batch=batch, ids=tuple(ids), entries=tuple(entries))

    async def restart(
        self, batch: BatchId | None = None, *, preflight: bool = True
    ) -> Sequence[Added]:
        """Queue what failed in *batch*, or in any, once more; by batches.

        What failed for good becomes a new upload in its place; what was stopped goes
        on from the journal.
        """
        again: dict[BatchId, list[Item]] = {}
        for upload in await self.failed(batch):
            assert upload.batch is not None
            items = again.setdefault(upload.batch, [])
            if upload.is_unfinished:
                await self._machines.journal.requeue(upload.id)
            else:
                items.append(await self._again(upload, preflight=preflight))
        return [
            await self._add(await self.plan(items), name)
            for name, items in again.items()
        ]

    async def next(
        self,
        *,
        batch: BatchId | None = None,
        but: Collection[str] = (),
        limit: int = 1,
    ) -> Sequence[Queued]:
        """What comes next, not of the services *but*.  Nothing is claimed."""
        return await self._machines.journal.next_queued(
            batch=batch, but=but, limit=limit
        )

    async def reaches(self, service: str) -> bool:
        """Whether the settings lead to *service*."""
        return await self._machines.reaches(service)

    async def slots(self, service: str) -> int:
        """How many parts may be in flight to *service* now."""
        return (await self._machines.of(service)).slots.limit

    async def carry(
        self, queued: Queued, *, hand_over: carrier.HandOver | None = None
    ) -> UploadedFile:
        """Claim it and carry it on to its file, or into its conversation.

        *hand_over* takes the result before it counts as delivered.
        Raises `UploadOwned` when another process was quicker, and what
        `Uploader.upload` raises.
        """
        journal = self._machines.journal
        sent = None
        for message in await journal.messages_with(queued.id):
            attachment = await journal.find_attachment(message)
            sent = await Outbox(self._machines).resume(attachment, hand_over=hand_over)
        if sent is not None:
            return sent.files[0]
        machine = await self._machines.of(queued.service)
        now = self._machines.clock.wall()
        claim = await journal.take(queued.id, now=now)
        return await carrier.carry(machine, claim, hand_over=hand_over)

    async def refuse(self, queued: Queued, error: UploaderError) -> None:
        """Fail it for good before anything was sent."""
        machine = await self._machines.of(queued.service)
        now = self._machines.clock.wall()
        claim = await self._machines.journal.take(queued.id, now=now)
        for message in await self._machines.journal.messages_with(queued.id):
            held = await self._machines.journal.take_attachment(message, now=now)
            await self._machines.journal.fail_attachment(held.lease, str(error))
            await self._machines.journal.release(held.lease)
        await carrier.refuse(machine, claim, error)

    async def finish(self, batch: BatchId, *, seconds: float) -> Batch:
        """Announce that a run has nothing more to do for *batch*."""
        known = await self.batch(batch)
        self._machines.observe(
            BatchFinished(
                batch=batch,
                completed=known.completed,
                failed=known.failed + known.cancelled,
                unfinished=known.unfinished,
                bytes=known.bytes_completed,
                seconds=round(seconds, 3),
            )
        )
        return known

    async def rate(self, service: str) -> float | None:
        """Bytes per second that an earlier run reached there."""
        return await self._machines.journal.rate(service)

    async def size(self) -> tuple[int, int]:
        """How many uploads wait, and how many bytes they have."""
        return await self._machines.journal.queue_size()

    async def batches(self) -> Sequence[Batch]:
        """All batches that the journal knows, oldest first."""
        return await self._machines.journal.batches()

    async def batch(self, name: str) -> Batch:
        """By its id, or the beginning of it.  Raises `UsageError`."""
        return await self._machines.journal.batch(name)

    async def failed(self, batch: BatchId | None = None) -> Sequence[Upload]:
        """Those of a batch, or of all, that failed or were stopped by a failure."""
        return await self._machines.journal.failed(batch)

    async def _again(self, upload: Upload, *, preflight: bool) -> Item:
        """The wish behind an upload that failed."""
        journal, spec = self._machines.journal, upload.spec
        prompt, model = None, None
        for message in await journal.messages_with(upload.id, unfinished=False):
            said = (await journal.find_attachment(message)).spec
            prompt, model = said.prompt, said.model
        return Item(
            path=upload.identity.path,
            purpose=spec.purpose,
            filename=spec.filename,
            mime_type=None if upload.plan.size == 0 else spec.mime_type,
            expires_after=spec.expires_after,
            to=upload.identity.target,
            prompt=prompt,
            model=model,
            priority=upload.priority,
            tag=upload.tag,
            preflight=preflight,
            reuse=upload.reuse,
            replaces=upload.id,
        )

    def _announce(self, upload: LocalId, entry: Entry) -> None:
        assert entry.failure is not None
        self._machines.observe(
            UploadFailed(
                upload=upload,
                path=entry.identity.path,
                error=str(entry.failure),
                hint=entry.failure.hint,
                exit_code=entry.failure.exit_code,
                resumable=False,
            )
        )
