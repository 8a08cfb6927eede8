import itertools

import pytest

from uploader.message import AttachmentState
from uploader.model import UploadState
from uploader.state import (
    ATTACHMENT_TRANSITIONS,
    TRANSITIONS,
    AttachmentEvent,
    Event,
    IllegalTransition,
    advance,
    advance_attachment,
)

FINAL = {UploadState.FAILED, UploadState.CANCELLED}


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(UploadState)


def test_every_state_can_be_reached_from_planned() -> None:
    reached = {UploadState.PLANNED}
    while (
        fresh := {after for state in reached for after in TRANSITIONS[state].values()}
        - reached
    ):
        reached |= fresh

    assert reached == set(UploadState)


def test_every_event_happens_somewhere() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


def test_nothing_follows_a_final_state_and_only_a_final_one() -> None:
    assert {state for state, row in TRANSITIONS.items() if not row} == FINAL


def test_a_completed_upload_can_only_turn_out_to_be_of_no_use() -> None:
    assert TRANSITIONS[UploadState.COMPLETED] == {Event.FAILED: UploadState.FAILED}


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(UploadState, Event))
)
def test_an_event_without_a_row_is_a_bug(state: UploadState, event: Event) -> None:
    if event in TRANSITIONS[state]:
        assert advance(state, event) is TRANSITIONS[state][event]
        return

    with pytest.raises(IllegalTransition, match=f"{event.name}.*{state}"):
        advance(state, event)


def test_a_file_is_only_recorded_for_an_upload_whose_complete_was_intended() -> None:
    before = {s for s, row in TRANSITIONS.items() if Event.COMPLETED in row}

    assert before == {UploadState.COMPLETING}


def test_an_upload_that_may_be_complete_cannot_be_cancelled() -> None:
    assert Event.CANCELLED not in TRANSITIONS[UploadState.COMPLETING]


def test_the_way_from_planned_to_completed_and_each_way_back() -> None:
    state = UploadState.PLANNED
    for event, after in [
        (Event.OPENED, UploadState.OPEN),
        (Event.RESTARTED, UploadState.PLANNED),
        (Event.OPENED, UploadState.OPEN),
        (Event.COMPLETE_INTENDED, UploadState.COMPLETING),
        (Event.COMPLETE_INTENDED, UploadState.COMPLETING),
        (Event.REFUSED, UploadState.OPEN),
        (Event.COMPLETE_INTENDED, UploadState.COMPLETING),
        (Event.RESTARTED, UploadState.PLANNED),
        (Event.OPENED, UploadState.OPEN),
        (Event.COMPLETE_INTENDED, UploadState.COMPLETING),
        (Event.COMPLETED, UploadState.COMPLETED),
    ]:
        state = advance(state, event)
        assert state is after


def test_every_state_of_an_attachment_has_a_row_and_can_be_reached() -> None:
    after = {state for row in ATTACHMENT_TRANSITIONS.values() for state in row.values()}

    assert set(ATTACHMENT_TRANSITIONS) == set(AttachmentState)
    assert after == set(AttachmentState)


def test_every_event_of_an_attachment_happens_somewhere() -> None:
    events = {event for row in ATTACHMENT_TRANSITIONS.values() for event in row}

    assert events == set(AttachmentEvent)


@pytest.mark.parametrize(
    ("state", "event"), list(itertools.product(AttachmentState, AttachmentEvent))
)
def test_an_event_of_an_attachment_without_a_row_is_a_bug(
    state: AttachmentState, event: AttachmentEvent
) -> None:
    if event in ATTACHMENT_TRANSITIONS[state]:
        assert advance_attachment(state, event) is ATTACHMENT_TRANSITIONS[state][event]
        return

    with pytest.raises(IllegalTransition, match=f"{event.name}.*{state}"):
        advance_attachment(state, event)


def test_a_message_is_only_there_if_it_was_intended() -> None:
    before = {
        state
        for state, row in ATTACHMENT_TRANSITIONS.items()
        if AttachmentEvent.ATTACHED in row
    }

    assert before == {AttachmentState.ATTACHING}


def test_a_message_that_is_there_can_only_turn_out_to_be_of_no_use() -> None:
    assert ATTACHMENT_TRANSITIONS[AttachmentState.ATTACHED] == {
        AttachmentEvent.FAILED: AttachmentState.FAILED
    }


def test_the_way_from_planned_to_attached_and_the_way_back() -> None:
    state = AttachmentState.PLANNED
    for event, after in [
        (AttachmentEvent.INTENDED, AttachmentState.ATTACHING),
        (AttachmentEvent.WITHDRAWN, AttachmentState.PLANNED),
        (AttachmentEvent.INTENDED, AttachmentState.ATTACHING),
        (AttachmentEvent.INTENDED, AttachmentState.ATTACHING),
        (AttachmentEvent.ATTACHED, AttachmentState.ATTACHED),
    ]:
        state = advance_attachment(state, event)
        assert state is after
