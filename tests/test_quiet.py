"""What a 429 asked of one process is kept by the others."""

from __future__ import annotations

import pytest

from tests.fakes import FakeClock
from uploader.config import RetryPolicy
from uploader.errors import Throttled
from uploader.pacing import Pace
from uploader.quiet import Quiet
from uploader.retry import Retry


class FakeJournal:
    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        self.looks = 0

    async def keep_quiet(self, service: str, until: float) -> None:
        self.until[service] = max(self.until.get(service, 0.0), until)

    async def quiet_until(self, service: str) -> float | None:
        self.looks += 1
        return self.until.get(service)


async def nothing(*_: object) -> None:
    pass


@pytest.fixture
def journal() -> FakeJournal:
    return FakeJournal()


def process(journal: FakeJournal, clock: FakeClock) -> Retry:
    quiet = Quiet(journal, "s", clock)  # type: ignore[arg-type]
    policy = RetryPolicy(backoff_initial=0.001, backoff_max=0.001)
    return Retry(policy, Pace(), clock, quiet)


async def test_a_wish_of_the_service_reaches_every_process(
    journal: FakeJournal, clock: FakeClock
) -> None:
    one, other = process(journal, clock), process(journal, clock)
    asked_at: list[float] = []

    async def ask() -> None:
        asked_at.append(clock.elapsed())
        if len(asked_at) == 1:
            raise Throttled("429", retry_after=9.0)

    async def fail(*_: object) -> None:
        # Heard by one process in the moment before the other asks.
        await other(ask, on_backoff=nothing)

    await one(ask, on_backoff=fail)

    assert len(asked_at) == 3
    assert all(later >= asked_at[0] + 9.0 for later in asked_at[1:])


async def test_the_journal_is_looked_into_once_a_second(
    journal: FakeJournal, clock: FakeClock
) -> None:
    retry = process(journal, clock)

    for _ in range(10):
        await retry(nothing, on_backoff=nothing)
        clock.advance(0.25)

    assert journal.looks == 3


async def test_a_wish_that_is_over_delays_nobody(
    journal: FakeJournal, clock: FakeClock
) -> None:
    await journal.keep_quiet("s", clock.wall() - 1)

    await process(journal, clock)(nothing, on_backoff=nothing)

    assert clock.slept == []
