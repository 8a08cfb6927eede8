"""What `uploader.record.Journal` promises."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.journal.nouns import (
    COMPLETE,
    FILE,
    FINGERPRINT,
    IDENTITY,
    MONTH,
    NOW,
    OPENED,
    PLAN,
    RECEIPT,
    SCOPE,
    SPEC,
    StandingClock,
    begin,
    complete,
    named,
    open_journal,
    open_upload,
    sent,
)
from uploader.errors import UsageError
from uploader.journal import SqliteJournal
from uploader.model import FileId, Identity, Plan, Upload, UploadId, UploadState
from uploader.record import Journal
from uploader.state import IllegalTransition


async def only(journal: SqliteJournal) -> Upload:
    [upload] = await journal.uploads()
    return upload


async def test_the_sqlite_journal_is_a_journal(journal: SqliteJournal) -> None:
    contract: Journal = journal

    assert await contract.uploads() == []


async def test_a_new_upload_is_planned_and_is_as_it_was_given(
    journal: SqliteJournal,
) -> None:
    claim = await begin(journal)

    upload = claim.upload
    assert upload == await only(journal)
    assert not claim.unclean
    assert upload.state is UploadState.PLANNED
    assert (upload.identity, upload.spec) == (IDENTITY, SPEC)
    assert (upload.fingerprint, upload.plan) == (FINGERPRINT, PLAN)
    assert upload.created_at == NOW
    assert upload.opened is None
    assert upload.asked_at is None


async def test_local_ids_are_eight_characters_that_cannot_be_confused(
    journal: SqliteJournal,
) -> None:
    ids = [(await begin(journal, named(f"{n}"))).upload.id for n in range(50)]

    assert len(set(ids)) == 50
    assert all(len(name) == 8 for name in ids)
    assert not set("".join(ids)) & set("01iloIO")


async def test_the_same_identity_is_the_same_upload_as_it_was_recorded(
    journal: SqliteJournal,
) -> None:
    first = await begin(journal)
    await journal.release(first.lease)

    other_plan = Plan.of_sizes([25])
    again = await journal.begin(
        IDENTITY, SPEC, replace(FINGERPRINT, mtime_ns=9), other_plan, now=NOW + 1
    )

    assert again.upload.id == first.upload.id
    assert again.upload.plan == PLAN
    assert again.upload.fingerprint == FINGERPRINT
    assert again.lease.epoch == first.lease.epoch + 1


@pytest.mark.parametrize(
    "identity",
    [
        replace(IDENTITY, service="https://elsewhere.example"),
        replace(IDENTITY, path=Path("/data/other.bin")),
        replace(IDENTITY, purpose="batch"),
        replace(IDENTITY, filename="other.bin"),
        replace(IDENTITY, expires_after=3600),
        replace(IDENTITY, target="conv_1"),
    ],
    ids=lambda identity: str(identity),
)
async def test_any_other_identity_is_another_upload(
    journal: SqliteJournal, identity: Identity
) -> None:
    first = await begin(journal)

    second = await begin(journal, identity)

    assert second.upload.id != first.upload.id
    assert second.upload.identity == identity


async def test_names_need_not_be_utf8(journal: SqliteJournal) -> None:
    identity = named(os.fsdecode(b"caf\xe9.bin"))
    first = await begin(journal, identity)
    await journal.note_failure(first.lease, f"{identity.path} is gone")
    await journal.release(first.lease)

    again = await begin(journal, identity)

    assert again.upload.id == first.upload.id
    assert again.upload.identity == identity
    assert again.upload.spec.filename == identity.filename
    assert again.upload.failure == r"/data/caf\udce9.bin is gone"


async def test_an_upload_is_open_from_the_asking_of_the_create_that_was_answered(
    journal: SqliteJournal,
) -> None:
    lease = (await begin(journal)).lease
    await journal.intend_create(lease, now=NOW)

    await open_upload(journal, lease, now=NOW + 20)

    upload = await only(journal)
    assert upload.state is UploadState.OPEN
    assert upload.opened == OPENED
    assert upload.asked_at == NOW + 20


async def test_recorded_parts_come_back_whole(journal: SqliteJournal) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.record_part(lease, sent(2))
    await journal.record_part(lease, sent(1))

    upload = await only(journal)

    assert upload.parts == {1: sent(1), 2: sent(2)}
    assert upload.sent_bytes == 20


async def test_recording_a_part_again_replaces_its_id(journal: SqliteJournal) -> None:
    lease = (await begin(journal)).lease
    await journal.record_part(lease, sent(1, "old"))

    await journal.record_part(lease, sent(1, "new"))

    assert (await only(journal)).parts == {1: sent(1, "new")}


async def test_what_the_service_said_of_a_part_comes_back(
    journal: SqliteJournal,
) -> None:
    lease = (await begin(journal)).lease
    part = replace(sent(1), details={"azure_block_id": "AAA=", "size": 10})
    await journal.record_part(lease, replace(part, details={"azure_block_id": "old"}))

    await journal.record_part(lease, part)

    assert (await only(journal)).parts == {1: part}


async def test_what_the_service_said_of_a_file_comes_back(
    journal: SqliteJournal,
) -> None:
    file = replace(FILE, details={"url": "https://files.example/1", "width": 640})

    await complete(journal, file=file)

    assert (await only(journal)).file == file


async def test_a_receipt_comes_back_and_the_last_one_counts(
    journal: SqliteJournal,
) -> None:
    lease = await complete(journal)
    assert await journal.receipt(lease.upload) is None
    await journal.record_receipt(lease, replace(RECEIPT, attempts=7))

    await journal.record_receipt(lease, RECEIPT)

    assert await journal.receipt(lease.upload) == RECEIPT


async def test_the_conversation_of_an_upload_is_kept_also_over_a_restart(
    journal: SqliteJournal,
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.record_scope(lease, replace(SCOPE, parent_message_id=None))
    await journal.record_scope(lease, SCOPE)

    await journal.restart(lease, "expired", orphans=False)

    assert (await only(journal)).scope == SCOPE


async def test_a_put_is_known_from_its_asking_until_its_part_is_recorded(
    journal: SqliteJournal,
) -> None:
    lease = (await begin(journal)).lease
    await journal.intend_put(lease, now=NOW + 1)
    await journal.intend_put(lease, now=NOW + 2)
    assert (await only(journal)).put_asked_at == NOW + 2

    await journal.record_part(lease, sent(1))

    upload = await only(journal)
    assert upload.put_asked_at is None
    assert upload.parts == {1: sent(1)}


async def test_the_part_of_another_upload_is_no_answer_to_a_put(
    journal: SqliteJournal,
) -> None:
    asked = (await begin(journal)).lease
    await journal.intend_put(asked, now=NOW)
    another = (await begin(journal, named("another.bin"))).lease

    await journal.record_part(another, sent(1))

    assert (await journal.find(asked.upload)).put_asked_at == NOW


@pytest.mark.parametrize("way", ["withdrawn", "given up by a restart"])
async def test_a_put_without_effect_is_forgotten_and_can_be_asked_anew(
    journal: SqliteJournal, way: str
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.intend_put(lease, now=NOW)

    if way == "withdrawn":
        await journal.withdraw_put(lease)
    else:
        await journal.restart(lease, "the file is not there", orphans=False)

    assert (await only(journal)).put_asked_at is None
    await journal.intend_put(lease, now=NOW + 60)
    assert (await only(journal)).put_asked_at == NOW + 60


async def test_withdrawing_a_put_that_was_not_asked_changes_nothing(
    journal: SqliteJournal,
) -> None:
    before = await begin(journal)

    await journal.withdraw_put(before.lease)

    assert await only(journal) == before.upload


async def test_forgotten_parts_are_gone(journal: SqliteJournal) -> None:
    lease = (await begin(journal)).lease
    for number in (1, 2, 3):
        await journal.record_part(lease, sent(number))

    await journal.forget_parts(lease, [1, 3])

    assert set((await only(journal)).parts) == {2}


async def test_what_is_noted_about_an_upload_is_kept(journal: SqliteJournal) -> None:
    lease = (await begin(journal)).lease
    moved = replace(FINGERPRINT, ctime_ns=77)

    await journal.note_orphan_parts(lease)
    await journal.record_fingerprint(lease, moved)
    await journal.note_failure(lease, "connection reset")

    upload = await only(journal)
    assert upload.may_have_orphan_parts
    assert upload.fingerprint == moved
    assert upload.failure == "connection reset"
    assert upload.is_unfinished


async def test_the_body_of_complete_is_known_before_it_is_asked(
    journal: SqliteJournal,
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)

    await journal.intend_complete(lease, COMPLETE)

    upload = await only(journal)
    assert upload.state is UploadState.COMPLETING
    assert upload.complete_intent == COMPLETE


async def test_asking_complete_again_is_the_same_intent_with_a_later_time(
    journal: SqliteJournal,
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.intend_complete(lease, COMPLETE)
    later = replace(COMPLETE, asked_at=NOW + 99)

    await journal.intend_complete(lease, later)
    assert (await only(journal)).complete_intent == later

    await journal.record_refusal(lease, "HTTP 400")
    twin = (await begin(journal, replace(IDENTITY, path=Path("/b")))).upload
    assert await journal.claimed_files(IDENTITY.service, twin.id) == (set(), set())


async def test_a_refused_complete_leaves_the_upload_open_with_its_parts(
    journal: SqliteJournal,
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.record_part(lease, sent(1))
    await journal.intend_complete(lease, COMPLETE)

    await journal.record_refusal(lease, "HTTP 400: wrong md5")

    upload = await only(journal)
    assert upload.state is UploadState.OPEN
    assert upload.opened == OPENED
    assert upload.complete_intent is None
    assert set(upload.parts) == {1}


async def test_a_completed_upload_is_unfinished_until_it_is_delivered(
    journal: SqliteJournal,
) -> None:
    lease = await complete(journal)
    await journal.release(lease)

    again = await begin(journal)
    assert again.upload.id == lease.upload
    assert again.upload.file == FILE
    assert again.upload.complete_intent == COMPLETE
    assert await journal.uploads(unfinished=True) == [again.upload]

    await journal.deliver(again.lease, now=NOW + 5)
    assert (await only(journal)).delivered_at == NOW + 5
    assert await journal.uploads(unfinished=True) == []
    assert (await begin(journal)).upload.id != lease.upload


async def test_completing_forgets_the_failure_before_it(journal: SqliteJournal) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.note_failure(lease, "connection reset")
    await journal.intend_complete(lease, COMPLETE)

    await journal.record_file(lease, FILE, "answered")

    assert (await only(journal)).failure is None


async def test_only_a_completed_upload_can_be_delivered(journal: SqliteJournal) -> None:
    lease = (await begin(journal)).lease

    with pytest.raises(IllegalTransition):
        await journal.deliver(lease, now=NOW)

    assert (await only(journal)).is_unfinished


async def test_an_impossible_event_changes_nothing(journal: SqliteJournal) -> None:
    lease = (await begin(journal)).lease
    before = await only(journal)

    with pytest.raises(IllegalTransition):
        await journal.intend_complete(lease, COMPLETE)

    assert await only(journal) == before


async def test_a_failed_upload_is_over_and_says_why(journal: SqliteJournal) -> None:
    lease = (await begin(journal)).lease

    await journal.fail(lease, "HTTP 403")

    upload = await only(journal)
    assert upload.state is UploadState.FAILED
    assert upload.failure == "HTTP 403"
    assert (await begin(journal)).upload.id != upload.id


async def test_a_cancelled_upload_is_over(journal: SqliteJournal) -> None:
    lease = (await begin(journal)).lease

    await journal.cancel(lease)

    assert (await only(journal)).state is UploadState.CANCELLED
    assert await journal.uploads(unfinished=True) == []


@pytest.mark.parametrize("orphans", [False, True])
async def test_a_restart_gives_up_parts_upload_id_and_intents_and_is_counted(
    journal: SqliteJournal, orphans: bool
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.record_part(lease, sent(1))
    await journal.note_orphan_parts(lease)
    await journal.intend_complete(lease, COMPLETE)

    await journal.restart(lease, "expired", orphans=orphans)

    upload = await only(journal)
    assert upload.state is UploadState.PLANNED
    assert upload.id == lease.upload
    assert (upload.opened, upload.asked_at, upload.complete_intent) == (None,) * 3
    assert upload.parts == {}
    assert not upload.may_have_orphan_parts
    assert (upload.restarts, upload.orphan_restarts) == (not orphans, orphans)


async def test_an_upload_that_was_restarted_is_still_found_by_its_old_upload_id(
    journal: SqliteJournal,
) -> None:
    lease = (await begin(journal)).lease
    await open_upload(journal, lease)
    await journal.restart(lease, "expired", orphans=False)
    again = replace(OPENED, upload_id=UploadId("upload_2"))
    await open_upload(journal, lease, again, now=NOW + 60)

    old, new = await journal.find("upload_1"), await journal.find("upload_2")

    assert old == new
    assert new.opened == again


async def test_a_twin_waits_until_a_second_after_the_answer(
    journal: SqliteJournal,
) -> None:
    first = (await begin(journal)).lease
    twin = (await begin(journal, replace(IDENTITY, path=Path("/b/big.bin")))).lease
    await journal.intend_create(first, now=NOW)
    await journal.record_opened(first, OPENED, now=NOW + 10)

    assert await journal.intend_create(twin, now=NOW + 10.25) == 0.75
    assert await journal.intend_create(twin, now=NOW + 11) == 0


async def test_a_twin_waits_while_the_create_of_the_other_is_on_its_way(
    journal: SqliteJournal,
) -> None:
    first = (await begin(journal)).lease
    twin = (await begin(journal, replace(IDENTITY, path=Path("/b/big.bin")))).lease
    await journal.intend_create(first, now=NOW)

    assert await journal.intend_create(twin, now=NOW + 3) == 1
    assert await journal.intend_create(twin, now=NOW + 6) == 0


async def test_a_twin_does_not_wait_for_an_owner_that_let_go(
    journal: SqliteJournal,
) -> None:
    first = (await begin(journal)).lease
    twin = (await begin(journal, replace(IDENTITY, path=Path("/b/big.bin")))).lease
    await journal.intend_create(first, now=NOW)
    await journal.release(first)

    assert await journal.intend_create(twin, now=NOW + 0.5) == 0.5
    assert await journal.intend_create(twin, now=NOW + 1.5) == 0


async def test_files_of_other_names_do_not_wait_for_each_other(
    journal: SqliteJournal,
) -> None:
    first = (await begin(journal)).lease
    second = (await begin(journal, named("other.bin"))).lease

    assert await journal.intend_create(first, now=NOW) == 0
    assert await journal.intend_create(second, now=NOW) == 0


async def test_a_clock_that_was_set_back_delays_nobody(journal: SqliteJournal) -> None:
    first = (await begin(journal)).lease
    twin = (await begin(journal, replace(IDENTITY, path=Path("/b/big.bin")))).lease
    await open_upload(journal, first, now=NOW + 7200)

    assert await journal.intend_create(twin, now=NOW) == 0


async def test_files_of_others_and_creates_without_proven_outcome_are_claimed(
    journal: SqliteJournal,
) -> None:
    await complete(journal, named("done.bin"))
    unproven = (await begin(journal, replace(IDENTITY, path=Path("/b")))).lease
    await open_upload(journal, unproven, now=NOW + 10)
    await journal.intend_complete(unproven, COMPLETE)
    me = (await begin(journal)).upload

    files, creates = await journal.claimed_files(IDENTITY.service, me.id)

    assert files == {FILE.id}
    assert creates == {OPENED.created_at}


async def test_a_complete_that_was_given_up_still_claims_its_create(
    journal: SqliteJournal,
) -> None:
    given_up = (await begin(journal, replace(IDENTITY, path=Path("/b")))).lease
    await open_upload(journal, given_up)
    await journal.intend_complete(given_up, COMPLETE)
    await journal.restart(given_up, "no file is there", orphans=False)
    me = (await begin(journal)).upload

    assert await journal.claimed_files(IDENTITY.service, me.id) == (
        set(),
        {OPENED.created_at},
    )


async def test_an_upload_claims_nothing_from_itself_nor_from_other_services(
    journal: SqliteJournal,
) -> None:
    elsewhere = replace(IDENTITY, service="elsewhere")
    await complete(journal, elsewhere, replace(FILE, id=FileId("file_2")))
    me = (await begin(journal)).lease
    await open_upload(journal, me)
    await journal.intend_complete(me, COMPLETE)

    assert await journal.claimed_files(IDENTITY.service, me.upload) == (set(), set())


async def test_creates_of_files_with_other_names_are_not_claimed(
    journal: SqliteJournal,
) -> None:
    another = (await begin(journal, named("another.bin"))).lease
    await open_upload(journal, another)
    await journal.intend_complete(another, COMPLETE)
    me = (await begin(journal)).upload

    assert await journal.claimed_files(IDENTITY.service, me.id) == (set(), set())


async def test_an_upload_is_found_by_the_beginning_of_its_id(
    journal: SqliteJournal,
) -> None:
    upload = (await begin(journal)).upload

    assert await journal.find(upload.id) == upload
    assert await journal.find(upload.id[:3].upper()) == upload


async def test_a_name_that_fits_several_uploads_says_which(
    journal: SqliteJournal,
) -> None:
    # With more uploads than letters, two ids begin alike.
    ids = sorted([(await begin(journal, named(f"{n}"))).upload.id for n in range(32)])
    beginning, alike = next(
        (letter, found)
        for letter, names in itertools.groupby(ids, key=lambda name: name[0])
        if len(found := list(names)) > 1
    )

    with pytest.raises(UsageError, match=alike[0]):
        await journal.find(beginning)


@pytest.mark.parametrize("name", ["", "nothing", "%", "*"])
async def test_a_name_that_fits_nothing_is_said(
    journal: SqliteJournal, name: str
) -> None:
    await begin(journal)

    with pytest.raises(UsageError, match="no upload"):
        await journal.find(name)


async def test_uploads_come_oldest_first(journal: SqliteJournal) -> None:
    for n in (1, 2, 3):
        await begin(journal, named(f"{n}"), now=NOW + n)

    uploads = await journal.uploads()

    assert [upload.identity.filename for upload in uploads] == ["1", "2", "3"]


async def test_a_rate_is_remembered_per_service(journal: SqliteJournal) -> None:
    await journal.remember_rate("a", 1e6, now=NOW)
    await journal.remember_rate("a", 2e6, now=NOW + 1)

    assert await journal.rate("a") == 2e6
    assert await journal.rate("b") is None


async def test_only_uploads_finished_long_ago_are_pruned(
    journal: SqliteJournal, clock: StandingClock
) -> None:
    await journal.fail((await begin(journal, named("old"))).lease, "no")
    await begin(journal, named("unfinished"))
    clock.now = NOW + 100
    await journal.fail((await begin(journal, named("new"))).lease, "no")

    assert await journal.prune(before=NOW + 50) == 1

    left = {upload.identity.filename for upload in await journal.uploads()}
    assert left == {"unfinished", "new"}


async def test_opening_prunes(journal: SqliteJournal, path: Path) -> None:
    lease = await complete(journal)
    await journal.record_part(lease, sent(1))
    await journal.deliver(lease, now=NOW)

    later = await open_journal(path, clock=StandingClock(NOW + MONTH + 1))

    assert await later.uploads() == []
    await later.aclose()
