"""What the daemon is told: its rules, how it works, whom it notifies.

They stand in the settings file, beside the settings: `[daemon]`, `[notify]` and a
table `[[rules]]` for each folder.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_type_hints

import msgspec

from uploader.config import Settings
from uploader.daemon.address import parse_address
from uploader.errors import UsageError
from uploader.spelling import parse_duration, read_tables
from uploader.targets import open_target

T = TypeVar("T")

Afterwards = Literal["keep", "move", "delete"]
Occasion = Literal["done", "failed"]

DURATIONS: Final = frozenset({"expires_after", "rescan", "quiet", "timeout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One folder, and what becomes of the files that arrive in it."""

    name: str
    folder: Path
    pattern: str = "*"
    """What the name of a file has to look like."""
    recursive: bool = False
    purpose: str = "user_data"
    backend: str | None = None
    """By default the one that the settings name, or that suits the target."""
    to: str | None = None
    prompt: str | None = None
    model: str | None = None
    expires_after: float | None = None
    afterwards: Afterwards = "keep"
    move_to: Path | None = None
    receipts: Path | None = None
    """By default `receipts` in the folder."""
    quarantine: Path | None = None
    """By default `quarantine` in the folder."""
    reuse: bool = False
    """Take the id of the same content that is at the service already."""
    priority: int = 0
    """Higher ones go first."""
    preflight: bool = True
    """Look whether the content suits the purpose before a byte is sent."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,63}", self.name):
            raise ValueError(
                f"name must be of letters, digits, '.', '_' and '-', not {self.name!r}"
            )
        for place in ("folder", "move_to", "receipts", "quarantine"):
            path = getattr(self, place)
            if path is not None and not path.is_absolute():
                raise ValueError(f"{place} must be an absolute path, not {path}")
        if (self.afterwards == "move") != (self.move_to is not None):
            raise ValueError('move_to belongs to afterwards = "move", and that to it')
        if self.to is None and (self.prompt is not None or self.model is not None):
            raise ValueError("prompt and model need a conversation: to")
        if self.expires_after is not None and not self.expires_after >= 1:
            raise ValueError("expires_after must be at least 1 second")
        if "/" in self.pattern or not self.pattern:
            raise ValueError("pattern must be that of a name, without '/'")
        for place in ("receipts_in", "quarantine_in", "move_to"):
            path = getattr(self, place)
            if path is not None and path == self.folder:
                raise ValueError(f"{place.removesuffix('_in')} must not be the folder")

    @property
    def receipts_in(self) -> Path:
        return self.receipts or self.folder / "receipts"

    @property
    def quarantine_in(self) -> Path:
        return self.quarantine or self.folder / "quarantine"

    @property
    def own_folders(self) -> tuple[Path, ...]:
        """Where the daemon puts things; nothing is taken from there."""
        own = (self.receipts_in, self.quarantine_in, self.move_to)
        return tuple(path for path in own if path is not None)

    def takes(self, path: Path) -> bool:
        """Whether a file at *path* is this rule's, by its place and name."""
        if not fnmatchcase(path.name, self.pattern):
            return False
        if self.recursive:
            return self.folder in path.parents
        return path.parent == self.folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How the daemon works: the table `[daemon]`."""

    at_once: int = 4
    """Files in progress at the same time; their parts share the slots."""
    rescan: float = 30.0
    """Seconds between two looks at everything, since events get lost."""
    quiet: float = 2.0
    """Seconds for which a small file must not have grown; large ones wait longer."""
    listen: str | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        if self.at_once < 1:
            raise ValueError(f"at_once must be at least 1, not {self.at_once}")
        if not self.rescan > 0:
            raise ValueError(f"rescan must be above 0 seconds, not {self.rescan}")
        if self.listen is not None:
            parse_address(self.listen)
        if not self.quiet >= 0:
            raise ValueError(f"quiet must not be below 0 seconds: {self.quiet}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """Whom to tell: the table `[notify]`."""

    command: tuple[str, ...] = ()
    """A program and its arguments; no shell.  It reads JSON on its stdin."""
    webhook: str | None = field(default=None, repr=False)
    """A URL that JSON is posted to.  It may hold a secret."""
    on: tuple[Occasion, ...] = ("done", "failed")
    timeout: float = 10.0
    tries: int = 3

    def __post_init__(self) -> None:
        if self.webhook is not None and not re.match(r"https?://.", self.webhook):
            raise ValueError("webhook must begin with http:// or https://")
        if not self.timeout > 0:
            raise ValueError(f"timeout must be above 0 seconds, not {self.timeout}")
        if not 1 <= self.tries <= 10:
            raise ValueError(f"tries must be within 1 and 10, not {self.tries}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """All that the file says about the daemon."""

    rules: tuple[Rule, ...]
    ways: Ways = field(default_factory=Ways)
    notify: Notify = field(default_factory=Notify)

    def __post_init__(self) -> None:
        names = [rule.name for rule in self.rules]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules have the name {name}")
        folders = {rule.folder for rule in self.rules}
        for rule in self.rules:
            if folders & set(rule.own_folders):
                raise ValueError(
                    f"rule {rule.name} puts files into a folder that is watched"
                )

    def rule_of(self, path: Path) -> Rule | None:
        """The first rule that takes *path*."""
        return next((rule for rule in self.rules if rule.takes(path)), None)

    def rule_above(self, path: Path) -> Rule | None:
        """The first rule whose folder *path* is in, whatever its name."""
        return next((rule for rule in self.rules if rule.folder in path.parents), None)

    def is_own(self, path: Path) -> bool:
        """Whether *path* is in one of the folders that the daemon fills."""
        own = {folder for rule in self.rules for folder in rule.own_folders}
        return not own.isdisjoint([path, *path.parents])


def read_orders(file: Path, settings: Settings) -> Orders:
    """Read and check the file.  Raises `UsageError` with the place of what is wrong."""
    text, tables = read_tables(file)
    entries = tables.get("rules", [])
    if not isinstance(entries, list) or not entries:
        raise UsageError(
            f"{file}: there is no rule", hint="write a table [[rules]] for each folder"
        )
    reading = _Reading(file, text.splitlines())
    rules = tuple(
        reading.table(Rule, entry, "[[rules]]", number)
        for number, entry in enumerate(entries, start=1)
    )
    for number, rule in enumerate(rules, start=1):
        _check_target(rule, settings, reading.place("[[rules]]", number, "to"))
    try:
        return Orders(
            rules=rules,
            ways=reading.table(Ways, tables.get("daemon", {}), "[daemon]"),
            notify=reading.table(Notify, tables.get("notify", {}), "[notify]"),
        )
    except ValueError as error:
        raise UsageError(f"{file}: {error}", hint="correct that rule") from None


def _check_target(rule: Rule, settings: Settings, place: str) -> None:
    if rule.to is None:
        return
    try:
        open_target(rule.to, settings)
    except UsageError as error:
        raise UsageError(f"{place}: {error}", hint=error.hint) from None


@dataclass(frozen=True, slots=True)
class _Reading:
    """One file, and where its tables are."""

    file: Path
    lines: Sequence[str]

    def table(self, kind: type[T], entry: Any, header: str, number: int = 1) -> T:
        if not isinstance(entry, Mapping):
            raise UsageError(
                f"{self.place(header, number)}: no table", hint="settings are TOML"
            )
        hints = get_type_hints(kind)
        names = [item.name for item in fields(kind)]  # type: ignore[arg-type]
        values = {}
        for key, value in entry.items():
            if key not in names:
                close = difflib.get_close_matches(key, names, n=1)
                raise UsageError(
                    f"{self.place(header, number, key)}: {header} has no {key}",
                    hint=f"did you mean {close[0]}?" if close else ", ".join(names),
                )
            values[key] = self._value(key, value, hints[key], header, number)
        if "name" in names:
            values.setdefault("name", f"rule-{number}")
        try:
            return kind(**values)
        except (TypeError, ValueError) as error:
            missing = re.search(r"argument: '(\w+)'", str(error))
            fact = f"it says no {missing[1]}" if missing else str(error)
            key = fact.split()[0]
            raise UsageError(
                f"{self.place(header, number, key)}: {header} {number}: {fact}",
                hint="correct that table",
            ) from None

    def _value(self, key: str, value: Any, kind: Any, header: str, number: int) -> Any:
        try:
            if isinstance(value, str) and key in DURATIONS:
                return parse_duration(value)
            return msgspec.convert(value, kind, dec_hook=_path)
        except ValueError as error:
            raise UsageError(
                f"{self.place(header, number, key)}: {key}: {error}",
                hint="correct that line",
            ) from None

    def place(self, header: str, number: int, key: str | None = None) -> str:
        """The file and line of a table's key, or of the table itself."""
        found, seen = 1, 0
        for line_number, line in enumerate(self.lines, start=1):
            bare = re.sub(r"\s", "", line).partition("#")[0]
            if bare.startswith("["):
                if seen == number:
                    break
                seen += bare == header
                found = line_number if bare == header and seen == number else found
            elif seen == number and key and re.match(rf'\s*"?{key}"?\s*=', line):
                return f"{self.file}, line {line_number}"
        return f"{self.file}, line {found}"


def _path(kind: type[Any], value: Any) -> Any:
    if kind is not Path or not isinstance(value, str):
        raise ValueError(f"expected a {kind.__name__}")
    path = Path(value).expanduser()
    # As it really is: below a folder no symlink is followed any more.
    return Path(os.path.realpath(path)) if path.is_absolute() else path
