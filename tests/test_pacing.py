import pytest

from uploader.model import KIB, MIB
from uploader.pacing import (
    MOST_OPEN,
    WINDOW,
    Allowance,
    Pace,
    Rate,
    Shortfall,
    has_room,
    is_telling,
    lifetime,
    shortfall,
)


def test_there_is_no_rate_before_a_second_has_passed() -> None:
    rate = Rate()
    assert rate.value(now=0.0) is None

    rate.add(100, now=10.0)

    assert rate.value(now=10.9) is None
    assert rate.value(now=11.0) == 100.0


def test_a_rate_is_that_of_the_window_and_forgets_what_was_before() -> None:
    rate = Rate()
    for second in range(10):
        rate.add(1000, now=float(second))
    for second in range(10, 100):
        rate.add(50, now=float(second))

    assert rate.value(now=99.0) == pytest.approx(50.0, rel=0.1)


def test_a_stall_shows_as_a_falling_rate() -> None:
    rate = Rate()
    rate.add(2000, now=0.0)

    assert rate.value(now=10.0) == 200.0
    assert rate.value(now=WINDOW) == 100.0
    assert rate.value(now=WINDOW + 1) == 0.0


def test_a_throttled_service_is_left_alone_for_the_longest_wish() -> None:
    pace = Pace()
    assert pace.wait(now=5.0) == 0.0

    pace.throttle(10.0, now=5.0)
    pace.throttle(2.0, now=6.0)

    assert pace.wait(now=6.0) == 9.0
    assert pace.wait(now=15.0) == 0.0
    assert pace.wait(now=100.0) == 0.0


@pytest.mark.parametrize(
    ("missing", "rate", "remaining", "expected"),
    [
        pytest.param(1000, None, 1.0, None, id="no rate, no claim"),
        pytest.param(0, 0.0, 1.0, None, id="nothing is missing"),
        pytest.param(1000, 10.0, 100.0, None, id="just in time"),
        pytest.param(
            1000,
            9.9,
            100.0,
            Shortfall(rate=9.9, needed=10.0, remaining=100.0),
            id="just too slow",
        ),
        pytest.param(
            1000,
            0.0,
            100.0,
            Shortfall(rate=0.0, needed=10.0, remaining=100.0),
            id="standing still",
        ),
        pytest.param(
            1,
            999.0,
            -5.0,
            Shortfall(rate=999.0, needed=1000.0, remaining=0.0),
            id="it is over already",
        ),
    ],
)
def test_a_shortfall_names_the_rate_that_it_would_take(
    missing: int, rate: float | None, remaining: float, expected: Shortfall | None
) -> None:
    assert shortfall(missing=missing, rate=rate, remaining=remaining) == expected


@pytest.mark.parametrize(
    ("elapsed", "sent", "telling"),
    [(9.9, 49, False), (10.0, 0, True), (0.1, 50, True)],
)
def test_a_rate_is_telling_after_ten_seconds_or_a_twentieth(
    elapsed: float, sent: int, telling: bool
) -> None:
    assert is_telling(elapsed=elapsed, sent=sent, size=1000) is telling


@pytest.mark.parametrize(
    ("expires_at", "limit", "expected"),
    [
        pytest.param(4600, 7200.0, 3600.0, id="as the service says"),
        pytest.param(None, 3600.0, 3600.0, id="it does not say"),
        pytest.param(999, 3600.0, 3600.0, id="before it was created"),
        pytest.param(1059, 3600.0, 3600.0, id="less than a minute"),
        pytest.param(1060, 3600.0, 60.0, id="a minute"),
        pytest.param(1000 + 7 * 86_400, 3600.0, 7 * 86_400.0, id="a week"),
        pytest.param(1001 + 7 * 86_400, 3600.0, 3600.0, id="more than a week"),
        pytest.param(None, None, None, id="it does not expire"),
    ],
)
def test_a_lifetime_is_the_services_where_that_is_sane(
    expires_at: int | None, limit: float | None, expected: float | None
) -> None:
    assert lifetime(1000, expires_at, limit) == expected


def test_what_was_spent_beyond_the_allowance_is_waited_for() -> None:
    allowance = Allowance(1000)

    allowance.spend(3000, now=0.0)

    assert allowance.wait(now=0.0) == 3.0
    assert allowance.wait(now=2.0) == 1.0
    assert allowance.wait(now=3.0) == 0.0


def test_nothing_is_saved_up_for_a_burst() -> None:
    allowance = Allowance(1000)

    assert allowance.wait(now=60.0) == 0.0
    allowance.spend(500, now=60.0)

    assert allowance.wait(now=60.0) == 0.5


def test_a_limit_can_be_changed_and_lifted_while_somebody_waits() -> None:
    allowance = Allowance(1000)
    allowance.spend(4000, now=0.0)

    allowance.rate = 4000
    assert allowance.wait(now=0.0) == 1.0
    allowance.rate = None
    assert allowance.wait(now=0.0) == 0.0
    allowance.rate = 1000
    assert allowance.wait(now=9.0) == 0.0


def test_under_a_limit_only_so_many_parts_run_that_each_keeps_moving() -> None:
    assert Allowance().parts is None
    assert Allowance(100 * KIB).parts == 10
    assert Allowance(KIB).parts == 1
    assert Allowance(20 * MIB).parts == 100


def test_under_a_limit_a_part_sends_no_burst() -> None:
    assert Allowance(100 * KIB).ration == 100 * KIB
    assert Allowance(1000 * MIB).ration < Allowance().ration


@pytest.mark.parametrize(
    ("missing", "opened", "expected"),
    [
        pytest.param(0, 0, True, id="nothing is open"),
        pytest.param(1000, 1, False, id="one large file has enough for all"),
        pytest.param(15, 15, True, id="small ones are created and completed meanwhile"),
        pytest.param(16, 16, False, id="enough of them"),
        pytest.param(3, MOST_OPEN, False, id="all of them are about to be completed"),
    ],
)
def test_another_upload_is_opened_when_it_can_be_kept_busy(
    missing: int, opened: int, expected: bool
) -> None:
    assert has_room(missing=missing, opened=opened, slots=8) is expected
