"""The files that the daemon knows, and what is to be said of them."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NewType

from uploader.clock import Clock
from uploader.daemon.rules import Rule
from uploader.events import (
    BackingOff,
    DeadlineAtRisk,
    Event,
    PartProgressed,
    PartSent,
    UploadEvent,
    UploadOpened,
    UploadRestarted,
    UploadStarted,
)
from uploader.model import Fingerprint, LocalId

ArrivalId = NewType("ArrivalId", str)

REMEMBERED: Final = 500
"""Finished arrivals that are still shown."""

SAMPLES: Final = 120
"""Seconds that the chart shows."""


class Stage(StrEnum):
    """Where an arrival is."""

    GROWING = "growing"
    QUEUED = "queued"
    SENDING = "sending"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DOUBTFUL = "doubtful"
    """Its outcome is unknown, and a person has to look."""


FINISHED: Final = (Stage.DONE, Stage.FAILED, Stage.CANCELLED)


@dataclass(slots=True, kw_only=True)
class Arrival:
    """One file that came into a folder, or that the journal held at the start."""

    id: ArrivalId
    path: Path
    rule: Rule | None
    service: str
    """The name of its backend."""
    size: int
    fingerprint: Fingerprint
    arrived_at: float
    stage: Stage = Stage.QUEUED
    resume: LocalId | None = None
    """What the journal held of it at the start: an upload or an attachment."""
    upload: LocalId | None = None
    sent: int = 0
    moving: dict[int, int] = field(default_factory=dict)
    parts: int = 0
    parts_sent: int = 0
    tries: int = 0
    not_before: float = 0.0
    expires_at: float | None = None
    at_risk: str | None = None
    waiting_for: str | None = None
    """Why it does not move just now."""
    file_id: str | None = None
    error: str | None = None
    hint: str | None = None
    quarantined: Path | None = None
    finished_at: float | None = None

    @property
    def rule_name(self) -> str:
        return self.rule.name if self.rule is not None else "journal"

    @property
    def priority(self) -> int:
        return self.rule.priority if self.rule is not None else 0

    @property
    def is_finished(self) -> bool:
        return self.stage in FINISHED

    @property
    def bytes_there(self) -> int:
        """At the service, or on the way to it."""
        return min(self.size, self.sent + sum(self.moving.values()))

    def as_document(self) -> dict[str, Any]:
        """What the API and the page show."""
        return {
            "id": self.id,
            "name": printable_name(self.path.name),
            "path": printable_name(str(self.path)),
            "rule": self.rule_name,
            "service": self.service,
            "target": self.rule.to if self.rule is not None else None,
            "stage": self.stage,
            "size": self.size,
            "sent": self.size if self.stage is Stage.DONE else self.bytes_there,
            "parts": self.parts,
            "parts_sent": self.parts_sent,
            "upload": self.upload,
            "file_id": self.file_id,
            "arrived_at": self.arrived_at,
            "finished_at": self.finished_at,
            "expires_at": self.expires_at,
            "at_risk": self.at_risk,
            "waiting_for": self.waiting_for,
            "error": self.error,
            "hint": self.hint,
            "quarantined": str(self.quarantined) if self.quarantined else None,
            "tries": self.tries,
        }


def arrival_id(path: Path) -> ArrivalId:
    """The same for the same path, in every run."""
    return ArrivalId(hashlib.blake2s(os.fsencode(path), digest_size=6).hexdigest())


def new_arrival(
    path: Path, rule: Rule, service: str, fingerprint: Fingerprint, clock: Clock
) -> Arrival:
    return Arrival(
        id=arrival_id(path),
        path=path,
        rule=rule,
        service=service,
        size=fingerprint.size,
        fingerprint=fingerprint,
        arrived_at=clock.wall(),
    )


def printable_name(name: str) -> str:
    """Without surrogates, which JSON cannot hold."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


class Arrivals:
    """All of them by id, and an observer of the engine's events.

    Finished ones are forgotten in the end; who waits or is sent never is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all: dict[ArrivalId, Arrival] = {}
        self._finished: deque[ArrivalId] = deque()
        self._samples: deque[int] = deque([0] * SAMPLES, maxlen=SAMPLES)
        self._moved = 0

    def __iter__(self) -> Iterator[Arrival]:
        return iter(self._all.values())

    def get(self, id_: str) -> Arrival | None:
        return self._all.get(ArrivalId(id_))

    def at(self, path: Path) -> Arrival | None:
        return self._all.get(arrival_id(path))

    def add(self, arrival: Arrival) -> None:
        if arrival.id in self._finished:
            self._finished.remove(arrival.id)
        self._all.pop(arrival.id, None)
        self._all[arrival.id] = arrival

    def drop(self, arrival: Arrival) -> None:
        self._all.pop(arrival.id, None)

    def finish(self, arrival: Arrival, stage: Stage) -> None:
        arrival.stage = stage
        arrival.finished_at = self._clock.wall()
        arrival.moving.clear()
        arrival.waiting_for = arrival.at_risk = None
        self._finished.append(arrival.id)
        while len(self._finished) > REMEMBERED:
            self._all.pop(self._finished.popleft(), None)

    def within(self, *stages: Stage) -> Iterable[Arrival]:
        return [arrival for arrival in self if arrival.stage in stages]

    def __call__(self, event: Event) -> None:
        if not isinstance(event, UploadEvent):
            return
        arrival = self.at(event.path)
        if arrival is None:
            return
        match event:
            case UploadStarted():
                arrival.upload = event.upload
                arrival.size = event.size
                arrival.sent = event.recorded
                arrival.parts, arrival.parts_sent = event.parts, event.recorded_parts
                arrival.moving.clear()
            case UploadOpened():
                arrival.expires_at = event.expires_at
            case PartProgressed():
                self._moved += max(0, event.sent - arrival.moving.get(event.number, 0))
                arrival.moving[event.number] = event.sent
                arrival.waiting_for = None
            case PartSent():
                self._moved += max(0, event.size - arrival.moving.pop(event.number, 0))
                arrival.sent += event.size
                arrival.parts_sent += 1
                arrival.waiting_for = None
            case BackingOff():
                arrival.waiting_for = event.reason
            case DeadlineAtRisk():
                arrival.at_risk = (
                    f"{event.needed:.0f} bytes per second are needed, and"
                    f" {event.rate:.0f} are there"
                )
            case UploadRestarted():
                arrival.sent = arrival.parts_sent = 0
                arrival.moving.clear()
                arrival.waiting_for = f"starting over: {event.reason}"
            case _:
                pass

    def tick(self) -> None:
        """Once a second: what moved since the last time becomes a sample."""
        self._samples.append(self._moved)
        self._moved = 0

    @property
    def rates(self) -> list[int]:
        """Bytes of each of the last seconds, oldest first."""
        return list(self._samples)
