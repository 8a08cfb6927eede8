"""How many parts at once: found by watching the rate, never configured.

More connections help where each of them is slow (loss, long round trips, a throttle
per connection) and only share where the link is full.  Nobody can tell which it is
but by trying.  So the limit climbs as long as the total rate grows with it, falls back
to the knee where it stops growing, and tries again now and then.

Plain decisions: every method is told the time, in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

START: Final = 8
"""Enough for most links, and what a service sees of other clients, too."""

STRIDE: Final = 2.5
"""The next try is so many times the last one while the rate grows in step with it."""

STEP: Final = 2.0
"""The first try, and the next one when the rate grows more slowly: the knee is near."""

LINEAR: Final = 0.7
"""So much of a linear growth counts as in step."""

GAIN: Final = 0.2
"""Of the gain that a linear growth would bring, so much makes a step worth it."""

NOTHING: Final = 0.05
"""So little needs no second look."""

KNEE: Final = 0.95
"""The smallest limit that brings so much of the best rate is the one to hold."""

SETTLE: Final = 0.3
"""Seconds after a change that say nothing yet: connections open, windows grow."""

WINDOW: Final = 0.6
"""Seconds over which a limit is judged."""

RAMP: Final = 1.3
"""When the second half of a window brings so many times the first the connections are
still growing by themselves, as they do for seconds where round trips are long.
"""

EASE: Final = 0.5
"""Seconds between two small steps back to the knee: the connections that stay need time
to take over what the others carried.
"""

WORTH: Final = 8.0
"""A try is a second of crowded connections; who is done in so many makes none."""

HOLD: Final = 20.0
"""Seconds at the knee until the next try."""

PULSE: Final = 1.0
"""Seconds after which somebody looks whether the rate at the knee still holds."""

PENALTY: Final = 5.0
"""Seconds without a try after the service asked for less."""

FLAT: Final = 2
"""So many windows without growth end a climb; one may be chance."""

DRIFT: Final = 0.3
"""A rate that sank by so much while holding calls for more connections at once."""


@dataclass(slots=True)
class Climb:
    """The limit of one service, as far as it is known."""

    most: int
    """What the user allows, and what the machine has descriptors for."""
    limit: int = field(init=False)
    _goal: int = field(init=False)
    """Where the limit goes back to, step by step."""
    _eased_at: float = 0.0
    _since: float | None = None
    _until: float = 0.0
    _bytes: int = 0
    _first_half: int | None = None
    _rates: dict[int, float] = field(default_factory=dict)
    _flat: int = 0
    _holding: bool = False
    _hold_until: float = 0.0
    _throttled_at: float = float("-inf")

    def __post_init__(self) -> None:
        self.limit = self._goal = min(START, self.most)

    def add(self, size: int, *, now: float) -> None:
        """So many more bytes arrived."""
        if self._since is None:
            self._begin(now)
        elif now >= self._since:
            self._bytes += size

    def throttle(self, *, now: float) -> None:
        """The service asked for less, or gave out: half as many, and no try for now.

        Parts that were in flight together fail together; that counts once.
        """
        if now < self._throttled_at + SETTLE + WINDOW:
            return
        self._throttled_at = now
        self.limit = self._goal = max(1, self.limit // 2)
        self._rates.clear()
        self._hold(now, PENALTY)

    def decide(self, *, in_flight: int, missing: float, now: float) -> int:
        """The limit from now on, with *missing* bytes still to be sent.

        A window in which slots were idle decides nothing.
        """
        if self.limit > self._goal and now >= self._eased_at + EASE:
            self._eased_at = now
            self.limit -= -(-(self.limit - self._goal) // 8)
        if self._since is None:
            return self.limit
        if self._first_half is None and now >= (self._since + self._until) / 2:
            self._first_half = self._bytes
        if now < self._until:
            return self.limit
        rate = self._bytes / (now - self._since)
        if in_flight < self.limit or rate == 0 or missing < rate * WORTH:
            self._begin(now)
        elif self._holding:
            self._look_around(rate, now)
        elif self._bytes > (1 + RAMP) * (self._first_half or 0):
            self._begin(now, settle=0.0)
        else:
            self._climb(rate, now)
        return self.limit

    def _climb(self, rate: float, now: float) -> None:
        gain = self._gain(rate)
        self._rates[self.limit] = max(self._rates.get(self.limit, 0.0), rate)
        self._flat = self._flat + 1 if gain < GAIN else 0
        if gain <= NOTHING:
            self._flat = FLAT
        step = STRIDE if gain >= LINEAR else STEP
        higher = min(self.most, max(self.limit + 1, round(self.limit * step)))
        if self._flat >= FLAT or higher == self.limit:
            self._goal = self._knee()
            self._hold(now, HOLD)
        else:
            # Where nothing was gained the same limit gets another chance: to go
            # higher would fill the queues of a link that may be full already.
            if not self._flat:
                self.limit = self._goal = higher
            self._begin(now)

    def _gain(self, rate: float) -> float:
        """How the rate grew since the best lower limit; 1 is in step with the limit."""
        lower = [limit for limit in self._rates if limit < self.limit]
        if not lower:
            return GAIN
        before = max(lower, key=lambda limit: self._rates[limit])
        return (rate / self._rates[before] - 1) / (self.limit / before - 1)

    def _knee(self) -> int:
        best = max(self._rates.values())
        return min(limit for limit, rate in self._rates.items() if rate >= KNEE * best)

    def _look_around(self, rate: float, now: float) -> None:
        """Climb anew from here: when it is time, or when the rate sags by itself."""
        sags = rate < (1 - DRIFT) * self._rates.get(self._goal, 0.0)
        if self.limit > self._goal and not sags:
            self._hold(now, HOLD)
        elif self.limit > self._goal:
            # Those that stay do not take over: lost packets made them timid.
            self.limit = self._goal = max(self._rates)
            self._hold(now, HOLD)
        elif sags or now >= self._hold_until:
            self._holding = False
            self._flat = 0
            self._rates = {self.limit: rate}
            self._climb(rate, now)
        else:
            self._begin(now, PULSE)

    def _hold(self, now: float, seconds: float) -> None:
        self._holding = True
        self._hold_until = now + seconds
        self._begin(now, PULSE)

    def _begin(
        self, now: float, seconds: float = WINDOW, settle: float = SETTLE
    ) -> None:
        """Open the next window; what happens before it opens does not count."""
        self._since = now + settle
        self._until = self._since + seconds
        self._bytes = 0
        self._first_half = None
