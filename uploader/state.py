"""The life of an upload, as one table.

Everything that changes an upload's state is here; the journal applies it in the
transaction that records the fact.  An impossible event is a bug, not a condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from uploader.model import UploadState as S


class Event(Enum):
    OPENED = auto()
    COMPLETE_INTENDED = auto()
    REFUSED = auto()
    COMPLETED = auto()
    RESTARTED = auto()
    FAILED = auto()
    CANCELLED = auto()


E = Event

TRANSITIONS: Final[Mapping[S, Mapping[Event, S]]] = {
    S.PLANNED: {
        E.OPENED: S.OPEN,
        E.FAILED: S.FAILED,
        E.CANCELLED: S.CANCELLED,
    },
    S.OPEN: {
        E.COMPLETE_INTENDED: S.COMPLETING,
        # The service drops an expired upload with its parts, so nothing that was
        # sent counts any more.
        E.RESTARTED: S.PLANNED,
        E.FAILED: S.FAILED,
        E.CANCELLED: S.CANCELLED,
    },
    # No CANCELLED here: complete may already have taken effect.
    S.COMPLETING: {
        # Asking again with the same body is how its outcome is found out.
        E.COMPLETE_INTENDED: S.COMPLETING,
        # Only when it certainly had no effect.
        E.REFUSED: S.OPEN,
        E.RESTARTED: S.PLANNED,
        E.COMPLETED: S.COMPLETED,
        # The service made a file that is not what was sent.
        E.FAILED: S.FAILED,
    },
    # The file is there, and the service says that it is of no use.
    S.COMPLETED: {E.FAILED: S.FAILED},
    S.FAILED: {},
    S.CANCELLED: {},
}


class IllegalTransition(AssertionError):
    """The program contradicts itself."""


def advance(state: S, event: Event) -> S:
    """Return the state after *event*."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalTransition(f"{event.name} cannot happen while {state}") from None
