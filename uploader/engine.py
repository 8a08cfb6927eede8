"""`Uploader`: the only module that knows all parts of the machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from uploader import carrier, orphans, verification
from uploader.backend import Backend
from uploader.carrier import PURPOSE, HandOver, Wish
from uploader.clock import Clock, SystemClock
from uploader.config import Settings
from uploader.digest import new_digest
from uploader.errors import UsageError
from uploader.events import Event, Observer
from uploader.journal import SqliteJournal
from uploader.machines import Machines
from uploader.message import Attached, Attachment, FileRef
from uploader.model import FileId, Orphan, Unfinished, Upload
from uploader.outbox import Outbox
from uploader.queue import Queue
from uploader.record import Journal
from uploader.result import Sent, UploadedFile
from uploader.run import Machine
from uploader.scheduler import Scheduler
from uploader.source import Source
from uploader.verification import Verification

logger = logging.getLogger("uploader")


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
        self._running: Machines | None = None
        self._default: Machine | None = None

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
        settings = self.settings
        if settings.digest != "off":
            new_digest(settings.digest)
        try:
            journal = await open_journal(settings, self._clock)
        except BaseException:
            if self._backend is not None:
                await self._backend.aclose()
            raise
        self._running = machines = Machines(
            settings,
            journal=journal,
            scheduler=Scheduler(),
            clock=self._clock,
            observe=self._observe,
        )
        if self._backend is not None:
            name = self._backend.service.split()[0]
            self._default = await machines.add(name, self._backend)
        return self

    async def __aexit__(self, *_: object) -> None:
        machines, self._running = self._machines, None
        try:
            await machines.aclose()
        finally:
            await machines.journal.aclose()

    async def upload(
        self,
        path: str | Path,
        *,
        purpose: str = PURPOSE,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
        to: str | None = None,
        prompt: str | None = None,
        model: str | None = None,
        reuse: bool = False,
    ) -> UploadedFile:
        """Upload one file, or go on with it where an earlier run stopped.

        *purpose* is the service's word for what the file may be used for.  *filename*
        is what the service shall call it, by default the file's own name.
        *expires_after* is the life in seconds of the resulting file.  With *to* the
        file goes to that target as `send` says, and the result has what came of it.
        With *reuse* a file that was uploaded with it before, is the same, and is still
        there will do.

        Raises `SourceError` and `UsageError` before anything is sent, `UploadOwned`
        when another process is at it, and the `BackendError` that stopped it; what
        was recorded stays, and the same call goes on from there.
        """
        wish = Wish(
            purpose=purpose,
            filename=filename,
            mime_type=mime_type,
            expires_after=expires_after,
            target=to,
            reuse=reuse,
        )
        if to is not None:
            sent = await self._send([path], wish, prompt=prompt, model=model)
            return sent.files[0]
        if prompt is not None or model is not None:
            raise UsageError(
                "a prompt goes to a conversation, and none is named",
                hint="say where with --to, e.g. --to conversation:new",
            )
        machine = await self.machine()
        with Source.open(Path(path)) as source:
            claim = await carrier.begin(machine, source, wish)
            return await carrier.carry(machine, claim, source)

    async def entrust(
        self,
        path: Path,
        wish: Wish,
        *,
        hand_over: HandOver,
        backend: str | None = None,
        prompt: str | None = None,
        model: str | None = None,
    ) -> None:
        """Upload one file for somebody who does something with the result.

        As `upload` or `send`, but only when *hand_over* returned the result counts as
        delivered: after a crash, or a failure in it, the same result comes again.
        """
        if wish.target is not None:
            await self._outbox.send(
                [path],
                wish,
                prompt=prompt,
                model=model,
                backend=backend,
                hand_over=hand_over,
            )
            return
        machine = await self._machines.named(backend or self.settings.backend)
        with Source.open(path, follow_links=wish.follow_links) as source:
            claim = await carrier.begin(machine, source, wish)
            await carrier.carry(machine, claim, source, hand_over=hand_over)

    async def send(
        self,
        paths: Sequence[str | Path],
        *,
        to: str,
        prompt: str | None = None,
        model: str | None = None,
        purpose: str = PURPOSE,
        filename: str | None = None,
        mime_type: str | None = None,
        expires_after: int | None = None,
        backend: str | None = None,
        reuse: bool = False,
    ) -> Sent:
        """Upload files, or go on with them, and attach all as one message.

        *to* is a target: `conversation:ID`, `vector-store:ID`, `goapi:ID` or
        `llmprovider:ID`, with `new` as ID for a new one.  It knows the service that
        takes the bytes; *backend* overrides that.  With *model* an OpenAI conversation
        is asked for an answer.

        Raises what `upload` raises, `SourceError` for a file that the target does not
        take, and `OutcomeUnknown` when the message may be there and nobody can tell.
        """
        wish = Wish(
            purpose=purpose,
            filename=filename,
            mime_type=mime_type,
            expires_after=expires_after,
            target=to,
            reuse=reuse,
        )
        return await self._send(
            paths, wish, prompt=prompt, model=model, backend=backend
        )

    async def attach(
        self,
        files: Sequence[FileRef | UploadedFile | str],
        *,
        to: str,
        prompt: str | None = None,
        model: str | None = None,
    ) -> Attached:
        """Attach files that exist at the target's service as one message.

        A file is named by its id alone where the service can be asked about it;
        elsewhere a `FileRef` says what a message has to repeat.
        """
        refs = [_named(file) for file in files]
        return await self._outbox.attach(refs, to=to, prompt=prompt, model=model)

    async def ask(self, to: str, prompt: str, *, model: str | None = None) -> Attached:
        """Go on in a conversation; its last message is remembered in the journal."""
        return await self._outbox.attach([], to=to, prompt=prompt, model=model)

    async def resume(
        self,
        name: str,
        *,
        accept: FileId | None = None,
        again: bool = False,
        hand_over: HandOver | None = None,
    ) -> UploadedFile | Sent:
        """Go on with an upload, or an attachment, by its id or the beginning of it.

        Where an outcome stayed unknown somebody has to look: *accept* says that this
        file is it, *again* that there is none.  *hand_over* is as in `entrust`.
        """
        journal = self._machines.journal
        attachment = await self._attachment(name)
        if attachment is not None:
            return await self._outbox.resume(
                attachment, again=again, hand_over=hand_over
            )
        upload = await journal.find(name)
        machine = await self._machines.of(upload.identity.service)
        if (accept or again) and not carrier.is_in_doubt(upload):
            raise UsageError(
                f"upload {upload.id} is {upload.state}; its outcome is not in doubt",
                hint="leave out --accept and --again",
            )
        claim = await journal.take(upload.id, now=self._clock.wall())
        # The result of one that is on its way to a target is the message's to deliver.
        deliver = upload.identity.target is None
        file = await carrier.carry(
            machine,
            claim,
            accept=accept,
            again=again,
            deliver=deliver,
            hand_over=hand_over,
        )
        for message in await journal.messages_with(upload.id):
            attachment = await journal.find_attachment(message)
            return await self._outbox.resume(attachment, hand_over=hand_over)
        return file

    async def cancel(self, name: str) -> None:
        """Give an upload up, here and at the service.

        If another process works on it that one is asked to, and waited for.  Raises
        `UsageError` when it is complete, or may be.  Of an attachment only the message is
        given up.
        """
        attachment = await self._attachment(name)
        if attachment is not None:
            await self._outbox.cancel(attachment)
            return
        upload = await self._machines.journal.find(name)
        machine = await self._machines.of(upload.identity.service)
        await carrier.cancel(machine, upload)

    async def verify(self, name: str) -> Verification:
        """Compare receipt, source and, where the service permits, the file there."""
        upload = await self._machines.journal.find(name)
        receipt = await self._machines.journal.receipt(upload.id)
        if receipt is None:
            raise no_receipt(upload)
        machine = await self._machines.of(upload.identity.service)
        return await verification.verify(machine, upload, receipt)

    async def orphans(self) -> Sequence[Orphan]:
        """What may be open at services though nobody goes on with it, oldest first."""
        return await orphans.find(self._machines.journal, now=self._clock.wall())

    async def cancel_orphan(self, orphan: Orphan) -> None:
        """Give an orphan up at its service.  Raises `UsageError` without its id."""
        await orphans.cancel(await self._machines.of(orphan.service), orphan)

    async def uploads(self, *, unfinished: bool = False) -> Sequence[Upload]:
        """What the journal knows, oldest first; *unfinished*: what `resume` takes up."""
        return await self._machines.journal.uploads(unfinished=unfinished)

    async def attachments(self, *, unfinished: bool = False) -> Sequence[Attachment]:
        """The messages that the journal knows, oldest first."""
        return await self._machines.journal.attachments(unfinished=unfinished)

    async def resumable(self) -> Sequence[Unfinished]:
        """What is unfinished at services that the settings lead to; not the queue.

        Uploads that belong to a message are taken up with it.  Raises `UsageError` when
        there is nothing and the settings lead nowhere.
        """
        left = await self._machines.journal.unfinished()
        services = {one.service for one in left}
        reached = {name for name in services if await self._machines.reaches(name)}
        if not reached:
            await self.machine()
        return [one for one in left if one.service in reached]

    def drain(self) -> None:
        """Take no new part; parts in flight get a moment.

        Every running upload then ends with `Interrupted`, and can be resumed.
        """
        self._machines.scheduler.drain()

    def limit_rate(self, rate: int | None) -> None:
        """At most so many bytes per second from now on, over all uploads."""
        checked = replace(self.settings, limit_rate=rate)
        self._machines.allowance.rate = checked.limit_rate

    @property
    def queue(self) -> Queue:
        """What waits for its turn; `uploader.batch` carries it on."""
        return Queue(self._machines, self._default)

    @contextlib.contextmanager
    def observed(self, observer: Observer) -> Iterator[None]:
        """Tell *observer*, too, within the block."""
        self._observers.append(observer)
        try:
            yield
        finally:
            if observer in self._observers:
                self._observers.remove(observer)

    @property
    def _machines(self) -> Machines:
        if self._running is None:
            raise RuntimeError("an Uploader works inside `async with` only")
        return self._running

    async def machine(self) -> Machine:
        """What works for the service of the settings, for those who look inside."""
        # Opened when it is needed: who sends to GoAPI needs no key of OpenAI.
        machines = self._machines
        return self._default or await machines.named(self.settings.backend)

    async def connect(self, backend: str) -> None:
        """Open a service by the name of its backend.  Raises `UsageError`."""
        await self._machines.named(backend)

    async def find(self, name: str) -> Upload:
        """An upload of the journal, by its id or the beginning of it."""
        return await self._machines.journal.find(name)

    async def find_attachment(self, name: str) -> Attachment:
        """An attachment of the journal, likewise."""
        return await self._machines.journal.find_attachment(name)

    @property
    def _outbox(self) -> Outbox:
        return Outbox(self._machines)

    async def _send(
        self,
        paths: Sequence[str | Path],
        wish: Wish,
        *,
        prompt: str | None,
        model: str | None,
        backend: str | None = None,
    ) -> Sent:
        return await self._outbox.send(
            [Path(path) for path in paths],
            wish,
            prompt=prompt,
            model=model,
            backend=backend,
        )

    async def _attachment(self, name: str) -> Attachment | None:
        try:
            return await self._machines.journal.find_attachment(name)
        except UsageError:
            return None

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


def no_receipt(upload: Upload) -> UsageError:
    return UsageError(
        f"upload {upload.id} is {upload.state}; it has no receipt yet",
        hint=f"a receipt comes with the file: `uploader resume {upload.id}`",
    )


def _named(file: FileRef | UploadedFile | str) -> FileRef:
    if isinstance(file, FileRef):
        return file
    if isinstance(file, UploadedFile):
        return FileRef(
            file_id=file.file_id,
            name=file.filename,
            size=file.bytes,
            mime_type=file.mime_type,
            details=file.details,
        )
    return FileRef(file_id=FileId(file), name="")


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
