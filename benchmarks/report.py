"""Results as text, as Markdown and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks import plot
from benchmarks.bars import Rounds, middle
from benchmarks.rows import Row

COLUMNS: Final[Mapping[str, tuple[str, float, str]]] = {
    "wall": ("wall s", 1, ".2f"),
    "rate": ("MiB/s", 2**20, ".0f"),
    "utilisation": ("of the link", 1, ".3f"),
    "cpu_per_gib": ("CPU s/GiB", 1, ".3f"),
    "cpu": ("CPU s", 1, ".2f"),
    "process_cpu": ("process CPU s", 1, ".2f"),
    "process_wall": ("process wall s", 1, ".2f"),
    "rss": ("peak MiB", 2**20, ".0f"),
    "wire": ("wire ÷ payload", 1, ".4f"),
    "lag_max": ("lag max ms", 1e-3, ".1f"),
    "lag_median": ("lag median ms", 1e-3, ".1f"),
    "per_file": ("ms/file", 1e-3, ".2f"),
    "syncs_per_part": ("fsync/part", 1, ".2f"),
    "journal_share": ("journal/CPU", 1, ".3f"),
    "planned": ("planned ms", 1e-3, ".0f"),
    "first_byte": ("first byte s", 1, ".2f"),
    "connections": ("connections", 1, ".0f"),
    "wrong_parts": ("wrong parts", 1, ".0f"),
    "sink_cpu": ("sink CPU s", 1, ".2f"),
}
"""By figure: its heading, its unit, how it is written."""

ALWAYS: Final = frozenset(
    (
        *("wall", "rate", "utilisation", "cpu_per_gib", "process_cpu"),
        *("process_wall", "rss", "wire", "sink_cpu"),
    )
)
"""What every table shows.  The rest stands where a bar speaks of it."""


@dataclass(slots=True)
class Results:
    """What one run measured."""

    machine: Mapping[str, str]
    scale: float
    rounds: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    """By row and cell, its figures in each round."""
    load: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By row, the machine's load average before and after it."""
    skipped: dict[str, str] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0


def text_of(row: Row, rounds: Rounds) -> str:
    """The row's table and its bars, for a terminal."""
    lines = _aligned(list(_table(row, rounds)))
    return "\n".join([f"\n{row.name}: {row.work}", *lines, *_bars(row, rounds)])


def save(results: Results, rows: Sequence[Row], directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "latest.json").write_text(
        json.dumps(
            {
                "machine": results.machine,
                "scale": results.scale,
                "seconds": round(results.seconds),
                "load": results.load,
                "skipped": results.skipped,
                "failures": results.failures,
                "bars": _judged(results, rows),
                "rounds": _rounded(results.rounds),
            },
            indent=1,
            ensure_ascii=False,
        )
        + "\n"
    )
    (directory / "latest.md").write_text("\n".join(_markdown(results, rows)) + "\n")
    for row in rows:
        if row.name in results.rounds:
            _draw(row, results.rounds[row.name], directory)


def _table(row: Row, rounds: Rounds) -> Iterator[list[str]]:
    figures = {cell.name: middle(rounds[cell.name]) for cell in row.cells}
    shown = ALWAYS | {bar.figure for bar in row.bars}
    names = [
        name
        for name in COLUMNS
        if name in shown and any(name in each for each in figures.values())
    ]
    subject = figures[row.cells[0].name]
    compared = [name for name in ("rate", "cpu_per_gib") if name in subject]
    yield [
        "",
        *(COLUMNS[name][0] for name in names),
        *(f"{COLUMNS[name][0]}: first ÷ it" for name in compared),
    ]
    for cell, mine in figures.items():
        yield [
            cell,
            *(_written(name, mine.get(name)) for name in names),
            *(
                f"{subject[name] / mine[name]:.2f}" if mine.get(name) else "-"
                for name in compared
            ),
        ]


def _written(name: str, value: float | None) -> str:
    _, unit, form = COLUMNS[name]
    return "-" if value is None else format(value / unit, form)


def _bars(row: Row, rounds: Rounds) -> Iterator[str]:
    for bar in row.bars:
        value = bar.value(rounds)
        unit = 1.0 if bar.beside and bar.compared == "÷" else _unit(bar.figure)
        limit = f"{bar.relation} {bar.limit / unit:.3g}"
        if value is None:
            yield f"  ?     {bar} {limit}: not measured"
        else:
            word = "holds" if bar.holds(value) else "FAILS"
            yield f"  {word} {bar} {limit}: {value / unit:.3g}"


def _unit(figure: str) -> float:
    return COLUMNS[figure][1] if figure in COLUMNS else 1.0


def _judged(results: Results, rows: Sequence[Row]) -> list[dict[str, Any]]:
    judged = []
    for row in rows:
        if (rounds := results.rounds.get(row.name)) is None:
            continue
        for bar in row.bars:
            value = bar.value(rounds)
            judged.append(
                {
                    "row": row.name,
                    "bar": f"{bar} {bar.relation} {bar.limit:.4g}",
                    "value": None if value is None else round(value, 4),
                    "holds": None if value is None else bar.holds(value),
                }
            )
    return judged


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return value


def _markdown(results: Results, rows: Sequence[Row]) -> Iterator[str]:
    yield "# The last run"
    yield ""
    for name, value in results.machine.items():
        yield f"- {name}: {value}"
    if results.scale != 1:
        yield f"- sizes: x {results.scale:g}, so no bar means anything"
    for row in rows:
        if row.name in results.skipped:
            yield f"\n## {row.name}\n\nskipped: {results.skipped[row.name]}"
        if (rounds := results.rounds.get(row.name)) is None:
            continue
        count = len(next(iter(rounds.values())))
        before, after = results.load[row.name]
        load = f"load {before:.1f} before, {after:.1f} after"
        yield f"\n## {row.name}\n\n{row.work}; medians of {count}; {load}\n"
        heading, *lines = _table(row, rounds)
        yield "| " + " | ".join(heading) + " |"
        yield "|---" * len(heading) + "|"
        for line in lines:
            yield "| " + " | ".join(line) + " |"
        yield ""
        for said in _bars(row, rounds):
            yield f"- {said.strip()}"
        for failure in results.failures.get(row.name, []):
            yield f"- failed: {failure.splitlines()[-1]}"


def _aligned(table: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  "
        + "  ".join(
            value.ljust(width) if at == 0 else value.rjust(width)
            for at, (value, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    ]


def _draw(row: Row, rounds: Rounds, directory: Path) -> None:
    for name in ("rate", "cpu_per_gib"):
        heading, unit, _ = COLUMNS[name]
        bars = {
            cell.name: [
                figures[name] / unit
                for figures in rounds[cell.name]
                if figures is not None and name in figures
            ]
            for cell in row.cells
        }
        if any(bars.values()):
            title = f"{row.work}: {heading}"
            drawing = plot.bars(title, {k: v for k, v in bars.items() if v})
            file = directory / f"{row.name}-{name.replace('_', '-')}.svg"
            file.write_text(drawing)
