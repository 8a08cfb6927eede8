"""Who is carried next, and what becomes of each: done, later, or quarantine."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from uploader import preflight
from uploader.carrier import Wish
from uploader.clock import Clock
from uploader.daemon import afterwards
from uploader.daemon.arrivals import Arrival, Arrivals, Stage, arrival_id
from uploader.daemon.folders import is_straight, look_at
from uploader.daemon.metrics import Metrics
from uploader.daemon.notifying import Notifier
from uploader.daemon.rules import Orders, Rule
from uploader.daemon.verdicts import PAUSE, Verdict, away_for, judge
from uploader.engine import Uploader
from uploader.errors import (
    CredentialsRefused,
    JournalError,
    SourceError,
    UploaderError,
    UsageError,
)
from uploader.model import Fingerprint, Upload, UploadedFile, UploadState

logger = logging.getLogger("uploader")

AGAIN: Final = 5.0
LONGEST_AGAIN: Final = 300.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing goes to a service, and until when on the wall; None: until told."""

    reason: str
    until: float | None = None


@dataclass(slots=True)
class Desk:
    """Works on arrivals, a few at a time."""

    uploader: Uploader
    orders: Orders
    arrivals: Arrivals
    metrics: Metrics
    notifier: Notifier
    clock: Clock
    wake: Callable[[], None]
    forget: Callable[[Path], None]
    """The path may be taken again."""
    pauses: dict[str, Pause]
    tasks: dict[str, asyncio.Task[None]]
    failures: dict[str, int]
    """How often a service was away in a row."""
    is_paused: bool = False
    failed: int = 0

    def paused_services(self) -> dict[str, bool]:
        services = {arrival.service for arrival in self.arrivals} | set(self.pauses)
        return {name: self.is_paused or name in self.pauses for name in services}

    # -- who is next ------------------------------------------------------------

    def fill(self, group: asyncio.TaskGroup) -> None:
        """Start as many as may be in progress."""
        while len(self.tasks) < self.orders.ways.at_once:
            arrival = self.pick(now=self.clock.wall())
            if arrival is None:
                return
            arrival.stage = Stage.SENDING
            task = group.create_task(self._carry(arrival), name=f"file {arrival.id}")
            self.tasks[arrival.id] = task
            task.add_done_callback(partial(self._ended, arrival.id))

    def pick(self, *, now: float) -> Arrival | None:
        """By priority, then arrival; not of a service that is paused.

        Of files that may be the same under `reuse` one goes at a time, so that the
        second one finds the first.
        """
        if self.is_paused:
            return None
        for name, pause in list(self.pauses.items()):
            if pause.until is not None and pause.until <= now:
                del self.pauses[name]
        sending = {
            (arrival.service, arrival.size)
            for arrival in self.arrivals.within(Stage.SENDING)
        }
        waiting = [
            arrival
            for arrival in self.arrivals.within(Stage.QUEUED)
            if arrival.not_before <= now
            and arrival.service not in self.pauses
            and not (_reuses(arrival) and (arrival.service, arrival.size) in sending)
        ]
        return min(waiting, key=_turn, default=None)

    def next_at(self) -> float | None:
        """When, on the wall, something that waits may be started."""
        waiting = self.arrivals.within(Stage.QUEUED)
        moments = [arrival.not_before for arrival in waiting if arrival.not_before]
        if waiting:
            moments += [p.until for p in self.pauses.values() if p.until is not None]
        return min(moments, default=None)

    @property
    def is_idle(self) -> bool:
        return not self.tasks and not self.arrivals.within(Stage.QUEUED)

    def _ended(self, id_: str, _: asyncio.Task[None]) -> None:
        self.tasks.pop(id_, None)
        self.wake()

    # -- one file ---------------------------------------------------------------

    async def _carry(self, arrival: Arrival) -> None:
        arrival.tries += 1
        arrival.waiting_for = None
        try:
            if not await self._upload(arrival):
                return
        except UploaderError as error:
            await self._stopped_by(arrival, error)
        except OSError as error:
            # A disk that is full, a folder that is away: nothing of the file's.
            await self._stopped_by(arrival, _local(error))
        else:
            self.failures.pop(arrival.service, None)
            arrival.sent = arrival.size
            self.arrivals.finish(arrival, Stage.DONE)
            self.metrics.ended(arrival, "done")

    async def _upload(self, arrival: Arrival) -> bool:
        """Whether there was something to do."""

        async def hand_over(files: Sequence[UploadedFile]) -> None:
            for file in files:
                await self._arrived(arrival, file)

        if arrival.resume is not None:
            if not await self._is_unfinished(arrival.resume):
                self.arrivals.drop(arrival)
                return False
            await self.uploader.resume(arrival.resume, hand_over=hand_over)
            return True
        rule = arrival.rule
        assert rule is not None
        fingerprint = look_at(arrival.path)
        if fingerprint is None:
            raise SourceError(f"no such file: {arrival.path}")
        if not is_straight(arrival.path):
            raise SourceError(f"{arrival.path} leads through a symlink")
        arrival.fingerprint = fingerprint
        try:
            await self.uploader.connect(arrival.service)
        except UsageError as error:
            # Not of this file: no file could go there.
            raise CredentialsRefused(str(error), hint=error.hint) from None
        if rule.preflight:
            await preflight.check(arrival.path, purpose=rule.purpose)
        await self.uploader.entrust(
            arrival.path,
            wish_of(rule),
            hand_over=hand_over,
            backend=rule.backend,
            prompt=rule.prompt,
            model=rule.model,
        )
        return True

    async def _arrived(self, arrival: Arrival, file: UploadedFile) -> None:
        """The file is at the service: its receipt, then what the rule says.

        Whatever fails here leaves the upload undelivered, so that it comes again.
        """
        path = file.receipt.path
        arrival.file_id = file.file_id
        rule, fingerprint = arrival.rule, arrival.fingerprint
        if path != arrival.path:
            # One of several of a message that somebody began by hand.
            rule, other = self.orders.rule_of(path), look_at(path)
            if other is None:
                return
            fingerprint = other
        if rule is not None:
            try:
                await asyncio.to_thread(
                    afterwards.write_receipt, rule, path, fingerprint, file
                )
                left = await afterwards.settle(rule, path, fingerprint, file)
            except OSError as error:
                raise _local(error) from error
            if left is not None:
                logger.warning("%s is left where it is: %s", path, left)
        self.notifier.put(
            {
                "v": 1,
                "event": "done",
                "rule": arrival.rule_name,
                "path": str(path),
                "file_id": file.file_id,
                "receipt": file.receipt,
            }
        )

    async def _is_unfinished(self, name: str) -> bool:
        try:
            return (await self.uploader.find(name)).is_unfinished
        except UsageError:
            pass
        try:
            return (await self.uploader.find_attachment(name)).is_unfinished
        except UsageError:
            return False

    # -- what went wrong --------------------------------------------------------

    async def _stopped_by(self, arrival: Arrival, error: UploaderError) -> None:
        """Do what the failure means, and say it."""
        logger.warning("%s: %s", arrival.path, error)
        arrival.error, arrival.hint = str(error), error.hint
        upload = await self._recorded(arrival)
        if upload is not None and upload.state is UploadState.CANCELLED:
            await self._put_away(arrival, error, Stage.CANCELLED)
            return
        if isinstance(error, SourceError) and await self._is_gone(arrival, upload):
            return
        arrival.resume = upload.id if upload and upload.is_unfinished else None
        verdict = judge(error, tries=arrival.tries)
        match verdict:
            case Verdict.QUARANTINE:
                await self._give_up(arrival)
                await self._put_away(arrival, error, Stage.FAILED)
            case Verdict.ANEW:
                await self._give_up(arrival)
                self.arrivals.drop(arrival)
                self.forget(arrival.path)
            case Verdict.PAUSE:
                until = self.clock.wall() + PAUSE
                self._pause(arrival, Pause(str(error), until))
            case Verdict.LATER:
                count = self.failures.get(arrival.service, 0) + 1
                self.failures[arrival.service] = count
                until = self.clock.wall() + away_for(count)
                self._pause(arrival, Pause(str(error), until))
            case Verdict.AGAIN:
                self._again(arrival)
            case Verdict.ASK:
                self.arrivals.finish(arrival, Stage.DOUBTFUL)
                self._tell_failed(arrival)
            case Verdict.STOPPED:
                arrival.stage = Stage.QUEUED

    async def _recorded(self, arrival: Arrival) -> Upload | None:
        name = arrival.upload or arrival.resume
        if name is None:
            return None
        try:
            return await self.uploader.find(name)
        except UsageError:
            return None

    async def _is_gone(self, arrival: Arrival, upload: Upload | None) -> bool:
        """The file was removed by somebody; its folder is there, on the same disk."""
        rule = arrival.rule
        if rule is None or look_at(arrival.path) is not None:
            return False
        try:
            folder = rule.folder.stat()
        except OSError:
            folder = None
        if folder is None or folder.st_dev != arrival.fingerprint.device:
            arrival.waiting_for = "its folder is away"
            arrival.resume = upload.id if upload and upload.is_unfinished else None
            self._again(arrival)
            return True
        logger.warning("%s was removed by somebody", arrival.path)
        await self._give_up(arrival)
        self.arrivals.drop(arrival)
        return True

    def _again(self, arrival: Arrival) -> None:
        arrival.stage = Stage.QUEUED
        wait = min(AGAIN * 2 ** min(arrival.tries - 1, 16), LONGEST_AGAIN)
        arrival.not_before = self.clock.wall() + wait

    def _pause(self, arrival: Arrival, pause: Pause) -> None:
        arrival.stage = Stage.QUEUED
        known = self.pauses.get(arrival.service)
        if known is None or known.until is not None:
            self.pauses[arrival.service] = pause
            logger.warning("%s is paused: %s", arrival.service, pause.reason)

    async def _give_up(self, arrival: Arrival) -> None:
        """Cancel what was sent of it, as far as that is possible."""
        name = arrival.upload or arrival.resume
        arrival.resume = None
        if name is not None:
            try:
                await self.uploader.cancel(name)
            except UploaderError as error:
                logger.info("%s of %s is left: %s", name, arrival.path, error)

    async def _put_away(
        self, arrival: Arrival, error: UploaderError, stage: Stage
    ) -> None:
        details: dict[str, Any] = {
            "rule": arrival.rule_name,
            "upload": arrival.upload,
            "outcome": stage.value,
            "at": self.clock.wall(),
        }
        if arrival.rule is not None:
            try:
                arrival.quarantined = await asyncio.to_thread(
                    afterwards.quarantine,
                    arrival.rule,
                    arrival.path,
                    arrival.fingerprint,
                    error,
                    details,
                )
            except OSError as trouble:
                logger.warning("%s stays where it is: %s", arrival.path, trouble)
        self.arrivals.finish(arrival, stage)
        self.metrics.ended(arrival, stage.value)
        if stage is Stage.FAILED:
            self.failed += 1
            self._tell_failed(arrival)

    def _tell_failed(self, arrival: Arrival) -> None:
        self.notifier.put(
            {
                "v": 1,
                "event": "failed",
                "rule": arrival.rule_name,
                "path": str(arrival.path),
                "error": arrival.error,
                "hint": arrival.hint,
                "receipt": None,
            }
        )

    # -- what people ask for ----------------------------------------------------

    async def pause(self, arrival: Arrival) -> None:
        """Stop it for now; what was sent of it stays recorded."""
        if arrival.stage not in (Stage.QUEUED, Stage.SENDING):
            raise UsageError(f"{arrival.path.name} is {arrival.stage}")
        await self._halt(arrival)
        if not arrival.is_finished:
            arrival.stage = Stage.PAUSED

    def resume(self, arrival: Arrival) -> None:
        if arrival.stage is not Stage.PAUSED:
            raise UsageError(f"{arrival.path.name} is {arrival.stage}, not paused")
        arrival.stage, arrival.not_before = Stage.QUEUED, 0.0
        self.wake()

    async def cancel(self, arrival: Arrival) -> None:
        """Give it up, here and at the service; the file goes into quarantine."""
        if arrival.is_finished or arrival.stage is Stage.DOUBTFUL:
            raise UsageError(f"{arrival.path.name} is {arrival.stage}")
        await self._halt(arrival)
        if arrival.is_finished:
            return
        await self._give_up(arrival)
        error = SourceError("cancelled on request", hint="restart brings it back")
        arrival.error, arrival.hint = str(error), error.hint
        await self._put_away(arrival, error, Stage.CANCELLED)

    async def restart(self, arrival: Arrival) -> None:
        """Begin it anew, from quarantine if it is there."""
        if arrival.stage in (Stage.DONE, Stage.DOUBTFUL) or arrival.rule is None:
            raise UsageError(f"{arrival.path.name} is {arrival.stage}")
        if not arrival.is_finished:
            await self._halt(arrival)
            await self._give_up(arrival)
        elif arrival.quarantined is not None and not await asyncio.to_thread(
            afterwards.take_back, arrival.quarantined, arrival.path
        ):
            raise UsageError(f"{arrival.path.name} cannot be brought back")
        fingerprint = look_at(arrival.path)
        if fingerprint is None:
            raise UsageError(f"{arrival.path.name} is gone")
        self.take(arrival.path, arrival.rule, arrival.service)

    def take(self, path: Path, rule: Rule, service: str) -> Arrival:
        """Queue a file now, whatever is known of it."""
        fingerprint = look_at(path)
        if fingerprint is None:
            raise UsageError(f"{path.name} is no regular file")
        arrival = new_arrival(path, rule, service, fingerprint, self.clock)
        self.arrivals.add(arrival)
        self.wake()
        return arrival

    async def pause_service(self, name: str) -> None:
        self.pauses[name] = Pause("paused by a person")
        for arrival in self.arrivals.within(Stage.SENDING):
            if arrival.service == name:
                await self._halt(arrival)

    def resume_service(self, name: str) -> None:
        self.pauses.pop(name, None)
        self.failures.pop(name, None)
        self.wake()

    def resume_paused_services(self) -> None:
        """Ask those again that refused or were away; what people paused stays so."""
        for name, pause in list(self.pauses.items()):
            if pause.until is not None:
                self.resume_service(name)

    async def pause_all(self) -> None:
        self.is_paused = True
        for arrival in self.arrivals.within(Stage.SENDING):
            await self._halt(arrival)

    def resume_all(self) -> None:
        self.is_paused = False
        self.pauses.clear()
        self.failures.clear()
        self.wake()

    async def _halt(self, arrival: Arrival) -> None:
        """End its task, if it has one; it is queued then, unless it just ended."""
        task = self.tasks.get(arrival.id)
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        arrival.moving.clear()
        if arrival.stage is Stage.SENDING:
            arrival.stage = Stage.QUEUED
            upload = await self._recorded(arrival)
            if upload is not None and upload.is_unfinished:
                arrival.resume = upload.id


def new_arrival(
    path: Path, rule: Rule, service: str, fingerprint: Fingerprint, clock: Clock
) -> Arrival:
    return Arrival(
        id=arrival_id(path),
        path=path,
        rule=rule,
        service=service,
        size=fingerprint.size,
        fingerprint=fingerprint,
        arrived_at=clock.wall(),
    )


def wish_of(rule: Rule) -> Wish:
    expires_after = rule.expires_after
    return Wish(
        purpose=rule.purpose,
        expires_after=None if expires_after is None else int(expires_after),
        target=rule.to,
        follow_links=False,
        reuse=rule.reuse,
    )


def _reuses(arrival: Arrival) -> bool:
    return arrival.rule is not None and arrival.rule.reuse


def _turn(arrival: Arrival) -> tuple[bool, int, float]:
    # What an earlier run began may be about to expire.
    return (arrival.resume is None, -arrival.priority, arrival.arrived_at)


def _local(error: OSError) -> UploaderError:
    what = error.filename or "the receipt"
    hint = "make room; it goes on by itself" if error.errno == errno.ENOSPC else None
    return JournalError(f"{what}: {error.strerror or error}", hint=hint)
