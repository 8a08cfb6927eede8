"""What a failure means for a file, for its service, and for the rest."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from uploader.errors import (
    BackendUnavailable,
    CredentialsRefused,
    Interrupted,
    JournalError,
    OutcomeUnknown,
    RequestRejected,
    SourceChanged,
    SourceError,
    UnexpectedAnswer,
    UploaderError,
    UploadExpired,
    UploadOwned,
    UsageError,
)


class Verdict(StrEnum):
    """What is done about it."""

    QUARANTINE = "quarantine"
    """It fails for good: the file is put away, its reason beside it."""
    ANEW = "anew"
    """The file changed: what was sent is given up, and it is taken when it is whole."""
    PAUSE = "pause"
    """Every file of this service would fail likewise."""
    LATER = "later"
    """The service is away; it is asked again after a while."""
    AGAIN = "again"
    """Something here was in the way; this file alone is tried again."""
    ASK = "ask"
    """Only a person can tell; nothing is repeated."""
    STOPPED = "stopped"


PAUSE: Final = 300.0
"""Seconds until a service that refused the key is asked again: keys come back."""

SHORTEST_AWAY: Final = 15.0
LONGEST_AWAY: Final = 300.0

EXPIRED_TRIES: Final = 3

OF_THE_SERVICE: Final = (401, 403, 404, 405)
"""Refusals that speak of the key, the address or the target, not of a file."""


MEANINGS: Final[tuple[tuple[type[UploaderError], Verdict], ...]] = (
    (Interrupted, Verdict.STOPPED),
    (OutcomeUnknown, Verdict.ASK),
    (CredentialsRefused, Verdict.PAUSE),
    # Most likely the address of something else.
    (UnexpectedAnswer, Verdict.PAUSE),
    (BackendUnavailable, Verdict.LATER),
    # The link may be quicker at night; not for ever.
    (UploadExpired, Verdict.AGAIN),
    (RequestRejected, Verdict.QUARANTINE),
    (UsageError, Verdict.QUARANTINE),
    (SourceChanged, Verdict.ANEW),
    (SourceError, Verdict.QUARANTINE),
    (UploadOwned, Verdict.AGAIN),
    (JournalError, Verdict.AGAIN),
)
"""The first that fits; what stands above is more special."""


def judge(error: UploaderError, *, tries: int) -> Verdict:
    """What *error* means after so many *tries* with this file."""
    if isinstance(error, RequestRejected) and error.status in OF_THE_SERVICE:
        return Verdict.PAUSE
    if isinstance(error, UploadExpired) and tries >= EXPIRED_TRIES:
        return Verdict.QUARANTINE
    verdicts = (verdict for kind, verdict in MEANINGS if isinstance(error, kind))
    return next(verdicts, Verdict.QUARANTINE)


def away_for(failures: int) -> float:
    """Seconds until a service that was away so often in a row is asked again."""
    return float(min(SHORTEST_AWAY * 2 ** min(failures - 1, 16), LONGEST_AWAY))
