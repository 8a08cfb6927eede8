"""Clocks that jump, are wrong, or run out: the hour is the service's, always."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

import pytest

from tests.faults.conftest import PART_SIZE, PARTS, Site
from tests.mortal import Time
from uploader import Uploader
from uploader.clock import SystemClock
from uploader.config import RetryPolicy, Timeouts
from uploader.emulator import Fault
from uploader.errors import BackendUnavailable
from uploader.events import (
    BackingOff,
    CompleteAsked,
    DeadlineAtRisk,
    Event,
    PartSent,
    UploadRestarted,
)

YEAR = 365 * 86_400.0
HOUR = 3_600.0
QUICK = RetryPolicy(backoff_initial=0.001, backoff_max=0.001, max_attempts=4)


@dataclass
class Moved(SystemClock):
    """The clocks of a machine that slept, or whose wall clock is wrong."""

    asleep: float = 0.0
    """By how much wall clock and elapsed time jumped; monotonic time did not."""
    wrong: float = 0.0

    def wall(self) -> float:
        return super().wall() + self.asleep + self.wrong

    def elapsed(self) -> float:
        return super().elapsed() + self.asleep


# -- suspend ------------------------------------------------------------------


async def test_a_suspend_longer_than_the_hour_restarts_aloud(site: Site) -> None:
    clock = Moved()

    def suspend(event: Event) -> None:
        if isinstance(event, PartSent) and event.number == 2 and not clock.asleep:
            clock.asleep += 2 * HOUR
            site.emulator.advance(2 * HOUR)

    file = await site.upload(suspend, clock=clock)

    assert len(site.told.of(UploadRestarted)) == 1
    assert await site.files() == {file.file_id: site.source.read_bytes()}


async def test_a_suspend_within_the_hour_loses_nothing(site: Site) -> None:
    clock = Moved()

    def suspend(event: Event) -> None:
        if isinstance(event, PartSent) and event.number == 2:
            clock.asleep += HOUR / 2
            site.emulator.advance(HOUR / 2)

    file = await site.upload(suspend, clock=clock)

    assert site.told.of(UploadRestarted) == []
    assert site.received() == PARTS
    assert await site.files() == {file.file_id: site.source.read_bytes()}


# -- a wrong wall clock -------------------------------------------------------


@pytest.mark.parametrize("wrong", [-YEAR, -HOUR, HOUR, YEAR, 20 * YEAR])
async def test_a_wrong_wall_clock_restarts_nothing(site: Site, wrong: float) -> None:
    file = await site.upload(clock=Moved(wrong=wrong))

    assert site.told.of(UploadRestarted) == []
    assert site.told.of(DeadlineAtRisk) == []
    assert await site.files() == {file.file_id: site.source.read_bytes()}


@pytest.mark.parametrize("wrong", [-YEAR, -HOUR, HOUR / 2, 2 * HOUR, YEAR])
async def test_a_clock_that_is_set_between_two_runs_sends_no_recorded_part_again(
    site: Site, wrong: float
) -> None:
    await stop_halfway(site)

    file = await site.upload(clock=Moved(wrong=wrong))

    assert site.told.of(UploadRestarted) == []
    assert site.received() == PARTS
    assert await site.files() == {file.file_id: site.source.read_bytes()}


async def test_a_clock_that_is_set_in_mid_upload_changes_nothing(site: Site) -> None:
    clock = Moved()

    def set_clock(event: Event) -> None:
        if isinstance(event, PartSent):
            clock.wrong = (-1) ** event.number * YEAR

    file = await site.upload(set_clock, clock=clock)

    assert site.received() == PARTS
    assert await site.files() == {file.file_id: site.source.read_bytes()}


# -- the service's clock ------------------------------------------------------


async def test_an_upload_that_expires_before_it_was_created_has_the_usual_hour(
    site: Site,
) -> None:
    site.emulator.switches = site.emulator.switches.with_values(
        {"expires_before_created": True}
    )

    file = await site.upload()

    assert site.told.of(DeadlineAtRisk) == []
    assert site.told.of(UploadRestarted) == []
    assert await site.files() == {file.file_id: site.source.read_bytes()}


async def test_an_expiry_in_mid_part_restarts_aloud(site: Site) -> None:
    site.emulator.add_fault(
        Fault(kind="part", nth=3, do="slow", when="before", rate=10.0 * PART_SIZE)
    )

    async def expire() -> None:
        while site.emulator.account().counts["part"] < 3:
            await asyncio.sleep(0.005)
        site.emulator.advance(HOUR + 1)

    async with asyncio.TaskGroup() as group:
        group.create_task(expire())
        file = await site.upload()

    assert len(site.told.of(UploadRestarted)) == 1
    assert site.emulator.account().counts["create"] == 2
    assert await site.files() == {file.file_id: site.source.read_bytes()}


@pytest.mark.parametrize("expired", ["410", "404"])
async def test_an_expiry_before_complete_is_asked_restarts_aloud(
    site: Site, expired: str
) -> None:
    site.emulator.switches = site.emulator.switches.with_values({"expired": expired})

    def expire(event: Event) -> None:
        if isinstance(event, CompleteAsked) and not site.told.of(UploadRestarted):
            site.emulator.advance(HOUR + 1)

    file = await site.upload(expire)

    assert len(site.told.of(UploadRestarted)) == 1
    assert await site.files() == {file.file_id: site.source.read_bytes()}


@pytest.mark.parametrize("expired", ["410", "404"])
@pytest.mark.parametrize("forgets", ["nothing", "completed"])
async def test_an_expiry_between_complete_and_its_answer_makes_no_second_file(
    site: Site, expired: str, forgets: str
) -> None:
    site.emulator.switches = site.emulator.switches.with_values(
        {"expired": expired, "forgets": forgets}
    )
    site.emulator.add_fault(Fault(kind="complete", do="reset", when="after"))

    def expire(event: Event) -> None:
        if isinstance(event, BackingOff) and event.operation == "complete":
            site.emulator.advance(HOUR + 1)

    file = await site.upload(expire)

    assert site.told.of(UploadRestarted) == []
    assert site.emulator.account().counts["create"] == 1
    assert await site.files() == {file.file_id: site.source.read_bytes()}


@pytest.mark.parametrize("lost", ["reset", "status"])
async def test_a_410_to_a_complete_that_took_effect_makes_no_second_file(
    site: Site, lost: str
) -> None:
    """Some services say of a completed upload, too, that its hour is over."""
    first = {"kind": "complete", "do": lost, "when": "after", "status": 410}
    second = {"kind": "complete", "nth": 2, "do": "status", "status": 410}
    site.emulator.add_entries([first, second])

    file = await site.upload()

    assert site.told.of(UploadRestarted) == []
    assert site.emulator.account().counts["create"] == 1
    assert await site.files() == {file.file_id: site.source.read_bytes()}


@pytest.mark.parametrize("set_by", [-2 * HOUR, 2 * HOUR, YEAR])
async def test_a_clock_that_is_set_shortens_no_look_for_a_lost_complete(
    site: Site, set_by: float
) -> None:
    """The file is there and not listed yet, and the intent seems to be old."""
    site.emulator.switches = site.emulator.switches.with_values(
        {"file_list_delay": 20.0}
    )
    site.emulator.add_fault(Fault(kind="complete", do="reset", when="after", times=4))
    clock = Time(site.emulator.advance)
    clock.skew = -set_by
    slow = {"timeouts": Timeouts(settle=60.0)}
    with pytest.raises(BackendUnavailable):
        await site.upload(clock=clock, retry=QUICK, **slow)
    site.emulator.clear_faults()
    clock.skew = 0.0

    file = await site.upload(clock=clock, **slow)

    assert site.told.of(UploadRestarted) == []
    assert site.emulator.account().counts["create"] == 1
    assert await site.files() == {file.file_id: site.source.read_bytes()}


@pytest.mark.parametrize("set_by", [-2 * HOUR, 2 * HOUR, YEAR])
async def test_a_clock_that_is_set_shortens_no_look_for_a_lost_message(
    site: Site, set_by: float
) -> None:
    site.emulator.switches = site.emulator.switches.with_values({"items_delay": 20.0})
    clock = Time(site.emulator.advance)
    clock.skew = -set_by
    settings = replace(site.settings, timeouts=Timeouts(settle=60.0))
    site.source = site.source.rename(site.source.with_suffix(".txt"))

    async def send() -> None:
        async with Uploader(settings, clock=clock) as uploader:
            await uploader.send([site.source], to=f"conversation:{place}", prompt="?")

    async with Uploader(settings, clock=clock) as uploader:
        await uploader.ask("conversation:new", "hello")
        (opening,) = await uploader.attachments()
    assert opening.attached is not None
    place = opening.attached.conversation_id
    lost = {"kind": "item_create", "do": "status", "status": 500, "when": "after"}
    # Nobody can look either, so this run ends without knowing.
    unseen = {"kind": "item_list", "nth": 2, "times": 9, "do": "status", "status": 500}
    site.emulator.add_entries([lost, unseen])
    with pytest.raises(BackendUnavailable):
        await send()
    site.emulator.clear_faults()
    clock.skew = 0.0

    await send()

    assert site.emulator.account().counts["item_create"] == 2


async def stop_halfway(site: Site) -> None:
    site.emulator.add_fault(Fault(kind="part", nth=4, times=9, do="status"))
    with pytest.raises(BackendUnavailable):
        await site.upload()
    site.emulator.clear_faults()
    assert site.received() == 3
