import dataclasses
from pathlib import Path

import pytest

from uploader.model import (
    Fingerprint,
    Identity,
    LocalId,
    PartId,
    Plan,
    SentPart,
    Upload,
    UploadSpec,
    UploadState,
)

FINGERPRINT = Fingerprint(size=9, mtime_ns=1, ctime_ns=2, device=3, inode=4)


def upload_in(state: UploadState, *, delivered_at: float | None = None) -> Upload:
    return Upload(
        id=LocalId("u1"),
        identity=Identity(
            service="s", path=Path("/f"), purpose="batch", filename="f.jsonl"
        ),
        spec=UploadSpec(
            filename="f.jsonl", purpose="batch", size=9, mime_type="text/jsonl"
        ),
        fingerprint=FINGERPRINT,
        plan=Plan.of_sizes([4, 4, 1]),
        state=state,
        created_at=0.0,
        parts={
            number: SentPart(number=number, part_id=PartId(f"part_{number}"))
            for number in (1, 3)
        },
        delivered_at=delivered_at,
    )


def test_a_plan_of_sizes_counts_parts_from_one_and_offsets_from_zero() -> None:
    plan = Plan.of_sizes([4, 4, 1])

    assert [(part.number, part.offset, part.end) for part in plan.parts] == [
        (1, 0, 4),
        (2, 4, 8),
        (3, 8, 9),
    ]
    assert plan.size == 9


def test_a_plan_may_be_made_of_sizes_that_can_be_read_only_once() -> None:
    assert Plan.of_sizes(iter([4, 1])) == Plan.of_sizes([4, 1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"size": 10}, "9 bytes became 10", id="another size"),
        pytest.param({"mtime_ns": 5}, "modification time", id="written to"),
        pytest.param({"ctime_ns": 5}, "change time", id="touched"),
        pytest.param({"size": 10, "mtime_ns": 5}, "9 bytes", id="the size comes first"),
    ],
)
def test_a_fingerprint_says_what_is_different(
    change: dict[str, int], words: str
) -> None:
    difference = FINGERPRINT.difference(dataclasses.replace(FINGERPRINT, **change))

    assert difference is not None
    assert words in difference


def test_device_and_inode_make_no_difference() -> None:
    elsewhere = dataclasses.replace(FINGERPRINT, device=30, inode=40)

    assert FINGERPRINT.difference(elsewhere) is None


def test_sent_bytes_are_those_of_the_recorded_parts() -> None:
    assert upload_in(UploadState.OPEN).sent_bytes == 4 + 1


@pytest.mark.parametrize("state", UploadState)
def test_what_was_delivered_failed_or_cancelled_is_finished(state: UploadState) -> None:
    over = state in (UploadState.FAILED, UploadState.CANCELLED)

    assert upload_in(state).is_unfinished is not over
    assert not upload_in(state, delivered_at=1.0).is_unfinished


def test_nouns_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FINGERPRINT.size = 10  # type: ignore[misc]
