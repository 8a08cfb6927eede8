"""One attachment: prepare, intent, call, outcome, wait.

The crash argument: before `attach` is asked the journal knows the newest item of the
conversation and what is about to be added.  After a crash, or a lost answer, the
message is looked for behind that item; it is asked for again only when it is
certainly not there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar, assert_never

from uploader import events
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    OutcomeUnknown,
    RequestRejected,
    UnexpectedAnswer,
    UploaderError,
)
from uploader.lease import Hold
from uploader.message import Attached, Attachment, AttachmentState, FileRef
from uploader.model import Scope
from uploader.retry import backoff
from uploader.run import Machine
from uploader.target import Message, Target

T = TypeVar("T")

FIRST_LOOK: Final = 0.5
LONGEST_LOOK: Final = 5.0
"""Seconds between two looks at what takes its time."""


class Lost(Exception):
    """The answer to `attach` is lost; it may have taken effect."""


@dataclass(slots=True)
class Attaching:
    """An attachment while this process holds it."""

    machine: Machine
    target: Target
    attachment: Attachment
    hold: Hold
    _told: str = ""
    """What observers heard of the answer so far."""
    _lost: int = 0
    """How often an answer was lost in this run, and the message was not there."""
    _reason: BackendError | None = None
    """Why the last answer was lost."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether the message may be there, and nobody heard of it."""
        return self.attachment.state is AttachmentState.ATTACHING

    async def join(self, home: Scope | None) -> None:
        """Take the conversation that the files are in already instead of a new one."""
        if home is None or self.attachment.scope is not None:
            return
        service = self.attachment.spec.service
        last = await self.machine.journal.last_message(service, home.conversation_id)
        scope = replace(home, parent_message_id=last or home.parent_message_id)
        await self.machine.journal.record_scope(self.hold.lease, scope)
        await self._reload()

    async def prepare(self) -> Scope:
        """The conversation; a new one is journalled before anything goes into it."""
        if self.attachment.scope is not None:
            return self.attachment.scope
        journal, service = self.machine.journal, self.attachment.spec.service
        try:
            scope = await self._ask("prepare", self.target.prepare)
        except RequestRejected as error:
            await journal.fail_attachment(self.hold.lease, str(error))
            raise
        if scope.parent_message_id is None:
            last = await journal.last_message(service, scope.conversation_id)
            scope = replace(scope, parent_message_id=last)
        await journal.record_scope(self.hold.lease, scope)
        await self._reload()
        return scope

    async def attach(self, files: tuple[FileRef, ...]) -> Attached:
        """Go from state to state until the message is there and its files usable.

        Raises `OutcomeUnknown` when it may be there and the service cannot be asked.
        """
        scope = await self.prepare()
        while True:
            message = self._message(scope, files)
            match self.attachment.state:
                case AttachmentState.PLANNED:
                    await self._begin(message)
                case AttachmentState.ATTACHING:
                    await self._find_out(message)
                case AttachmentState.ATTACHED:
                    attached = self.attachment.attached
                    assert attached is not None
                    await self._wait(message, attached)
                    self._announce(message, attached)
                    return attached
                case AttachmentState.FAILED:
                    raise RequestRejected(
                        f"attachment {self.attachment.id} failed:"
                        f" {self.attachment.failure}",
                        hint="attach the files once more, or elsewhere",
                    )
                case _:
                    assert_never(self.attachment.state)

    async def again(self) -> None:
        """Somebody looked and says that the message is not there."""
        await self.machine.journal.withdraw_attach(self.hold.lease)
        await self._reload()

    async def _begin(self, message: Message) -> None:
        """Journal what is there now, then ask."""
        if self._told:
            self._on_delta("\n")
            self._told = ""
        cursor = None
        if self.target.capabilities.can_find:
            cursor = await self._ask("look", lambda: self.target.newest(message.scope))
        self._observe(
            events.AttachAsked,
            conversation_id=message.scope.conversation_id,
            files=len(message.files),
        )
        try:
            attached = await self._ask(
                "attach", lambda: self._ask_once(message, cursor)
            )
        except Lost:
            await self._reload()
        else:
            await self._record(attached)

    async def _ask_once(self, message: Message, cursor: str | None) -> Attached:
        """Ask as an intent; a clear no withdraws it, a lost answer leaves it."""
        journal, lease = self.machine.journal, self.hold.lease
        await journal.intend_attach(lease, cursor=cursor, now=self.machine.clock.wall())
        try:
            return await self.target.attach(
                message, on_delta=self._on_delta, on_response=self._on_response
            )
        except BackendError as error:
            if isinstance(error, UnexpectedAnswer) or (
                isinstance(error, BackendUnavailable) and error.effect_possible
            ):
                self._observe(events.AttachOutcomeSought, reason=str(error))
                self._reason = error
                raise Lost from error
            await journal.withdraw_attach(lease)
            if isinstance(error, RequestRejected):
                error.hint = error.hint or _elsewhere(message)
                await journal.fail_attachment(lease, str(error))
            raise

    async def _find_out(self, message: Message) -> None:
        """It was asked, by this run or an earlier one, and nobody heard the answer."""
        if self.attachment.response_id is not None:
            await self._record(await self._fetch(self.attachment.response_id))
            return
        if not self.target.capabilities.can_find:
            why = f": {self._reason}" if self._reason else ""
            raise OutcomeUnknown(
                f"the message may be in conversation {message.scope.conversation_id},"
                f" and {self.target.backend} cannot be asked{why}",
                hint="look there; to send it once more:"
                f" `uploader resume {self.attachment.id} --again`",
            )
        found = await self._look(
            lambda: self.target.find(message),
            # Not from `asked_at`, by a wall clock which may have been set since.
            until=self.machine.clock.elapsed() + self.machine.settings.timeouts.settle,
        )
        if found is not None:
            await self._record(found)
        else:
            await self.again()
            await self._think_twice()

    async def _think_twice(self) -> None:
        """It is certainly not there; another try, unless there were enough."""
        if self._reason is None:
            return
        self._lost += 1
        policy = self.machine.settings.retry
        if self._lost >= policy.max_attempts:
            raise self._reason
        await self.machine.clock.sleep(backoff(self._lost, policy))

    async def _fetch(self, response_id: str) -> Attached:
        clock, timeouts = self.machine.clock, self.machine.settings.timeouts
        try:
            answered = await self._look(
                lambda: self.target.fetch(response_id),
                until=clock.elapsed() + timeouts.answer,
            )
        except RequestRejected as error:
            await self.machine.journal.fail_attachment(self.hold.lease, str(error))
            raise
        if answered is None:
            raise BackendUnavailable(f"{response_id} is still being answered")
        return answered

    async def _wait(self, message: Message, attached: Attached) -> None:
        """Until the files can be used.  Raises `RequestRejected` when never."""
        clock, timeouts = self.machine.clock, self.machine.settings.timeouts

        async def usable() -> bool | None:
            return await self.target.wait(message, attached) or None

        try:
            is_usable = await self._look(
                usable, until=clock.elapsed() + timeouts.usable
            )
        except RequestRejected as error:
            await self.machine.journal.fail_attachment(self.hold.lease, str(error))
            raise
        if not is_usable:
            raise BackendUnavailable(
                f"{self.target.name}: the files are attached, and after"
                f" {timeouts.usable:g} s still not usable",
                hint="look again later with `uploader resume`",
            )

    async def _look(
        self, look: Callable[[], Awaitable[T | None]], *, until: float
    ) -> T | None:
        """Look, with longer and longer waits, until there is something."""
        clock, delay = self.machine.clock, FIRST_LOOK
        while True:
            found = await self._ask("look", look)
            left = until - clock.elapsed()
            if found is not None or left <= 0:
                return found
            await clock.sleep(min(delay, left))
            delay = min(delay * 2, LONGEST_LOOK)

    async def _record(self, attached: Attached) -> None:
        await self.machine.journal.record_attached(self.hold.lease, attached)
        await self._reload()

    async def _reload(self) -> None:
        self.attachment = await self.machine.journal.find_attachment(self.attachment.id)

    def _message(self, scope: Scope, files: tuple[FileRef, ...]) -> Message:
        return Message(
            scope=scope,
            files=files,
            prompt=self.attachment.spec.prompt,
            model=self.attachment.spec.model,
            cursor=self.attachment.cursor,
        )

    async def _ask(self, operation: str, request: Callable[[], Awaitable[T]]) -> T:
        async def on_backoff(attempt: int, delay: float, error: UploaderError) -> None:
            self._observe(
                events.AttachBackingOff,
                operation=operation,
                attempt=attempt,
                delay=delay,
                reason=str(error),
            )

        return await self.machine.retry(request, on_backoff=on_backoff)

    def _on_delta(self, text: str) -> None:
        self._told += text
        self._observe(events.AnswerProgressed, text=text)

    async def _on_response(self, response_id: str) -> None:
        await self.machine.journal.record_response(self.hold.lease, response_id)

    def _announce(self, message: Message, attached: Attached) -> None:
        if self._told and attached.answer and self._told != attached.answer:
            # The stream broke off, and the answer was asked for once more.
            head, rest = attached.answer[: len(self._told)], attached.answer
            is_whole = head == self._told
            self._on_delta(rest[len(head) :] if is_whole else f"\n{rest}")
        self._observe(
            events.AttachmentCompleted,
            conversation_id=attached.conversation_id,
            message_id=attached.message_id,
            file_ids=tuple(file.file_id for file in message.files),
            answer=attached.answer,
        )

    def _observe(self, kind: type[events.AttachmentEvent], **fields: Any) -> None:
        self.machine.observe(
            kind(
                attachment=self.attachment.id,
                target=self.attachment.spec.target,
                **fields,
            )
        )


def _elsewhere(message: Message) -> str | None:
    """A refused message takes nothing away from its files."""
    if not message.files:
        return None
    ids = " ".join(file.file_id for file in message.files)
    return f"its files stay; to attach them: `uploader attach {ids} --to TARGET`"
