"""Lists of files on their way into the queue: each is planned, nothing is sent."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uploader.carrier import PURPOSE, Wish, planned
from uploader.errors import UploaderError, UsageError
from uploader.machines import Machines
from uploader.message import Message
from uploader.model import Fingerprint, Identity, LocalId, Plan, UploadSpec
from uploader.record import Entry
from uploader.run import Machine
from uploader.source import Source
from uploader.targets import open_target

AT_ONCE: Final = 1000
"""Files that are looked at in one trip to a thread."""

NOWHERE: Final = "nowhere"
"""The service of what names a target that there is not."""

NOTHING: Final = Fingerprint(size=0, mtime_ns=0, ctime_ns=0, device=0, inode=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file of a list, and what is wanted of it.

    Higher *priority* comes first.  *tag* is the user's own word, and comes back with
    the outcome.  Each item with a target *to* becomes a message of its own.
    """

    path: Path
    purpose: str = PURPOSE
    filename: str | None = None
    mime_type: str | None = None
    expires_after: int | None = None
    to: str | None = None
    prompt: str | None = None
    model: str | None = None
    priority: int = 0
    tag: str | None = None
    preflight: bool = True
    """Look into the file before anything is sent."""
    reuse: bool = False
    """A file that the service has already will do, if it is the same."""
    replaces: LocalId | None = None
    """The upload of the same batch that is restarted with it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item goes."""

    machine: Machine
    service: str


async def plan_items(
    machines: Machines, default: Machine | None, items: Iterable[Item]
) -> Sequence[Entry]:
    """What would be queued, in the order of *items*; nothing is recorded.

    A file that cannot be uploaded is an entry with its failure.
    """
    items = list(items)
    places = await _places(machines, default, {item.to for item in items})

    def plan(some: Sequence[Item]) -> list[Entry]:
        return [_entry(item, places[item.to]) for item in some]

    entries: list[Entry] = []
    for some in _batched(items):
        entries += await asyncio.to_thread(plan, some)
    return entries


async def _places(
    machines: Machines, default: Machine | None, targets: Iterable[str | None]
) -> Mapping[str | None, Place | UploaderError]:
    places: dict[str | None, Place | UploaderError] = {}
    async with AsyncExitStack() as stack:
        for name in targets:
            if name is None:
                machine = default or await machines.named(machines.settings.backend)
                places[None] = Place(machine, machine.backend.service)
                continue
            try:
                target = open_target(name, machines.settings)
                stack.push_async_callback(target.aclose)
                machine = await machines.named(target.backend)
                places[name] = Place(machine, target.service)
            except UploaderError as error:
                places[name] = error
    return places


def _entry(item: Item, place: Place | UploaderError) -> Entry:
    if isinstance(place, UploaderError):
        return _refused(item, NOWHERE, place)
    wish = Wish(
        purpose=item.purpose,
        filename=item.filename,
        mime_type=item.mime_type,
        expires_after=item.expires_after,
        target=item.to,
        reuse=item.reuse,
    )
    try:
        if item.to is None and (item.prompt is not None or item.model is not None):
            raise UsageError("a prompt goes to a conversation, and none is named")
        with Source.open(item.path) as source:
            identity, spec, plan = planned(place.machine, source, wish)
            fingerprint = source.fingerprint
    except UploaderError as error:
        return _refused(item, place.service, error)
    message = None
    if item.to is not None:
        message = Message(
            service=place.service, target=item.to, prompt=item.prompt, model=item.model
        )
    return Entry(
        identity=identity,
        spec=spec,
        fingerprint=fingerprint,
        plan=plan,
        priority=item.priority,
        tag=item.tag,
        preflight=item.preflight,
        reuse=item.reuse,
        message=message,
        replaces=item.replaces,
    )


def _refused(item: Item, service: str, error: UploaderError) -> Entry:
    """What is known of a file that cannot be planned."""
    path = Path(os.path.realpath(item.path))
    name = item.filename or path.name
    return Entry(
        identity=Identity(
            service=service,
            path=path,
            purpose=item.purpose,
            filename=name,
            expires_after=item.expires_after,
            target=item.to,
        ),
        spec=UploadSpec(
            filename=name,
            purpose=item.purpose,
            size=0,
            mime_type=item.mime_type or "application/octet-stream",
            expires_after=item.expires_after,
        ),
        fingerprint=NOTHING,
        plan=Plan(()),
        priority=item.priority,
        tag=item.tag,
        preflight=item.preflight,
        reuse=item.reuse,
        failure=error,
        replaces=item.replaces,
    )


def _batched(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    left = iter(items)
    while some := list(itertools.islice(left, AT_ONCE)):
        yield some
