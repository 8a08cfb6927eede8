"""How a source is cut, and what of it is still to be sent."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from uploader.config import Limits
from uploader.errors import SourceError, UsageError
from uploader.model import MIB, Part, Plan

PART_SIZE: Final = 8 * MIB
"""Keeps a link of 80 ms busy at eight parts at once, and costs little when lost."""

ENOUGH_PARTS: Final = 256
"""Keep every slot busy to the end; more of a very large file would only be requests."""

LEAST_PART_SIZE: Final = 1 * MIB
"""Below this the half second that a request costs at the service shows."""


def plan_parts(
    size: int, limits: Limits, *, parallel: int, part_size: int | None = None
) -> Plan:
    """Cut *size* bytes into parts that the service accepts.

    Without *part_size* it follows from the size.  A *part_size* is taken as it is,
    but grows where the file would need too many parts.  Raises `SourceError` for a
    size that no plan can serve, `UsageError` for a part size that the service refuses.
    """
    if size == 0:
        raise SourceError(
            "the file is empty; there is nothing to upload",
            hint="services refuse empty files; was it written completely?",
        )
    if size > limits.upload_size:
        raise SourceError(
            f"the file has {size} bytes; the service takes at most {limits.upload_size}",
            hint="split the file and upload the pieces",
        )
    if part_size is None:
        part_size = choose_part_size(size, limits, parallel=parallel)
    elif not 1 <= part_size <= limits.part_size:
        raise UsageError(
            f"a part size of {part_size} bytes; the service takes"
            f" 1 to {limits.part_size}",
            hint="choose a --part-size in that range, or leave it out",
        )
    part_size = max(part_size, _least_for_count(size, limits.parts))
    whole, rest = divmod(size, part_size)
    return Plan.of_sizes([part_size] * whole + [rest] * (rest > 0))


def choose_part_size(size: int, limits: Limits, *, parallel: int) -> int:
    """The usual part size: less where a small file would leave slots idle, more for a
    file that would need very many.
    """
    usual = max(PART_SIZE, -(-size // (ENOUGH_PARTS * MIB)) * MIB)
    fair = -(-size // parallel)
    return min(max(fair, LEAST_PART_SIZE), usual, limits.part_size)


def missing_parts(plan: Plan, recorded: Container[int]) -> tuple[Part, ...]:
    """The parts that the journal does not know, in the order of the file."""
    return tuple(part for part in plan.parts if part.number not in recorded)


def _least_for_count(size: int, parts: int) -> int:
    # Integer ceiling: size / parts as a float loses bytes above 2**53.
    return -(-size // parts)
