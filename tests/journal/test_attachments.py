"""What `uploader.record.Journal` promises of attachments."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.journal.nouns import (
    ATTACHED,
    FILE,
    FILE_REF,
    IDENTITY,
    MESSAGE,
    MONTH,
    NOW,
    OPENED,
    SCOPE,
    StandingClock,
    attach,
    begin,
    begin_attachment,
    complete,
    named,
    open_journal,
    open_upload,
)
from uploader.errors import JournalError, UsageError
from uploader.journal import SqliteJournal
from uploader.message import Attachment, AttachmentSpec, AttachmentState
from uploader.model import FileId, LocalId, UploadId, UploadState
from uploader.state import IllegalTransition


async def only(journal: SqliteJournal) -> Attachment:
    [attachment] = await journal.attachments()
    return attachment


def message_of(*members: LocalId) -> AttachmentSpec:
    return replace(MESSAGE, members=members)


async def test_a_new_attachment_is_planned_and_is_as_it_was_given(
    journal: SqliteJournal,
) -> None:
    upload = (await begin(journal)).upload
    spec = replace(MESSAGE, members=(FILE_REF, upload.id, FILE_REF))

    claim = await journal.begin_attachment(spec, now=NOW)

    attachment = claim.attachment
    assert attachment == await only(journal)
    assert attachment.spec == spec
    assert attachment.state is AttachmentState.PLANNED
    assert attachment.created_at == NOW
    assert (attachment.scope, attachment.cursor, attachment.asked_at) == (None,) * 3
    assert attachment.is_unfinished


async def test_a_message_may_have_nothing_but_its_target(
    journal: SqliteJournal,
) -> None:
    spec = AttachmentSpec(service="s", target="vector-store:new")

    claim = await journal.begin_attachment(spec, now=NOW)

    assert claim.attachment.spec == spec


async def test_what_was_typed_need_not_be_utf8(journal: SqliteJournal) -> None:
    typed = os.fsdecode(b"caf\xe9")
    spec = replace(
        MESSAGE, prompt=typed, members=(replace(FILE_REF, name=f"{typed}.png"),)
    )
    lease = await begin_attachment(journal, spec)
    await journal.note_attachment_failure(lease, f"{typed} is gone")
    await journal.release(lease)

    again = (await journal.begin_attachment(spec, now=NOW)).attachment

    assert again.id == lease.upload
    assert again.spec == spec
    assert again.failure == r"caf\udce9 is gone"


async def test_the_same_message_is_the_same_attachment_until_it_is_delivered(
    journal: SqliteJournal,
) -> None:
    lease = await attach(journal)
    await journal.release(lease)

    again = await journal.begin_attachment(MESSAGE, now=NOW + 1)
    assert again.attachment.id == lease.upload
    assert again.attachment.attached == ATTACHED
    assert await journal.attachments(unfinished=True) == [again.attachment]

    await journal.deliver_attachment(again.lease, now=NOW + 5)
    assert (await only(journal)).delivered_at == NOW + 5
    assert await journal.attachments(unfinished=True) == []
    assert (await begin_attachment(journal)).upload != lease.upload


@pytest.mark.parametrize(
    "spec",
    [
        replace(MESSAGE, service="https://elsewhere.example"),
        replace(MESSAGE, target="conversation:conv_2"),
        replace(MESSAGE, prompt=None),
        replace(MESSAGE, prompt="What is that?"),
        replace(MESSAGE, model=None),
        replace(MESSAGE, members=()),
        replace(MESSAGE, members=(FILE_REF, FILE_REF)),
        replace(MESSAGE, members=(replace(FILE_REF, file_id=FileId("file_8")),)),
        replace(MESSAGE, members=(replace(FILE_REF, details={}),)),
    ],
    ids=lambda spec: str(spec),
)
async def test_any_other_message_is_another_attachment(
    journal: SqliteJournal, spec: AttachmentSpec
) -> None:
    first = await begin_attachment(journal)

    second = await begin_attachment(journal, spec)

    assert second.upload != first.upload


async def test_files_in_another_order_are_another_message(
    journal: SqliteJournal,
) -> None:
    a, b = [(await begin(journal, named(name))).upload.id for name in "ab"]

    leases = [
        await begin_attachment(journal, spec)
        for spec in (message_of(a, b), message_of(b, a))
    ]

    specs = [(await journal.find_attachment(lease.upload)).spec for lease in leases]
    assert [spec.members for spec in specs] == [(a, b), (b, a)]


async def test_an_upload_that_is_not_there_cannot_be_attached(
    journal: SqliteJournal,
) -> None:
    with pytest.raises(UsageError, match="no upload 'nothing'"):
        await begin_attachment(journal, message_of(LocalId("nothing")))

    assert await journal.attachments() == []


async def test_the_conversation_of_an_attachment_is_kept(
    journal: SqliteJournal,
) -> None:
    lease = await begin_attachment(journal)

    await journal.record_scope(lease, SCOPE)

    assert (await only(journal)).scope == SCOPE


@pytest.mark.parametrize("first", ["item_1", None], ids=["items", "none yet"])
async def test_asking_again_moves_the_time_and_keeps_the_cursor(
    journal: SqliteJournal, first: str | None
) -> None:
    lease = await begin_attachment(journal)
    await journal.intend_attach(lease, cursor=first, now=NOW)
    attachment = await only(journal)
    assert attachment.state is AttachmentState.ATTACHING
    assert (attachment.cursor, attachment.asked_at) == (first, NOW)

    await journal.intend_attach(lease, cursor="item_2", now=NOW + 60)

    attachment = await only(journal)
    assert attachment.state is AttachmentState.ATTACHING
    assert (attachment.cursor, attachment.asked_at) == (first, NOW + 60)


async def test_a_response_belongs_to_the_asking_that_it_answers(
    journal: SqliteJournal,
) -> None:
    lease = await begin_attachment(journal)
    await journal.intend_attach(lease, cursor=None, now=NOW)

    await journal.record_response(lease, "resp_1")
    assert (await only(journal)).response_id == "resp_1"

    await journal.intend_attach(lease, cursor=None, now=NOW + 60)
    assert (await only(journal)).response_id is None


async def test_a_withdrawn_attachment_is_planned_and_takes_the_next_cursor(
    journal: SqliteJournal,
) -> None:
    lease = await begin_attachment(journal)
    before = await only(journal)
    await journal.intend_attach(lease, cursor="item_1", now=NOW)
    await journal.record_response(lease, "resp_1")

    await journal.withdraw_attach(lease)
    assert await only(journal) == before

    await journal.intend_attach(lease, cursor="item_2", now=NOW + 60)
    assert (await only(journal)).cursor == "item_2"


async def test_what_came_of_an_attachment_is_kept_whole(
    journal: SqliteJournal,
) -> None:
    lease = await begin_attachment(journal)
    await journal.note_attachment_failure(lease, "connection reset")
    await journal.intend_attach(lease, cursor="item_1", now=NOW)

    await journal.record_attached(lease, ATTACHED)

    attachment = await only(journal)
    assert attachment.state is AttachmentState.ATTACHED
    assert attachment.attached == ATTACHED
    assert attachment.failure is None
    assert attachment.is_unfinished


async def test_the_last_message_of_a_conversation_is_remembered(
    journal: SqliteJournal,
) -> None:
    service = MESSAGE.service
    assert await journal.last_message(service, "conv_1") is None

    await attach(journal)
    follow_up = replace(MESSAGE, prompt="And this?")
    await attach(journal, follow_up, replace(ATTACHED, message_id="msg_2"))
    silent = replace(MESSAGE, prompt=None)
    await attach(journal, silent, replace(ATTACHED, message_id=None))

    assert await journal.last_message(service, "conv_1") == "msg_2"
    assert await journal.last_message(service, "conv_2") is None
    assert await journal.last_message("elsewhere", "conv_1") is None


async def test_what_stopped_an_attachment_for_now_is_kept(
    journal: SqliteJournal,
) -> None:
    lease = await begin_attachment(journal)

    await journal.note_attachment_failure(lease, "connection reset")

    attachment = await only(journal)
    assert attachment.failure == "connection reset"
    assert attachment.is_unfinished


async def test_a_failed_attachment_is_over_and_its_files_stay_what_they_are(
    journal: SqliteJournal,
) -> None:
    upload = await complete(journal)
    spec = message_of(upload.upload)
    lease = await begin_attachment(journal, spec)
    before = await journal.find(upload.upload)

    await journal.fail_attachment(lease, "HTTP 403")

    attachment = await only(journal)
    assert attachment.state is AttachmentState.FAILED
    assert attachment.failure == "HTTP 403"
    assert await journal.attachments(unfinished=True) == []
    assert await journal.find(upload.upload) == before
    assert (await begin_attachment(journal, spec)).upload != attachment.id


async def test_an_attachment_that_was_not_asked_for_cannot_be_there(
    journal: SqliteJournal,
) -> None:
    lease = await begin_attachment(journal)
    before = await only(journal)

    with pytest.raises(IllegalTransition):
        await journal.record_attached(lease, ATTACHED)
    with pytest.raises(IllegalTransition):
        await journal.withdraw_attach(lease)
    with pytest.raises(IllegalTransition):
        await journal.deliver_attachment(lease, now=NOW)

    assert await only(journal) == before
    assert await journal.last_message(MESSAGE.service, "conv_1") is None


async def test_delivering_an_attachment_delivers_its_completed_uploads_with_it(
    journal: SqliteJournal,
) -> None:
    done = await complete(journal, named("done.bin"))
    earlier = await complete(
        journal, named("earlier.bin"), replace(FILE, id=FileId("file_2"))
    )
    await journal.deliver(earlier, now=NOW + 1)
    opened = (await begin(journal, named("open.bin"))).lease
    await open_upload(journal, opened, replace(OPENED, upload_id=UploadId("upload_9")))
    stranger = await complete(
        journal, named("stranger.bin"), replace(FILE, id=FileId("file_3"))
    )
    members = (done.upload, earlier.upload, opened.upload)

    lease = await attach(journal, message_of(*members))
    await journal.deliver_attachment(lease, now=NOW + 9)

    uploads = {upload.id: upload for upload in await journal.uploads()}
    assert uploads[done.upload].delivered_at == NOW + 9
    assert uploads[earlier.upload].delivered_at == NOW + 1
    assert uploads[opened.upload].state is UploadState.OPEN
    unfinished = {upload.id for upload in await journal.uploads(unfinished=True)}
    assert unfinished == {opened.upload, stranger.upload}


async def test_an_attachment_and_its_uploads_are_delivered_together_or_not_at_all(
    journal: SqliteJournal,
) -> None:
    upload = await complete(journal)
    lease = await attach(journal, message_of(upload.upload))
    await journal._writer.write(
        lambda db: db.execute(
            "CREATE TRIGGER fault BEFORE UPDATE OF delivered_at ON uploads"
            " BEGIN SELECT RAISE(ABORT, 'fault'); END"
        )
    )

    with pytest.raises(JournalError, match="fault"):
        await journal.deliver_attachment(lease, now=NOW)

    assert (await only(journal)).delivered_at is None
    assert (await journal.find(upload.upload)).delivered_at is None


async def test_attachments_come_oldest_first(journal: SqliteJournal) -> None:
    for n in (1, 2, 3):
        await begin_attachment(journal, replace(MESSAGE, prompt=f"{n}"), now=NOW + n)

    attachments = await journal.attachments()

    assert [attachment.spec.prompt for attachment in attachments] == ["1", "2", "3"]


async def test_an_attachment_is_found_by_the_beginning_of_its_id(
    journal: SqliteJournal,
) -> None:
    lease = await begin_attachment(journal)
    attachment = await only(journal)

    assert await journal.find_attachment(lease.upload) == attachment
    assert await journal.find_attachment(lease.upload[:3].upper()) == attachment


@pytest.mark.parametrize("name", ["", "nothing", "%", "*"])
async def test_a_name_that_fits_no_attachment_is_said(
    journal: SqliteJournal, name: str
) -> None:
    await begin_attachment(journal)

    with pytest.raises(UsageError, match="no attachment"):
        await journal.find_attachment(name)


async def test_a_name_that_fits_several_attachments_says_which(
    journal: SqliteJournal,
) -> None:
    # With more attachments than letters, two ids begin alike.
    ids = [
        (await begin_attachment(journal, replace(MESSAGE, prompt=f"{n}"))).upload
        for n in range(32)
    ]
    beginning = next(
        letter for letter in {name[0] for name in ids} if count(ids, letter) > 1
    )

    with pytest.raises(UsageError, match=f"may be any of {beginning}"):
        await journal.find_attachment(beginning)


async def test_the_id_of_an_attachment_is_no_upload_and_the_other_way_round(
    journal: SqliteJournal,
) -> None:
    upload = (await begin(journal)).lease
    await open_upload(journal, upload)
    attachment = await begin_attachment(journal)

    with pytest.raises(UsageError, match="is an attachment, not an upload") as raised:
        await journal.find(attachment.upload)
    assert "uploader list" in str(raised.value.hint)
    with pytest.raises(UsageError, match="is an attachment, not an upload"):
        await journal.take(attachment.upload, now=NOW)

    for name in (upload.upload, OPENED.upload_id):
        with pytest.raises(UsageError, match="is an upload, not an attachment") as said:
            await journal.find_attachment(name)
        assert "uploader list" in str(said.value.hint)


async def test_only_attachments_finished_long_ago_are_pruned(
    journal: SqliteJournal, clock: StandingClock
) -> None:
    failed, delivered, recent, unfinished = [
        replace(MESSAGE, prompt=prompt)
        for prompt in ("failed", "delivered", "recent", "unfinished")
    ]
    await journal.fail_attachment(await begin_attachment(journal, failed), "no")
    await journal.deliver_attachment(await attach(journal, delivered), now=NOW)
    await begin_attachment(journal, unfinished)
    clock.now = NOW + 100
    await journal.fail_attachment(await begin_attachment(journal, recent), "no")

    assert await journal.prune(before=NOW + 50) == 2

    left = [attachment.spec for attachment in await journal.attachments()]
    assert left == [unfinished, recent]


async def test_an_upload_is_not_pruned_before_the_attachment_that_it_belongs_to(
    journal: SqliteJournal,
) -> None:
    upload = await complete(journal)
    await journal.deliver(upload, now=NOW)
    lease = await attach(journal, message_of(upload.upload))

    assert await journal.prune(before=NOW + 50) == 0
    await journal.deliver_attachment(lease, now=NOW + 100)
    assert await journal.prune(before=NOW + 50) == 1

    assert await journal.uploads() == []
    assert (await only(journal)).spec.members == (upload.upload,)
    assert await journal.prune(before=NOW + MONTH) == 1


async def test_attachments_are_there_after_opening_again(path: Path) -> None:
    journal = await open_journal(path)
    upload = (await begin(journal, IDENTITY)).upload
    lease = await attach(journal, replace(MESSAGE, members=(upload.id, FILE_REF)))
    await journal.release(lease)
    before = await journal.attachments()
    await journal.aclose()

    again = await open_journal(path)

    assert await again.attachments() == before
    assert await again.last_message(MESSAGE.service, "conv_1") == "msg_1"
    await again.aclose()


def count(ids: list[LocalId], letter: str) -> int:
    return sum(name.startswith(letter) for name in ids)
