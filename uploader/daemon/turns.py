"""Whose turn it is: by priority, then arrival, and nobody's whose service is paused."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from uploader.clock import Clock
from uploader.daemon.arrivals import Arrival, Arrivals, Stage
from uploader.daemon.verdicts import PAUSE, away_for

logger = logging.getLogger("uploader")

AGAIN: Final = 5.0
LONGEST_AGAIN: Final = 300.0


@dataclass(frozen=True, slots=True)
class Pause:
    """Why nothing goes to a service, and until when on the wall; None: until told."""

    reason: str
    until: float | None = None


@dataclass(slots=True)
class Turns:
    """Who waits, and for what; it starts and stops nothing."""

    arrivals: Arrivals
    clock: Clock
    pauses: dict[str, Pause] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    """How often a service was away in a row."""
    is_paused: bool = False

    def paused_services(self) -> dict[str, bool]:
        services = {arrival.service for arrival in self.arrivals} | set(self.pauses)
        return {name: self.is_paused or name in self.pauses for name in services}

    def pick(self, *, now: float) -> Arrival | None:
        """By priority, then arrival; not of a service that is paused.

        Of files that may be the same under `reuse` one goes at a time, so that the
        second one finds the first.
        """
        if self.is_paused:
            return None
        for name, pause in list(self.pauses.items()):
            if pause.until is not None and pause.until <= now:
                del self.pauses[name]
        sending = {
            (arrival.service, arrival.size)
            for arrival in self.arrivals.within(Stage.SENDING)
        }
        waiting = [
            arrival
            for arrival in self.arrivals.within(Stage.QUEUED)
            if arrival.not_before <= now
            and arrival.service not in self.pauses
            and not (_reuses(arrival) and (arrival.service, arrival.size) in sending)
        ]
        return min(waiting, key=_turn, default=None)

    def next_at(self) -> float | None:
        """When, on the wall, something that waits may be started."""
        waiting = self.arrivals.within(Stage.QUEUED)
        moments = [arrival.not_before for arrival in waiting if arrival.not_before]
        if waiting:
            moments += [p.until for p in self.pauses.values() if p.until is not None]
        return min(moments, default=None)

    # -- what went wrong --------------------------------------------------------

    def again(self, arrival: Arrival) -> None:
        """Something was in its way alone; it waits longer each time."""
        arrival.stage = Stage.QUEUED
        wait = min(AGAIN * 2 ** min(arrival.tries - 1, 16), LONGEST_AGAIN)
        arrival.not_before = self.clock.wall() + wait

    def refused(self, arrival: Arrival, reason: str) -> None:
        """Its service would refuse every other file likewise."""
        self._wait(arrival, reason, PAUSE)

    def away(self, arrival: Arrival, reason: str) -> None:
        """Its service is away, and waited for longer each time."""
        count = self.failures.get(arrival.service, 0) + 1
        self.failures[arrival.service] = count
        self._wait(arrival, reason, away_for(count))

    def answered(self, service: str) -> None:
        self.failures.pop(service, None)

    def _wait(self, arrival: Arrival, reason: str, seconds: float) -> None:
        pause = Pause(reason, self.clock.wall() + seconds)
        arrival.stage = Stage.QUEUED
        known = self.pauses.get(arrival.service)
        if known is None or known.until is not None:
            self.pauses[arrival.service] = pause
            logger.warning("%s is paused: %s", arrival.service, pause.reason)

    # -- what people ask for ----------------------------------------------------

    def pause(self, service: str) -> None:
        self.pauses[service] = Pause("paused by a person")

    def resume(self, service: str) -> None:
        self.pauses.pop(service, None)
        self.failures.pop(service, None)

    def ask_again(self) -> None:
        """Ask those again that refused or were away; what people paused stays so."""
        for service, pause in list(self.pauses.items()):
            if pause.until is not None:
                self.resume(service)

    def resume_all(self) -> None:
        self.is_paused = False
        self.pauses.clear()
        self.failures.clear()


def _reuses(arrival: Arrival) -> bool:
    return arrival.rule is not None and arrival.rule.reuse


def _turn(arrival: Arrival) -> tuple[bool, int, float]:
    # What an earlier run began may be about to expire.
    return (arrival.resume is None, -arrival.priority, arrival.arrived_at)
