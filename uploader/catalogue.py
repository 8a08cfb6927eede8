"""Instant upload: the same content under the same name is at the service already.

Only on request.  A digest that cannot be made to collide stands for the content, and
the service is asked whether the file is still there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final
from weakref import WeakValueDictionary

from uploader import events
from uploader.digest import Digest, new_digest
from uploader.errors import RequestRejected, SourceError
from uploader.model import File, FileId, Upload, UploadState
from uploader.run import Machine, Run
from uploader.source import Source

DIGEST: Final = "blake3"

ENOUGH_LIFE: Final = 0.5
"""A file that was to live for some time has to have so much of it left."""

LEAST_LIFE: Final = 3600.0
"""Seconds that one has to live which was to live for ever."""

UNUSABLE: Final = ("error", "deleted", "expired")


def applies(run: Run) -> bool:
    """Whether a file that is there will do, and can be found again by its id."""
    can = run.machine.backend.capabilities
    return run.upload.reuse and can.knows_files and not can.part_is_effect


_sending: WeakValueDictionary[tuple[object, ...], asyncio.Lock] = WeakValueDictionary()


@contextlib.asynccontextmanager
async def one_at_a_time(machine: Machine, upload: Upload) -> AsyncIterator[None]:
    """Let what may be the same file wait for the first of them."""
    key = (id(machine), *_key(upload))
    lock = _sending.get(key)
    if lock is None:
        lock = _sending[key] = asyncio.Lock()
    async with lock:
        yield


async def take(run: Run, source: Source | None) -> None:
    """Complete a planned upload with the file that the service has, if it has it.

    The source is read only when a file of its size is known.
    """
    journal, upload = run.machine.journal, run.upload
    if upload.state is not UploadState.PLANNED or upload.asked_at is not None:
        return
    known = await journal.catalogued(upload)
    if not known:
        return
    digest = await _digest(upload, source)
    if digest is None or (file_id := known.get(digest)) is None:
        return
    file = await _look(run, file_id)
    if file is None:
        await journal.forget_catalogued(upload, digest)
        return
    run.upload = await journal.record_reused(run.hold.lease, file)
    run.observe(events.FileReused, file_id=file.id)


async def find_out(run: Run, source: Source | None) -> str | None:
    """The digest of what an earlier run sent and did not live to put down.

    None when it stands there already, or the source is no longer what was sent.
    """
    upload, file = run.upload, run.upload.file
    if not applies(run) or file is None:
        return None
    if file.id in (await run.machine.journal.catalogued(upload)).values():
        return None
    try:
        with contextlib.ExitStack() as stack:
            if source is None:
                source = stack.enter_context(Source.open(upload.identity.path))
            if upload.fingerprint.difference(source.fingerprint) is not None:
                return None
            return await _digest(upload, source)
    except SourceError:
        return None


def spelled(digest: Digest) -> str:
    return f"{DIGEST}:{digest.hexdigest()}"


async def _digest(upload: Upload, source: Source | None) -> str | None:
    """Of the whole source; None when it is not the one that was planned."""
    with contextlib.ExitStack() as stack:
        if source is None:
            source = stack.enter_context(Source.open(upload.identity.path))
        if source.fingerprint.size != upload.fingerprint.size:
            return None
        whole = new_digest(DIGEST)
        await source.digest(upload.plan, {}, md5=False, also=whole)
        source.check()
        return spelled(whole)


async def _look(run: Run, file_id: FileId) -> File | None:
    """The file, if it is there, is the one, and lives long enough."""
    machine, spec = run.machine, run.upload.spec
    try:
        file = await run.ask(
            f"get {file_id}", lambda: machine.backend.get_file(file_id)
        )
    except RequestRejected:
        return None
    if file.status in UNUSABLE or file.bytes not in (None, spec.size):
        return None
    if (file.purpose, file.filename) != (spec.purpose, spec.filename):
        return None
    if file.expires_at is not None:
        wanted = LEAST_LIFE
        if spec.expires_after is not None:
            wanted = spec.expires_after * ENOUGH_LIFE
        if file.expires_at - machine.clock.wall() < wanted:
            return None
    return file


def _key(upload: Upload) -> tuple[object, ...]:
    identity = upload.identity
    return (
        identity.service,
        identity.purpose,
        identity.filename,
        identity.expires_after,
        upload.spec.size,
    )
