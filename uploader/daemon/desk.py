"""Files at work, a few at a time, and what becomes of each: done, later, quarantine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from uploader.clock import Clock
from uploader.daemon import afterwards
from uploader.daemon.arrivals import Arrival, Arrivals, Stage, new_arrival
from uploader.daemon.courier import Courier
from uploader.daemon.folders import look_at
from uploader.daemon.metrics import Metrics
from uploader.daemon.notifying import Notifier
from uploader.daemon.rules import Rule
from uploader.daemon.turns import Turns
from uploader.daemon.verdicts import Verdict, judge
from uploader.errors import SourceError, UploaderError, UsageError
from uploader.model import Upload, UploadState

logger = logging.getLogger("uploader")


@dataclass(slots=True)
class Desk:
    """Works on arrivals, a few at a time."""

    courier: Courier
    turns: Turns
    arrivals: Arrivals
    metrics: Metrics
    notifier: Notifier
    clock: Clock
    wake: Callable[[], None]
    forget: Callable[[Path], None]
    """The path may be taken again."""
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    failed: int = 0

    def fill(self, group: asyncio.TaskGroup, *, at_once: int) -> None:
        """Start as many as may be in progress."""
        while len(self.tasks) < at_once:
            arrival = self.turns.pick(now=self.clock.wall())
            if arrival is None:
                return
            arrival.stage = Stage.SENDING
            task = group.create_task(self._carry(arrival), name=f"file {arrival.id}")
            self.tasks[arrival.id] = task
            task.add_done_callback(partial(self._ended, arrival.id))

    def _ended(self, id_: str, _: asyncio.Task[None]) -> None:
        self.tasks.pop(id_, None)
        self.wake()

    async def _carry(self, arrival: Arrival) -> None:
        arrival.tries += 1
        arrival.waiting_for = None
        try:
            if not await self.courier.carry(arrival):
                self.arrivals.drop(arrival)
                return
        except UploaderError as error:
            await self._stopped_by(arrival, error)
        else:
            self.turns.answered(arrival.service)
            arrival.sent = arrival.size
            self.arrivals.finish(arrival, Stage.DONE)
            self.metrics.ended(arrival, "done")

    # -- what went wrong --------------------------------------------------------

    async def _stopped_by(self, arrival: Arrival, error: UploaderError) -> None:
        """Do what the failure means, and say it."""
        logger.warning("%s: %s", arrival.path, error)
        arrival.error, arrival.hint = str(error), error.hint
        upload = await self.courier.recorded(arrival)
        if upload is not None and upload.state is UploadState.CANCELLED:
            await self._put_away(arrival, error, Stage.CANCELLED)
            return
        if isinstance(error, SourceError) and await self._is_gone(arrival, upload):
            return
        arrival.resume = upload.id if upload and upload.is_unfinished else None
        verdict = judge(error, tries=arrival.tries)
        match verdict:
            case Verdict.QUARANTINE:
                await self.courier.give_up(arrival)
                await self._put_away(arrival, error, Stage.FAILED)
            case Verdict.ANEW:
                await self.courier.give_up(arrival)
                self.arrivals.drop(arrival)
                self.forget(arrival.path)
            case Verdict.PAUSE:
                self.turns.refused(arrival, str(error))
            case Verdict.LATER:
                self.turns.away(arrival, str(error))
            case Verdict.AGAIN:
                self.turns.again(arrival)
            case Verdict.ASK:
                self.arrivals.finish(arrival, Stage.DOUBTFUL)
                self._tell_failed(arrival)
            case Verdict.STOPPED:
                arrival.stage = Stage.QUEUED

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
            self.turns.again(arrival)
            return True
        logger.warning("%s was removed by somebody", arrival.path)
        await self.courier.give_up(arrival)
        self.arrivals.drop(arrival)
        return True

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
        await self.courier.give_up(arrival)
        error = SourceError("cancelled on request", hint="restart brings it back")
        arrival.error, arrival.hint = str(error), error.hint
        await self._put_away(arrival, error, Stage.CANCELLED)

    async def restart(self, arrival: Arrival) -> None:
        """Begin it anew, from quarantine if it is there."""
        if arrival.stage in (Stage.DONE, Stage.DOUBTFUL) or arrival.rule is None:
            raise UsageError(f"{arrival.path.name} is {arrival.stage}")
        if not arrival.is_finished:
            await self._halt(arrival)
            await self.courier.give_up(arrival)
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
        self.turns.pause(name)
        for arrival in self.arrivals.within(Stage.SENDING):
            if arrival.service == name:
                await self._halt(arrival)

    def resume_service(self, name: str) -> None:
        self.turns.resume(name)
        self.wake()

    async def pause_all(self) -> None:
        self.turns.is_paused = True
        for arrival in self.arrivals.within(Stage.SENDING):
            await self._halt(arrival)

    def resume_all(self) -> None:
        self.turns.resume_all()
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
            upload = await self.courier.recorded(arrival)
            if upload is not None and upload.is_unfinished:
                arrival.resume = upload.id
