"""Claiming uploads and carrying them on, each under its lease."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from uploader import catalogue, image, planner
from uploader.climb import START
from uploader.errors import (
    Interrupted,
    LeaseLost,
    UploaderError,
    UploadOwned,
    UsageError,
)
from uploader.events import UploadFailed
from uploader.lease import CancelRequested
from uploader.model import (
    FileId,
    Identity,
    PartId,
    Plan,
    Scope,
    Upload,
    UploadSpec,
    UploadState,
)
from uploader.record import Claim
from uploader.result import UploadedFile
from uploader.run import Machine, Run, holding
from uploader.source import Source
from uploader.story import Story

PURPOSE: Final = "user_data"
"""What OpenAI recommends for files that a model shall read."""

HandOver = Callable[[Sequence[UploadedFile]], Awaitable[None]]
"""Takes results before they count as delivered; if it fails they come again."""

CANCEL_LOOK = 0.5
"""Seconds between two looks whether the owner has cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted of an upload, apart from its source."""

    purpose: str = PURPOSE
    filename: str | None = None
    mime_type: str | None = None
    expires_after: int | None = None
    target: str | None = None
    follow_links: bool = True
    reuse: bool = False
    """A file that the service has already will do, if it is the same."""


async def begin(machine: Machine, source: Source, wish: Wish) -> Claim:
    """Claim the upload of *source*, known or new; what cannot be meant is refused.

    Nothing is sent.  Raises `SourceError`, `UsageError` and `UploadOwned`.
    """
    identity, spec, plan = planned(machine, source, wish)
    return await machine.journal.begin(
        identity,
        spec,
        source.fingerprint,
        plan,
        now=machine.clock.wall(),
        reuse=wish.reuse,
    )


def planned(
    machine: Machine, source: Source, wish: Wish
) -> tuple[Identity, UploadSpec, Plan]:
    """Who it is, what the service will be told, and how it is cut.

    Raises `SourceError` and `UsageError`.
    """
    backend, settings = machine.backend, machine.settings
    spec = spec_of(machine, source, wish)
    backend.check(spec)
    plan = planner.plan_parts(
        spec.size,
        backend.limits,
        parallel=min(settings.parallel, START),
        part_size=settings.part_size,
    )
    identity = Identity(
        service=backend.service,
        path=source.path,
        purpose=spec.purpose,
        filename=spec.filename,
        expires_after=spec.expires_after,
        target=wish.target,
    )
    return identity, spec, plan


def spec_of(machine: Machine, source: Source, wish: Wish) -> UploadSpec:
    """What the service will be told of *source*."""
    name = source.path.name if wish.filename is None else wish.filename
    mime_type = wish.mime_type or machine.backend.mime_type(name)
    width, height = None, None
    if wish.target is not None:
        width, height = image.dimensions(source.path) or (None, None)
    return UploadSpec(
        filename=name,
        purpose=wish.purpose,
        size=source.fingerprint.size,
        mime_type=mime_type,
        expires_after=wish.expires_after,
        width=width,
        height=height,
    )


async def carry(
    machine: Machine,
    claim: Claim,
    source: Source | None = None,
    *,
    scope: Scope | None = None,
    accept: FileId | None = None,
    again: bool = False,
    deliver: bool = True,
    hand_over: HandOver | None = None,
) -> UploadedFile:
    """Go on with a claimed upload until its file is proven.

    With *deliver* the result counts as handed over when this returns; otherwise that
    is the caller's to record.
    """
    async with _held(machine, claim) as run:
        story = Story(run, source)
        if scope is not None and run.upload.scope is None:
            await machine.journal.record_scope(claim.lease, scope)
            await run.reload()
        if accept is not None:
            await _accept(story, accept)
        elif again:
            await story.again()
        async with _alone(run):
            if catalogue.applies(run):
                await catalogue.take(run, source)
            result = await story.tell()
        if deliver and hand_over is not None:
            await hand_over([result])
        if deliver:
            await run.deliver()
        return result


async def refuse(machine: Machine, claim: Claim, error: UploaderError) -> None:
    """Fail a claimed upload for good: its source is not what the service takes."""
    with contextlib.suppress(type(error)):
        async with _held(machine, claim):
            await machine.journal.fail(claim.lease, str(error))
            raise error


async def cancel(machine: Machine, upload: Upload) -> None:
    """Give an upload up; if another process works on it, that one is asked to."""
    _check_cancellable(upload)
    try:
        claim = await machine.journal.take(upload.id, now=machine.clock.wall())
    except UploadOwned as owned:
        await _ask_owner_to_cancel(machine, upload, owned)
        return
    async with _held(machine, claim) as run:
        # It may have been completed since it was looked at.
        _check_cancellable(run.upload)
        await Story(run).cancel()


def _check_cancellable(upload: Upload) -> None:
    if upload.state not in (UploadState.PLANNED, UploadState.OPEN):
        raise UsageError(
            f"upload {upload.id} is {upload.state}; there is nothing to cancel",
            hint="a file that is complete can be deleted at the service",
        )


def is_in_doubt(upload: Upload) -> bool:
    """Whether only a person can say what became of it."""
    return upload.state is UploadState.COMPLETING or upload.put_asked_at is not None


def _alone(run: Run) -> AbstractAsyncContextManager[None]:
    """Of equal files to be sent once the others wait for the first."""
    if catalogue.applies(run):
        return catalogue.one_at_a_time(run.machine, run.upload)
    return contextlib.nullcontext()


async def _accept(story: Story, file_id: FileId) -> None:
    if story.run.upload.state is UploadState.COMPLETING:
        await story.accept(await story.machine.backend.get_file(file_id))
    else:
        await story.accept_part(PartId(file_id))


@contextlib.asynccontextmanager
async def _held(machine: Machine, claim: Claim) -> AsyncIterator[Run]:
    """The claimed upload; what goes wrong with it is noted and announced."""
    run: Run | None = None
    try:
        async with holding(machine, claim.lease) as hold:
            run = Run(machine, claim.upload, hold)
            try:
                yield run
            except (LeaseLost, Interrupted):
                raise
            except UploaderError as error:
                await machine.journal.note_failure(claim.lease, str(error))
                raise
    except CancelRequested:
        await _cancel_for_another(machine, claim)
        raise Interrupted(
            "cancelled on request", hint="nothing is left of it"
        ) from None
    except UploaderError as error:
        if run is not None:
            await _announce(run, error)
        raise


async def _cancel_for_another(machine: Machine, claim: Claim) -> None:
    claim = await machine.journal.take(claim.upload.id, now=machine.clock.wall())
    async with holding(machine, claim.lease) as hold:
        if claim.upload.state not in (UploadState.PLANNED, UploadState.OPEN):
            raise Interrupted(
                "stopped on request, but too late to cancel it: it may be complete"
            )
        await Story(Run(machine, claim.upload, hold)).cancel()


async def _announce(run: Run, error: UploaderError) -> None:
    resumable = False
    if not isinstance(error, LeaseLost):
        resumable = (await run.reload()).is_unfinished
    run.observe(
        UploadFailed,
        error=str(error),
        hint=error.hint,
        exit_code=error.exit_code,
        resumable=resumable,
    )


async def _ask_owner_to_cancel(
    machine: Machine, upload: Upload, owned: UploadOwned
) -> None:
    await machine.journal.request_cancel(upload.id)
    until = machine.clock.wall() + machine.settings.timeouts.lease
    while machine.clock.wall() < until:
        await machine.clock.sleep(CANCEL_LOOK)
        if (await machine.journal.find(upload.id)).state is UploadState.CANCELLED:
            return
    raise owned
