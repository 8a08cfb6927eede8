import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock
from uploader.config import RetryPolicy
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    CredentialsRefused,
    RequestRejected,
    Throttled,
    UnexpectedAnswer,
    Unreachable,
    UploadExpired,
)
from uploader.pacing import Pace
from uploader.retry import Retry, backoff

POLICY = RetryPolicy()


def longest(low: float, high: float) -> float:
    assert low == 0.0
    return high


@dataclass
class Service:
    """Asked with a `Retry`; fails as told, then answers."""

    clock: FakeClock
    policy: RetryPolicy = POLICY
    pace: Pace = field(default_factory=lambda: Pace(reached=True))
    asked_at: list[float] = field(default_factory=list)
    backoffs: list[tuple[int, float, BackendUnavailable]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.retry = Retry(self.policy, self.pace, self.clock, draw=longest)

    async def ask(self, *failures: BackendError, deadline: float | None = None) -> str:
        left = list(failures)

        async def request() -> str:
            self.asked_at.append(self.clock.elapsed())
            if left:
                raise left.pop(0)
            return "answer"

        return await self.ask_with(request, deadline=deadline)

    async def ask_with(
        self, request: Callable[[], Awaitable[str]], *, deadline: float | None = None
    ) -> str:
        async def on_backoff(
            attempt: int, delay: float, error: BackendUnavailable
        ) -> None:
            self.backoffs.append((attempt, delay, error))

        return await self.retry(request, on_backoff=on_backoff, deadline=deadline)


@pytest.fixture
def service(clock: FakeClock) -> Service:
    return Service(clock)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0, 1000))
def test_jitter_is_full_and_a_retry_after_is_its_floor(
    attempt: int, share: float, floor: float
) -> None:
    ceiling = min(POLICY.backoff_max, POLICY.backoff_initial * 2.0 ** min(attempt, 99))

    def draw(low: float, high: float) -> float:
        return low + share * (high - low)

    assert 0.0 <= backoff(attempt, POLICY, draw=draw) <= ceiling
    assert backoff(attempt, POLICY, floor, draw=draw) >= floor


def test_the_ceiling_of_the_backoff_doubles_up_to_its_greatest() -> None:
    ceilings = [backoff(n, POLICY, draw=longest) for n in range(1, 10)]

    assert ceilings == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_the_jitter_reaches_down_to_zero() -> None:
    assert backoff(5, POLICY, draw=lambda low, _: low) == 0.0
    assert backoff(5, POLICY, 7.0, draw=lambda low, _: low) == 7.0


async def test_without_a_failure_there_is_no_wait(service: Service) -> None:
    assert await service.ask() == "answer"

    assert service.clock.slept == []
    assert service.backoffs == []


async def test_a_bad_gateway_is_asked_again_after_a_growing_wait(
    service: Service,
) -> None:
    error = BackendUnavailable("502")

    assert await service.ask(error, error, error) == "answer"

    assert service.clock.slept == [0.5, 1.0, 2.0]
    assert service.backoffs == [(1, 0.5, error), (2, 1.0, error), (3, 2.0, error)]


async def test_a_retry_after_is_waited_for_with_the_jitter_on_top(
    service: Service,
) -> None:
    await service.ask(BackendUnavailable("503", retry_after=20.0))

    assert service.clock.slept == [20.5]


async def test_a_service_that_answers_badly_gets_eight_attempts(
    service: Service,
) -> None:
    with pytest.raises(BackendUnavailable):
        await service.ask(*[BackendUnavailable("500")] * 20)

    assert len(service.asked_at) == POLICY.max_attempts == 8
    assert [attempt for attempt, _, _ in service.backoffs] == [1, 2, 3, 4, 5, 6, 7]


async def test_a_bad_answer_is_given_up_when_the_next_try_would_come_too_late(
    service: Service,
) -> None:
    # The fourth would come 305.5 s after the first failure.
    failures = [BackendUnavailable("503", retry_after=100.0)] * 8

    with pytest.raises(BackendUnavailable):
        await service.ask(*failures)

    assert service.asked_at == [0.0, 100.5, 201.5]


async def test_the_last_failure_is_raised_as_itself(service: Service) -> None:
    failures = [BackendUnavailable(f"number {n}") for n in range(1, 9)]

    with pytest.raises(BackendUnavailable) as raised:
        await service.ask(*failures)

    assert raised.value is failures[-1]


@pytest.mark.parametrize(
    "refusal",
    [
        pytest.param(CredentialsRefused("no quota left", status=429), id="quota"),
        RequestRejected("400", status=400),
        UploadExpired("410", status=410),
        UnexpectedAnswer("200"),
    ],
)
async def test_a_refusal_is_not_tried_again(
    service: Service, refusal: BackendError
) -> None:
    with pytest.raises(type(refusal)) as raised:
        await service.ask(BackendUnavailable("500"), refusal)

    assert raised.value is refusal
    assert len(service.asked_at) == 2


async def test_a_bug_is_not_tried_again(service: Service) -> None:
    async def request() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await service.ask_with(request)

    assert service.clock.slept == []


async def test_a_network_that_is_away_is_waited_for_until_the_deadline(
    service: Service,
) -> None:
    with pytest.raises(Unreachable):
        await service.ask(*[Unreachable("no route")] * 500, deadline=3600.0)

    assert len(service.asked_at) > 100
    assert 3600.0 - POLICY.backoff_max <= service.asked_at[-1] <= 3600.0


async def test_a_network_that_comes_back_is_used(service: Service) -> None:
    away = [Unreachable("no route")] * 60

    assert await service.ask(*away, deadline=3600.0) == "answer"

    assert service.clock.elapsed() > POLICY.give_up_after


async def test_without_a_deadline_a_network_that_is_away_is_given_up(
    service: Service,
) -> None:
    with pytest.raises(Unreachable):
        await service.ask(*[Unreachable("no route")] * 500)

    last = service.asked_at[-1]
    assert last <= POLICY.give_up_after < last + POLICY.backoff_max


async def test_failures_to_connect_do_not_use_up_the_attempts(
    service: Service,
) -> None:
    away, bad = [Unreachable("no route")] * 20, [BackendUnavailable("500")] * 7

    assert await service.ask(*away, *bad, deadline=3600.0) == "answer"


async def test_what_came_before_the_network_went_away_does_not_count_as_time(
    service: Service,
) -> None:
    bad, away = BackendUnavailable("502"), [Unreachable("no route")] * 20

    assert await service.ask(bad, *away, bad, deadline=3600.0) == "answer"

    assert service.clock.elapsed() > POLICY.give_up_after


async def test_while_nothing_ever_answered_three_attempts_are_enough(
    clock: FakeClock,
) -> None:
    service = Service(clock, pace=Pace())

    with pytest.raises(Unreachable):
        await service.ask(*[Unreachable("refused")] * 20, deadline=3600.0)

    assert len(service.asked_at) == POLICY.first_contact_attempts == 3


@pytest.mark.parametrize(
    "first", [None, BackendUnavailable("500"), RequestRejected("400")]
)
async def test_any_answer_proves_the_address(
    clock: FakeClock, first: BackendError | None
) -> None:
    service = Service(clock, pace=Pace())
    assert not service.pace.reached

    if isinstance(first, RequestRejected):
        with pytest.raises(RequestRejected):
            await service.ask(first)
    else:
        await service.ask(*[first] if first else [])

    assert service.pace.reached


async def test_a_429_is_waited_for_until_the_deadline_however_often(
    service: Service,
) -> None:
    throttled = [Throttled("429", retry_after=60.0)] * 30

    assert await service.ask(*throttled, deadline=3600.0) == "answer"


async def test_a_429_that_lasts_beyond_the_deadline_is_given_up(
    service: Service,
) -> None:
    with pytest.raises(Throttled):
        await service.ask(Throttled("429", retry_after=3600.0), deadline=3600.0)

    assert service.clock.slept == []


async def test_a_429_makes_other_requests_of_the_same_pace_wait(
    clock: FakeClock,
) -> None:
    pace = Pace(reached=True)
    throttled, other = Service(clock, pace=pace), Service(clock, pace=pace)
    stranger = Service(clock)
    failures = [Throttled("429", retry_after=30.0)]

    async def request() -> str:
        if failures:
            raise failures.pop()
        return "answer"

    async def ask_the_others(*_: object) -> None:
        await stranger.ask()
        await other.ask()

    await throttled.retry(request, on_backoff=ask_the_others)

    assert stranger.asked_at == [0.0]
    assert other.asked_at == [30.5]


async def test_a_503_makes_nobody_else_wait(clock: FakeClock) -> None:
    pace = Pace(reached=True)
    failing = Service(clock, pace=pace)

    await failing.ask(BackendUnavailable("503", retry_after=30.0))

    assert pace.wait(now=0.0) == 0.0


async def test_two_requests_at_once_do_not_see_each_others_failures(
    service: Service,
) -> None:
    errors = {name: BackendUnavailable(name) for name in ("left", "right")}

    async def failing(name: str) -> str:
        async def request() -> str:
            await asyncio.sleep(0)
            raise errors[name]

        try:
            return await service.ask_with(request)
        except BackendUnavailable as error:
            return str(error)

    said = await asyncio.gather(failing("left"), failing("right"))

    assert list(said) == ["left", "right"]
    for error in errors.values():
        attempts = [n for n, _, told in service.backoffs if told is error]
        assert attempts == [1, 2, 3, 4, 5, 6, 7]


async def test_each_request_has_its_own_patience(service: Service) -> None:
    seven = [BackendUnavailable("500")] * 7

    assert await service.ask(*seven) == "answer"
    assert await service.ask(*seven) == "answer"


async def test_cancellation_passes_through(service: Service) -> None:
    started = asyncio.Event()

    async def request() -> str:
        started.set()
        await asyncio.Event().wait()
        return "never"

    task = asyncio.create_task(service.ask_with(request))
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert service.backoffs == []
