"""Everything uploader raises on purpose, sorted by what the caller can do next.

UploaderError
├── UsageError                  2   arguments and settings
├── SourceError                 3   the local file
│   ├── SourceChanged
│   └── PreflightFailed
├── BackendError
│   ├── RequestRejected         4   give up: the service said no
│   │   ├── WrongFile               it made another file than was sent
│   │   └── FileUnusable            it has the file, and calls it broken
│   ├── UnexpectedAnswer        4   it said yes, in words that are not the contract's
│   ├── BackendUnavailable      5   try again: resets, time-outs, 5xx
│   │   ├── Throttled               429: the whole service wants less
│   │   └── Unreachable             no connection came about
│   ├── OutcomeUnknown          6   find out first: it may have taken effect
│   ├── UploadExpired           7   start over with a new upload
│   └── CredentialsRefused     10   key or quota
├── JournalError                8   the local record
│   ├── UploadOwned             9   another process works on it
│   └── LeaseLost               9   another process took it over
├── SomeFailed                 11   of several files
└── Interrupted           130/143   a signal

Words: the value, a fact, then the hint: what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uploader.model import File


class UploaderError(Exception):
    """Base of every expected failure.  Anything else that escapes is a bug."""

    exit_code: int = 1
    hint: str | None = None
    """What the person at the terminal can do about it, if anything."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class UsageError(UploaderError):
    """An argument or a setting that cannot be meant."""

    exit_code = 2


class SourceError(UploaderError):
    """The local file cannot be uploaded."""

    exit_code = 3


class SourceChanged(SourceError):
    """The file is no longer the one whose parts were sent."""

    def __init__(self, path: Path, difference: str) -> None:
        self.difference = difference
        super().__init__(
            f"{path} changed during the upload: {difference}",
            hint="restore it and resume; or give up what was sent with `uploader"
            " cancel ID`, and upload it again when it is at rest",
        )


class PreflightFailed(SourceError):
    """The file is not what its purpose takes; nothing was sent."""

    def __init__(self, name: str, purpose: str, findings: Sequence[str]) -> None:
        super().__init__(
            f"{name} is not what the purpose {purpose} takes: {'; '.join(findings)}",
            hint="correct the file; --no-preflight sends it as it is",
        )
        self.findings = tuple(findings)


class BackendError(UploaderError):
    """The service did not do what was asked.

    *status* is the HTTP status, if one came back; *request_id* is the service's
    own name for the request, to be quoted to its support.  *retry_after* is the
    service's wish in seconds, whatever the failure.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
    ) -> None:
        if request_id is not None:
            message = f"{message} (request {request_id})"
        super().__init__(message, hint=hint)
        self.status = status
        self.request_id = request_id
        self.code: str | None = None
        """The service's own word for it, good enough to choose a hint by."""
        self.retry_after: float | None = None


class RequestRejected(BackendError):
    """The service understood the request and refuses it; repeating is useless."""

    exit_code = 4


class WrongFile(RequestRejected):
    """The service made a file that is not what was sent."""

    def __init__(self, file: File, *, expected: int) -> None:
        super().__init__(
            f"{file.id} has {file.bytes} bytes; {expected} bytes were sent",
            hint="the file was left at the service, and nothing was attached; look at"
            " it there, delete it, and upload the source again",
        )
        self.file = file


class FileUnusable(RequestRejected):
    """The service has the whole file and says that it cannot use it."""

    def __init__(self, file: File) -> None:
        super().__init__(
            f"{file.id} has the status {file.status!r} at the service",
            hint=f"its content does not suit the purpose {file.purpose}; see"
            f" `uploader files get {file.id}`",
        )
        self.file = file


class UnexpectedAnswer(BackendError):
    """The status says yes, the body is not what the contract promises.

    What was asked may well have been done.
    """

    exit_code = 4
    hint = "is the base URL that of an OpenAI-compatible service?"


class BackendUnavailable(BackendError):
    """The service could not answer now; the same request may succeed later.

    *effect_possible* says that the request may have been carried out although no
    good answer came back.
    """

    exit_code = 5
    hint = "what was recorded is kept; `uploader resume` goes on from there"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        effect_possible: bool = True,
    ) -> None:
        super().__init__(message, hint=hint, status=status, request_id=request_id)
        self.retry_after = retry_after
        self.effect_possible = effect_possible


class Throttled(BackendUnavailable):
    """Too many requests.  It concerns the service, not one part alone."""


class Unreachable(BackendUnavailable):
    """No connection came about, so nothing was sent."""


def may_have_effect(error: BackendError) -> bool:
    """Whether what was asked may have been done in spite of *error*."""
    if isinstance(error, BackendUnavailable):
        return error.effect_possible
    return isinstance(error, UnexpectedAnswer)


class OutcomeUnknown(BackendError):
    """It may have taken effect, and nobody can tell; nothing was repeated."""

    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        evidence: Sequence[File] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.evidence = tuple(evidence)


class UploadExpired(BackendError):
    """The service dropped the upload, and its parts with it."""

    exit_code = 7


class CredentialsRefused(BackendError):
    """The key is wrong, lacks the right, or its quota is used up."""

    exit_code = 10


class JournalError(UploaderError):
    """The local record cannot be read or written."""

    exit_code = 8


class UploadOwned(JournalError):
    """Another process works on this upload right now."""

    exit_code = 9

    def __init__(self, subject: str, owner: str) -> None:
        super().__init__(
            f"{subject} is being uploaded by {owner}",
            hint="wait for it, or end that process; this upload then goes on at once",
        )
        self.owner = owner


class LeaseLost(JournalError):
    """Another process took the upload over; this one must not touch it again."""

    exit_code = 9

    def __init__(self, subject: str) -> None:
        super().__init__(
            f"another process took over {subject}",
            hint="nothing is lost; `uploader list` shows who goes on with it",
        )


class SomeFailed(UploaderError):
    """Some of several files failed; each failure was reported by itself."""

    exit_code = 11


class Interrupted(UploaderError):
    """The run was asked to end before the upload was complete.

    *number* is the signal that asked, if it was one.
    """

    hint = "`uploader resume` goes on from here"

    def __init__(
        self, message: str, *, hint: str | None = None, number: int | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        # As every shell counts: 130 for SIGINT, 143 for SIGTERM.
        self.exit_code = 128 + (number or 2)
