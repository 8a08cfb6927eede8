"""Many files through one `Uploader`, against the emulator."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command import KEY, files_at
from tests.fakes import Told
from uploader import Settings, Uploader
from uploader.batch import Feeder, Item, Outcome, go_on, restart_failed, upload_many
from uploader.config import RetryPolicy, Timeouts
from uploader.emulator import Emulator
from uploader.errors import (
    CredentialsRefused,
    Interrupted,
    PreflightFailed,
    RequestRejected,
    SourceError,
    UploadOwned,
    UsageError,
)
from uploader.events import (
    BatchFinished,
    BatchStarted,
    Event,
    FileReused,
    PartSent,
    UploadCompleted,
    UploadFailed,
    UploadStarted,
)
from uploader.model import MIB
from uploader.pacing import MOST_OPEN

PART_SIZE = 4096
REQUEST = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {}}

Make = Callable[..., Path]


@pytest.fixture
def settings(emulator: Emulator, tmp_path: Path) -> Settings:
    return Settings(
        base_url=emulator.url,
        api_key=KEY,
        journal=tmp_path / "state" / "journal.db",
        part_size=PART_SIZE,
        parallel=4,
        retry=RetryPolicy(backoff_initial=0.001, backoff_max=0.001, max_attempts=2),
        timeouts=Timeouts(settle=0.0),
    )


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(name: str, size: int = 100) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(name).randbytes(size))
        return path

    return make


async def all_of(outcomes: AsyncIterator[Outcome]) -> dict[str, Outcome]:
    return {outcome.path.name: outcome async for outcome in outcomes}


# -- what comes of a list -----------------------------------------------------


async def test_one_bad_file_never_stops_the_others(
    settings: Settings, make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    good = [make(f"{number}.bin", 3 * PART_SIZE) for number in range(5)]
    items = [Item(path=path, tag=path.name) for path in (*good, tmp_path / "none")]
    told = Told()

    async with Uploader(settings, observers=[told]) as uploader:
        found = await all_of(
            upload_many(uploader, [*items, Item(path=bad, purpose="batch")])
        )

    assert type(found["none"].error) is SourceError
    assert type(found["bad.jsonl"].error) is PreflightFailed
    ids = {}
    for path in good:
        file = found[path.name].file
        assert file is not None
        assert found[path.name].tag == path.name
        ids[file.file_id] = path.read_bytes()
    assert await files_at(emulator.url) == ids
    [started], [finished] = told.of(BatchStarted), told.of(BatchFinished)
    assert (started.uploads, started.refused) == (7, 1)
    assert (finished.completed, finished.failed, finished.unfinished) == (5, 2, 0)
    assert len(told.of(UploadFailed)) == 2


async def test_higher_priorities_are_opened_first_then_who_came_first(
    settings: Settings, make: Make
) -> None:
    names = ["a1", "b5", "c1", "d9", "e5"]
    items = [
        Item(path=make(name, 20 * PART_SIZE), priority=int(name[1])) for name in names
    ]
    told = Told()

    async with Uploader(settings, observers=[told]) as uploader:
        await all_of(upload_many(uploader, items))

    started = [event.path.name for event in told.of(UploadStarted)]
    assert started == ["d9", "b5", "e5", "a1", "c1"]


async def most_open(settings: Settings, paths: list[Path]) -> int:
    opened: set[str] = set()
    most = 0

    def count(event: Event) -> None:
        nonlocal most
        if isinstance(event, UploadStarted):
            opened.add(event.upload)
            most = max(most, len(opened))
        elif isinstance(event, UploadCompleted):
            opened.discard(event.upload)

    async with Uploader(settings, observers=[count]) as uploader:
        await all_of(upload_many(uploader, [Item(path=path) for path in paths]))
    return most


async def test_large_files_are_opened_as_slots_come_free_small_ones_by_the_dozen(
    settings: Settings, make: Make
) -> None:
    large = await most_open(
        settings, [make(f"large {number}", 30 * PART_SIZE) for number in range(6)]
    )
    small = await most_open(
        settings, [make(f"small {number}", 9) for number in range(40)]
    )

    assert large <= 3
    assert 8 <= small <= MOST_OPEN


async def test_an_empty_list_is_refused(settings: Settings) -> None:
    async with Uploader(settings) as uploader:
        with pytest.raises(UsageError, match="no files"):
            await all_of(upload_many(uploader, []))


async def test_a_target_that_there_is_not_fails_its_file_alone(
    settings: Settings, make: Make
) -> None:
    items = [Item(path=make("a"), to="nowhere:1"), Item(path=make("b"))]

    async with Uploader(settings) as uploader:
        found = await all_of(upload_many(uploader, items))

    assert type(found["a"].error) is UsageError
    assert found["b"].file is not None


async def test_each_file_goes_to_its_own_conversation_with_its_own_prompt(
    settings: Settings, make: Make
) -> None:
    items = [
        Item(path=make(name), to="conversation:new", prompt=f"What is {name}?")
        for name in ("a.txt", "b.txt")
    ]

    async with Uploader(settings) as uploader:
        found = await all_of(upload_many(uploader, items))
        messages = await uploader.attachments()

    files = [outcome.file for outcome in found.values()]
    homes = {file.attached.conversation_id for file in files if file and file.attached}
    assert len(homes) == 2
    assert {each.spec.prompt for each in messages} == {
        "What is a.txt?",
        "What is b.txt?",
    }


# -- what stays in the queue --------------------------------------------------


async def test_what_was_left_early_stays_queued_and_any_process_goes_on(
    settings: Settings, make: Make, emulator: Emulator
) -> None:
    items = [Item(path=make(str(number), 20 * PART_SIZE)) for number in range(6)]
    async with (
        Uploader(settings) as uploader,
        aclosing(upload_many(uploader, items)) as outcomes,
    ):
        async for _ in outcomes:
            break

    async with Uploader(settings) as uploader:
        waiting, _ = await uploader.queue.size()
        for upload in await uploader.resumable():
            await uploader.resume(upload.id)
        found = await all_of(go_on(uploader))
        [batch] = await uploader.queue.batches()

    assert waiting >= 3
    assert len(found) == waiting
    assert (batch.completed, batch.unfinished) == (6, 0)
    assert len(await files_at(emulator.url)) == 6


async def test_a_file_that_another_process_is_at_is_left_to_it_and_told(
    settings: Settings, make: Make
) -> None:
    path, free = make("a", 30 * PART_SIZE), make("b")
    outcomes: dict[str, Outcome] = {}

    async with Uploader(settings) as one, Uploader(settings) as other:
        begun = asyncio.Event()

        def follow(event: Event) -> None:
            if isinstance(event, UploadStarted):
                begun.set()

        with one.observed(follow):
            uploading = asyncio.create_task(one.upload(path))
            await begun.wait()
            items = [Item(path=path), Item(path=free)]
            outcomes = await all_of(upload_many(other, items))
            file = await uploading

    assert type(outcomes["a"].error) is UploadOwned
    assert outcomes["b"].file is not None
    assert file.file_id


async def test_draining_ends_the_list_with_interrupted_and_loses_nothing(
    settings: Settings, make: Make
) -> None:
    items = [Item(path=make(str(number), 20 * PART_SIZE)) for number in range(6)]

    async with Uploader(settings) as uploader:

        def drain(event: Event) -> None:
            if isinstance(event, PartSent):
                uploader.drain()

        with uploader.observed(drain), pytest.raises(Interrupted):
            await all_of(upload_many(uploader, items))
        [batch] = await uploader.queue.batches()

    assert batch.unfinished == 6


async def test_a_refused_key_pauses_its_service_instead_of_failing_everything(
    settings: Settings, make: Make, emulator: Emulator
) -> None:
    items = [Item(path=make(str(number), 20 * PART_SIZE)) for number in range(9)]
    emulator.add_entries([{"kind": "create", "do": "status", "status": 401}])

    async with Uploader(settings) as uploader:
        found = await all_of(upload_many(uploader, items))
        [batch] = await uploader.queue.batches()

    errors = [outcome.error for outcome in found.values() if outcome.error is not None]
    assert [type(error) for error in errors] == [CredentialsRefused]
    assert batch.queued >= 6
    assert batch.failed == 0


async def test_what_failed_is_begun_anew_and_what_was_stopped_goes_on(
    settings: Settings, make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    stopped, absent = make("stopped", 3 * PART_SIZE), tmp_path / "absent"
    settings = replace(settings, parallel=1)
    emulator.add_entries([{"kind": "part", "nth": 2, "do": "status", "status": 400}])
    items = [Item(path=stopped), Item(path=absent, tag="mine", priority=-1)]
    async with Uploader(settings) as uploader:
        before = await all_of(upload_many(uploader, items))
    absent.write_bytes(b"now it is there")
    told = Told()

    async with Uploader(settings, observers=[told]) as uploader:
        found = await all_of(restart_failed(uploader))
        [batch] = await uploader.queue.batches()
        again = await all_of(restart_failed(uploader))

    assert type(before["stopped"].error) is RequestRejected
    assert found["stopped"].upload == before["stopped"].upload
    assert found["absent"].upload != before["absent"].upload
    assert found["absent"].tag == "mine"
    assert len(told.of(PartSent)) == 3
    assert (batch.uploads, batch.completed) == (2, 2)
    assert again == {}


async def test_a_feeder_that_stays_takes_what_comes_later(
    settings: Settings, make: Make
) -> None:
    names: list[str] = []
    async with Uploader(settings) as uploader, asyncio.TaskGroup() as group:

        def tell(outcome: Outcome) -> None:
            names.append(outcome.path.name)
            if len(names) == 2:
                feeder.stop()

        feeder = Feeder(uploader, tell, stay=True)
        group.create_task(feeder.run())
        for name in ("a", "b"):
            await uploader.queue.add([Item(path=make(name))])
            feeder.wake()

    assert sorted(names) == ["a", "b"]


async def test_what_would_be_done_is_told_and_nothing_is_recorded(
    settings: Settings, make: Make, emulator: Emulator, tmp_path: Path
) -> None:
    async with Uploader(settings) as uploader:
        good, bad = await uploader.queue.plan(
            [Item(path=make("a", 3 * PART_SIZE)), Item(path=tmp_path / "none")]
        )
        known = await uploader.uploads()

    assert (good.failure, len(good.plan.parts)) == (None, 3)
    assert isinstance(bad.failure, SourceError)
    assert known == []
    assert emulator.account().requests == ()


# -- instant upload -----------------------------------------------------------


async def test_the_same_content_under_the_same_name_is_not_sent_twice(
    settings: Settings, make: Make, emulator: Emulator
) -> None:
    first, second, other = (
        make("a/x.bin", 9000),
        make("b/x.bin", 9),
        make("c/x.bin", 9000),
    )
    second.write_bytes(first.read_bytes())
    told = Told()

    async with Uploader(settings, observers=[told]) as uploader:
        one = await uploader.upload(first, reuse=True)
        same = await uploader.upload(second, reuse=True)
        sent = len(told.of(PartSent))
        different = await uploader.upload(other, reuse=True)
        anew = await uploader.upload(second)

    assert same.file_id == one.file_id
    assert [event.file_id for event in told.of(FileReused)] == [one.file_id]
    assert same.receipt.bytes_sent == same.receipt.bytes_needed == 0
    assert sent == 3
    assert len({one.file_id, different.file_id, anew.file_id}) == 3


async def test_equal_files_of_one_list_share_a_file(
    settings: Settings, make: Make, emulator: Emulator
) -> None:
    paths = [make(f"{number}/x.bin", 9) for number in range(4)]
    for path in paths:
        path.write_bytes(b"the same content")

    async with Uploader(settings) as uploader:
        items = [Item(path=path, reuse=True) for path in paths]
        ids = {
            outcome.file.file_id
            async for outcome in upload_many(uploader, items)
            if outcome.file
        }

    assert len(ids) == 1
    assert emulator.account().counts["create"] == 1


async def test_a_file_that_is_gone_or_short_of_life_is_sent_again(
    settings: Settings, make: Make, emulator: Emulator
) -> None:
    path = make("x.bin", 9000)
    async with Uploader(settings) as uploader:
        first = await uploader.upload(path, reuse=True)
        backend = (await uploader.machine()).backend
        await backend.delete_file(first.file_id)
        second = await uploader.upload(path, reuse=True)
        third = await uploader.upload(path, reuse=True)

    assert second.file_id != first.file_id
    assert third.file_id == second.file_id


async def test_a_file_is_read_for_its_digest_only_where_one_of_its_size_is_known(
    settings: Settings, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uploader import catalogue

    read: list[str] = []
    digest = catalogue._digest

    async def counted(*arguments: object) -> str | None:
        read.append("once")
        return await digest(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(catalogue, "_digest", counted)
    async with Uploader(settings) as uploader:
        await uploader.upload(make("a/x.bin", 9000), reuse=True)
        await uploader.upload(make("b/x.bin", 9001), reuse=True)
        assert read == []
        await uploader.upload(make("c/x.bin", 9000), reuse=True)

    assert read == ["once"]


# -- rates --------------------------------------------------------------------


async def test_a_limit_holds_for_all_uploads_together_and_can_be_lifted(
    settings: Settings, make: Make
) -> None:
    paths = [make(f"{number}.bin", MIB) for number in range(2)]
    settings = replace(settings, limit_rate=64 * 1024, part_size=None)
    loop = asyncio.get_running_loop()
    moved: list[float] = []

    def follow(event: Event) -> None:
        moved.append(loop.time())

    async with Uploader(settings, observers=[follow]) as uploader:
        loop.call_later(0.3, uploader.limit_rate, None)
        began = loop.time()
        await all_of(upload_many(uploader, [Item(path=path) for path in paths]))

    # Two MiB at this limit would take half a minute.
    assert 0.3 < loop.time() - began < 10
    with pytest.raises(ValueError, match="limit_rate must be at least 65536"):
        replace(settings, limit_rate=1)


async def test_a_429_is_written_down_for_others(
    settings: Settings, make: Make, emulator: Emulator
) -> None:
    emulator.add_entries(
        [
            {
                "kind": "create",
                "do": "status",
                "status": 429,
                "headers": {"retry-after": "1"},
            }
        ]
    )
    async with Uploader(settings) as uploader:
        await uploader.upload(make("a"))
        machine = await uploader.machine()
        until = await machine.journal.quiet_until(machine.backend.service)

    assert until is not None


async def test_a_batch_file_that_is_right_passes(
    settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps(REQUEST) + "\n")

    async with Uploader(settings) as uploader:
        found = await all_of(upload_many(uploader, [Item(path=path, purpose="batch")]))

    assert found[path.name].file is not None
