"""Each promise, broken on purpose, is noticed."""

from __future__ import annotations

import pytest

from tests.mutations import MUTATIONS, Mutation, failures


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_broken_promise_is_noticed(mutation: Mutation) -> None:
    unnoticed = [test for test in mutation.tests if not failures(test, mutation)]

    assert unnoticed == []
