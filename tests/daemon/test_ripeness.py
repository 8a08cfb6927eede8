"""When a file is whole, by a clock that the test moves."""

from __future__ import annotations

import pytest

from uploader.daemon.ripeness import MOST, Growth, came_whole, quiet_needed
from uploader.model import GIB, KIB, MIB, Fingerprint

BASE = 2.0


def written(size: int, at: float, *, renamed: float | None = None) -> Fingerprint:
    """A file whose last write was at *at*."""
    return Fingerprint(
        size=size,
        mtime_ns=int(at * 1e9),
        ctime_ns=int((renamed or at) * 1e9),
        device=1,
        inode=1,
    )


@pytest.mark.parametrize(
    ("size", "seconds"), [(1 * KIB, 2), (64 * MIB, 3), (1 * GIB, 18), (99 * GIB, MOST)]
)
def test_a_large_file_has_to_be_quiet_for_longer(size: int, seconds: float) -> None:
    needed = quiet_needed(size, base=BASE, longest_pause=0)

    assert needed == pytest.approx(seconds, abs=0.1)


def test_a_file_that_is_written_slowly_for_minutes_is_taken_once_and_whole() -> None:
    now = 1000.0
    growth = Growth.seen(written(1, now), now=now)
    for size in range(2, 300):
        now += 1.0
        growth.look(written(size, now), now=now)
        assert growth.ripe_in(base=BASE, now=now) > 0

    # It paused for a second again and again, so a second more means nothing.
    assert growth.ripe_in(base=BASE, now=now + 2.9) > 0
    assert growth.ripe_in(base=BASE, now=now + 3.1) == 0


def test_who_once_paused_for_long_may_do_it_again() -> None:
    growth = Growth.seen(written(10, 1000.0), now=1000.0)
    growth.look(written(20, 1010.0), now=1010.0)

    assert growth.ripe_in(base=BASE, now=1039.0) > 0
    assert growth.ripe_in(base=BASE, now=1040.0) == 0


def test_what_was_at_rest_before_we_came_need_not_wait_again() -> None:
    growth = Growth.seen(written(10, 900.0), now=1000.0)

    assert growth.ripe_in(base=BASE, now=1000.0) == 0


def test_a_clock_that_is_ahead_of_ours_does_not_keep_a_file_waiting_for_ever() -> None:
    growth = Growth.seen(written(10, 9000.0), now=1000.0)

    assert growth.ripe_in(base=BASE, now=1000.0) == pytest.approx(2)
    assert growth.ripe_in(base=BASE, now=1003.0) == 0


def test_an_atomic_rename_brings_a_whole_file() -> None:
    growth = Growth.seen(written(10, 999.9, renamed=1000.0), now=1000.0)

    assert growth.ripe_in(base=BASE, now=1000.0) == 0


def test_a_change_of_mode_in_the_middle_of_growing_is_no_rename() -> None:
    growth = Growth.seen(written(10, 1000.0), now=1000.0)
    growth.look(written(20, 1001.0), now=1001.0)
    growth.look(written(20, 1001.0, renamed=1001.5), now=1001.5)

    assert growth.ripe_in(base=BASE, now=1001.5) > 0


def test_an_empty_file_is_never_whole_at_once() -> None:
    assert not came_whole(written(0, 1.0, renamed=2.0))
