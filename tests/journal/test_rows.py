from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from uploader.journal.rows import json_of_plan, plan_of
from uploader.model import MIB, Plan


@given(st.lists(st.integers(1, 9), min_size=1))
def test_a_plan_comes_back_as_it_was_cut(sizes: list[int]) -> None:
    plan = Plan.of_sizes(sizes)

    assert plan_of(json_of_plan(plan)) == plan


def test_ten_thousand_parts_are_one_line() -> None:
    plan = Plan.of_sizes([8 * MIB] * 9_999 + [1])

    assert json_of_plan(plan) == "[[9999, 8388608], [1, 1]]"
