import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from tests.fakes import EPOCH, FakeClock
from uploader.errors import LeaseLost
from uploader.lease import HEARTBEATS, CancelRequested, Hold
from uploader.model import Lease, LocalId
from uploader.record import Heartbeat, Journal

LEASE = Lease(LocalId("u1"), "me", 3)
LIFE = 30.0


class FakeJournal:
    """A journal that only renews, and is slow when it shall be."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.takes = 0.0
        self.lost: set[LocalId] = set()
        self.cancel_requested: set[LocalId] = set()
        self.renewed_at: list[float] = []

    async def renew(self, leases: Sequence[Lease], *, now: float) -> Heartbeat:
        assert leases == [LEASE]
        self.renewed_at.append(now - EPOCH)
        self.clock.advance(self.takes)
        return Heartbeat(self.lost, self.cancel_requested)


@pytest.fixture
def journal(clock: FakeClock) -> FakeJournal:
    return FakeJournal(clock)


@pytest.fixture
def hold(clock: FakeClock, journal: FakeJournal) -> Hold:
    return Hold(LEASE, cast("Journal", journal), clock, LIFE)


async def test_a_fresh_lease_is_confirmed_without_asking(
    hold: Hold, journal: FakeJournal, clock: FakeClock
) -> None:
    await hold.confirm()
    clock.advance(LIFE - 0.1)
    await hold.confirm()

    assert journal.renewed_at == []


async def test_a_lease_that_may_be_over_is_asked_for_before_anything_is_sent(
    hold: Hold, journal: FakeJournal, clock: FakeClock
) -> None:
    clock.advance(LIFE)
    await hold.confirm()
    await hold.confirm()

    assert journal.renewed_at == [LIFE]


async def test_whoever_wakes_up_too_late_has_lost_the_lease(
    hold: Hold, journal: FakeJournal, clock: FakeClock
) -> None:
    journal.lost = {LEASE.upload}
    clock.advance(3600.0)

    with pytest.raises(LeaseLost, match="u1"):
        await hold.confirm()
    with pytest.raises(LeaseLost):
        await hold.confirm()


async def test_what_others_lost_or_cancel_is_their_business(
    hold: Hold, journal: FakeJournal
) -> None:
    journal.lost = journal.cancel_requested = {LocalId("u2")}

    await hold.renew()

    assert journal.renewed_at == [0.0]


async def test_a_lease_counts_from_before_the_journal_was_asked(
    hold: Hold, journal: FakeJournal, clock: FakeClock
) -> None:
    journal.takes = 20.0
    await hold.renew()

    clock.advance(LIFE - 20.0)
    await hold.confirm()

    assert journal.renewed_at == [0.0, LIFE]


async def test_a_request_to_cancel_is_heard_with_the_lease_still_ours(
    hold: Hold, journal: FakeJournal, clock: FakeClock
) -> None:
    journal.cancel_requested = {LEASE.upload}
    clock.advance(LIFE)

    with pytest.raises(CancelRequested):
        await hold.renew()

    await hold.confirm()
    assert journal.renewed_at == [LIFE]


async def test_a_lease_that_is_lost_is_not_cancelled_by_us(
    hold: Hold, journal: FakeJournal
) -> None:
    journal.lost = journal.cancel_requested = {LEASE.upload}

    with pytest.raises(LeaseLost):
        await hold.renew()


async def test_three_heartbeats_may_be_late(
    hold: Hold, journal: FakeJournal, clock: FakeClock
) -> None:
    keeping = asyncio.create_task(hold.keep())
    while len(journal.renewed_at) < 3:
        await asyncio.sleep(0)
    keeping.cancel()

    assert journal.renewed_at == [7.5, 15.0, 22.5]
    assert HEARTBEATS * 7.5 == LIFE


async def test_the_heartbeat_ends_with_what_it_hears(
    hold: Hold, journal: FakeJournal
) -> None:
    journal.cancel_requested = {LEASE.upload}

    with pytest.raises(CancelRequested):
        await hold.keep()
