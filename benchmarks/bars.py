"""What a figure must reach, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from benchmarks.measure import Figures

Rounds = Mapping[str, Sequence[Figures | None]]
"""By cell, its figures in each round; None where it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A limit for a figure of the cell *of*, alone or compared with another cell's."""

    figure: str
    of: str
    relation: Literal["≤", "≥"]
    limit: float
    beside: str | None = None
    """The other cell."""
    compared: Literal["÷", "-"] = "÷"

    def value(self, rounds: Rounds) -> float | None:
        """The median over the rounds; None when nothing was measured.

        What is compared is compared within each round, when the machine was in the
        same mood for both.
        """
        values = []
        others = rounds[self.of] if self.beside is None else rounds[self.beside]
        for mine, other in zip(rounds[self.of], others, strict=True):
            if mine is None or other is None or self.figure not in mine:
                continue
            value = mine[self.figure]
            if self.beside is not None:
                reference = other.get(self.figure, 0.0)
                if self.compared == "-":
                    value -= reference
                elif reference:
                    value /= reference
                else:
                    continue
            values.append(value)
        return median(values) if values else None

    def holds(self, value: float) -> bool:
        return value <= self.limit if self.relation == "≤" else value >= self.limit

    def __str__(self) -> str:
        beside = f" {self.compared} {self.beside}" if self.beside else ""
        return f"{self.figure} of {self.of}{beside}"


def most(figure: str, of: str, limit: float, beside: str | None = None) -> Bar:
    return Bar(figure=figure, of=of, relation="≤", limit=limit, beside=beside)


def least(figure: str, of: str, limit: float, beside: str | None = None) -> Bar:
    return Bar(figure=figure, of=of, relation="≥", limit=limit, beside=beside)


def within(figure: str, of: str, limit: float, beside: str) -> Bar:
    """At most *limit* more than *beside*."""
    return Bar(
        figure=figure,
        of=of,
        relation="≤",
        limit=limit,
        beside=beside,
        compared="-",
    )


def middle(rounds: Sequence[Figures | None]) -> Figures:
    """The median of each figure."""
    measured = [figures for figures in rounds if figures is not None]
    names = sorted({name for figures in measured for name in figures})
    return {
        name: median([figures[name] for figures in measured if name in figures])
        for name in names
    }
