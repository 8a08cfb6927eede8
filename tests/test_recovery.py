import dataclasses
from typing import Any

import pytest

from uploader.model import File, FileId, Opened, UploadId, UploadSpec
from uploader.recovery import (
    CREATED_AT_SLACK,
    MAX_RESTARTS,
    AfterRefusal,
    Verdict,
    after_refusal,
    judge,
    may_restart_expired,
    settles,
)

SPEC = UploadSpec(
    filename="big.jsonl", purpose="batch", size=100, mime_type="text/jsonl"
)
OPENED = Opened(upload_id=UploadId("upload_1"), created_at=5000, expires_at=8600)
FILE = File(
    id=FileId("file-1"),
    bytes=100,
    created_at=5000,
    filename="big.jsonl",
    purpose="batch",
)


def found(**changes: Any) -> File:
    return dataclasses.replace(FILE, **changes)


OTHER = {"id": FileId("file-2")}


@pytest.mark.parametrize(
    ("files", "verdict"),
    [
        pytest.param([FILE], Verdict.PROVEN, id="equal in everything"),
        pytest.param([], Verdict.NONE, id="nothing is listed"),
        pytest.param([found(purpose="vision")], Verdict.NONE, id="another purpose"),
        pytest.param([found(filename="b.jsonl")], Verdict.NONE, id="another name"),
        pytest.param([FILE, found(**OTHER)], Verdict.PROBABLE, id="several"),
        pytest.param([found(bytes=None)], Verdict.PROBABLE, id="size unknown"),
        pytest.param(
            [found(bytes=None, created_at=5001)],
            Verdict.PROBABLE,
            id="size unknown, a second later",
        ),
        pytest.param([found(created_at=4998)], Verdict.PROBABLE, id="2 s earlier"),
        pytest.param([found(created_at=5002)], Verdict.PROBABLE, id="2 s later"),
        pytest.param([found(created_at=4997)], Verdict.NONE, id="3 s earlier"),
        pytest.param([found(created_at=5003)], Verdict.NONE, id="3 s later"),
        pytest.param([found(bytes=99)], Verdict.PROBABLE, id="cut short"),
        pytest.param(
            [found(bytes=99, created_at=5001)],
            Verdict.NONE,
            id="another size at another second",
        ),
        pytest.param(
            [found(bytes=99, **OTHER), FILE],
            Verdict.PROVEN,
            id="one equal beside one of another size",
        ),
        pytest.param(
            [found(created_at=5001, **OTHER), FILE],
            Verdict.PROVEN,
            id="one equal beside one of another second",
        ),
    ],
)
def test_a_verdict_is_no_more_certain_than_its_evidence(
    files: list[File], verdict: Verdict
) -> None:
    judgement = judge(SPEC, OPENED, files, claimed=(), twins=())

    assert judgement.verdict is verdict
    if verdict is Verdict.PROVEN:
        assert judgement.evidence == (FILE,)
    if verdict is Verdict.PROBABLE:
        assert judgement.evidence == tuple(files)
    if verdict is Verdict.NONE:
        assert judgement.evidence == ()


def test_a_file_that_another_upload_explains_is_no_evidence() -> None:
    claimed = judge(SPEC, OPENED, [FILE], claimed={FILE.id}, twins=())
    rest = judge(SPEC, OPENED, [FILE, found(**OTHER)], claimed={OTHER["id"]}, twins=())

    assert claimed.verdict is Verdict.NONE
    assert (rest.verdict, rest.evidence) == (Verdict.PROVEN, (FILE,))


def test_nothing_is_proven_while_a_twin_of_the_same_second_is_in_doubt() -> None:
    same = judge(SPEC, OPENED, [FILE], claimed=(), twins={5000})
    later = judge(SPEC, OPENED, [FILE], claimed=(), twins={5001})

    assert (same.verdict, same.evidence) == (Verdict.PROBABLE, (FILE,))
    assert later.verdict is Verdict.PROVEN


def test_the_slack_is_what_the_services_were_seen_to_need() -> None:
    assert CREATED_AT_SLACK == 2


@pytest.mark.parametrize("status", [400, 404, 409, 410, 413, 500, None])
@pytest.mark.parametrize("first", [True, False])
def test_only_a_first_400_needs_no_settle_time(status: int | None, first: bool) -> None:
    assert settles(status, first=first) is not (first and status == 400)


def decide(status: int | None, **changes: Any) -> AfterRefusal:
    facts: dict[str, Any] = {
        "first": False,
        "may_have_orphan_parts": False,
        "orphan_restarts": 0,
        "restarts": 0,
    }
    return after_refusal(status, **{**facts, **changes})


@pytest.mark.parametrize("restarts", [0, MAX_RESTARTS])
def test_a_first_400_leaves_the_upload_open(restarts: int) -> None:
    assert decide(400, first=True, restarts=restarts) is AfterRefusal.REFUSED


def test_a_first_400_restarts_once_when_parts_may_be_there_twice() -> None:
    first = decide(400, first=True, may_have_orphan_parts=True)
    second = decide(400, first=True, may_have_orphan_parts=True, orphan_restarts=1)

    assert first is AfterRefusal.RESTART_FOR_ORPHANS
    assert second is AfterRefusal.REFUSED


@pytest.mark.parametrize("status", [400, 404, 409, 410])
@pytest.mark.parametrize("orphans", [True, False])
def test_a_refusal_after_doubt_restarts_once_no_file_is_listed(
    status: int, orphans: bool
) -> None:
    assert decide(status, may_have_orphan_parts=orphans) is AfterRefusal.RESTART


@pytest.mark.parametrize("status", [404, 409, 410])
def test_a_first_refusal_that_may_speak_of_an_earlier_request_restarts(
    status: int,
) -> None:
    assert decide(status, first=True) is AfterRefusal.RESTART


def test_there_are_two_restarts_and_no_third() -> None:
    decisions = [decide(404, restarts=restarts) for restarts in range(4)]

    assert decisions == [
        AfterRefusal.RESTART,
        AfterRefusal.RESTART,
        AfterRefusal.GIVE_UP,
        AfterRefusal.GIVE_UP,
    ]


@pytest.mark.parametrize(
    ("facts", "refusal"),
    [
        pytest.param({}, None, id="once"),
        pytest.param({"restarts": 1}, None, id="twice"),
        pytest.param({"restarts": 2}, "expired 3 times", id="three times"),
        pytest.param({"hopeless": True}, "rate", id="at a hopeless rate"),
        pytest.param(
            {"hopeless": True, "keep_trying": True}, None, id="but told to go on"
        ),
        pytest.param(
            {"restarts": 2, "keep_trying": True}, "3 times", id="told so too often"
        ),
    ],
)
def test_an_expired_upload_restarts_at_most_twice_and_not_at_a_hopeless_rate(
    facts: dict[str, Any], refusal: str | None
) -> None:
    given = {"restarts": 0, "hopeless": False, "keep_trying": False, **facts}

    answer = may_restart_expired(**given)

    assert (answer is None) is (refusal is None)
    assert refusal is None or refusal in (answer or "")
