"""Telling a program or a web address what is done and what failed.

It never touches an upload: what it is told goes into a queue of bounded length, each
try has a time limit, and after a few tries it is given up and said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
import msgspec

from uploader.clock import Clock
from uploader.daemon.rules import Notify

logger = logging.getLogger("uploader")

MOST_WAITING: Final = 1000
BACKOFF: Final = 1.0

Notice = Mapping[str, Any]


class Failed(Exception):
    """One try, and why; without the address, which may hold a secret."""


class Notifier:
    """One after the other, beside the uploads."""

    def __init__(
        self, clock: Clock, *, told: Callable[[str], None] = lambda _: None
    ) -> None:
        self.notify = Notify()
        self._clock = clock
        self._told = told
        self._waiting: asyncio.Queue[Notice] = asyncio.Queue(MOST_WAITING)

    def put(self, notice: Notice) -> None:
        if notice["event"] not in self.notify.on:
            return
        if not self.notify.command and self.notify.webhook is None:
            return
        try:
            self._waiting.put_nowait(notice)
        except asyncio.QueueFull:
            self._told("dropped")
            logger.warning("a notification is dropped: %s are waiting", MOST_WAITING)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            notice = await self._waiting.get()
            try:
                await self._tell(msgspec.json.encode(notice, enc_hook=str))
            finally:
                self._waiting.task_done()

    async def drain(self, seconds: float) -> None:
        """Give what waits a moment."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._waiting.join()

    async def _tell(self, body: bytes) -> None:
        notify = self.notify
        if notify.command:
            await self._try("command", lambda: run_command(notify, body))
        if notify.webhook is not None:
            await self._try("webhook", lambda: post(notify, body))

    async def _try(self, kind: str, once: Callable[[], Any]) -> None:
        tries = self.notify.tries
        for attempt in range(1, tries + 1):
            try:
                async with asyncio.timeout(self.notify.timeout):
                    await once()
            except (Failed, TimeoutError, OSError) as error:
                reason = str(error) or type(error).__name__
                logger.warning(
                    "notification by %s, try %s of %s: %s", kind, attempt, tries, reason
                )
                if attempt < tries:
                    await self._clock.sleep(BACKOFF * 2 ** (attempt - 1))
            else:
                self._told("told")
                return
        self._told("failed")


async def run_command(notify: Notify, body: bytes) -> None:
    """Run the program with *body* on its stdin; it does not outlive its time."""
    process = await asyncio.create_subprocess_exec(
        *notify.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await process.communicate(body)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Failed(f"it ended with {process.returncode}")


async def post(notify: Notify, body: bytes) -> None:
    """Post *body*; a redirect is not followed."""
    assert notify.webhook is not None
    headers = {"Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                notify.webhook, data=body, headers=headers, allow_redirects=False
            ) as answer,
        ):
            if not 200 <= answer.status < 300:
                raise Failed(f"it answered {answer.status}")
    except aiohttp.ClientError as error:
        raise Failed(type(error).__name__) from None
