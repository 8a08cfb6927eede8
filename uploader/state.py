"""The lives of an upload and of an attachment, as one table each.

Everything that changes their state is here; the journal applies it in the
transaction that records the fact.  An impossible event is a bug, not a condition.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, TypeVar

from uploader.message import AttachmentState as A
from uploader.model import UploadState as S


class Event(Enum):
    OPENED = auto()
    COMPLETE_INTENDED = auto()
    REFUSED = auto()
    COMPLETED = auto()
    REUSED = auto()
    RESTARTED = auto()
    FAILED = auto()
    CANCELLED = auto()


E = Event

TRANSITIONS: Final[Mapping[S, Mapping[Event, S]]] = {
    S.PLANNED: {
        E.OPENED: S.OPEN,
        # The service has the same file already, from an earlier upload.
        E.REUSED: S.COMPLETED,
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


class AttachmentEvent(Enum):
    INTENDED = auto()
    WITHDRAWN = auto()
    ATTACHED = auto()
    FAILED = auto()


ATTACHMENT_TRANSITIONS: Final[Mapping[A, Mapping[AttachmentEvent, A]]] = {
    A.PLANNED: {
        AttachmentEvent.INTENDED: A.ATTACHING,
        # The conversation is not there, or a file will never be.
        AttachmentEvent.FAILED: A.FAILED,
    },
    A.ATTACHING: {
        # Only after a look found that the asking before had no effect.
        AttachmentEvent.INTENDED: A.ATTACHING,
        # Only when it certainly had no effect.
        AttachmentEvent.WITHDRAWN: A.PLANNED,
        AttachmentEvent.ATTACHED: A.ATTACHED,
        AttachmentEvent.FAILED: A.FAILED,
    },
    # The message is there, and its files turn out to be of no use.
    A.ATTACHED: {AttachmentEvent.FAILED: A.FAILED},
    A.FAILED: {},
}


class IllegalTransition(AssertionError):
    """The program contradicts itself."""


State = TypeVar("State", S, A)
Happening = TypeVar("Happening", Event, AttachmentEvent)


def advance(state: S, event: Event) -> S:
    """Return the state of an upload after *event*."""
    return _after(TRANSITIONS, state, event)


def advance_attachment(state: A, event: AttachmentEvent) -> A:
    """Return the state of an attachment after *event*."""
    return _after(ATTACHMENT_TRANSITIONS, state, event)


def _after(
    transitions: Mapping[State, Mapping[Happening, State]],
    state: State,
    event: Happening,
) -> State:
    try:
        return transitions[state][event]
    except KeyError:
        raise IllegalTransition(f"{event.name} cannot happen while {state}") from None
