"""What waits for its turn, as the journal keeps it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.journal.nouns import (
    FILE,
    FINGERPRINT,
    IDENTITY,
    MONTH,
    NOW,
    PLAN,
    SPEC,
    attach,
    begin,
    complete,
    named,
    open_upload,
)
from uploader.errors import SourceError, UploadOwned, UsageError
from uploader.journal import SqliteJournal
from uploader.message import Message
from uploader.model import FileId, Plan, Unfinished, UploadState
from uploader.record import Entry


def entry(name: str, *, priority: int = 0, service: str = IDENTITY.service) -> Entry:
    identity = replace(named(name), service=service)
    return Entry(
        identity=identity,
        spec=replace(SPEC, filename=name),
        fingerprint=FINGERPRINT,
        plan=PLAN,
        priority=priority,
        tag=f"tag of {name}",
    )


def refused(name: str) -> Entry:
    failure = SourceError(f"{name} is empty")
    return replace(entry(name), failure=failure, plan=Plan(()))


async def waiting(journal: SqliteJournal, **filters: object) -> list[str]:
    found = await journal.next_queued(limit=9, **filters)  # type: ignore[arg-type]
    return [queued.filename for queued in found]


async def test_what_is_queued_waits_by_priority_then_arrival(
    journal: SqliteJournal,
) -> None:
    await journal.enqueue([entry("a"), entry("b", priority=2), entry("c")], now=NOW)
    await journal.enqueue(
        [entry("d", priority=2), entry("e", priority=-1)], now=NOW + 1
    )

    assert await waiting(journal) == ["b", "d", "a", "c", "e"]
    assert await journal.queue_size() == (5, 5 * SPEC.size)


async def test_a_queued_upload_is_planned_and_says_where_it_belongs(
    journal: SqliteJournal,
) -> None:
    batch, [id_] = await journal.enqueue([entry("a", priority=3)], now=NOW)

    upload = await journal.find(id_)
    [queued] = await journal.next_queued()
    assert upload.state is UploadState.PLANNED
    assert upload.is_queued
    assert (upload.batch, upload.priority, upload.tag) == (batch, 3, "tag of a")
    assert (queued.id, queued.batch, queued.parts) == (id_, batch, len(PLAN.parts))


async def test_the_first_claim_takes_it_off_the_queue(journal: SqliteJournal) -> None:
    _, [first, _] = await journal.enqueue([entry("a"), entry("b")], now=NOW)

    claim = await journal.take(first, now=NOW)

    assert not claim.upload.is_queued
    assert await waiting(journal) == ["b"]
    assert await journal.unfinished() == [
        Unfinished(first, claim.upload.identity.service)
    ]


async def test_two_owners_do_not_get_the_same_one(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    await journal.enqueue([entry("a")], now=NOW)
    [mine], [theirs] = await journal.next_queued(), await other.next_queued()
    await journal.take(mine.id, now=NOW)

    with pytest.raises(UploadOwned):
        await other.take(theirs.id, now=NOW)

    assert await waiting(other) == []


async def test_a_service_and_another_batch_can_be_passed_over(
    journal: SqliteJournal,
) -> None:
    one, _ = await journal.enqueue([entry("a"), entry("b", service="s 2")], now=NOW)
    await journal.enqueue([entry("c")], now=NOW)

    assert await waiting(journal, batch=one) == ["a", "b"]
    assert await waiting(journal, but=["s 2"]) == ["a", "c"]
    assert await waiting(journal, batch=one, but=[IDENTITY.service]) == ["b"]


async def test_an_unfinished_upload_is_queued_again_with_its_parts(
    journal: SqliteJournal,
) -> None:
    claim = await begin(journal, named("a"))
    await open_upload(journal, claim.lease)
    await journal.release(claim.lease)

    batch, [again] = await journal.enqueue([entry("a")], now=NOW + 9)

    assert again == claim.upload.id
    upload = await journal.find(again)
    assert (upload.state, upload.batch) == (UploadState.OPEN, batch)
    assert await waiting(journal) == ["a"]


async def test_the_same_file_twice_in_a_list_is_one_upload(
    journal: SqliteJournal,
) -> None:
    _, [first, second] = await journal.enqueue([entry("a"), entry("a")], now=NOW)

    assert first == second
    assert await waiting(journal) == ["a"]


async def test_what_could_not_be_planned_is_recorded_as_failed(
    journal: SqliteJournal,
) -> None:
    batch, [id_] = await journal.enqueue([refused("a")], now=NOW)

    upload = await journal.find(id_)
    assert (upload.state, upload.failure) == (UploadState.FAILED, "a is empty")
    assert upload.plan.size == 0
    assert await waiting(journal) == []
    assert [each.id for each in await journal.failed(batch)] == [id_]


async def test_a_batch_is_told_in_numbers(journal: SqliteJournal) -> None:
    names = ("queued", "begun", "stopped", "completed", "cancelled")
    batch, ids = await journal.enqueue([*map(entry, names), refused("failed")], now=NOW)
    _, begun, stopped, completed, cancelled, _ = ids
    await journal.take(begun, now=NOW)
    claim = await journal.take(stopped, now=NOW)
    await journal.note_failure(claim.lease, "503")
    lease = await complete(journal, named("completed"))
    assert lease.upload == completed
    await journal.deliver(lease, now=NOW)
    await journal.cancel((await journal.take(cancelled, now=NOW)).lease)

    found = await journal.batch(batch[:4])

    assert (found.queued, found.begun, found.stopped) == (1, 1, 1)
    assert (found.completed, found.failed, found.cancelled) == (1, 1, 1)
    assert (found.uploads, found.unfinished) == (6, 3)
    assert found.bytes_completed == SPEC.size
    assert [each.id for each in await journal.batches()] == [batch]


async def test_a_batch_that_nobody_knows_is_said(journal: SqliteJournal) -> None:
    with pytest.raises(UsageError, match="no batch 'nosuch'"):
        await journal.batch("nosuch")


async def test_what_failed_is_replaced_in_its_batch(journal: SqliteJournal) -> None:
    batch, [old] = await journal.enqueue([refused("a")], now=NOW)

    await journal.enqueue([replace(entry("a"), replaces=old)], batch=batch, now=NOW)

    found = await journal.batch(batch)
    assert (found.queued, found.failed) == (1, 0)
    assert await journal.failed() == []


async def test_what_was_stopped_is_queued_once_more(journal: SqliteJournal) -> None:
    batch, [id_] = await journal.enqueue([entry("a")], now=NOW)
    claim = await journal.take(id_, now=NOW)
    await journal.note_failure(claim.lease, "503")
    await journal.release(claim.lease)
    assert [each.id for each in await journal.failed(batch)] == [id_]

    await journal.requeue(id_)

    assert await waiting(journal) == ["a"]
    assert await journal.failed(batch) == []


async def test_a_message_is_queued_with_its_file(journal: SqliteJournal) -> None:
    message = Message(service="s", target="conversation:new", prompt="What is this?")
    item = replace(entry("a"), message=message)

    _, [id_] = await journal.enqueue([item], now=NOW)

    [name] = await journal.messages_with(id_)
    attachment = await journal.find_attachment(name)
    assert attachment.spec == message.of(id_)
    assert await journal.unfinished() == []
    await journal.take(id_, now=NOW)
    assert Unfinished(name, "s", is_attachment=True) in await journal.unfinished()


async def test_the_message_of_a_failed_upload_is_over_but_not_forgotten(
    journal: SqliteJournal,
) -> None:
    message = Message(service="s", target="conversation:new", prompt="What is this?")

    _, [id_] = await journal.enqueue([replace(refused("a"), message=message)], now=NOW)

    assert await journal.messages_with(id_) == []
    [name] = await journal.messages_with(id_, unfinished=False)
    assert (await journal.find_attachment(name)).spec.prompt == "What is this?"


async def test_other_attachments_are_listed_with_or_without_a_queue(
    journal: SqliteJournal,
) -> None:
    lease = await attach(journal)

    begun = [one for one in await journal.unfinished() if one.is_attachment]

    assert [one.id for one in begun] == [lease.upload]


async def test_batches_go_when_their_uploads_are_pruned(journal: SqliteJournal) -> None:
    await journal.enqueue([refused("a")], now=NOW)

    await journal.prune(before=NOW + MONTH)

    assert await journal.batches() == []


# -- the catalogue, and the wishes of a service -------------------------------


async def test_content_that_became_a_file_is_found_by_its_digest(
    journal: SqliteJournal,
) -> None:
    upload = (await begin(journal, named("a"))).upload
    await journal.record_catalogued(upload, "blake3:1", FileId("file_1"))

    assert await journal.catalogued(upload) == {"blake3:1": "file_1"}
    for other in (
        replace(upload, spec=replace(upload.spec, size=9)),
        replace(upload, identity=replace(upload.identity, filename="b")),
        replace(upload, identity=replace(upload.identity, purpose="batch")),
        replace(upload, identity=replace(upload.identity, expires_after=3600)),
        replace(upload, identity=replace(upload.identity, service="s 2")),
    ):
        assert await journal.catalogued(other) == {}
    await journal.forget_catalogued(upload, "blake3:1")
    assert await journal.catalogued(upload) == {}


async def test_a_reused_file_completes_an_upload_that_nothing_was_sent_of(
    journal: SqliteJournal,
) -> None:
    lease = (await begin(journal)).lease

    await journal.record_reused(lease, FILE)

    upload = await journal.find(lease.upload)
    assert (upload.state, upload.file) == (UploadState.COMPLETED, FILE)


async def test_the_longest_wish_for_quiet_counts_for_all(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    assert await journal.quiet_until("s") is None
    await journal.keep_quiet("s", NOW + 9)
    await journal.keep_quiet("s", NOW + 3)
    await journal.remember_rate("s", 5.0, now=NOW)

    assert await other.quiet_until("s") == NOW + 9
    assert await other.rate("s") == 5.0
