"""`Uploader`: the only module that knows all parts of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final, Self

from uploader import planner
from uploader.backend import Backend
from uploader.backends import open_backend
from uploader.clock import Clock, SystemClock
from uploader.config import Settings
from uploader.errors import (
    Interrupted,
    LeaseLost,
    UploaderError,
    UploadOwned,
    UsageError,
)
from uploader.events import Event, Observer, UploadFailed
from uploader.journal import SqliteJournal
from uploader.lease import CancelRequested, Hold
from uploader.model import (
    FileId,
    Identity,
    LocalId,
    Upload,
    UploadedFile,
    UploadSpec,
    UploadState,
)
from uploader.pacing import Pace
from uploader.record import Claim, Journal
from uploader.retry import Retry
from uploader.run import Machine, Run
from uploader.scheduler import Scheduler, together
from uploader.source import Source, new_digest
from uploader.story import Story

logger = logging.getLogger("uploader")

PURPOSE: Final = "user_data"
"""What OpenAI recommends for files that a model shall read."""


class Uploader:
    """Uploads files and resumes what an earlier run left.

    An async context manager.  It opens the journal and talks to one service; any
    number of its methods may run at the same time, and share its slots.  It installs
    no signal handlers and prints nothing.

    Without *settings* they are read as the command reads them.  *observers* are called
    with every `uploader.events.Event`.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        backend: Backend | None = None,
        observers: Iterable[Observer] = (),
        clock: Clock | None = None,
    ) -> None:
        self.settings = Settings.load() if settings is None else settings
        self._backend = backend
        self._observers = list(observers)
        self._clock = SystemClock() if clock is None else clock
        self._running: Machine | None = None

    @classmethod
    def from_openai(
        cls,
        client: object,
        settings: Settings | None = None,
        *,
        observers: Iterable[Observer] = (),
    ) -> Self:
        """An uploader for the service and account of an `openai` client object.

        Base URL, credentials (functions and token providers included), organisation,
        project, headers and time-outs are the client's, everything else comes from
        *settings*.  Raises `UsageError` for what is no such client.
        """
        from uploader.backends.sdk import from_client

        settings = Settings.load() if settings is None else settings
        return cls(settings, backend=from_client(client, settings), observers=observers)

    async def __aenter__(self) -> Self:
        settings, clock = self.settings, self._clock
        if settings.digest != "off":
            new_digest(settings.digest)
        backend = self._backend or open_backend(settings)
        try:
            journal = await open_journal(settings, clock)
        except BaseException:
            await backend.aclose()
            raise
        pace = Pace(remembered_rate=await journal.rate(backend.service))
        self._running = Machine(
            settings=settings,
            backend=backend,
            journal=journal,
            scheduler=Scheduler(settings.parallel),
            retry=Retry(settings.retry, pace, clock),
            clock=clock,
            observe=self._observe,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        machine = self._machine
        self._running = None
        try:
            await _remember_rate(machine)
        finally:
            await machine.backend.aclose()
            await machine.journal.aclose()

    async def upload(
        self,
        path: str | Path,
        *,
        purpose: str = PURPOSE,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
    ) -> UploadedFile:
        """Upload one file, or go on with it where an earlier run stopped.

        *purpose* is the service's word for what the file may be used for.  *filename*
        is what the service shall call it, by default the file's own name.
        *expires_after* is the life in seconds of the resulting file.

        Raises `SourceError` and `UsageError` before anything is sent, `UploadOwned`
        when another process is at it, and the `BackendError` that stopped it; what
        was recorded stays, and the same call goes on from there.
        """
        machine = self._machine
        with Source.open(Path(path)) as source:
            backend, settings = machine.backend, machine.settings
            name = source.path.name if filename is None else filename
            spec = UploadSpec(
                filename=name,
                purpose=purpose,
                size=source.fingerprint.size,
                mime_type=backend.mime_type(name) if mime_type is None else mime_type,
                expires_after=expires_after,
            )
            backend.check(spec)
            plan = planner.plan_parts(
                spec.size,
                backend.limits,
                parallel=settings.parallel,
                part_size=settings.part_size,
            )
            identity = Identity(
                service=backend.service,
                path=source.path,
                purpose=purpose,
                filename=name,
                expires_after=expires_after,
            )
            claim = await machine.journal.begin(
                identity, spec, source.fingerprint, plan, now=machine.clock.wall()
            )
            return await self._carry(claim, source)

    async def resume(
        self,
        name: str,
        *,
        accept: FileId | None = None,
        again: bool = False,
    ) -> UploadedFile:
        """Go on with an upload of the journal, by its id or the beginning of it.

        Where the outcome of `complete` stayed unknown somebody has to look: *accept*
        says that this file is it, *again* that there is none.
        """
        machine = self._machine
        upload = await machine.journal.find(name)
        self._check_service(upload)
        if (accept or again) and upload.state is not UploadState.COMPLETING:
            raise UsageError(
                f"upload {upload.id} is {upload.state}; its outcome is not in doubt",
                hint="leave out --accept and --again",
            )
        claim = await machine.journal.take(upload.id, now=machine.clock.wall())
        return await self._carry(claim, None, accept=accept, again=again)

    async def cancel(self, name: str) -> None:
        """Give an upload up, here and at the service.

        If another process works on it that one is asked to, and waited for.  Raises
        `UsageError` when it is complete, or may be.
        """
        machine = self._machine
        upload = await machine.journal.find(name)
        self._check_service(upload)
        if upload.state not in (UploadState.PLANNED, UploadState.OPEN):
            raise UsageError(
                f"upload {upload.id} is {upload.state}; there is nothing to cancel",
                hint="a file that is complete can be deleted at the service",
            )
        try:
            claim = await machine.journal.take(upload.id, now=machine.clock.wall())
        except UploadOwned as owned:
            await self._ask_owner_to_cancel(upload.id, owned)
            return
        async with self._holding(claim) as run:
            await Story(run).cancel()

    async def uploads(self, *, unfinished: bool = False) -> Sequence[Upload]:
        """What the journal knows, oldest first; *unfinished*: what `resume` takes up."""
        return await self._machine.journal.uploads(unfinished=unfinished)

    async def resumable(self) -> Sequence[Upload]:
        """The unfinished uploads to this service."""
        service = self._machine.backend.service
        return [
            upload
            for upload in await self.uploads(unfinished=True)
            if upload.identity.service == service
        ]

    def drain(self) -> None:
        """Take no new part; parts in flight get a moment.

        Every running upload then ends with `Interrupted`, and can be resumed.
        """
        self._machine.scheduler.drain()

    @property
    def _machine(self) -> Machine:
        if self._running is None:
            raise RuntimeError("an Uploader works inside `async with` only")
        return self._running

    async def _carry(
        self,
        claim: Claim,
        source: Source | None,
        *,
        accept: FileId | None = None,
        again: bool = False,
    ) -> UploadedFile:
        async with self._holding(claim) as run:
            story = Story(run, source)
            if accept is not None:
                file = await run.machine.backend.get_file(accept)
                await story.accept(file)
            elif again:
                await story.again()
            result = await story.tell()
            await run.machine.journal.deliver(
                run.hold.lease, now=run.machine.clock.wall()
            )
            return result

    @contextlib.asynccontextmanager
    async def _holding(self, claim: Claim) -> AsyncIterator[Run]:
        """The claimed upload, with a heartbeat, until the block ends.

        What goes wrong is announced and noted, and the lease is let go in any case.
        """
        machine = self._machine
        hold = Hold(
            claim.lease, machine.journal, machine.clock, machine.settings.timeouts.lease
        )
        run = Run(machine, claim.upload, hold)
        try:
            async with together() as group:
                company = [
                    group.create_task(hold.keep()),
                    group.create_task(self._cut_off()),
                ]
                yield run
                for task in company:
                    task.cancel()
        except CancelRequested:
            await Story(run).cancel()
            raise Interrupted(
                "cancelled on request", hint="nothing is left of it"
            ) from None
        except UploaderError as error:
            await _note(run, error)
            raise
        finally:
            await asyncio.shield(machine.journal.release(claim.lease))

    async def _cut_off(self) -> None:
        """End what did not drain in time."""
        machine = self._machine
        await machine.scheduler.drained()
        await machine.clock.sleep(machine.settings.timeouts.drain)
        raise Interrupted("stopped before it was complete")

    async def _ask_owner_to_cancel(self, upload: LocalId, owned: UploadOwned) -> None:
        machine = self._machine
        await machine.journal.request_cancel(upload)
        patience = machine.settings.timeouts.lease
        while patience > 0:
            await machine.clock.sleep(0.5)
            patience -= 0.5
            if (await machine.journal.find(upload)).state is UploadState.CANCELLED:
                return
        raise owned

    def _check_service(self, upload: Upload) -> None:
        service = self._machine.backend.service
        if upload.identity.service != service:
            raise UsageError(
                f"upload {upload.id} belongs to {upload.identity.service}, not {service}",
                hint="run it with that service's --base-url, organisation and project",
            )

    def _observe(self, event: Event) -> None:
        for observer in tuple(self._observers):
            try:
                observer(event)
            except Exception:
                # An observer is somebody else's code; an upload does not die of it.
                logger.exception("observer %r failed and is dropped", observer)
                self._observers.remove(observer)


async def open_journal(settings: Settings, clock: Clock | None = None) -> Journal:
    """The journal that *settings* name, without a service.  Raises `JournalError`."""
    return await SqliteJournal.open(
        settings.journal,
        clock=clock or SystemClock(),
        lease_ttl=settings.timeouts.lease,
        keep_finished=settings.keep_finished,
    )


async def _note(run: Run, error: UploaderError) -> None:
    """Keep and announce what stopped the upload."""
    resumable = False
    if not isinstance(error, LeaseLost):
        if not isinstance(error, Interrupted):
            await run.machine.journal.note_failure(run.hold.lease, str(error))
        resumable = (await run.reload()).is_unfinished
    run.observe(
        UploadFailed,
        error=str(error),
        hint=error.hint,
        exit_code=error.exit_code,
        resumable=resumable,
    )


async def _remember_rate(machine: Machine) -> None:
    rate = machine.retry.pace.rate.value(now=machine.clock.elapsed())
    if rate:
        await machine.journal.remember_rate(
            machine.backend.service, rate, now=machine.clock.wall()
        )


def upload(
    path: str | Path, *, purpose: str = PURPOSE, settings: Settings | None = None
) -> UploadedFile:
    """Upload one file and wait for it: `Uploader.upload` for scripts.

    Raises `RuntimeError` inside a running event loop; use `Uploader` there.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_upload(path, purpose, settings))
    raise RuntimeError(
        "uploader.upload() would block the running event loop;"
        " use `async with Uploader() as u: await u.upload(...)`"
    )


async def _upload(
    path: str | Path, purpose: str, settings: Settings | None
) -> UploadedFile:
    async with Uploader(settings) as uploader:
        return await uploader.upload(path, purpose=purpose)
