"""Files and a prompt as one message: the uploads first, then the attachment.

The attachment is journalled before the first byte is sent, so that a run which was
killed between the last upload and its message still knows what is to be said.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from uploader import members
from uploader.attach import Attaching
from uploader.carrier import HandOver, Wish
from uploader.errors import Interrupted, LeaseLost, UploaderError, UsageError
from uploader.events import AttachmentFailed
from uploader.machines import Machines
from uploader.members import Claims
from uploader.message import Attached, Attachment, AttachmentSpec, FileRef
from uploader.record import AttachmentClaim
from uploader.result import Sent
from uploader.run import Machine, holding
from uploader.source import Source
from uploader.target import Target
from uploader.targets import open_target


class Outbox:
    """Sends messages to targets."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines

    async def send(
        self,
        paths: Sequence[Path],
        wish: Wish,
        *,
        prompt: str | None,
        model: str | None,
        backend: str | None,
        hand_over: HandOver | None = None,
    ) -> Sent:
        """Upload all *paths* and attach them to `wish.target` as one message."""
        assert wish.target is not None
        async with self._target(wish.target) as target:
            machine = await self._machine_for(target, backend)
            with ExitStack() as opened:
                sources = [
                    opened.enter_context(
                        Source.open(path, follow_links=wish.follow_links)
                    )
                    for path in paths
                ]
                drafts = [members.draft(machine, source, wish) for source in sources]
                _check(target, drafts, prompt, model)
                async with members.claiming(machine) as claims:
                    for source in sources:
                        await claims.begin(source, wish)
                    spec = AttachmentSpec(
                        service=target.service,
                        target=wish.target,
                        prompt=prompt,
                        model=model,
                        members=claims.uploads,
                    )
                    journal, clock = self._machines.journal, self._machines.clock
                    attachment = await journal.begin_attachment(spec, now=clock.wall())
                    return await self._carry(
                        target, machine, attachment, claims, hand_over=hand_over
                    )

    async def attach(
        self,
        files: Sequence[FileRef],
        *,
        to: str,
        prompt: str | None,
        model: str | None,
    ) -> Attached:
        """Attach files that exist already, or ask a question without any."""
        async with self._target(to) as target:
            machine = await self._machine_for(target, None)
            known = [await members.known(machine, target, file) for file in files]
            _check(target, known, prompt, model)
            spec = AttachmentSpec(
                service=target.service,
                target=to,
                prompt=prompt,
                model=model,
                members=tuple(known),
            )
            claim = await self._machines.journal.begin_attachment(
                spec, now=self._machines.clock.wall()
            )
            async with members.claiming(machine) as claims:
                return (await self._carry(target, machine, claim, claims)).attached

    async def resume(
        self,
        attachment: Attachment,
        *,
        again: bool = False,
        hand_over: HandOver | None = None,
    ) -> Sent:
        """Go on with an attachment of the journal, its uploads included."""
        journal, now = self._machines.journal, self._machines.clock.wall()
        async with self._target(attachment.spec.target) as target:
            machine = await self._machines.of(attachment.spec.service)
            claim = await journal.take_attachment(attachment.id, now=now)
            async with members.claiming(machine) as claims:
                return await self._carry(
                    target, machine, claim, claims, again=again, hand_over=hand_over
                )

    async def cancel(self, attachment: Attachment) -> None:
        """Give a message up; its files, and what may be there of it, stay."""
        if not attachment.is_unfinished:
            raise UsageError(
                f"attachment {attachment.id} is {attachment.state}; there is nothing to"
                " cancel",
                hint="what was attached can be removed at the service",
            )
        journal, now = self._machines.journal, self._machines.clock.wall()
        claim = await journal.take_attachment(attachment.id, now=now)
        try:
            await journal.fail_attachment(claim.lease, "given up by a person")
        finally:
            await asyncio.shield(journal.release(claim.lease))

    async def _carry(
        self,
        target: Target,
        machine: Machine,
        claim: AttachmentClaim,
        claims: Claims,
        *,
        again: bool = False,
        hand_over: HandOver | None = None,
    ) -> Sent:
        journal = machine.journal
        async with self._held(target, machine, claim) as attaching:
            if not claims.held:
                await claims.retake(attaching)
            if again:
                await self._again(attaching, claims)
            scope = None
            if target.capabilities.owns_files:
                await attaching.join(claims.home())
                scope = await attaching.prepare()
            elif not target.name.endswith(":new"):
                # What is not there is better known before gigabytes are sent.
                await attaching.prepare()
            files = await claims.carry(scope, again=again)
            refs = await members.describe(machine, attaching.attachment, files)
            attached = await attaching.attach(refs)
            sent = tuple(replace(file, attached=attached) for file in files.values())
            if hand_over is not None:
                await hand_over(sent)
            await journal.deliver_attachment(claim.lease, now=machine.clock.wall())
        return Sent(files=sent, attached=attached)

    async def _again(self, attaching: Attaching, claims: Claims) -> None:
        """Somebody looked: what is in doubt, files or message, is not there."""
        if attaching.is_in_doubt:
            await attaching.again()
        elif not claims.is_any_in_doubt:
            attachment = attaching.attachment
            raise UsageError(
                f"attachment {attachment.id} is {attachment.state}; its outcome is not"
                " in doubt",
                hint="leave out --again",
            )

    async def _machine_for(self, target: Target, backend: str | None) -> Machine:
        machine = await self._machines.named(backend or target.backend)
        if machine.backend.service != target.service:
            raise UsageError(
                f"a file at {machine.backend.service} is unknown to {target.name}",
                hint=f"leave out --backend, or use --backend {target.backend}",
            )
        return machine

    @contextlib.asynccontextmanager
    async def _target(self, name: str) -> AsyncIterator[Target]:
        target = open_target(name, self._machines.settings)
        try:
            yield target
        finally:
            await target.aclose()

    @contextlib.asynccontextmanager
    async def _held(
        self, target: Target, machine: Machine, claim: AttachmentClaim
    ) -> AsyncIterator[Attaching]:
        """The claimed attachment; what goes wrong with it is noted and announced."""
        try:
            async with holding(machine, claim.lease) as hold:
                try:
                    yield Attaching(machine, target, claim.attachment, hold)
                except (LeaseLost, Interrupted):
                    raise
                except UploaderError as error:
                    await machine.journal.note_attachment_failure(
                        claim.lease, str(error)
                    )
                    raise
        except UploaderError as error:
            found = await machine.journal.find_attachment(claim.attachment.id)
            machine.observe(
                AttachmentFailed(
                    attachment=found.id,
                    target=found.spec.target,
                    error=str(error),
                    hint=error.hint,
                    exit_code=error.exit_code,
                    resumable=found.is_unfinished,
                )
            )
            raise


def _check(
    target: Target, files: Sequence[FileRef], prompt: str | None, model: str | None
) -> None:
    """Refuse what cannot be a message before anything is sent."""
    target.accepts(files, prompt)
    if model is not None and not target.capabilities.asks_models:
        raise UsageError(
            f"{target.name}: it asks no model",
            hint="leave out --model, or send it to conversation:new",
        )
