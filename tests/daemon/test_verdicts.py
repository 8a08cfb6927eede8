"""What a failure means for a file and for its service."""

from __future__ import annotations

from pathlib import Path

import pytest

from uploader.daemon.verdicts import Verdict, away_for, judge
from uploader.errors import (
    CredentialsRefused,
    Interrupted,
    JournalError,
    LeaseLost,
    OutcomeUnknown,
    PreflightFailed,
    RequestRejected,
    SourceChanged,
    SourceError,
    Throttled,
    UnexpectedAnswer,
    Unreachable,
    UploaderError,
    UploadExpired,
    UploadOwned,
    UsageError,
)


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (RequestRejected("no", status=400), Verdict.QUARANTINE),
        (RequestRejected("no", status=413), Verdict.QUARANTINE),
        (SourceError("it is empty"), Verdict.QUARANTINE),
        (UsageError("too large"), Verdict.QUARANTINE),
        (RequestRejected("what is this", status=404), Verdict.PAUSE),
        (UnexpectedAnswer("a page"), Verdict.PAUSE),
        (CredentialsRefused("no", status=401), Verdict.PAUSE),
        (Unreachable("away"), Verdict.LATER),
        (Throttled("quiet", status=429), Verdict.LATER),
        (UploadExpired("over"), Verdict.AGAIN),
        (JournalError("the disk is full"), Verdict.AGAIN),
        (UploadOwned("a", "another"), Verdict.AGAIN),
        (LeaseLost("a"), Verdict.AGAIN),
        (SourceChanged(Path("a"), "longer"), Verdict.ANEW),
        (OutcomeUnknown("who knows"), Verdict.ASK),
        (Interrupted("stopped"), Verdict.STOPPED),
    ],
)
def test_only_what_is_the_file_s_fault_puts_it_away(
    error: UploaderError, verdict: Verdict
) -> None:
    assert judge(error, tries=1) is verdict


def test_what_preflight_finds_is_the_file_s_fault() -> None:
    error = PreflightFailed("a.jsonl", "batch", ["line 1: no JSON"])

    assert judge(error, tries=1) is Verdict.QUARANTINE


def test_a_file_that_expires_again_and_again_is_put_away() -> None:
    assert judge(UploadExpired("over"), tries=3) is Verdict.QUARANTINE


def test_a_service_that_is_down_for_an_hour_is_asked_a_few_times_only() -> None:
    waits = [away_for(count) for count in range(1, 18)]

    assert waits[:3] == [15, 30, 60]
    assert max(waits) == 300
    assert sum(waits) > 3600
