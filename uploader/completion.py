"""Complete: one effect, or an honest unknown.

The intent is journalled before each time that it is asked.  Once it exists, only
proof that there is no file starts the upload over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from uploader import events, recovery
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    FileUnusable,
    OutcomeUnknown,
    RequestRejected,
    UnexpectedAnswer,
    UploadExpired,
    WrongFile,
)
from uploader.model import CompleteIntent, File, SentPart
from uploader.recovery import AfterRefusal, Verdict
from uploader.run import Run

FIRST_LOOK = 1.0
"""Seconds before the list of files is read again; the next waits are longer."""


class Completion:
    """Asks one upload to be completed until it is known what came of it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.machine = run.machine
        self._doubt_since: float | None = None
        """When it was last asked without a clear answer, on the clock's `elapsed`."""

    async def begin(self, sent: Mapping[int, SentPart], md5: str | None) -> None:
        """All parts are at the service: ask for the first time."""
        parts = [sent[part.number] for part in self.run.upload.plan.parts]
        intent = CompleteIntent(
            part_ids=tuple(part.part_id for part in parts),
            md5=md5,
            asked_at=self.machine.clock.wall(),
        )
        self.run.observe(events.CompleteAsked)
        await self._ask(intent, parts)

    async def find_out(self) -> None:
        """An earlier run asked, and nobody heard the answer: ask the same again."""
        intent = self.run.upload.complete_intent
        assert intent is not None
        # Not `asked_at`: that is by a wall clock which may have been set since.
        self._doubt_since = self.machine.clock.elapsed()
        by_id = {part.part_id: part for part in self.run.upload.parts.values()}
        await self._ask(intent, [by_id[part_id] for part_id in intent.part_ids])

    async def accept(self, file: File, evidence: str) -> None:
        """Compare the file with what was sent, then record it.  Raises `WrongFile`."""
        journal, lease = self.machine.journal, self.run.hold.lease
        if file.bytes is None:
            file = await self._with_size(file)
        if file.bytes not in (None, self.run.upload.plan.size):
            wrong = WrongFile(file, expected=self.run.upload.plan.size)
            await journal.fail(lease, str(wrong))
            raise wrong
        self.run.upload = await journal.record_file(lease, file, evidence)

    async def look(self) -> None:
        """Wait until the service knows the file by its id, and hear what it says.

        Raises `FileUnusable` when that is no good.  A service that cannot be asked
        takes nothing away from a file that is proven.
        """
        file, clock, delay = self.run.upload.file, self.machine.clock, FIRST_LOOK
        assert file is not None
        if not self.machine.backend.capabilities.knows_files:
            return
        until = clock.elapsed() + self.machine.settings.timeouts.settle
        while True:
            try:
                found = await self.run.ask(
                    f"get {file.id}", lambda: self.machine.backend.get_file(file.id)
                )
            except BackendError as error:
                left = until - clock.elapsed()
                if error.status != 404 or left <= 0:
                    return
            else:
                break
            # Seen in the wild: a file id that is unknown for some seconds.
            await clock.sleep(min(delay, left))
            delay *= 2
        if found.status == "error":
            unusable = FileUnusable(found)
            await self.machine.journal.fail(self.run.hold.lease, str(unusable))
            raise unusable

    async def _ask(self, intent: CompleteIntent, parts: Sequence[SentPart]) -> None:
        machine, upload = self.machine, self.run.upload
        opened = upload.opened
        assert opened is not None

        async def attempt() -> File:
            await machine.journal.intend_complete(
                self.run.hold.lease, replace(intent, asked_at=machine.clock.wall())
            )
            return await machine.backend.complete(
                upload.spec, opened, parts, intent.md5
            )

        async def on_backoff(
            number: int, delay: float, error: BackendUnavailable
        ) -> None:
            if error.effect_possible:
                self._doubt_since = machine.clock.elapsed()
            self.run.backed_off("complete", number, delay, error)

        try:
            file = await machine.retry(attempt, on_backoff=on_backoff)
        except (RequestRejected, UploadExpired, UnexpectedAnswer) as error:
            await self._look_into(error)
        else:
            await self.accept(file, "the answer to complete")

    async def _look_into(self, error: BackendError) -> None:
        """It said no.  Did it, or one before it, take effect all the same?"""
        if isinstance(error, UnexpectedAnswer):
            await self.machine.journal.note_yes(self.run.hold.lease)
        self.run.observe(events.OutcomeSought, reason=str(error))
        file = await self._look_for_file(error, until=self._settled_at(error))
        if file is not None:
            await self.accept(file, f"the list of files, after {error}")
        else:
            await self._go_on_without(error)

    def _settled_at(self, error: BackendError) -> float:
        now = self.machine.clock.elapsed()
        if not recovery.settles(error.status, first=self._doubt_since is None):
            return now
        since = now if self._doubt_since is None else self._doubt_since
        return since + self.machine.settings.timeouts.settle

    async def _go_on_without(self, error: BackendError) -> None:
        """There is no file, and *error* is the answer."""
        upload = await self.run.reload()
        if upload.complete_intent is not None and upload.complete_intent.said_yes:
            raise OutcomeUnknown(
                f"{error}; it said yes, but the service lists no such file",
                hint=f"look for it there, then: {self._ways_out()}",
            ) from error
        decision = recovery.after_refusal(
            error.status,
            first=self._doubt_since is None,
            may_have_orphan_parts=upload.may_have_orphan_parts,
            orphan_restarts=upload.orphan_restarts,
            restarts=upload.restarts,
        )
        match decision:
            case AfterRefusal.RESTART_FOR_ORPHANS:
                reason = f"parts may be there twice, so it cannot be completed: {error}"
                await self.run.restart(reason, orphans=True)
            case AfterRefusal.RESTART:
                await self.run.restart(f"no file came of it: {error}")
            case AfterRefusal.GIVE_UP:
                raise UploadExpired(
                    f"{error}; it was restarted {upload.restarts} times already",
                    hint=f"insist with `uploader resume {upload.id} --again`",
                ) from error
            case AfterRefusal.REFUSED:
                await self.machine.journal.record_refusal(
                    self.run.hold.lease, str(error)
                )
                raise RequestRejected(
                    f"{error}; no file was made",
                    hint="size, MD5 or parts do not suit the service; the parts are"
                    " kept: try `uploader resume` with --md5 base64 or --md5 off",
                    status=error.status,
                ) from error
            case _:
                assert_never(decision)

    async def _look_for_file(self, error: BackendError, *, until: float) -> File | None:
        """The proven file, or None when there is certainly none.

        Raises `OutcomeUnknown` when the evidence allows neither.
        """
        clock, delay = self.machine.clock, FIRST_LOOK
        while True:
            judgement = await self._judge(error)
            if judgement.verdict is Verdict.PROVEN:
                return judgement.evidence[0]
            left = until - clock.elapsed()
            if left <= 0:
                break
            await clock.sleep(min(delay, left))
            delay *= 2
        if judgement.verdict is Verdict.NONE:
            return None
        found = ", ".join(
            f"{file.id} ({file.bytes} bytes, created at {file.created_at})"
            for file in judgement.evidence
        )
        raise OutcomeUnknown(
            f"{self.run.upload.spec.filename} may be complete; the service has {found}",
            hint=f"if that is the file: {self._ways_out(judgement.evidence[0])}",
            evidence=judgement.evidence,
        ) from error

    async def _judge(self, error: BackendError) -> recovery.Judgement:
        backend, upload = self.machine.backend, self.run.upload
        assert upload.opened is not None
        since = upload.opened.created_at - recovery.CREATED_AT_SLACK
        try:
            files = await self.run.ask(
                "list files", lambda: backend.find_completed(upload.identity, since)
            )
        except (RequestRejected, UploadExpired, UnexpectedAnswer) as refused:
            raise OutcomeUnknown(
                f"{error}; and the service does not list its files: {refused}",
                hint=f"look for the file there, then: {self._ways_out()}",
            ) from refused
        claimed, twins = await self.machine.journal.claimed_files(
            upload.identity.service, upload.id
        )
        return recovery.judge(
            upload.spec, upload.opened, files, claimed=claimed, twins=twins
        )

    async def _with_size(self, file: File) -> File:
        """Ask once more; a size that stays unknown is the service's right."""
        try:
            return await self.run.ask(
                f"get {file.id}", lambda: self.machine.backend.get_file(file.id)
            )
        except BackendError:
            return file

    def _ways_out(self, file: File | None = None) -> str:
        resume = f"uploader resume {self.run.upload.id}"
        name = "FILE_ID" if file is None else file.id
        return f"`{resume} --accept {name}`; to send it once more: `{resume} --again`"
