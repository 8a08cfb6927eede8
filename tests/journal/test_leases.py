"""One owner per upload or attachment, and what becomes of it when that is gone."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journal.nouns import (
    ATTACHED,
    COMPLETE,
    FILE,
    FINGERPRINT,
    NOW,
    OPENED,
    RECEIPT,
    SCOPE,
    TTL,
    begin,
    begin_attachment,
    named,
    open_journal,
    open_upload,
    sent,
)
from tests.journal.process import Process
from uploader.errors import LeaseLost, UploadOwned, UsageError
from uploader.journal import SqliteJournal
from uploader.message import AttachmentState
from uploader.model import Lease, LocalId, UploadState

Start = Callable[[], Process]

HERE = f"process {os.getpid()} on {socket.gethostname()}"

WRITES = {
    "intend_create": lambda journal, lease: journal.intend_create(lease, now=NOW),
    "record_opened": lambda journal, lease: journal.record_opened(
        lease, OPENED, now=NOW
    ),
    "record_part": lambda journal, lease: journal.record_part(lease, sent(1)),
    "forget_parts": lambda journal, lease: journal.forget_parts(lease, [1]),
    "note_orphan_parts": lambda journal, lease: journal.note_orphan_parts(lease),
    "record_fingerprint": lambda journal, lease: journal.record_fingerprint(
        lease, FINGERPRINT
    ),
    "intend_complete": lambda journal, lease: journal.intend_complete(lease, COMPLETE),
    "note_yes": lambda journal, lease: journal.note_yes(lease),
    "record_refusal": lambda journal, lease: journal.record_refusal(lease, "no"),
    "record_file": lambda journal, lease: journal.record_file(lease, FILE, "yes"),
    "record_receipt": lambda journal, lease: journal.record_receipt(lease, RECEIPT),
    "record_scope": lambda journal, lease: journal.record_scope(lease, SCOPE),
    "intend_put": lambda journal, lease: journal.intend_put(lease, now=NOW),
    "withdraw_put": lambda journal, lease: journal.withdraw_put(lease),
    "restart": lambda journal, lease: journal.restart(lease, "why", orphans=False),
    "fail": lambda journal, lease: journal.fail(lease, "why"),
    "note_failure": lambda journal, lease: journal.note_failure(lease, "why"),
    "cancel": lambda journal, lease: journal.cancel(lease),
    "deliver": lambda journal, lease: journal.deliver(lease, now=NOW),
}

ATTACHMENT_WRITES = {
    "record_scope": lambda journal, lease: journal.record_scope(lease, SCOPE),
    "intend_attach": lambda journal, lease: journal.intend_attach(
        lease, cursor=None, now=NOW
    ),
    "record_response": lambda journal, lease: journal.record_response(lease, "resp"),
    "withdraw_attach": lambda journal, lease: journal.withdraw_attach(lease),
    "record_attached": lambda journal, lease: journal.record_attached(lease, ATTACHED),
    "fail_attachment": lambda journal, lease: journal.fail_attachment(lease, "why"),
    "note_attachment_failure": lambda journal, lease: journal.note_attachment_failure(
        lease, "why"
    ),
    "deliver_attachment": lambda journal, lease: journal.deliver_attachment(
        lease, now=NOW
    ),
}


@pytest.mark.parametrize("write", WRITES)
async def test_who_lost_the_lease_writes_nothing(
    journal: SqliteJournal, other: SqliteJournal, write: str
) -> None:
    lost = (await begin(journal)).lease
    await open_upload(journal, lost)
    taken = await other.take(lost.upload, now=NOW + TTL)

    with pytest.raises(LeaseLost):
        await WRITES[write](journal, lost)

    assert await other.find(lost.upload) == taken.upload


@pytest.mark.parametrize("write", ATTACHMENT_WRITES)
async def test_who_lost_the_lease_of_an_attachment_writes_nothing(
    journal: SqliteJournal, other: SqliteJournal, write: str
) -> None:
    lost = await begin_attachment(journal)
    await journal.intend_attach(lost, cursor="item_1", now=NOW)
    taken = await other.take_attachment(lost.upload, now=NOW + TTL)

    with pytest.raises(LeaseLost, match=f"attachment {lost.upload}"):
        await ATTACHMENT_WRITES[write](journal, lost)

    assert await other.find_attachment(lost.upload) == taken.attachment
    assert await other.last_message("https://api.example/v1", "conv_1") is None


async def test_the_lease_of_one_kind_writes_nothing_about_the_other(
    journal: SqliteJournal,
) -> None:
    upload = (await begin(journal)).lease
    attachment = await begin_attachment(journal)

    with pytest.raises(LeaseLost):
        await journal.note_failure(attachment, "why")
    with pytest.raises(LeaseLost):
        await journal.note_attachment_failure(upload, "why")


async def test_an_attachment_is_not_shared_by_two_owners(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    lease = await begin_attachment(journal)

    with pytest.raises(UploadOwned, match=HERE):
        await begin_attachment(other)
    with pytest.raises(UploadOwned, match=f"attachment {lease.upload} .* {HERE}"):
        await other.take_attachment(lease.upload, now=NOW)
    with pytest.raises(UploadOwned, match="by this process"):
        await begin_attachment(journal)

    assert (await other.find_attachment(lease.upload)).owner == HERE


async def test_a_released_attachment_can_be_taken_at_once(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    lease = await begin_attachment(journal)
    await journal.release(lease)
    assert (await journal.find_attachment(lease.upload)).owner is None

    claim = await other.take_attachment(lease.upload, now=NOW)

    assert claim.lease.epoch == lease.epoch + 1


async def test_one_heartbeat_renews_uploads_and_attachments(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    upload = (await begin(journal)).lease
    kept = await begin_attachment(journal)
    await journal.renew([upload, kept], now=NOW + TTL)

    with pytest.raises(UploadOwned):
        await other.take_attachment(kept.upload, now=NOW + TTL)
    await other.take_attachment(kept.upload, now=NOW + 2 * TTL)

    heartbeat = await journal.renew([upload, kept], now=NOW + 2 * TTL)
    assert (heartbeat.lost, heartbeat.cancel_requested) == ([kept.upload], [])


async def test_a_put_that_was_not_answered_outlives_its_owner(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.intend_put(lease, now=NOW + 5)

    claim = await other.take(lease.upload, now=NOW + TTL)

    assert claim.unclean
    assert claim.upload.put_asked_at == NOW + 5


async def test_an_owner_is_absent_once_nothing_of_it_is_heard_of(
    journal: SqliteJournal, path: Path, start: Start
) -> None:
    process = start()
    process.do(f"open {path}")
    attachment = process.do("attach item_1")
    assert await journal.absent_owners(now=NOW) == set()
    process.kill()

    absent = await journal.absent_owners(now=NOW)

    assert absent == {(await journal.find_attachment(attachment)).owner}


async def test_the_attachment_of_a_killed_process_is_taken_over_as_it_was(
    journal: SqliteJournal, path: Path, start: Start
) -> None:
    process = start()
    process.do(f"open {path}")
    attachment = LocalId(process.do("attach item_7"))
    with pytest.raises(UploadOwned, match=f"process {process.pid}"):
        await journal.take_attachment(attachment, now=NOW)
    process.kill()

    claim = await journal.take_attachment(attachment, now=NOW)

    assert claim.attachment.state is AttachmentState.ATTACHING
    assert (claim.attachment.cursor, claim.attachment.asked_at) == ("item_7", NOW)
    assert claim.attachment.owner == HERE


async def test_an_upload_is_not_shared_by_two_owners(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    upload = (await begin(journal)).upload

    with pytest.raises(UploadOwned, match=HERE):
        await begin(other)
    with pytest.raises(UploadOwned, match=HERE):
        await other.take(upload.id, now=NOW)

    assert upload.owner == HERE


async def test_one_owner_does_not_work_on_an_upload_twice(
    journal: SqliteJournal,
) -> None:
    await begin(journal)

    with pytest.raises(UploadOwned, match="by this process"):
        await begin(journal)


async def test_a_released_upload_is_taken_over_cleanly(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.release(lease)
    assert (await journal.find(lease.upload)).owner is None

    claim = await other.take(lease.upload, now=NOW)

    assert not claim.unclean
    assert not claim.upload.may_have_orphan_parts
    assert claim.lease.epoch == lease.epoch + 1


async def test_releasing_a_lost_lease_is_no_error_and_takes_it_from_nobody(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    lost = (await begin(journal)).lease
    taken = await other.take(lost.upload, now=NOW + TTL)

    await journal.release(lost)

    await other.record_part(taken.lease, sent(1))


async def test_a_lease_can_be_taken_when_it_was_not_renewed_in_time(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.renew([lease], now=NOW + 20)

    with pytest.raises(UploadOwned):
        await other.take(lease.upload, now=NOW + TTL)
    claim = await other.take(lease.upload, now=NOW + 20 + TTL)

    assert claim.unclean
    assert claim.upload.may_have_orphan_parts


async def test_parts_can_only_be_orphans_of_an_open_upload(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    lease = (await begin(journal)).lease

    claim = await other.take(lease.upload, now=NOW + TTL)

    assert claim.unclean
    assert claim.upload.state is UploadState.PLANNED
    assert not claim.upload.may_have_orphan_parts


async def test_a_heartbeat_tells_what_is_lost_and_what_is_to_be_cancelled(
    journal: SqliteJournal, other: SqliteJournal
) -> None:
    kept, lost, unwanted = [
        (await begin(journal, named(name))).lease for name in ("a", "b", "c")
    ]
    await other.take(lost.upload, now=NOW + TTL)
    await other.request_cancel(unwanted.upload)

    heartbeat = await journal.renew([kept, lost, unwanted], now=NOW + TTL)

    assert heartbeat.lost == [lost.upload]
    assert heartbeat.cancel_requested == [unwanted.upload]
    assert (await other.find(unwanted.upload)).cancel_requested


async def test_an_unknown_upload_can_be_neither_taken_nor_cancelled(
    journal: SqliteJournal,
) -> None:
    with pytest.raises(UsageError, match="no upload 'nothing'"):
        await journal.take(LocalId("nothing"), now=NOW)
    with pytest.raises(UsageError, match="no upload 'nothing'"):
        await journal.request_cancel(LocalId("nothing"))
    with pytest.raises(UsageError, match="no attachment 'nothing'"):
        await journal.take_attachment(LocalId("nothing"), now=NOW)


async def test_a_claim_that_nobody_waits_for_any_more_is_given_back(
    journal: SqliteJournal,
) -> None:
    asking = asyncio.create_task(begin(journal))
    await asyncio.wait([asking], timeout=0)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    [upload] = await journal.uploads()
    claim = await journal.take(upload.id, now=NOW)

    assert not claim.unclean


async def test_a_claim_of_an_attachment_that_nobody_waits_for_is_given_back(
    journal: SqliteJournal,
) -> None:
    asking = asyncio.create_task(begin_attachment(journal))
    await asyncio.wait([asking], timeout=0)

    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    [attachment] = await journal.attachments()

    await journal.take_attachment(attachment.id, now=NOW)


async def test_closing_lets_go_of_everything_and_leaves_no_lock_behind(
    journal: SqliteJournal, path: Path
) -> None:
    second = await open_journal(path)
    lease = (await begin(second)).lease
    assert len(locks(path)) == 1

    await second.aclose()

    assert locks(path) == []
    assert not (await journal.take(lease.upload, now=NOW)).unclean


async def test_looking_at_uploads_needs_no_lock(
    journal: SqliteJournal, path: Path
) -> None:
    await journal.uploads()

    assert locks(path) == []


async def test_an_owner_on_another_host_is_believed_until_its_lease_expires(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    there = await open_journal(path)
    lease = (await begin(there)).lease
    monkeypatch.undo()
    # Its lock is not held here, as it would be with a real other host.
    for lock in locks(path):
        lock.unlink()
    here = await open_journal(path)

    with pytest.raises(UploadOwned, match="on elsewhere"):
        await here.take(lease.upload, now=NOW + TTL - 1)
    assert (await here.take(lease.upload, now=NOW + TTL)).unclean

    await here.aclose()
    await there.aclose()


async def test_uploads_of_a_killed_process_are_taken_over_at_once(
    journal: SqliteJournal, path: Path, start: Start
) -> None:
    process = start()
    process.do(f"open {path}")
    upload = LocalId(process.do("begin big.bin"))
    assert process.do("create") == "created"
    assert process.do("record 1") == "recorded"
    with pytest.raises(UploadOwned, match=f"process {process.pid}"):
        await journal.take(upload, now=NOW)
    process.kill()

    claim = await journal.take(upload, now=NOW)

    assert claim.unclean
    assert claim.upload.parts == {1: sent(1)}
    assert claim.upload.may_have_orphan_parts
    assert claim.upload.owner == HERE


async def test_all_uploads_of_a_killed_process_are_free_and_its_lock_is_removed(
    journal: SqliteJournal, path: Path, start: Start
) -> None:
    process = start()
    process.do(f"open {path}")
    uploads = [LocalId(process.do(f"begin {name}")) for name in "ab"]
    process.kill()
    before = descriptors()

    claims = [await journal.take(upload, now=NOW) for upload in uploads]

    assert all(claim.unclean for claim in claims)
    assert len(locks(path)) == 1
    assert descriptors() == before + 1


async def test_the_lock_of_a_killed_process_without_leases_is_removed_too(
    journal: SqliteJournal, path: Path, start: Start
) -> None:
    process = start()
    process.do(f"open {path}")
    upload = LocalId(process.do("begin big.bin"))
    process.stop()
    lease = (await journal.take(upload, now=NOW + TTL)).lease
    process.kill()
    await journal.release(lease)
    assert len(locks(path)) == 2

    third = await open_journal(path)
    await begin(third)

    assert len(locks(path)) == 2
    await third.aclose()


async def test_a_stopped_process_loses_its_uploads_when_the_lease_expires(
    journal: SqliteJournal, path: Path, start: Start
) -> None:
    process = start()
    process.do(f"open {path}")
    upload = LocalId(process.do("begin big.bin"))
    process.do("create")
    process.stop()

    with pytest.raises(UploadOwned):
        await journal.take(upload, now=NOW + TTL - 1)
    claim = await journal.take(upload, now=NOW + TTL)
    process.go_on()

    assert claim.unclean
    assert process.do("record 1") == "LeaseLost"
    assert (await journal.find(upload)).parts == {}


async def test_a_lease_of_an_older_epoch_is_not_the_lease(
    journal: SqliteJournal,
) -> None:
    old = (await begin(journal)).lease
    await journal.release(old)
    new = (await begin(journal)).lease

    with pytest.raises(LeaseLost):
        await journal.record_part(old, sent(1))

    assert new == Lease(upload=old.upload, owner=old.owner, epoch=old.epoch + 1)


def locks(path: Path) -> list[Path]:
    return list(path.with_name(f"{path.name}.owners").glob("*"))


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))
