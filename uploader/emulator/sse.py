"""Server-sent events: what a stream consists of and how it is cut into writes."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Final

from uploader.emulator.answers import Document, Reply
from uploader.emulator.switches import Switches

CONTENT_TYPE: Final = "text/event-stream; charset=utf-8"
DONE: Final = "data: [DONE]\n\n"


def data(document: Document, *, name: str | None = None, space: bool = True) -> str:
    """One event.  Letters stay as they are, so a write may cut through one."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    head = "" if name is None else f"event: {name}\n"
    return f"{head}data:{' ' if space else ''}{text}\n\n"


def stream(events: Iterable[str], switches: Switches) -> Reply:
    headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": "no-cache"}
    return Reply(_writes(list(events), switches), headers=headers)


async def _writes(events: list[str], switches: Switches) -> AsyncIterator[bytes]:
    for write in _cut([event.encode() for event in events], switches.stream_split):
        yield write
        # Without it, the writes would arrive as one.
        await asyncio.sleep(switches.stream_pause)


def _cut(events: list[bytes], size: int) -> list[bytes]:
    if not size:
        return events
    whole = b"".join(events)
    return [whole[at : at + size] for at in range(0, len(whole), size)]
