"""What may be left open at services: found in the journal, given up on request."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from uploader import pacing
from uploader.backends import lifetime_at
from uploader.errors import BackendUnavailable, RequestRejected, UsageError
from uploader.model import Orphan
from uploader.record import Journal
from uploader.run import Machine

logger = logging.getLogger("uploader")

LONGEST_LIFE: Final = 7 * 86_400.0
"""Seconds; what a service says beyond that is not believed (`pacing.lifetime`)."""


async def find(journal: Journal, *, now: float) -> list[Orphan]:
    """The orphans that have not expired yet, oldest first."""
    candidates = await journal.orphans(since=now - LONGEST_LIFE)
    asking = {orphan.owner for orphan in candidates if orphan.owner is not None}
    alive = asking - {*await journal.absent_owners(now=now)} if asking else asking
    dated = [replace(one, expires_at=_expires_at(one)) for one in candidates]
    return [
        orphan
        for orphan in dated
        if orphan.owner not in alive
        and orphan.expires_at is not None
        and orphan.expires_at > now
    ]


async def cancel(machine: Machine, orphan: Orphan) -> None:
    """Give it up at the service.  Raises `UsageError` when its id is not known."""
    opened = orphan.opened
    if opened is None:
        raise UsageError(
            f"nobody heard the id of what upload {orphan.upload} created",
            hint="it cannot be cancelled; the service drops it when it expires",
        )

    async def on_backoff(attempt: int, delay: float, error: BackendUnavailable) -> None:
        logger.info("cancel: %s; again in %.1f s", error, delay)

    try:
        await machine.retry(
            lambda: machine.backend.cancel(opened), on_backoff=on_backoff
        )
    except RequestRejected as error:
        # It is no longer pending: cancelled before, or complete after all.
        if error.status not in (400, 409):
            raise
    await machine.journal.close_orphan(orphan.upload, opened.upload_id)


def _expires_at(orphan: Orphan) -> float | None:
    """By our clock, as a deadline is: counted from before create was sent."""
    life = lifetime_at(orphan.service)
    if life is not None and orphan.opened is not None:
        opened = orphan.opened
        life = pacing.lifetime(opened.created_at, opened.expires_at, life)
    return None if life is None else orphan.asked_at + life
