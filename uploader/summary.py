"""What a list of files came to, or would: a table for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from uploader.answer import printable
from uploader.batch import Outcome
from uploader.events import VERSION
from uploader.record import Entry
from uploader.tables import size

MOST_ROWS: Final = 50
"""Rows of the table; what failed comes first."""

NAME: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One file of the list, without its receipt: there may be many."""

    upload: str
    batch: str | None
    path: str
    tag: str | None
    size: int
    file_id: str | None
    error: str | None
    exit_code: int

    @classmethod
    def of(cls, outcome: Outcome) -> Row:
        error, file = outcome.error, outcome.file
        return cls(
            upload=outcome.upload,
            batch=outcome.batch,
            path=str(outcome.path),
            tag=outcome.tag,
            size=outcome.size,
            file_id=None if file is None else file.file_id,
            error=None if error is None else str(error),
            exit_code=0 if error is None else error.exit_code,
        )


@dataclass(slots=True)
class Summary:
    """The outcomes of a run, as they come."""

    rows: list[Row] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        self.rows.append(Row.of(outcome))

    @property
    def failed(self) -> int:
        return sum(row.error is not None for row in self.rows)

    def table(self) -> Iterator[str]:
        """One line for each file, and the sums."""
        ordered = sorted(self.rows, key=lambda row: row.error is None)
        yield f"{'FILE':<{NAME}}{'SIZE':<12}OUTCOME"
        for row in ordered[:MOST_ROWS]:
            outcome = row.file_id if row.error is None else f"! {row.error}"
            yield f"{_short(row.path):<{NAME}}{size(row.size):<12}{printable(outcome or '')}"
        if len(ordered) > MOST_ROWS:
            yield f"… and {len(ordered) - MOST_ROWS} more"
        complete = [row for row in self.rows if row.error is None]
        yield (
            f"{_counted(len(self.rows))}: {len(complete)} complete"
            f" ({size(sum(row.size for row in complete))}), {self.failed} failed"
        )

    def json(self) -> Iterator[str]:
        """One object for each file."""
        for row in self.rows:
            line = {"v": VERSION, "event": "outcome", **msgspec.to_builtins(row)}
            yield msgspec.json.encode(line).decode()


@dataclass(frozen=True, slots=True)
class Draft:
    """What would be done for one file, and what speaks against it."""

    entry: Entry
    problem: str | None

    def values(self) -> Mapping[str, Any]:
        identity, spec = self.entry.identity, self.entry.spec
        return {
            "path": str(identity.path),
            "service": identity.service,
            "target": identity.target,
            "purpose": spec.purpose,
            "filename": spec.filename,
            "mime_type": spec.mime_type,
            "size": spec.size,
            "parts": len(self.entry.plan.parts),
            "priority": self.entry.priority,
            "tag": self.entry.tag,
            "problem": self.problem,
        }


def drafts_json(drafts: Sequence[Draft]) -> Iterator[str]:
    """One object for each file that would be uploaded."""
    for draft in drafts:
        line = {"v": VERSION, "event": "draft", **draft.values()}
        yield msgspec.json.encode(line).decode()


def drafts_table(
    drafts: Sequence[Draft], rates: Mapping[str, float | None]
) -> Iterator[str]:
    """One line for each file in the order of its turn, then what each service gets."""
    yield f"{'FILE':<{NAME}}{'SIZE':<12}{'PARTS':<7}{'PURPOSE':<12}WHERE"
    for draft in drafts:
        entry = draft.entry
        where = entry.identity.target or entry.identity.service
        if draft.problem is not None:
            where = f"! {draft.problem}"
        yield (
            f"{_short(str(entry.identity.path)):<{NAME}}{size(entry.spec.size):<12}"
            f"{len(entry.plan.parts):<7}{printable(entry.spec.purpose):<12}"
            f"{printable(where)}"
        )
    for service in dict.fromkeys(draft.entry.identity.service for draft in drafts):
        good = [
            draft.entry
            for draft in drafts
            if draft.entry.identity.service == service and draft.problem is None
        ]
        if good:
            total = sum(entry.spec.size for entry in good)
            yield (
                f"{_counted(len(good))}, {size(total)}, to {printable(service)}:"
                f" {_time(total, rates.get(service))}"
            )


def _time(total: int, rate: float | None) -> str:
    if not rate:
        return "no rate is known yet"
    seconds = total / rate
    told = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    return f"about {told} at {size(rate)}/s"


def _counted(files: int) -> str:
    return f"{files} file{'s' * (files != 1)}"


def _short(path: str) -> str:
    """The end of a path says more than its beginning."""
    path = printable(path, 4096)
    return path if len(path) < NAME else f"…{path[-(NAME - 3) :]} "
