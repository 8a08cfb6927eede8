"""Bringing one file to its service: the upload, the receipt, what its rule says then."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from uploader import preflight
from uploader.carrier import Wish
from uploader.daemon import afterwards
from uploader.daemon.arrivals import Arrival
from uploader.daemon.folders import is_straight, look_at
from uploader.daemon.notifying import Notifier
from uploader.daemon.rules import Orders, Rule
from uploader.engine import Uploader
from uploader.errors import (
    CredentialsRefused,
    JournalError,
    SourceError,
    UploaderError,
    UsageError,
)
from uploader.model import Upload
from uploader.result import UploadedFile

logger = logging.getLogger("uploader")


@dataclass(slots=True)
class Courier:
    """Carries for the desk, and asks the engine for it."""

    uploader: Uploader
    orders: Orders
    notifier: Notifier

    async def carry(self, arrival: Arrival) -> bool:
        """Upload it and see it off; whether there was something to do.

        Raises `UploaderError`.
        """
        try:
            return await self._upload(arrival)
        except OSError as error:
            # A disk that is full, a folder that is away: nothing of the file's.
            raise _local(error) from error

    async def _upload(self, arrival: Arrival) -> bool:
        async def hand_over(files: Sequence[UploadedFile]) -> None:
            for file in files:
                await self._arrived(arrival, file)

        if arrival.resume is not None:
            if not await self._is_unfinished(arrival.resume):
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

    async def recorded(self, arrival: Arrival) -> Upload | None:
        """What the journal has of it."""
        name = arrival.upload or arrival.resume
        if name is None:
            return None
        try:
            return await self.uploader.find(name)
        except UsageError:
            return None

    async def give_up(self, arrival: Arrival) -> None:
        """Cancel what was sent of it, as far as that is possible."""
        name = arrival.upload or arrival.resume
        arrival.resume = None
        if name is not None:
            try:
                await self.uploader.cancel(name)
            except UploaderError as error:
                logger.info("%s of %s is left: %s", name, arrival.path, error)


def wish_of(rule: Rule) -> Wish:
    expires_after = rule.expires_after
    return Wish(
        purpose=rule.purpose,
        expires_after=None if expires_after is None else int(expires_after),
        target=rule.to,
        follow_links=False,
        reuse=rule.reuse,
    )


def _local(error: OSError) -> UploaderError:
    what = error.filename or "the receipt"
    hint = "make room; it goes on by itself" if error.errno == errno.ENOSPC else None
    return JournalError(f"{what}: {error.strerror or error}", hint=hint)
