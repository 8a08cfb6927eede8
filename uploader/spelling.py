"""How settings are written: in a file, in variables, in flags, and where each was found.

Which settings there are is for `config` to say; here they are names and values.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

import msgspec

from uploader.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was found, and where: a variable, or a file and line."""

    value: Any = field(repr=False)
    origin: str


def parse_size(text: str) -> int:
    """Bytes from `8MiB`, `64MB`, `512k` or a plain number.  Raises `ValueError`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)\s*", text, re.I)
    if match is None:
        raise ValueError(f"{text!r} is no size; write 8MiB, 64MB or a number of bytes")
    number, prefix, binary, _ = match.groups()
    if binary and not prefix:
        raise ValueError(f"{text!r} is no size; write 8MiB, 64MB or a number of bytes")
    unit: int = (1024 if binary else 1000) ** " kmgt".index(prefix.lower() or " ")
    return int(Decimal(number) * unit)


def parse_duration(text: str) -> float:
    """Seconds from `90`, `45m`, `12h` or `7d`.  Raises `ValueError`."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text, re.I)
    if match is None:
        raise ValueError(f"{text!r} is no duration; write 90, 45m, 12h or 7d")
    number, unit = match.groups()
    return (
        float(number) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}[unit.lower()]
    )


def names_of(kind: type[Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings of a *kind*."""
    hints = get_type_hints(kind)
    for item in fields(kind):
        if is_dataclass(nested := hints[item.name]):
            yield from names_of(cast("type[Any]", nested), f"{prefix}{item.name}.")
        else:
            yield prefix + item.name


@dataclass(frozen=True, slots=True)
class Spelling:
    """Which settings are written with units, and which no error may repeat."""

    sizes: Collection[str]
    durations: Collection[str]
    secrets: Collection[str]

    def build(self, kind: type[T], given: Mapping[str, Given], prefix: str = "") -> T:
        """A *kind* of settings from values as they were found."""
        hints = get_type_hints(kind)
        values = {}
        for item in fields(cast("Any", kind)):
            name = prefix + item.name
            if is_dataclass(hints[item.name]):
                values[item.name] = self.build(hints[item.name], given, f"{name}.")
            elif name in given:
                values[item.name] = self._value(name, given[name], hints[item.name])
        try:
            return kind(**values)
        except ValueError as error:
            culprit = given.get(prefix + str(error).split()[0])
            where = f"{culprit.origin}: " if culprit else ""
            raise UsageError(f"{where}{error}", hint="correct that setting") from None

    def _value(self, name: str, given: Given, kind: Any) -> Any:
        value = given.value
        try:
            if isinstance(value, str) and name in self.sizes:
                value = parse_size(value)
            elif isinstance(value, str) and name in self.durations:
                value = parse_duration(value)
            return msgspec.convert(value, kind, strict=False, dec_hook=_path)
        except ValueError as error:
            fact = "what is given" if name in self.secrets else repr(given.value)
            raise UsageError(
                f"{given.origin}: {fact} is no {name}: {error}",
                hint="correct that setting",
            ) from None


def _path(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    raise ValueError(f"expected a {kind.__name__}")


def read_tables(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, and its tables.  Raises `UsageError`."""
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", hint="name a settings file that can be read"
        ) from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}", hint="settings are TOML") from None


def read_file(
    path: Path, names: Collection[str], *, elsewhere: Collection[str]
) -> tuple[dict[str, Given], dict[str, dict[str, Given]]]:
    """The settings of a file: those for all, and those of each profile.

    Tables named in *elsewhere* are somebody else's.  Raises `UsageError` for what is
    not among the *names*.
    """
    text, tables = read_tables(path)
    profiles = tables.pop("profiles", {})
    for table in elsewhere:
        tables.pop(table, None)
    return _known(tables, names, "", text, path), {
        name: _known(table, names, f"profiles.{name}.", text, path)
        for name, table in profiles.items()
    }


def _known(
    table: Mapping[str, Any], names: Collection[str], prefix: str, text: str, path: Path
) -> dict[str, Given]:
    given = {}
    for name, value in _flat(table):
        origin = f"{path}, line {_line_of(prefix + name, text)}"
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else "README lists the settings"
            raise UsageError(f"{origin}: there is no setting {name}", hint=hint)
        given[name] = Given(value, origin)
    return given


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _line_of(name: str, text: str) -> int:
    """The line that sets *name*; TOML readers do not tell."""
    *tables, key = name.split(".")
    within = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w.\-]+)\s*\]", line):
            within = header[1]
        elif within == ".".join(tables) and re.match(rf"\s*\"?{key}\"?\s*=", line):
            return number
    return 1
