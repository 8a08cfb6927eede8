"""What became of a request whose answer is lost: evidence in, verdict out.

The service has no way to ask about an upload.  The only witness of a lost
`complete` is the list of files, and it is a circumstantial one: it knows neither
upload ids nor digests.  So a verdict is never more certain than its evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from uploader.model import File, FileId, Opened, UploadSpec

MAX_RESTARTS: Final = 2
"""An upload that expired so often will not fit into its life by trying again."""

CREATED_AT_SLACK: Final = 2
"""Seconds between an upload's `created_at` and that of a file which may be its own.

Recordings show them equal; a service that stamps the file at complete differs.
"""


class Verdict(StrEnum):
    PROVEN = "proven"
    PROBABLE = "probable"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Judgement:
    """*evidence* is every file that could be meant; the first one is it if proven."""

    verdict: Verdict
    evidence: tuple[File, ...] = ()


def judge(
    spec: UploadSpec,
    opened: Opened,
    files: Sequence[File],
    *,
    claimed: Collection[FileId],
    twins: Collection[int],
) -> Judgement:
    """Is one of *files* what `complete` made of this upload?

    *claimed* are the ids that other uploads of this journal explain, *twins* the
    `created_at` of other uploads with the same purpose, name and size whose own
    outcome is open.
    """
    near = tuple(
        file
        for file in files
        if file.id not in claimed
        and (file.purpose, file.filename) == (spec.purpose, spec.filename)
        and abs(file.created_at - opened.created_at) <= CREATED_AT_SLACK
    )
    same = tuple(
        file
        for file in near
        if file.bytes == spec.size and file.created_at == opened.created_at
    )
    # A size that is not known yet may turn out to be the right one.
    rival = any(
        file.bytes is None and file.created_at == opened.created_at for file in near
    )
    if len(same) == 1 and not rival and opened.created_at not in twins:
        return Judgement(Verdict.PROVEN, same)
    # A file of another size that was made in the same second may be this upload cut
    # short; sending the whole again would hide that.
    likely = tuple(
        file
        for file in near
        if file.bytes in (spec.size, None) or file.created_at == opened.created_at
    )
    if likely:
        return Judgement(Verdict.PROBABLE, likely)
    return Judgement(Verdict.NONE)


class AfterRefusal(Enum):
    """What to do when `complete` was refused and no file was found."""

    RESTART_FOR_ORPHANS = auto()
    """The service may have counted parts that were stored twice."""
    RESTART = auto()
    """It certainly made no file, and the upload is gone."""
    REFUSED = auto()
    """It made no file, and the upload is still open."""
    GIVE_UP = auto()
    """Another restart would be one too many."""


def settles(status: int | None, *, first: bool) -> bool:
    """Whether an effect may still be under way after this refusal.

    A first 400 is the one clear no: the request was judged and nothing was asked
    before.  Any other refusal may speak of an earlier request, a proxy's own
    repetition included.
    """
    return not (first and status == 400)


def after_refusal(
    status: int | None,
    *,
    first: bool,
    may_have_orphan_parts: bool,
    orphan_restarts: int,
    restarts: int,
) -> AfterRefusal:
    """Decide once the list of files is known to hold nothing."""
    if not settles(status, first=first):
        if may_have_orphan_parts and orphan_restarts == 0:
            return AfterRefusal.RESTART_FOR_ORPHANS
        return AfterRefusal.REFUSED
    if restarts >= MAX_RESTARTS:
        return AfterRefusal.GIVE_UP
    return AfterRefusal.RESTART


def may_restart_expired(
    *, restarts: int, hopeless: bool, keep_trying: bool
) -> str | None:
    """Why an upload that expired before `complete` is not restarted; None if it is."""
    if restarts >= MAX_RESTARTS:
        return f"it expired {restarts + 1} times"
    if hopeless and not keep_trying:
        return "at the measured rate it would expire again"
    return None
