"""Files and a prompt as one message: the uploads first, then the attachment.

The attachment is journalled before the first byte is sent, so that a run which was
killed between the last upload and its message still knows what is to be said.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from uploader import carrier
from uploader.attach import Attaching
from uploader.carrier import HandOver, Wish
from uploader.errors import (
    Interrupted,
    LeaseLost,
    RequestRejected,
    UploaderError,
    UsageError,
)
from uploader.events import AttachmentFailed
from uploader.machines import Machines
from uploader.model import (
    Attached,
    Attachment,
    AttachmentSpec,
    FileId,
    FileRef,
    LocalId,
    Scope,
    Sent,
    UploadedFile,
    UploadState,
)
from uploader.record import AttachmentClaim, Claim
from uploader.run import Machine, holding
from uploader.scheduler import together
from uploader.source import Source
from uploader.target import Target
from uploader.targets import open_target


@dataclass(slots=True)
class Claims:
    """The uploads of a message while this process holds them, in their order."""

    held: list[tuple[Claim, Source | None]] = field(default_factory=list)

    def add(self, claim: Claim, source: Source | None) -> None:
        self.held.append((claim, source))


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
                drafts = [self._draft(machine, source, wish) for source in sources]
                _check(target, drafts, prompt, model)
                async with self._claims() as claims:
                    for source in sources:
                        claim = await carrier.begin(machine, source, wish)
                        claims.add(claim, source)
                    spec = AttachmentSpec(
                        service=target.service,
                        target=wish.target,
                        prompt=prompt,
                        model=model,
                        members=tuple(claim.upload.id for claim, _ in claims.held),
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
            known = [await self._known(machine, target, file) for file in files]
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
            async with self._claims() as claims:
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
            async with self._claims() as claims:
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
                await self._retake(attaching, claims)
            if again:
                await self._again(attaching, claims)
            scope = None
            if target.capabilities.owns_files:
                await attaching.join(_home(claims))
                scope = await attaching.prepare()
            elif not target.name.endswith(":new"):
                # What is not there is better known before gigabytes are sent.
                await attaching.prepare()
            files = await self._upload(machine, claims, scope, again=again)
            refs = await self._refs(attaching.attachment, files)
            attached = await attaching.attach(refs)
            sent = tuple(replace(file, attached=attached) for file in files.values())
            if hand_over is not None:
                await hand_over(sent)
            await journal.deliver_attachment(claim.lease, now=machine.clock.wall())
        return Sent(files=sent, attached=attached)

    async def _upload(
        self,
        machine: Machine,
        claims: Claims,
        scope: Scope | None,
        *,
        again: bool,
    ) -> dict[LocalId, UploadedFile]:
        """Carry the uploads side by side; their order stays that of the message.

        One that fails does not stop the others: what is on its way to a service that
        takes whole files would be in doubt.
        """
        files: dict[LocalId, UploadedFile] = {}
        failures: list[UploaderError] = []

        async def carry(claim: Claim, source: Source | None) -> None:
            try:
                files[claim.upload.id] = await carrier.carry(
                    machine,
                    claim,
                    source,
                    scope=scope,
                    again=again and carrier.is_in_doubt(claim.upload),
                    deliver=False,
                )
            except UploaderError as error:
                failures.append(error)

        async with together() as group:
            for claim, source in claims.held:
                group.create_task(carry(claim, source))
        if failures:
            raise failures[0]
        return {claim.upload.id: files[claim.upload.id] for claim, _ in claims.held}

    async def _again(self, attaching: Attaching, claims: Claims) -> None:
        """Somebody looked: what is in doubt, files or message, is not there."""
        if attaching.is_in_doubt:
            await attaching.again()
        elif not any(carrier.is_in_doubt(claim.upload) for claim, _ in claims.held):
            attachment = attaching.attachment
            raise UsageError(
                f"attachment {attachment.id} is {attachment.state}; its outcome is not"
                " in doubt",
                hint="leave out --again",
            )

    @contextlib.asynccontextmanager
    async def _claims(self) -> AsyncIterator[Claims]:
        """Let go of all claims in the end; those that were carried let go before."""
        claims = Claims()
        try:
            yield claims
        finally:
            for claim, _ in claims.held:
                await asyncio.shield(self._machines.journal.release(claim.lease))

    async def _retake(self, attaching: Attaching, claims: Claims) -> None:
        """Claim the uploads of an attachment that an earlier run left."""
        journal, attachment = self._machines.journal, attaching.attachment
        for member in attachment.spec.members:
            if isinstance(member, FileRef):
                continue
            upload = await journal.find(member)
            if upload.state in (UploadState.FAILED, UploadState.CANCELLED):
                gone = RequestRejected(
                    f"{upload.identity.path.name} of attachment {attachment.id} is"
                    f" {upload.state}",
                    hint="send the files again; that is a new message",
                )
                await journal.fail_attachment(attaching.hold.lease, str(gone))
                raise gone
            now = self._machines.clock.wall()
            claims.add(await journal.take(upload.id, now=now), None)

    async def _refs(
        self, attachment: Attachment, files: dict[LocalId, UploadedFile]
    ) -> tuple[FileRef, ...]:
        """The members as the message has to describe them, in their order."""
        refs = []
        for member in attachment.spec.members:
            if isinstance(member, FileRef):
                refs.append(member)
            else:
                upload = await self._machines.journal.find(member)
                refs.append(_ref(files[member], upload.scope))
        return tuple(refs)

    def _draft(self, machine: Machine, source: Source, wish: Wish) -> FileRef:
        """What is known of a file before it has an id."""
        spec = carrier.spec_of(machine, source, wish)
        return FileRef(
            file_id=FileId(""),
            name=spec.filename,
            size=spec.size,
            mime_type=spec.mime_type,
            width=spec.width,
            height=spec.height,
        )

    async def _known(self, machine: Machine, target: Target, file: FileRef) -> FileRef:
        """A file that exists, with what its service knows of it."""
        await self._check_owner(machine, target, file)
        if not machine.backend.capabilities.knows_files:
            file = await self._remembered(machine, file)
            mime_type = file.mime_type or machine.backend.mime_type(file.name)
            return replace(file, mime_type=mime_type)
        try:
            found = await machine.backend.get_file(file.file_id)
        except RequestRejected as error:
            error.hint = error.hint or (
                "is it of another service or project? upload the file here:"
                f" `uploader upload PATH --to {target.name}`"
            )
            raise
        name = file.name or found.filename
        return replace(
            file,
            name=name,
            size=file.size if file.size is not None else found.bytes,
            mime_type=file.mime_type or machine.backend.mime_type(name),
        )

    async def _remembered(self, machine: Machine, file: FileRef) -> FileRef:
        """The file with what this journal knows of it, if it made it."""
        upload = await machine.journal.find_file(file.file_id)
        if upload is None or upload.file is None:
            return file
        return replace(
            file,
            name=file.name or upload.spec.filename,
            size=upload.spec.size if file.size is None else file.size,
            mime_type=file.mime_type or upload.spec.mime_type,
            width=upload.spec.width if file.width is None else file.width,
            height=upload.spec.height if file.height is None else file.height,
            scope=upload.scope.conversation_id if upload.scope else file.scope,
            details=file.details or upload.file.details,
        )

    async def _check_owner(
        self, machine: Machine, target: Target, file: FileRef
    ) -> None:
        """A file id belongs to one service, and at some to one conversation."""
        hint = f"upload the file there: `uploader upload PATH --to {target.name}`"
        upload = await machine.journal.find_file(file.file_id)
        if upload is None:
            return
        if upload.identity.service != machine.backend.service:
            raise UsageError(
                f"{file.file_id} is a file of {upload.identity.service}", hint=hint
            )
        scope = upload.scope.conversation_id if upload.scope else None
        if target.capabilities.owns_files and target.name != (
            f"{target.backend}:{scope}"
        ):
            raise UsageError(
                f"{file.file_id} belongs to conversation {scope}", hint=hint
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


def _home(claims: Claims) -> Scope | None:
    """The conversation that the files are in already, from an earlier message."""
    homes = {
        claim.upload.scope.conversation_id: claim.upload.scope
        for claim, _ in claims.held
        if claim.upload.scope is not None
    }
    if len(homes) > 1:
        raise UsageError(
            f"the files are in different conversations already: {', '.join(homes)}",
            hint="send each to its own",
        )
    return next(iter(homes.values()), None)


def _ref(file: UploadedFile, scope: Scope | None) -> FileRef:
    return FileRef(
        file_id=file.file_id,
        name=file.filename,
        size=file.bytes,
        mime_type=file.mime_type,
        width=file.width,
        height=file.height,
        scope=scope.conversation_id if scope else None,
        details=file.details,
    )
