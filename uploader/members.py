"""The members of a message: uploads that this process holds, and files that exist."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

from uploader import carrier
from uploader.attach import Attaching
from uploader.carrier import Wish
from uploader.errors import RequestRejected, UploaderError, UsageError
from uploader.message import Attachment, FileRef
from uploader.model import FileId, LocalId, Scope, UploadState
from uploader.record import Claim
from uploader.result import UploadedFile
from uploader.run import Machine
from uploader.scheduler import together
from uploader.source import Source
from uploader.target import Target


@dataclass(slots=True)
class Claims:
    """The uploads of a message while this process holds them, in their order."""

    machine: Machine
    held: list[tuple[Claim, Source | None]] = field(default_factory=list)

    @property
    def uploads(self) -> tuple[LocalId, ...]:
        return tuple(claim.upload.id for claim, _ in self.held)

    @property
    def is_any_in_doubt(self) -> bool:
        return any(carrier.is_in_doubt(claim.upload) for claim, _ in self.held)

    def home(self) -> Scope | None:
        """The conversation that the files are in already, from an earlier message.

        Raises `UsageError` when they are in several.
        """
        homes = {
            claim.upload.scope.conversation_id: claim.upload.scope
            for claim, _ in self.held
            if claim.upload.scope is not None
        }
        if len(homes) > 1:
            raise UsageError(
                f"the files are in different conversations already: {', '.join(homes)}",
                hint="send each to its own",
            )
        return next(iter(homes.values()), None)

    async def begin(self, source: Source, wish: Wish) -> None:
        """Claim the upload of *source*, known or new."""
        claim = await carrier.begin(self.machine, source, wish)
        self.held.append((claim, source))

    async def retake(self, attaching: Attaching) -> None:
        """Claim the uploads of an attachment that an earlier run left."""
        journal, attachment = self.machine.journal, attaching.attachment
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
            now = self.machine.clock.wall()
            self.held.append((await journal.take(upload.id, now=now), None))

    async def carry(
        self, scope: Scope | None, *, again: bool
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
                    self.machine,
                    claim,
                    source,
                    scope=scope,
                    again=again and carrier.is_in_doubt(claim.upload),
                    deliver=False,
                )
            except UploaderError as error:
                failures.append(error)

        async with together() as group:
            for claim, source in self.held:
                group.create_task(carry(claim, source))
        if failures:
            raise failures[0]
        return {claim.upload.id: files[claim.upload.id] for claim, _ in self.held}


@contextlib.asynccontextmanager
async def claiming(machine: Machine) -> AsyncIterator[Claims]:
    """Let go of all claims in the end; those that were carried let go before."""
    claims = Claims(machine)
    try:
        yield claims
    finally:
        for claim, _ in claims.held:
            await asyncio.shield(machine.journal.release(claim.lease))


def draft(machine: Machine, source: Source, wish: Wish) -> FileRef:
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


async def known(machine: Machine, target: Target, file: FileRef) -> FileRef:
    """A file that exists, with what its service knows of it."""
    await _check_owner(machine, target, file)
    if not machine.backend.capabilities.knows_files:
        file = await _remembered(machine, file)
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


async def _remembered(machine: Machine, file: FileRef) -> FileRef:
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


async def _check_owner(machine: Machine, target: Target, file: FileRef) -> None:
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
    if target.capabilities.owns_files and target.name != f"{target.backend}:{scope}":
        raise UsageError(f"{file.file_id} belongs to conversation {scope}", hint=hint)


async def describe(
    machine: Machine, attachment: Attachment, files: Mapping[LocalId, UploadedFile]
) -> tuple[FileRef, ...]:
    """The members as the message has to describe them, in their order."""
    refs = []
    for member in attachment.spec.members:
        if isinstance(member, FileRef):
            refs.append(member)
        else:
            upload = await machine.journal.find(member)
            refs.append(_ref(files[member], upload.scope))
    return tuple(refs)


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
