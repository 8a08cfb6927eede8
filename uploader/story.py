"""The story of one upload, fresh or resumed, from its first intent to its file.

The crash argument: the journal learns *before* a create or complete that it is about
to be asked, and *after* it what came of it.  An intent without an outcome is looked
into, never repeated blindly.  A part needs the outcome alone, for to send it again is
harmless.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import assert_never

from uploader import catalogue, events, pacing, planner, recovery
from uploader.completion import Completion
from uploader.digest import new_digest
from uploader.errors import (
    BackendError,
    RequestRejected,
    SourceChanged,
    UploadExpired,
    may_have_effect,
)
from uploader.model import File, Opened, Part, PartId, SentPart, UploadState
from uploader.result import Receipt, UploadedFile
from uploader.run import Run
from uploader.scheduler import together
from uploader.source import Source
from uploader.worker import Worker, effect_unknown


class Story:
    """Carries one claimed upload on from wherever it is."""

    def __init__(self, run: Run, source: Source | None = None) -> None:
        upload = run.upload
        self.run = run
        self.machine = run.machine
        self.resumed = bool(upload.parts) or upload.state is not UploadState.PLANNED
        self._was_complete = upload.state is UploadState.COMPLETED
        self._source = source
        self._bytes_sent = 0
        self._bytes_needed = upload.plan.size - upload.sent_bytes
        self._is_late = False
        self._is_compared = False
        self._digest: str | None = None
        """Of the whole content, where it goes into the catalogue."""

    async def tell(self) -> UploadedFile:
        """Go from state to state until the file is proven."""
        self._announce()
        if self.run.upload.state is UploadState.COMPLETED:
            self._bytes_needed = 0
        while True:
            match self.run.upload.state:
                case UploadState.PLANNED:
                    await self._create()
                case UploadState.OPEN:
                    await self._send_and_complete()
                case UploadState.COMPLETING:
                    await Completion(self.run).find_out()
                case UploadState.COMPLETED:
                    await self._compare()
                    await Completion(self.run).look()
                    return await self._result()
                case UploadState.FAILED | UploadState.CANCELLED as state:
                    raise RequestRejected(
                        f"upload {self.run.upload.id} is {state}",
                        hint="upload the file again; that is a new upload",
                    )
                case _:
                    assert_never(self.run.upload.state)

    async def accept(self, file: File) -> None:
        """Somebody looked and says that this is the file.  Raises `WrongFile`."""
        await Completion(self.run).accept(file, "accepted by a person")

    async def accept_part(self, part_id: PartId) -> None:
        """The same for a service where the only part is the file."""
        await self.machine.journal.record_part(
            self.run.hold.lease, SentPart(number=1, part_id=part_id)
        )
        await self.run.reload()

    async def again(self) -> None:
        """Somebody looked and says that there is no file."""
        await self.run.restart("a person asked for it to be sent again")

    async def cancel(self) -> None:
        """Give the upload up, here and at the service."""
        self.run.hold.is_cancelling = True
        opened = self.run.upload.opened
        if self.run.upload.state is UploadState.OPEN and opened is not None:
            try:
                await self.run.ask(
                    "cancel", lambda: self.machine.backend.cancel(opened)
                )
            except RequestRejected as error:
                # `complete` was never asked: what is no longer pending was cancelled,
                # by an attempt whose answer was lost or by a run that died after it.
                if error.status not in (400, 409):
                    raise
        await self.machine.journal.cancel(self.run.hold.lease)
        self.run.observe(events.UploadCancelled)

    async def _create(self) -> None:
        machine, lease = self.machine, self.run.hold.lease
        asked_at = 0.0

        async def attempt() -> Opened:
            nonlocal asked_at
            while wait := await machine.journal.intend_create(
                lease, now=machine.clock.wall()
            ):
                await machine.clock.sleep(wait)
            asked_at = machine.clock.wall()
            upload = self.run.upload
            try:
                return await machine.backend.create(upload.spec, upload.scope)
            except BackendError as error:
                if not may_have_effect(error):
                    await machine.journal.withdraw_create(lease)
                raise

        try:
            opened = await self.run.ask("create", attempt)
        except RequestRejected as error:
            await machine.journal.fail(lease, str(error))
            raise
        self.run.upload = await machine.journal.record_opened(
            lease, opened, now=asked_at
        )
        self.run.observe(
            events.UploadOpened,
            upload_id=opened.upload_id,
            expires_at=opened.expires_at,
        )

    async def _send_and_complete(self) -> None:
        if self.run.upload.put_asked_at is not None:
            reason = "an earlier run sent it, and nobody heard the answer"
            if not self.machine.settings.retry.repeat_effects:
                raise effect_unknown(self.run.upload, reason)
            await self.run.restart(f"{reason}; it is sent again as the settings say")
            return
        source = await self._same_source()
        try:
            sent, md5 = await self._send(source)
        except UploadExpired as error:
            await self._restart_expired(error)
        except RequestRejected as error:
            # Some services answer for an expired upload with 404.
            remaining = self._remaining()
            if error.status != 404 or remaining is None or remaining > 0:
                raise
            await self._restart_expired(error)
        else:
            await Completion(self.run).begin(sent, md5)

    async def _same_source(self) -> Source:
        """The source, proven to be the one whose parts were sent."""
        upload = self.run.upload
        if self._source is None:
            self._source = Source.open(upload.identity.path)
        source = self._source
        self._is_compared = True
        difference = upload.fingerprint.difference(source.fingerprint)
        if difference is None:
            return source
        if source.fingerprint.size != upload.fingerprint.size:
            raise SourceChanged(source.path, difference)
        if any(part.digest is None for part in upload.parts.values()):
            raise SourceChanged(
                source.path, f"{difference}, and there are no digests to verify"
            )
        await source.digest(upload.plan, upload.parts, md5=False)
        await self.machine.journal.record_fingerprint(
            self.run.hold.lease, source.fingerprint
        )
        return source

    async def _compare(self) -> None:
        """Who names a path wants what is in it now, not what an earlier run sent."""
        upload = self.run.upload
        if self._source is None or self._is_compared:
            return
        try:
            difference = upload.fingerprint.difference(self._source.fingerprint)
            if difference is not None and len(upload.parts) < len(upload.plan.parts):
                raise SourceChanged(self._source.path, difference)
            await self._same_source()
        except SourceChanged as error:
            error.hint = (
                "it is complete as it was before: `uploader resume"
                f" {upload.id}` gives that file; then upload it again"
            )
            raise

    async def _send(self, source: Source) -> tuple[Mapping[int, SentPart], str | None]:
        """Send what is missing; return all parts and the MD5 as the service wants it."""
        upload, settings = self.run.upload, self.machine.settings
        worker, content = self._worker(source), None
        if catalogue.applies(self.run):
            content = new_digest(catalogue.DIGEST)
        sent = dict(upload.parts)
        start, missing = self.machine.clock.elapsed(), self.machine.retry.pace.missing
        rest = upload.plan.size - upload.sent_bytes
        missing[upload.id] = rest

        async def send(part: Part) -> None:
            sent[part.number] = await worker.send(part)
            missing[upload.id] -= part.size
            self._look_at_deadline(rest - missing[upload.id], since=start)

        try:
            self._look_at_deadline(0, since=start)
            async with together() as group:
                whole = group.create_task(
                    source.digest(
                        upload.plan,
                        upload.parts,
                        md5=settings.md5 != "off",
                        also=content,
                    )
                )
                await self.machine.scheduler.send_parts(
                    planner.missing_parts(upload.plan, sent),
                    send,
                    self.machine.slots,
                    urgent=lambda: self._is_late,
                )
        finally:
            self._bytes_sent += worker.bytes_sent
            del missing[upload.id]
        source.check()
        if source.touched:
            await source.digest(upload.plan, sent, md5=False)
        if source.is_replaced():
            self.run.observe(events.SourceReplaced)
        if content is not None:
            self._digest = catalogue.spelled(content)
        return sent, self._spelled(whole.result())

    def _worker(self, source: Source) -> Worker:
        settings, remaining = self.machine.settings, self._remaining()
        now = self.machine.clock.elapsed()
        return Worker(
            run=self.run,
            source=source,
            digest=None if settings.digest == "off" else settings.digest,
            deadline=None if remaining is None else now + remaining,
            numbers={
                sent.part_id: number for number, sent in self.run.upload.parts.items()
            },
        )

    def _spelled(self, md5: bytes | None) -> str | None:
        if md5 is None:
            return None
        if self.machine.settings.md5 == "base64":
            return base64.b64encode(md5).decode()
        return md5.hex()

    def _remaining(self) -> float | None:
        """Seconds that the upload has left; None when it does not expire."""
        opened, asked_at = self.run.upload.opened, self.run.upload.asked_at
        assert opened is not None
        assert asked_at is not None
        life = pacing.lifetime(
            opened.created_at, opened.expires_at, self.machine.backend.limits.lifetime
        )
        return None if life is None else asked_at + life - self.machine.clock.wall()

    def _look_at_deadline(self, fresh: int, *, since: float) -> None:
        """Say when the rest will not make it; ask for slots before others then."""
        remaining = self._remaining()
        if remaining is None:
            return
        pace, now = self.machine.retry.pace, self.machine.clock.elapsed()
        size = self.run.upload.spec.size
        telling = pacing.is_telling(elapsed=now - since, sent=fresh, size=size)
        rate = pace.rate.value(now=now) if telling else pace.remembered_rate
        short = pacing.shortfall(
            missing=pace.missing[self.run.upload.id], rate=rate, remaining=remaining
        )
        if short is not None and not self._is_late:
            self.run.observe(
                events.DeadlineAtRisk,
                rate=short.rate,
                needed=short.needed,
                remaining=short.remaining,
            )
        self._is_late = short is not None

    async def _restart_expired(self, error: BackendError) -> None:
        rate = self.machine.retry.pace.rate.value(now=self.machine.clock.elapsed())
        life = self.machine.backend.limits.lifetime
        size = self.run.upload.plan.size
        refused = recovery.may_restart_expired(
            restarts=self.run.upload.restarts,
            hopeless=rate is not None and life is not None and size > rate * life,
            keep_trying=self.machine.settings.keep_trying,
        )
        if refused is not None:
            raise UploadExpired(
                f"{error}; {refused}",
                hint="find a faster link, or insist with --keep-trying",
            ) from error
        await self.run.restart(f"it expired at the service: {error}")
        self._bytes_needed = size
        self._is_late = False

    async def _result(self) -> UploadedFile:
        upload, file = self.run.upload, self.run.upload.file
        assert file is not None
        receipt = await self._receipt(file)
        if self._digest is None:
            self._digest = await catalogue.find_out(self.run, self._source)
        if self._digest is not None:
            await self.machine.journal.record_catalogued(upload, self._digest, file.id)
        self.run.observe(
            events.UploadCompleted,
            file_id=file.id,
            bytes=receipt.size,
            md5=receipt.md5,
            target=upload.identity.target,
        )
        return UploadedFile(
            file_id=file.id,
            bytes=receipt.size,
            filename=upload.spec.filename,
            purpose=upload.spec.purpose,
            mime_type=upload.spec.mime_type,
            width=upload.spec.width,
            height=upload.spec.height,
            md5=receipt.md5,
            resumed=self.resumed,
            receipt=receipt,
            details=file.details,
        )

    async def _receipt(self, file: File) -> Receipt:
        """The receipt of the run that completed it, which may have been another."""
        journal, upload = self.machine.journal, self.run.upload
        if self._was_complete:
            known = await journal.receipt(upload.id)
            if known is not None:
                return known
        opened, intent = upload.opened, upload.complete_intent
        request_ids = {
            "create": opened.request_id if opened else None,
            "complete": file.request_id,
        }
        receipt = Receipt(
            upload=upload.id,
            service=upload.identity.service,
            path=upload.identity.path,
            size=upload.plan.size,
            filename=upload.spec.filename,
            purpose=upload.spec.purpose,
            file_id=file.id,
            upload_id=opened.upload_id if opened else None,
            md5=intent.md5 if intent else None,
            part_sizes=tuple(part.size for part in upload.plan.parts),
            parts=tuple(upload.parts[number] for number in sorted(upload.parts)),
            request_ids={name: id_ for name, id_ in request_ids.items() if id_},
            restarts=upload.restarts + upload.orphan_restarts,
            attempts=sum(part.attempts for part in upload.parts.values()),
            bytes_sent=self._bytes_sent,
            bytes_needed=self._bytes_needed,
            started_at=upload.created_at,
            completed_at=self.machine.clock.wall(),
        )
        await journal.record_receipt(self.run.hold.lease, receipt)
        return receipt

    def _announce(self) -> None:
        upload = self.run.upload
        self.run.observe(
            events.UploadStarted,
            size=upload.plan.size,
            parts=len(upload.plan.parts),
            recorded=upload.sent_bytes,
            recorded_parts=len(upload.parts),
        )
