"""One part: read, send, record, announce."""

from __future__ import annotations

from dataclasses import dataclass

from uploader.errors import BackendUnavailable
from uploader.events import PartProgressed, PartSent
from uploader.model import MIB, Part, PutPart, SentPart
from uploader.run import Run
from uploader.source import Source, SourceBody


@dataclass(slots=True)
class Worker:
    """Sends parts of one open upload."""

    run: Run
    source: Source
    digest: str | None
    deadline: float | None
    """On the clock's `elapsed`."""
    bytes_sent: int = 0

    async def send(self, part: Part) -> SentPart:
        """Read, send, record, announce; in that order.

        A crash between send and record leaves a part at the service that the journal
        does not know; it is sent again.  The other order could record a part that
        the service never got.
        """
        machine, opened = self.run.machine, self.run.upload.opened
        assert opened is not None
        attempts = 0
        body: SourceBody

        async def attempt() -> PutPart:
            nonlocal attempts, body
            attempts += 1
            await self.run.hold.confirm()
            body = self._body(part)
            return await machine.backend.put_part(opened, part, body)

        async def on_backoff(
            attempt: int, delay: float, error: BackendUnavailable
        ) -> None:
            if error.effect_possible:
                await machine.journal.note_orphan_parts(self.run.hold.lease)
            self.run.backed_off(f"part {part.number}", attempt, delay, error)

        self.source.check()
        put = await machine.retry(
            attempt, on_backoff=on_backoff, deadline=self.deadline
        )
        self.source.check()
        sent = SentPart(
            number=part.number,
            part_id=put.part_id,
            digest=body.digest,
            request_id=put.request_id,
            block_id=put.block_id,
            attempts=attempts,
            sent_at=machine.clock.wall(),
        )
        await machine.journal.record_part(self.run.hold.lease, sent)
        self.run.observe(
            PartSent, number=part.number, size=part.size, attempts=attempts
        )
        return sent

    def _body(self, part: Part) -> SourceBody:
        before = 0

        async def on_chunk(sent: int) -> None:
            nonlocal before
            await self.run.hold.confirm()
            machine = self.run.machine
            machine.retry.pace.rate.add(sent - before, now=machine.clock.elapsed())
            self.bytes_sent += sent - before
            if sent // MIB > before // MIB or sent == part.size:
                self.run.observe(PartProgressed, number=part.number, sent=sent)
            before = sent

        return self.source.body(part, self.digest, on_chunk)
