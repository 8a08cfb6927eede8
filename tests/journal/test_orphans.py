"""What the journal says may be open at a service."""

from __future__ import annotations

import pytest

from tests.journal.nouns import (
    COMPLETE,
    FILE,
    NOW,
    OPENED,
    begin,
    complete,
    named,
    open_upload,
)
from uploader.errors import LeaseLost
from uploader.journal import SqliteJournal
from uploader.model import Orphan


async def orphans(journal: SqliteJournal) -> list[Orphan]:
    return [*await journal.orphans(since=NOW - 3600)]


async def test_a_create_without_an_answer_is_an_orphan_while_its_owner_waits_for_it(
    journal: SqliteJournal,
) -> None:
    claim = await begin(journal)
    await journal.intend_create(claim.lease, now=NOW)

    [orphan] = await orphans(journal)

    assert orphan.upload == claim.upload.id
    assert orphan.path == claim.upload.identity.path
    assert (orphan.opened, orphan.asked_at) == (None, NOW)
    assert orphan.reason == "created without an answer"
    assert orphan.owner is not None


async def test_an_earlier_attempt_has_no_owner_that_waits_for_it(
    journal: SqliteJournal,
) -> None:
    claim = await begin(journal)
    await journal.intend_create(claim.lease, now=NOW)
    await open_upload(journal, claim.lease, now=NOW + 5)

    [orphan] = await orphans(journal)

    assert (orphan.asked_at, orphan.owner) == (NOW, None)


async def test_a_create_that_certainly_had_no_effect_leaves_none(
    journal: SqliteJournal,
) -> None:
    claim = await begin(journal)
    await journal.intend_create(claim.lease, now=NOW)

    await journal.withdraw_create(claim.lease)

    assert await orphans(journal) == []


async def test_an_answer_is_not_withdrawn(journal: SqliteJournal) -> None:
    claim = await begin(journal)
    await open_upload(journal, claim.lease)

    await journal.withdraw_create(claim.lease)

    assert (await journal.find(claim.upload.id)).opened == OPENED


async def test_nothing_is_withdrawn_for_who_lost_the_lease(
    journal: SqliteJournal,
) -> None:
    claim = await begin(journal)
    await journal.intend_create(claim.lease, now=NOW)
    await journal.release(claim.lease)

    with pytest.raises(LeaseLost):
        await journal.withdraw_create(claim.lease)

    assert len(await orphans(journal)) == 1


async def test_what_resume_goes_on_with_and_what_is_complete_are_none(
    journal: SqliteJournal,
) -> None:
    await open_upload(journal, (await begin(journal)).lease)
    await complete(journal, named("other"))

    assert await orphans(journal) == []


async def test_what_a_restart_gave_up_is_one_until_it_is_closed(
    journal: SqliteJournal,
) -> None:
    claim = await begin(journal)
    await open_upload(journal, claim.lease)
    await journal.restart(claim.lease, "parts were counted twice", orphans=True)

    [orphan] = await orphans(journal)
    await journal.close_orphan(orphan.upload, OPENED.upload_id)

    assert orphan.opened == OPENED
    assert orphan.reason == "abandoned: parts were counted twice"
    assert await orphans(journal) == []


async def test_what_failed_while_it_was_open_is_one(journal: SqliteJournal) -> None:
    claim = await begin(journal)
    await open_upload(journal, claim.lease)
    await journal.fail(claim.lease, "refused")

    [orphan] = await orphans(journal)
    await journal.close_orphan(orphan.upload, OPENED.upload_id)

    assert (orphan.opened, orphan.reason) == (OPENED, "failed")
    assert await orphans(journal) == []


async def test_what_failed_because_of_its_file_is_none(journal: SqliteJournal) -> None:
    claim = await begin(journal)
    await open_upload(journal, claim.lease)
    await journal.intend_complete(claim.lease, COMPLETE)
    await journal.record_file(claim.lease, FILE, "answered")
    await journal.fail(claim.lease, "the file is broken")

    assert await orphans(journal) == []


async def test_an_upload_in_use_cannot_be_closed(journal: SqliteJournal) -> None:
    claim = await begin(journal)
    await open_upload(journal, claim.lease)

    await journal.close_orphan(claim.upload.id, OPENED.upload_id)
    await journal.restart(claim.lease, "again", orphans=False)

    assert [one.opened for one in await orphans(journal)] == [OPENED]


async def test_what_is_older_than_any_upload_lives_is_not_asked_for(
    journal: SqliteJournal,
) -> None:
    claim = await begin(journal)
    await journal.intend_create(claim.lease, now=NOW)

    assert await journal.orphans(since=NOW + 1) == []
