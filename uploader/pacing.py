"""How fast the service takes bytes, when it wants less, and which deadline is at risk.

Plain values and decisions: every method is told the time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from uploader.climb import START, Climb
from uploader.model import KIB, MIB, LocalId

STILL: Final = 10.0
"""Seconds that a part may stand still under a limit before its peer would wonder."""

RATION: Final = 8 * MIB
"""Without a limit: to account for a part costs time, and there is a clock beside it."""

LEAST_RATION: Final = 64 * KIB
MOST_RATION: Final = 2 * MIB
"""Under a limit: about what it allows in a second, so that no part is a burst."""

WINDOW: Final = 20.0
"""Seconds over which a rate is measured: longer than a stall, shorter than a mood."""

EARLIEST_WARNING: Final = 10.0
EARLIEST_SHARE: Final = 0.05
"""A rate means something after so many seconds, or so much of the upload."""


@dataclass(slots=True)
class Rate:
    """Bytes per second over the last `WINDOW` seconds."""

    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _bytes: int = 0
    _since: float | None = None

    def add(self, size: int, *, now: float) -> None:
        self._forget(now)
        if not self._samples:
            # Nothing moved for a whole window: that was a pause, not a rate of zero.
            self._since = now
        self._samples.append((now, size))
        self._bytes += size

    def value(self, *, now: float) -> float | None:
        """The rate, or None while there is too little to tell."""
        self._forget(now)
        if self._since is None or now - self._since < 1.0:
            return None
        return self._bytes / min(now - self._since, WINDOW)

    def _forget(self, now: float) -> None:
        while self._samples and self._samples[0][0] < now - WINDOW:
            self._bytes -= self._samples.popleft()[1]


@dataclass(slots=True)
class Allowance:
    """Bytes per second that all uploads of a process may use; a token bucket.

    What was sent is spent, also beyond what is there; whoever wants to go on waits
    until the debt is paid.  So *rate* can be changed at any time.
    """

    rate: int | None = None
    _balance: float = 0.0
    _looked_at: float = 0.0

    def spend(self, size: int, *, now: float) -> None:
        self._fill(now)
        if self.rate is not None:
            self._balance -= size

    def wait(self, *, now: float) -> float:
        """Seconds until more may be sent."""
        self._fill(now)
        if self.rate is None or self._balance >= 0:
            return 0.0
        return -self._balance / self.rate

    @property
    def ration(self) -> int:
        """Bytes that a part may send before it is accounted for."""
        if self.rate is None:
            return RATION
        return min(max(self.rate, LEAST_RATION), MOST_RATION)

    @property
    def parts(self) -> int | None:
        """How many parts at once still move every few seconds; None: any number."""
        if self.rate is None:
            return None
        return max(1, int(self.rate * STILL / self.ration))

    def _fill(self, now: float) -> None:
        elapsed, self._looked_at = now - self._looked_at, now
        if self.rate is None:
            self._balance = 0.0
        else:
            # Nothing is saved up: what was not used in time would come as a burst.
            self._balance = min(0.0, self._balance + elapsed * self.rate)


@dataclass(slots=True)
class Pace:
    """What is known about one service; shared by all uploads to it."""

    climb: Climb = field(default_factory=lambda: Climb(START))
    """How many parts at once."""
    reached: bool = False
    """Something at this address has answered."""
    rate: Rate = field(default_factory=Rate)
    remembered_rate: float | None = None
    """From an earlier run; good for a warning, not for a decision."""
    missing: dict[LocalId, int] = field(default_factory=dict)
    """Bytes that are still to be sent, of each upload under way."""
    _quiet_until: float = 0.0

    def moved(self, size: int, *, in_flight: int, now: float) -> int:
        """So many bytes arrived; how many parts may be in flight from now on."""
        self.rate.add(size, now=now)
        self.climb.add(size, now=now)
        # While there are several, more may follow.
        alone = len(self.missing) == 1
        missing = sum(self.missing.values()) if alone else math.inf
        return self.climb.decide(in_flight=in_flight, missing=missing, now=now)

    def throttle(self, seconds: float, *, now: float) -> None:
        """A 429: nobody asks this service anything for *seconds*."""
        self.climb.throttle(now=now)
        self.keep_quiet(seconds, now=now)

    def keep_quiet(self, seconds: float, *, now: float) -> None:
        """The same, heard of from another process."""
        self._quiet_until = max(self._quiet_until, now + seconds)

    def wait(self, *, now: float) -> float:
        """Seconds until the next request may start."""
        return max(0.0, self._quiet_until - now)


AHEAD: Final = 2
"""So many times the slots are kept in parts to send: whoever ends finds the next."""

MOST_OPEN: Final = 48
"""Uploads under way at once, each with a descriptor of those kept for sources."""


def has_room(*, missing: int, opened: int, slots: int) -> bool:
    """Whether another upload can be kept busy.

    *missing* is what all that were opened still have to send.  One large file has
    enough parts for all slots; of small ones it takes dozens, for while one is created
    or completed its slot is free.
    """
    return missing < AHEAD * slots and opened < MOST_OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """Bytes per second that are there, and that it would take."""

    rate: float
    needed: float
    remaining: float


def shortfall(
    *, missing: int, rate: float | None, remaining: float
) -> Shortfall | None:
    """Whether *missing* bytes at *rate* overrun the *remaining* seconds."""
    if rate is None or missing == 0:
        return None
    needed = missing / max(remaining, 0.001)
    if rate >= needed:
        return None
    return Shortfall(rate=rate, needed=needed, remaining=max(remaining, 0.0))


def is_telling(*, elapsed: float, sent: int, size: int) -> bool:
    """Whether the measured rate is worth a warning yet."""
    return elapsed >= EARLIEST_WARNING or sent >= size * EARLIEST_SHARE


def lifetime(
    created_at: int, expires_at: int | None, limit: float | None
) -> float | None:
    """Seconds that an upload lives from its create; None when it does not expire.

    The specification's own example expires before it was created, so what the
    service says counts only where it makes sense.
    """
    if expires_at is not None and 60 <= expires_at - created_at <= 7 * 86_400:
        return float(expires_at - created_at)
    return limit
