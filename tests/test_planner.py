import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uploader.config import Limits
from uploader.errors import SourceError, UsageError
from uploader.model import GIB, MIB, Part, Plan
from uploader.planner import LEAST_PART_SIZE, PART_SIZE, missing_parts, plan_parts

OPENAI = Limits()


@st.composite
def limits_and_size(draw: st.DrawFn) -> tuple[Limits, int]:
    part_size = draw(st.integers(1, 2**40))
    parts = draw(st.integers(1, 200))
    upload_size = draw(st.integers(1, part_size * parts))
    limits = Limits(part_size=part_size, upload_size=upload_size, parts=parts)
    return limits, draw(st.integers(1, upload_size))


def assert_tiled(plan: Plan, size: int, limits: Limits) -> None:
    parts = plan.parts
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert parts[0].offset == 0
    assert all(left.end == right.offset for left, right in itertools.pairwise(parts))
    assert parts[-1].end == plan.size == size
    assert len(parts) <= limits.parts
    assert all(0 < part.size <= limits.part_size for part in parts)
    assert len({part.size for part in parts[:-1]}) <= 1


@given(limits_and_size(), st.data())
def test_parts_of_a_wanted_size_tile_the_file_within_the_limits(
    case: tuple[Limits, int], data: st.DataObject
) -> None:
    limits, size = case
    part_size = data.draw(st.integers(1, limits.part_size))

    plan = plan_parts(size, limits, parallel=8, part_size=part_size)

    assert_tiled(plan, size, limits)


# Real sizes, but sizes above 2**53 bytes too, where floats lose bytes.
@example(10**18 + 1, 8)
@given(
    st.one_of(st.integers(1, 8 * GIB), st.integers(2**53, 2**60)), st.integers(1, 64)
)
def test_parts_of_our_choice_tile_the_file_within_the_limits(
    size: int, parallel: int
) -> None:
    limits = Limits(part_size=2**60, upload_size=2**60, parts=10_000)

    assert_tiled(plan_parts(size, limits, parallel=parallel), size, limits)


@pytest.mark.parametrize(
    ("size", "part_size"),
    [
        pytest.param(1, MIB, id="a byte"),
        pytest.param(3 * MIB, MIB, id="fewer mebibytes than slots"),
        pytest.param(16 * MIB, 2 * MIB, id="a part for each slot"),
        pytest.param(16 * MIB + 1, 2 * MIB + 1, id="a byte more"),
        pytest.param(2 * GIB, PART_SIZE, id="a large file"),
        pytest.param(2 * GIB + 1, 9 * MIB, id="a byte more than enough parts"),
        pytest.param(8 * GIB, 32 * MIB, id="the largest file"),
    ],
)
def test_the_part_size_is_less_where_a_small_file_would_leave_slots_idle(
    size: int, part_size: int
) -> None:
    plan = plan_parts(size, OPENAI, parallel=8)

    assert plan.parts[0].size == min(size, part_size)
    assert part_size >= LEAST_PART_SIZE


def test_a_service_with_smaller_parts_gets_smaller_parts() -> None:
    limits = Limits(part_size=1000, upload_size=10_000)

    assert plan_parts(2500, limits, parallel=1) == Plan.of_sizes([1000, 1000, 500])


def test_a_wanted_part_size_is_taken_as_it_is() -> None:
    assert plan_parts(10, OPENAI, parallel=8, part_size=4) == Plan.of_sizes([4, 4, 2])


def test_a_wanted_part_size_grows_where_the_file_would_need_too_many_parts() -> None:
    limits = Limits(part_size=100, upload_size=1000, parts=10)

    assert plan_parts(95, limits, parallel=8, part_size=1).parts[0].size == 10


def test_an_empty_file_is_not_planned() -> None:
    with pytest.raises(SourceError, match="empty"):
        plan_parts(0, OPENAI, parallel=8)


def test_a_file_of_the_largest_size_is_planned_and_one_byte_more_is_not() -> None:
    assert plan_parts(OPENAI.upload_size, OPENAI, parallel=8).size == 8 * GIB

    with pytest.raises(SourceError, match=rf"{8 * GIB + 1} bytes"):
        plan_parts(OPENAI.upload_size + 1, OPENAI, parallel=8)


@pytest.mark.parametrize("part_size", [-1, 0, 64 * MIB + 1])
def test_a_part_size_that_the_service_refuses_is_a_usage_error(part_size: int) -> None:
    with pytest.raises(UsageError, match=str(part_size)):
        plan_parts(100 * MIB, OPENAI, parallel=8, part_size=part_size)


def test_the_largest_part_size_is_allowed() -> None:
    plan = plan_parts(100 * MIB, OPENAI, parallel=8, part_size=64 * MIB)

    assert plan == Plan.of_sizes([64 * MIB, 36 * MIB])


def test_missing_parts_are_those_not_recorded_in_the_order_of_the_file() -> None:
    plan = Plan.of_sizes([4, 4, 4, 1])

    assert missing_parts(plan, {2, 1}) == (
        Part(number=3, offset=8, size=4),
        Part(number=4, offset=12, size=1),
    )
    assert missing_parts(plan, ()) == plan.parts
    assert missing_parts(plan, {1, 2, 3, 4}) == ()
