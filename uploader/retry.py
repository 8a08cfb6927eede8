"""Which failure is tried again, and when.  The only user of tenacity."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from uploader.clock import Clock
from uploader.config import RetryPolicy
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    Throttled,
    Unreachable,
)
from uploader.pacing import Pace

T = TypeVar("T")

OVERLOADED = (502, 503, 504)
"""What a service answers that has too much to do, or a proxy in front of it."""


class Quiet(Protocol):
    """A 429 concerns all processes that ask the same service."""

    async def asked(self) -> float:
        """Seconds for which another one was asked to be quiet."""
        ...

    async def ask(self, seconds: float) -> None: ...


OnBackoff = Callable[[int, float, BackendUnavailable], Awaitable[None]]
"""Told the failed attempt (first = 1), the seconds to wait, and why."""


def backoff(
    attempt: int,
    policy: RetryPolicy,
    retry_after: float | None = None,
    *,
    draw: Callable[[float, float], float] = random.uniform,
) -> float:
    """Seconds to wait after failed *attempt*, counted from 1.

    Full jitter: anywhere between 0 and an exponentially growing ceiling, so that
    parts which failed together do not come back together.  A retry-after is a floor.
    """
    ceiling = min(
        policy.backoff_max, policy.backoff_initial * 2 ** min(attempt - 1, 32)
    )
    return (retry_after or 0.0) + draw(0.0, ceiling)


@dataclass(slots=True)
class Patience:
    """When to stop trying one request.

    A service that answers badly gets `max_attempts` and `give_up_after`.  One that is
    away, or asks for less, is waited for until the *deadline*: the network of a
    laptop comes back, and what was sent is only lost when the upload expires.  While
    nothing at the address ever answered, the address itself may be wrong.
    """

    policy: RetryPolicy
    deadline: float | None
    """On the clock's `elapsed`; None: `give_up_after` counts instead."""
    _answered: int = 0
    _unreached: int = 0
    _away_since: float | None = None
    _answering_badly_since: float | None = None

    def is_short(self, delay: float, *, now: float) -> bool:
        """Whether a wait of *delay* before the first try would already be too long."""
        latest = self.deadline
        if latest is None:
            latest = now + self.policy.give_up_after
        return now + delay > latest

    def is_over(
        self, error: BackendUnavailable, *, reached: bool, delay: float, now: float
    ) -> bool:
        """Whether *error* is the last one; the next try would start after *delay*."""
        if isinstance(error, Unreachable) and not reached:
            self._unreached += 1
            return self._unreached >= self.policy.first_contact_attempts
        if isinstance(error, Unreachable | Throttled):
            # The first answer after a long absence is often a bad one: its time
            # counts from then.
            self._answering_badly_since = None
            if self._away_since is None:
                self._away_since = now
            give_up_at = self._away_since + self.policy.give_up_after
            return now + delay > (
                give_up_at if self.deadline is None else self.deadline
            )
        if self._answering_badly_since is None:
            self._answering_badly_since = now
        give_up_at = self._answering_badly_since + self.policy.give_up_after
        self._answered += 1
        return self._answered >= self.policy.max_attempts or now + delay > give_up_at


@dataclass(frozen=True, slots=True)
class Retry:
    """How one service is asked: shared by all its requests, a loop for each."""

    policy: RetryPolicy
    pace: Pace
    clock: Clock
    quiet: Quiet | None = None
    """What other processes heard of the same service."""
    draw: Callable[[float, float], float] = field(default=random.uniform)

    async def __call__(
        self,
        request: Callable[[], Awaitable[T]],
        *,
        on_backoff: OnBackoff,
        deadline: float | None = None,
    ) -> T:
        """Ask until there is an answer, a refusal, or no patience left.

        The last failure is raised as itself.
        """
        asking = _Asking(self, request, on_backoff, Patience(self.policy, deadline))
        try:
            return await asking.attempt()
        except BackendUnavailable as error:
            # Most requests never come here, and tenacity costs half of what one does.
            asking.failed = error
        # A fresh loop for each request: AsyncRetrying keeps the current attempt on
        # itself, so two requests in one would see each other's failures.
        loop = AsyncRetrying(
            retry=retry_if_exception_type(BackendUnavailable),
            wait=asking.wait,
            stop=asking.stop,
            before_sleep=asking.announce,
            sleep=self.clock.sleep,
            reraise=True,
        )
        return await loop(asking.attempt_again)


@dataclass(slots=True)
class _Asking(Generic[T]):
    """One request, until it is answered: what tenacity asks in its loop."""

    retry: Retry
    request: Callable[[], Awaitable[T]]
    on_backoff: OnBackoff
    patience: Patience
    failed: BackendUnavailable | None = None
    """What the attempt before the loop came to."""

    async def attempt_again(self) -> T:
        if self.failed is None:
            return await self.attempt()
        error, self.failed = self.failed, None
        raise error

    async def attempt(self) -> T:
        pace, clock, quiet = self.retry.pace, self.retry.clock, self.retry.quiet
        if quiet is not None and (asked := await quiet.asked()) > 0:
            pace.keep_quiet(asked, now=clock.elapsed())
        while (delay := pace.wait(now=clock.elapsed())) > 0:
            if self.patience.is_short(delay, now=clock.elapsed()):
                raise Throttled(
                    f"the service asked for quiet, for {delay:.0f} s more",
                    retry_after=delay,
                    effect_possible=False,
                )
            await clock.sleep(delay)
        try:
            answer = await self.request()
        except BackendError as error:
            pace.reached |= not isinstance(error, Unreachable)
            raise
        pace.reached = True
        return answer

    def wait(self, state: RetryCallState) -> float:
        error, now = _failure(state), self.retry.clock.elapsed()
        delay = backoff(
            state.attempt_number,
            self.retry.policy,
            error.retry_after,
            draw=self.retry.draw,
        )
        if isinstance(error, Throttled):
            self.retry.pace.throttle(delay, now=now)
        elif error.status in OVERLOADED:
            self.retry.pace.climb.throttle(now=now)
        return delay

    def stop(self, state: RetryCallState) -> bool:
        return self.patience.is_over(
            _failure(state),
            reached=self.retry.pace.reached,
            delay=state.upcoming_sleep,
            now=self.retry.clock.elapsed(),
        )

    async def announce(self, state: RetryCallState) -> None:
        if self.retry.quiet is not None and isinstance(_failure(state), Throttled):
            await self.retry.quiet.ask(state.upcoming_sleep)
        await self.on_backoff(
            state.attempt_number, state.upcoming_sleep, _failure(state)
        )


def _failure(state: RetryCallState) -> BackendUnavailable:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, BackendUnavailable)
    return error
