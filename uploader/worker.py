"""One part: read, send, record, announce."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Final

from uploader.answer import printable
from uploader.body import SourceBody
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    OutcomeUnknown,
    UnexpectedAnswer,
    may_have_effect,
)
from uploader.events import PartProgressed, PartSent
from uploader.model import Part, PartId, PutPart, SentPart, Upload
from uploader.run import Run
from uploader.source import Source

PATIENCE: Final = 0.5
"""Seconds between two looks at a limit that may have changed."""


@dataclass(slots=True)
class Worker:
    """Sends parts of one open upload."""

    run: Run
    source: Source
    digest: str | None
    deadline: float | None
    """On the clock's `elapsed`."""
    bytes_sent: int = 0
    numbers: dict[PartId, int] = field(default_factory=dict)
    """Which part has which id; the service has to tell them apart."""
    _arrived: dict[int, int] = field(default_factory=dict)
    """Bytes of each part in flight that were acknowledged."""

    async def send(self, part: Part) -> SentPart:
        """Read, send, record, announce; in that order.

        A crash between send and record leaves a part at the service that the journal
        does not know; it is sent again.  The other order could record a part that
        the service never got.
        """
        machine = self.run.machine
        attempts = 0
        body: SourceBody

        async def attempt() -> PutPart:
            nonlocal attempts, body
            attempts += 1
            self._arrived[part.number] = 0
            await self.run.hold.confirm()
            body = self._body(part)
            return await self._put(part, body)

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
        self._note_arrived(part, part.size)
        del self._arrived[part.number]
        self.source.check()
        await self._tell_apart(part, put)
        sent = SentPart(
            number=part.number,
            part_id=put.part_id,
            digest=body.digest,
            request_id=put.request_id,
            details=put.details,
            attempts=attempts,
            sent_at=machine.clock.wall(),
        )
        await machine.journal.record_part(self.run.hold.lease, sent)
        self.run.observe(
            PartSent, number=part.number, size=part.size, attempts=attempts
        )
        return sent

    async def _tell_apart(self, part: Part, put: PutPart) -> None:
        """Raise `UnexpectedAnswer` for an id that another part has already.

        Nobody knows what is stored under it, so neither counts as sent.
        """
        other = self.numbers.setdefault(put.part_id, part.number)
        if other == part.number:
            return
        await self.run.machine.journal.forget_parts(self.run.hold.lease, [other])
        raise UnexpectedAnswer(
            f"part {part.number} got {printable(put.part_id)}, the id of part {other}",
            request_id=put.request_id,
            hint="the service does not tell parts apart, so no file can be joined of"
            " them; try `uploader resume` with --parallel 1, else report it there",
        )

    async def _put(self, part: Part, body: SourceBody) -> PutPart:
        """Ask once; where that is an effect, as an intent, and never twice blindly."""
        machine, upload = self.run.machine, self.run.upload
        assert upload.opened is not None
        request = partial(
            machine.backend.put_part, upload.spec, upload.opened, part, body
        )
        if not machine.backend.capabilities.part_is_effect:
            return await request()
        lease = self.run.hold.lease
        await machine.journal.intend_put(lease, now=machine.clock.wall())
        try:
            return await request()
        except BackendError as error:
            if may_have_effect(error) and not machine.settings.retry.repeat_effects:
                raise effect_unknown(upload, str(error)) from error
            await machine.journal.withdraw_put(lease)
            raise

    def _note_arrived(self, part: Part, size: int) -> None:
        """So much of *part* is at the service: is there room for more parts?"""
        machine = self.run.machine
        more = size - self._arrived.get(part.number, 0)
        self._arrived[part.number] = size
        limit = machine.retry.pace.moved(
            more, in_flight=machine.slots.in_flight, now=machine.clock.elapsed()
        )
        machine.slots.limit = min(limit, machine.allowance.parts or limit)

    async def _pay(self, size: int) -> int:
        """Account for so many bytes, wait where a limit asks for it, grant the next."""
        allowance, clock = self.run.machine.allowance, self.run.machine.clock
        allowance.spend(size, now=clock.elapsed())
        while wait := allowance.wait(now=clock.elapsed()):
            # In steps: the limit may be changed, or lifted, in the meantime.
            await clock.sleep(min(wait, PATIENCE))
        return allowance.ration

    def _body(self, part: Part) -> SourceBody:
        before = 0

        async def grant(sent: int, pending: int) -> int:
            nonlocal before
            await self.run.hold.confirm()
            # Of what is pending some may be the head of the request.
            here = max(self._arrived.get(part.number, 0), sent - pending)
            self._note_arrived(part, here)
            ration = await self._pay(sent - before)
            self.bytes_sent += sent - before
            if sent > before:
                self.run.observe(PartProgressed, number=part.number, sent=sent)
            before = sent
            return ration

        return self.source.body(part, self.digest, grant)


def effect_unknown(upload: Upload, reason: str) -> OutcomeUnknown:
    """A whole file was sent, and nobody knows whether it is there."""
    resume = f"uploader resume {upload.id}"
    return OutcomeUnknown(
        f"{upload.spec.filename} may be at the service: {reason}",
        hint="this service cannot be asked; if you know its id:"
        f" `{resume} --accept FILE_ID`; to send it once more: `{resume} --again`",
    )
