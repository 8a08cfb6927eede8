import asyncio
from collections.abc import Callable, Iterator

import pytest

from uploader.errors import BackendUnavailable, Interrupted, RequestRejected
from uploader.model import Part, Plan
from uploader.scheduler import Scheduler, SendPart, Slots, together

PARTS = Plan.of_sizes([1] * 6).parts


def calm() -> bool:
    return False


def pressed() -> bool:
    return True


async def settle() -> None:
    """Let every task run until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


class Queue:
    """Tasks that want a slot, and who got one in which order."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.served: list[str] = []

    async def join(
        self, name: str, urgent: Callable[[], bool] = calm
    ) -> asyncio.Task[None]:
        async def wait() -> None:
            await self.slots.acquire(urgent)
            self.served.append(name)

        task = asyncio.create_task(wait())
        await settle()
        return task

    async def release(self) -> None:
        self.slots.release()
        await settle()


@pytest.fixture
async def queue() -> Queue:
    queue = Queue(Slots(1))
    await queue.join("first")
    return queue


async def test_no_more_are_in_flight_than_there_are_slots() -> None:
    queue = Queue(Slots(2))
    waiting = [await queue.join(name) for name in "abc"]

    assert queue.served == ["a", "b"]
    await queue.release()

    assert queue.served == ["a", "b", "c"]
    assert queue.slots.in_flight == 2
    await asyncio.gather(*waiting)


async def test_whoever_waits_longest_is_served_first(queue: Queue) -> None:
    for name in "abc":
        await queue.join(name)
    for _ in range(3):
        await queue.release()

    assert queue.served == ["first", "a", "b", "c"]


async def test_nobody_overtakes_those_who_wait(queue: Queue) -> None:
    await queue.join("waiting")

    queue.slots.release()
    # The slot is the other's from that moment, even before it could run.
    await queue.join("newcomer")

    assert queue.served == ["first", "waiting"]


async def test_whoever_runs_out_of_time_is_served_before_others(queue: Queue) -> None:
    await queue.join("calm")
    await queue.join("late", pressed)
    await queue.join("later", pressed)
    for _ in range(3):
        await queue.release()

    assert queue.served == ["first", "late", "later", "calm"]


async def test_urgency_is_asked_for_when_a_slot_is_free(queue: Queue) -> None:
    late = False
    await queue.join("calm")
    await queue.join("grows late", lambda: late)

    late = True
    await queue.release()

    assert queue.served == ["first", "grows late"]


async def test_a_slot_outlives_a_wait_that_was_cancelled(queue: Queue) -> None:
    gone = await queue.join("gone")
    await queue.join("patient")

    gone.cancel()
    await queue.release()

    assert queue.served == ["first", "patient"]
    assert queue.slots.in_flight == 1


async def test_cancellation_in_the_moment_of_hand_over_loses_no_slot(
    queue: Queue,
) -> None:
    gone = await queue.join("gone")
    await queue.join("patient")

    queue.slots.release()
    gone.cancel()
    await settle()

    assert gone.cancelled()
    assert queue.served == ["first", "patient"]
    assert queue.slots.in_flight == 1


async def test_when_all_is_released_all_slots_are_free_again(queue: Queue) -> None:
    gone = await queue.join("gone")
    gone.cancel()
    await queue.release()

    assert queue.slots.in_flight == 0
    await queue.join("next")
    assert queue.served == ["first", "next"]


class Sender:
    """Sends parts as slowly as a test wants."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.sent: list[int] = []
        self.cancelled: list[int] = []
        self.gates = {part.number: asyncio.Event() for part in PARTS}
        self.failures: dict[int, Exception] = {}

    async def __call__(self, part: Part) -> None:
        self.started.append(part.number)
        try:
            await self.gates[part.number].wait()
        except asyncio.CancelledError:
            self.cancelled.append(part.number)
            raise
        if part.number in self.failures:
            raise self.failures[part.number]
        self.sent.append(part.number)

    async def open(self, *numbers: int) -> None:
        for number in numbers:
            self.gates[number].set()
        await settle()


@pytest.fixture
def sender() -> Sender:
    return Sender()


async def begin(
    slots: Slots, sender: Sender, scheduler: Scheduler | None = None
) -> asyncio.Task[None]:
    scheduler = scheduler or Scheduler()
    task = asyncio.create_task(scheduler.send_parts(PARTS, sender, slots, urgent=calm))
    await settle()
    return task


async def test_every_part_is_sent_as_soon_as_a_slot_is_free(sender: Sender) -> None:
    task = await begin(Slots(2), sender)
    assert sender.started == [1, 2]

    await sender.open(2)
    assert sender.started == [1, 2, 3]

    await sender.open(1, 3, 4, 5, 6)
    await task
    assert sorted(sender.sent) == [1, 2, 3, 4, 5, 6]


async def test_parts_are_not_looked_at_before_they_have_a_slot(sender: Sender) -> None:
    looked_at = []

    def lazily() -> Iterator[Part]:
        for part in PARTS:
            looked_at.append(part.number)
            yield part

    task = asyncio.create_task(
        Scheduler().send_parts(lazily(), sender, Slots(2), urgent=calm)
    )
    await settle()

    assert looked_at == [1, 2, 3]
    await sender.open(*sender.gates)
    await task


async def test_uploads_of_one_scheduler_take_turns() -> None:
    scheduler, slots = Scheduler(), Slots(1)
    order = []

    def sending(name: str) -> SendPart:
        async def send(part: Part) -> None:
            order.append(f"{name} {part.number}")
            await settle()

        return send

    async with asyncio.TaskGroup() as group:
        for name in ("left", "right"):
            group.create_task(
                scheduler.send_parts(PARTS[:3], sending(name), slots, urgent=calm)
            )

    # Left waits for its second slot when right comes; from then on they alternate.
    assert order == ["left 1", "left 2", "right 1", "left 3", "right 2", "right 3"]


async def test_the_first_failure_stops_the_others_and_frees_their_slots(
    sender: Sender,
) -> None:
    slots, failure = Slots(3), RequestRejected("no")
    sender.failures[2] = failure
    task = await begin(slots, sender)

    await sender.open(1)
    await sender.open(2)

    with pytest.raises(RequestRejected) as raised:
        await task
    assert raised.value is failure
    assert sender.sent == [1]
    assert sorted(sender.cancelled) == [3, 4]
    assert 6 not in sender.started
    assert slots.in_flight == 0


async def test_cancellation_stops_all_parts_and_frees_their_slots(
    sender: Sender,
) -> None:
    slots = Slots(3)
    task = await begin(slots, sender)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await settle()

    assert sorted(sender.cancelled) == [1, 2, 3]
    assert slots.in_flight == 0


async def test_draining_finishes_what_is_in_flight_and_takes_nothing_new(
    sender: Sender,
) -> None:
    scheduler, slots = Scheduler(), Slots(2)
    task = await begin(slots, sender, scheduler)

    scheduler.drain()
    await sender.open(*sender.gates)

    with pytest.raises(Interrupted):
        await task
    assert sender.sent == [1, 2]
    assert slots.in_flight == 0


async def test_more_slots_are_handed_out_at_once_and_fewer_as_parts_end(
    sender: Sender,
) -> None:
    slots = Slots(1)
    task = await begin(slots, sender)

    slots.limit = 3
    await settle()
    assert sender.started == [1, 2, 3]

    slots.limit = 1
    await sender.open(1, 2)
    assert sender.started == [1, 2, 3]

    await sender.open(*sender.gates)
    await task


async def test_draining_can_be_waited_for(sender: Sender) -> None:
    scheduler = Scheduler()
    waiting = asyncio.create_task(scheduler.drained())
    await settle()
    assert not waiting.done()
    assert not scheduler.is_draining

    scheduler.drain()

    await waiting
    assert scheduler.is_draining


async def fail(error: BaseException) -> None:
    raise error


async def fail_together(*errors: BaseException) -> None:
    async with together() as group:
        for error in errors:
            group.create_task(fail(error))


async def test_a_group_fails_with_its_first_expected_failure() -> None:
    first, second = BackendUnavailable("first"), RequestRejected("second")

    with pytest.raises(BackendUnavailable) as raised:
        await fail_together(first, second)

    assert raised.value is first


async def test_a_bug_in_a_group_is_not_hidden_behind_what_was_expected() -> None:
    bug = KeyError("bug")
    inner = ExceptionGroup("", [RequestRejected("no"), bug])

    with pytest.raises(KeyError) as raised:
        await fail_together(BackendUnavailable("first"), inner)

    assert raised.value is bug


async def test_a_group_whose_owner_fails_stops_its_tasks() -> None:
    stopped = asyncio.Event()

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def own() -> None:
        async with together() as group:
            group.create_task(run())
            await settle()
            raise RequestRejected("no")

    with pytest.raises(RequestRejected):
        await own()
    assert stopped.is_set()
