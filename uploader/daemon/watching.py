"""Hearing of changes.  Events get lost, so they only say when to look."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from watchfiles import awatch

from uploader.clock import Clock

logger = logging.getLogger("uploader")

PRESENCE: Final = 2.0
"""Seconds between two looks whether the folder is still the one that is watched."""


async def watch(
    folder: Path, changed: Callable[[], None], clock: Clock, *, recursive: bool
) -> None:
    """Call *changed* whenever something happens in *folder*, until cancelled.

    A folder that vanished is waited for.  Where nothing can be watched the rescans
    have to do.
    """
    complained = False
    while True:
        mark = _mark(folder)
        if mark is None:
            await clock.sleep(PRESENCE)
            continue
        changed()
        gone = asyncio.Event()
        presence = asyncio.create_task(_until_gone(folder, mark, gone, clock))
        try:
            async for _ in awatch(
                folder,
                watch_filter=None,
                recursive=recursive,
                stop_event=gone,
                debounce=300,
                step=50,
            ):
                changed()
        except (OSError, RuntimeError) as error:
            if not complained:
                complained = True
                logger.warning("%s is not watched, only rescanned: %s", folder, error)
            await clock.sleep(PRESENCE)
        finally:
            presence.cancel()


async def _until_gone(
    folder: Path, mark: tuple[int, int], gone: asyncio.Event, clock: Clock
) -> None:
    while _mark(folder) == mark:
        await clock.sleep(PRESENCE)
    gone.set()


def _mark(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
