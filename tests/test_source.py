import asyncio
import contextlib
import hashlib
import os
import random
import socket
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from blake3 import blake3

from uploader.backend import TURN
from uploader.body import CHUNK, SourceBody
from uploader.digest import new_digest
from uploader.errors import SourceChanged, SourceError, UsageError
from uploader.model import MIB, Part, PartId, Plan, SentPart
from uploader.source import STRIDE, Source

CONTENT = random.Random(7).randbytes(2 * CHUNK + CHUNK // 2 + 1)
WHOLE = Part(number=1, offset=0, size=len(CONTENT))


async def ignore(_: int, pending: int) -> int:
    return MIB


async def read(body: SourceBody) -> bytes:
    return b"".join([bytes(chunk) async for chunk in body.chunks()])


def sent(part: Part, content: bytes, name: str = "sha256") -> SentPart:
    digest = hashlib.new(name, content[part.offset : part.end]).hexdigest()
    return SentPart(number=part.number, part_id=PartId("p"), digest=f"{name}:{digest}")


def all_sent(plan: Plan, content: bytes) -> Mapping[int, SentPart]:
    return {part.number: sent(part, content) for part in plan.parts}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def source(path: Path) -> Iterator[Source]:
    with Source.open(path) as source:
        yield source


def later(path: Path, act: Callable[[], object]) -> None:
    """Do *act* until the clock of the file system has noticed."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        act()


def overwrite(path: Path, content: bytes) -> None:
    """Change the content, and nothing that a look at the size and time would show."""
    times = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_fingerprint_is_taken_when_a_file_is_opened(
    path: Path, source: Source
) -> None:
    found = path.stat()

    assert source.fingerprint.size == len(CONTENT)
    assert source.fingerprint.mtime_ns == found.st_mtime_ns
    assert source.fingerprint.ctime_ns == found.st_ctime_ns
    assert source.fingerprint.inode == found.st_ino


def test_an_empty_file_may_be_opened(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    with Source.open(tmp_path / "empty") as source:
        assert source.fingerprint.size == 0


def test_a_link_is_followed_to_the_real_path(tmp_path: Path, path: Path) -> None:
    (tmp_path / "link").symlink_to(path)

    with Source.open(tmp_path / "link") as source:
        assert source.path == path.resolve()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no such file: .*absent"):
        Source.open(tmp_path / "absent")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a directory"):
        Source.open(tmp_path)


def test_a_fifo_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(SourceError, match="is a FIFO"):
        Source.open(tmp_path / "fifo")


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The name of a socket may not be as long as that of a temporary directory.
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind("s")

        with pytest.raises(SourceError, match="is a socket"):
            Source.open(tmp_path / "s")


def test_a_device_is_refused() -> None:
    with pytest.raises(SourceError, match="is a device"):
        Source.open(Path(os.devnull))


def test_a_link_to_itself_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    with pytest.raises(SourceError, match="cannot be opened"):
        Source.open(tmp_path / "loop")


def test_a_descriptor_is_closed_once(path: Path) -> None:
    with Source.open(path) as source:
        source.close()
        # The number is another's by now, and must not be closed a second time.
        reused = os.open(path, os.O_RDONLY)

    os.fstat(reused)
    os.close(reused)


async def test_a_body_is_the_part_and_nothing_else(source: Source) -> None:
    part = Part(number=2, offset=1000, size=CHUNK + 1)

    body = source.body(part, None, ignore)

    assert body.size == part.size
    assert await read(body) == CONTENT[1000 : part.end]


async def test_each_reading_begins_anew(source: Source) -> None:
    body = source.body(WHOLE, None, ignore)

    assert await read(body) == await read(body) == CONTENT


async def test_bodies_of_one_source_do_not_disturb_each_other(source: Source) -> None:
    left = source.body(WHOLE, None, ignore).chunks()
    right = source.body(WHOLE, None, ignore).chunks()
    pieces: list[bytes] = []
    async for chunk in left:
        pieces.append(bytes(chunk))
        assert bytes(await anext(right)) == pieces[-1]

    assert b"".join(pieces) == CONTENT


async def test_a_chunk_is_never_changed_after_it_was_handed_out(
    source: Source,
) -> None:
    chunks = source.body(WHOLE, None, ignore).chunks()

    kept = [(chunk, bytes(chunk)) async for chunk in chunks]

    assert len(kept) == 3
    assert all(chunk == copy for chunk, copy in kept)


async def test_what_is_not_in_the_page_cache_is_read_all_the_same(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = os.preadv

    def not_cached(fd: int, buffers: list[bytearray], offset: int, *flags: int) -> int:
        if flags:
            raise BlockingIOError
        return really(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", not_cached)

    assert await read(source.body(WHOLE, None, ignore)) == CONTENT


async def test_others_get_their_turn_while_all_comes_from_the_page_cache(
    tmp_path: Path,
) -> None:
    (tmp_path / "big").write_bytes(bytes(4 * MIB))
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    with Source.open(tmp_path / "big") as source:
        await read(source.body(Part(number=1, offset=0, size=4 * MIB), None, ignore))
    counting.cancel()

    assert turns >= 4


async def test_it_asks_before_the_first_chunk_for_each_ration_and_after_the_last(
    source: Source,
) -> None:
    told = []

    async def grant(count: int, pending: int) -> int:
        told.append(count)
        return CHUNK

    await read(source.body(WHOLE, None, grant))

    assert told == [0, CHUNK, 2 * CHUNK, len(CONTENT)]


async def test_no_more_is_handed_out_than_was_granted(source: Source) -> None:
    async def grant(_: int, pending: int) -> int:
        return 1000

    sizes = [len(chunk) async for chunk in source.body(WHOLE, None, grant).chunks()]

    assert max(sizes) == 1000
    assert sum(sizes) == len(CONTENT)


async def test_it_asks_again_when_its_turn_is_over(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    async def grant(count: int, pending: int) -> int:
        told.append(count)
        return MIB

    now = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    async for _ in source.body(WHOLE, None, grant).chunks():
        # Whoever sends is slow.
        now += TURN

    assert told == [0, CHUNK, 2 * CHUNK, len(CONTENT)]


async def test_what_raises_before_a_chunk_keeps_it_from_being_handed_out(
    source: Source,
) -> None:
    async def lost(count: int, pending: int) -> int:
        if count:
            raise KeyError(count)
        return CHUNK

    chunks = source.body(WHOLE, None, lost).chunks()
    assert len(await anext(chunks)) == CHUNK

    with pytest.raises(KeyError):
        await anext(chunks)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blake3", blake3(CONTENT).hexdigest()),
        ("sha256", hashlib.sha256(CONTENT).hexdigest()),
    ],
)
async def test_a_body_that_was_read_knows_the_digest_of_what_it_gave(
    source: Source, name: str, expected: str
) -> None:
    body = source.body(WHOLE, name, ignore)
    assert body.digest is None

    await read(body)
    await read(body)

    assert body.digest == f"{name}:{expected}"


async def test_a_body_that_was_read_in_part_has_no_digest(source: Source) -> None:
    body = source.body(WHOLE, "blake3", ignore)

    async for _ in body.chunks():
        break

    assert body.digest is None


async def test_without_a_digest_there_is_none(source: Source) -> None:
    body = source.body(WHOLE, None, ignore)

    await read(body)

    assert body.digest is None


@pytest.mark.parametrize("name", ["crc99", "shake_128", ""])
def test_a_digest_that_nobody_knows_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="no digest") as raised:
        new_digest(name)

    assert "blake3" in (raised.value.hint or "")
    assert "shake" not in (raised.value.hint or "")


def test_every_digest_that_the_hint_names_works() -> None:
    with pytest.raises(UsageError) as raised:
        new_digest("none")

    hint = (raised.value.hint or "").removeprefix("choose one of ")
    for name in hint.removesuffix(", or off").split(", "):
        assert new_digest(name).hexdigest()


def test_an_untouched_file_is_still_the_same(source: Source) -> None:
    source.check()

    assert not source.touched
    assert not source.is_replaced()


def test_a_file_that_grows_has_changed(path: Path, source: Source) -> None:
    with path.open("ab") as file:
        file.write(b"!")

    with pytest.raises(SourceChanged, match=f"{len(CONTENT)} bytes became"):
        source.check()


def test_a_file_that_shrinks_has_changed(path: Path, source: Source) -> None:
    os.truncate(path, 5)

    with pytest.raises(SourceChanged, match="became 5"):
        source.check()


def test_a_file_that_was_written_to_has_changed(path: Path, source: Source) -> None:
    os.utime(path, ns=(0, source.fingerprint.mtime_ns + 1))

    with pytest.raises(SourceChanged, match="modification time"):
        source.check()


def test_a_change_of_mode_alone_is_noted_and_no_error(
    path: Path, source: Source
) -> None:
    later(path, lambda: path.chmod(0o600))

    source.check()

    assert source.touched
    assert source.fingerprint.ctime_ns == path.stat().st_ctime_ns


def test_what_was_touched_once_stays_touched(path: Path, source: Source) -> None:
    later(path, lambda: path.chmod(0o600))

    source.check()
    source.check()

    assert source.touched


async def test_a_name_that_leads_elsewhere_is_told_and_the_opened_file_is_read(
    tmp_path: Path, path: Path, source: Source
) -> None:
    (tmp_path / "new").write_bytes(b"x" * len(CONTENT))
    (tmp_path / "new").replace(path)

    source.check()

    assert source.is_replaced()
    assert await read(source.body(WHOLE, None, ignore)) == CONTENT


def test_a_name_that_is_gone_counts_as_replaced(path: Path, source: Source) -> None:
    path.unlink()

    assert source.is_replaced()


@pytest.mark.parametrize("cached", [True, False])
async def test_a_file_that_becomes_shorter_while_it_is_read_has_changed(
    path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, cached: bool
) -> None:
    if not cached:
        monkeypatch.delattr(os, "RWF_NOWAIT", raising=False)

    async def cut(count: int, pending: int) -> int:
        if count:
            os.truncate(path, CHUNK)
        return CHUNK

    with pytest.raises(SourceChanged, match="shorter"):
        await read(source.body(WHOLE, None, cut))


async def test_what_a_growing_file_gained_is_not_read(
    path: Path, source: Source
) -> None:
    async def grow(_: int, pending: int) -> int:
        with path.open("ab") as file:
            file.write(b"!" * CHUNK)
        return CHUNK

    assert await read(source.body(WHOLE, None, grow)) == CONTENT


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that fails")
async def test_a_disk_that_fails_is_the_sources_fault() -> None:
    # The first page of a process is mapped nowhere: to read it is an I/O error.
    with Source.open(Path("/proc/self/mem")) as source:
        with pytest.raises(SourceError, match=r"/mem cannot be read: Input/output"):
            await read(source.body(WHOLE, None, ignore))
        with pytest.raises(SourceError, match=r"/mem cannot be read: Input/output"):
            await source.digest(Plan((WHOLE,)), {}, md5=True)


PLAN = Plan.of_sizes([CHUNK, CHUNK, CHUNK // 2 + 1])


async def test_the_md5_is_that_of_the_whole_file(source: Source) -> None:
    md5 = await source.digest(PLAN, {}, md5=True)

    assert md5 == hashlib.md5(CONTENT, usedforsecurity=False).digest()


async def test_without_an_md5_only_the_recorded_parts_are_read(
    path: Path, source: Source
) -> None:
    recorded = {1: sent(PLAN.parts[0], CONTENT)}
    os.truncate(path, PLAN.parts[0].end)

    assert await source.digest(PLAN, recorded, md5=False) is None


@pytest.mark.parametrize("md5", [True, False])
async def test_recorded_digests_that_hold_are_no_error(
    source: Source, md5: bool
) -> None:
    digest = await source.digest(PLAN, all_sent(PLAN, CONTENT), md5=md5)

    assert (digest is not None) is md5


@pytest.mark.parametrize("md5", [True, False])
@pytest.mark.parametrize("part", PLAN.parts)
async def test_one_bit_of_a_sent_part_that_changed_is_found(
    path: Path, source: Source, md5: bool, part: Part
) -> None:
    changed = bytearray(CONTENT)
    changed[part.end - 1] ^= 1
    overwrite(path, bytes(changed))

    with pytest.raises(SourceChanged, match=f"part {part.number} has other content"):
        await source.digest(PLAN, all_sent(PLAN, CONTENT), md5=md5)


async def test_each_digest_is_verified_by_the_algorithm_that_made_it(
    source: Source,
) -> None:
    recorded = {
        1: sent(PLAN.parts[0], CONTENT, "sha1"),
        2: SentPart(number=2, part_id=PartId("p"), digest=None),
        3: sent(PLAN.parts[2], CONTENT, "sha512"),
    }

    assert await source.digest(PLAN, recorded, md5=True)


async def test_a_file_that_became_shorter_fails_its_verification(
    path: Path, source: Source
) -> None:
    os.truncate(path, CHUNK + 1)

    with pytest.raises(SourceChanged, match="shorter"):
        await source.digest(PLAN, {}, md5=True)


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Source]:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(4 * STRIDE)
    with Source.open(path) as source:
        yield source


async def test_memory_does_not_grow_with_the_part_that_is_read(large: Source) -> None:
    body = large.body(Part(number=1, offset=0, size=4 * STRIDE), "blake3", ignore)

    tracemalloc.start()
    async for _ in body.chunks():
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 * CHUNK


async def test_memory_does_not_grow_with_the_file_that_is_digested(
    large: Source,
) -> None:
    tracemalloc.start()
    await large.digest(Plan.of_sizes([4 * STRIDE]), {}, md5=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 4 * MIB
