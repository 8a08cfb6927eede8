"""Settings: values that check themselves.

`Settings()` is pure; `Settings.load()` reads the file, then the environment.
Sizes are bytes, times are seconds.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, cast, get_type_hints

import msgspec
import platformdirs

from uploader.errors import UsageError
from uploader.model import GIB, KIB, MIB

T = TypeVar("T")
Md5 = Literal["hex", "base64", "off"]

LEAST_LIMIT: Final = 64 * KIB
"""Below this a connection looks dead between two ranges of a file."""

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a service accepts.  The defaults are OpenAI's.

    Sources: 64 MB per part, 8 GB per upload and one hour are the specification's;
    that MB means MiB is shown by the official SDK's part size of 67,108,864.
    """

    part_size: int = 64 * MIB
    upload_size: int = 8 * GIB
    parts: int = 10_000
    """Nobody states a limit; more would be impolite."""
    lifetime: float | None = 3600.0
    """How long an open upload lives; None when it does not expire."""

    def __post_init__(self) -> None:
        if self.upload_size > self.part_size * self.parts:
            raise ValueError(
                f"{self.parts} parts of {self.part_size} bytes cannot hold"
                f" an upload of {self.upload_size} bytes"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How hard to try one request before it is given up."""

    max_attempts: int = 8
    give_up_after: float = 300.0
    backoff_initial: float = 0.5
    backoff_max: float = 30.0
    repeat_effects: bool = False
    """Send a whole file again when its answer is lost; it may be there twice then."""
    first_contact_attempts: int = 3
    """Tries while nothing at this address ever answered: it may be the wrong one."""

    def __post_init__(self) -> None:
        for name in ("max_attempts", "first_contact_attempts"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1, not {getattr(self, name)}"
                )
        if self.backoff_initial <= 0:
            raise ValueError(f"backoff_initial must be above 0: {self.backoff_initial}")
        if self.backoff_max < self.backoff_initial:
            raise ValueError("backoff_max must not be below backoff_initial")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """There is no total: a part may take as long as it moves."""

    connect: float = 15.0
    progress: float = 60.0
    """A connection on which nothing moves for so long is given up."""
    answer: float = 600.0
    """From the last byte sent to the first byte of the answer."""
    settle: float = 60.0
    """How long an effect may still be under way after its answer was lost."""
    usable: float = 600.0
    """How long an attached file may take until it can be used."""
    lease: float = 30.0
    """An owner that was not heard of for so long has lost its uploads."""
    drain: float = 10.0
    """What parts in flight get to finish when the run is asked to end."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            may_be_zero = item.name in ("settle", "drain")
            # Asked this way round, not-a-number is refused, too.
            if not (value > 0 or (value == 0 and may_be_zero)):
                raise ValueError(f"{item.name} must be above 0 seconds, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Azure:
    """Azure OpenAI, for `backend = "azure"`."""

    endpoint: str | None = None
    """The resource, e.g. https://NAME.openai.azure.com"""
    api_key: str | None = field(default=None, repr=False)
    ad_token: str | None = field(default=None, repr=False)
    """An Entra token; it is used instead of the key."""
    paths: Literal["classic", "v1"] = "classic"
    """`/openai/uploads?api-version=…`, or `/openai/v1/uploads`."""
    api_version: str = "2024-10-21"
    """The first stable one that has uploads; classic paths only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goapi:
    """GoAPI's GPTs API.  Paths and part name are unverified: no document states them."""

    base_url: str = "https://api.goapi.xyz"
    api_key: str | None = field(default=None, repr=False)
    model: str = "gpt-4o"
    gizmo_id: str | None = None
    conversation_path: str = "/api/chatgpt/v1/conversation"
    upload_path: str = "/api/chatgpt/v1/conversation/{conversation_id}/upload"
    upload_part: str = "file"
    first_prompt: str = "Hello"
    """What opens a new conversation: one has to exist before a file can go into it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Llmprovider:
    """LLMProvider's Gizmo API.  The chat path is unverified."""

    base_url: str = "https://platform.llmprovider.ai/v1"
    api_key: str | None = field(default=None, repr=False)
    model: str = "gizmo-gpt-4o"
    upload_path: str = "/uploaded"
    chat_path: str = "/chat/completions"
    first_prompt: str = "Hello"
    """What opens a new conversation, so that all files of a message go into one."""


def default_journal() -> Path:
    return platformdirs.user_state_path("uploader") / "journal.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be chosen."""

    backend: str = "openai"
    base_url: str = OPENAI_URL
    api_key: str | None = field(default=None, repr=False)
    organization: str | None = None
    project: str | None = None
    service: str | None = None
    """The identity of the service in the journal, where its URL does not name it."""
    ca_bundle: Path | None = None
    """More certificate authorities to trust, in PEM form."""
    journal: Path = field(default_factory=default_journal)
    keep_finished: float = 30 * 86_400.0
    """Finished uploads leave the journal after so many seconds."""
    parallel: int = 64
    """At most so many parts at once; how many it are is found by watching the rate."""
    part_size: int | None = None
    """None: chosen by file size."""
    md5: Md5 = "hex"
    """The spelling of the whole file's MD5 in `complete`; the contract names none."""
    digest: str = "blake3"
    """The digest of each part in the journal, or "off"."""
    limit_rate: int | None = None
    """Bytes per second, over all uploads of the process; None: as fast as it goes."""
    keep_trying: bool = False
    """Restart an expired upload even at a rate that cannot make it."""
    log_file: Path | None = None
    """Where to write a log; it holds no secrets."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    azure: Azure = field(default_factory=Azure)
    goapi: Goapi = field(default_factory=Goapi)
    llmprovider: Llmprovider = field(default_factory=Llmprovider)

    def __post_init__(self) -> None:
        if self.parallel < 1:
            raise ValueError(f"parallel must be at least 1, not {self.parallel}")
        if self.part_size is not None and self.part_size < 1:
            raise ValueError(f"part_size must be at least 1 byte, not {self.part_size}")
        if self.limit_rate is not None and self.limit_rate < LEAST_LIMIT:
            raise ValueError(
                f"limit_rate must be at least {LEAST_LIMIT} bytes per second, not"
                f" {self.limit_rate}"
            )
        if self.md5 not in ("hex", "base64", "off"):
            raise ValueError(f"md5 must be hex, base64 or off, not {self.md5}")

    @classmethod
    def load(
        cls,
        *,
        file: Path | None = None,
        profile: str | None = None,
        environ: Mapping[str, str] | None = None,
        **overrides: Any,
    ) -> Settings:
        """Read the settings file, then the environment, then *overrides*.

        Without *file* it is `UPLOADER_CONFIG`, or the user's own if there is one.  A
        *profile* is a table `[profiles.NAME]` of that file; who chooses one by name
        means it, so it comes after the environment.  Overrides that are None do not
        count.  Raises `UsageError` with the place of a bad setting, and `TypeError`
        for an override that is none.
        """
        if strangers := sorted(overrides.keys() - set(NAMES)):
            raise TypeError(f"there is no setting {', '.join(strangers)}")
        environ = os.environ if environ is None else environ
        return build(gather(file, profile, environ, overrides))


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was found, and where: a variable, or a file and line."""

    value: Any = field(repr=False)
    origin: str


def default_file() -> Path:
    return platformdirs.user_config_path("uploader") / "uploader.toml"


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


def gather(
    file: Path | None,
    profile: str | None,
    environ: Mapping[str, str],
    overrides: Mapping[str, Any],
) -> dict[str, Given]:
    """Every setting that was given, by its dotted name, and where."""
    path = file or (Path(configured) if (configured := environ.get(FILE)) else None)
    shared: dict[str, Given] = {}
    profiles: dict[str, dict[str, Given]] = {}
    if path is not None or default_file().exists():
        shared, profiles = _from_file(path or default_file())
    variables = {
        name: Given(value, variable)
        for variable, name in ENVIRONMENT.items()
        if (value := environ.get(variable))
    }
    chosen = {}
    if profile := profile or environ.get(PROFILE):
        if profile not in profiles:
            known = ", ".join(profiles) or "none"
            raise UsageError(
                f"there is no profile {profile!r}; the settings file has {known}",
                hint=f"write a table [profiles.{profile}] in {path or default_file()}",
            )
        chosen = profiles[profile]
    flags = {
        name: Given(value, f"--{name.replace('_', '-')}")
        for name, value in overrides.items()
        if value is not None
    }
    return {**shared, **variables, **chosen, **flags}


def build(given: Mapping[str, Given]) -> Settings:
    """Settings from values as they were found."""
    return _build(Settings, given, prefix="")


def _build(kind: type[T], given: Mapping[str, Given], prefix: str) -> T:
    hints = get_type_hints(kind)
    values = {}
    for item in fields(cast("Any", kind)):
        name = prefix + item.name
        if is_dataclass(hints[item.name]):
            values[item.name] = _build(hints[item.name], given, f"{name}.")
        elif name in given:
            values[item.name] = _value(name, given[name], hints[item.name])
    try:
        return kind(**values)
    except ValueError as error:
        culprit = given.get(prefix + str(error).split()[0])
        where = f"{culprit.origin}: " if culprit else ""
        raise UsageError(f"{where}{error}", hint="correct that setting") from None


def _value(name: str, given: Given, kind: Any) -> Any:
    value = given.value
    try:
        if isinstance(value, str) and name in SIZES:
            value = parse_size(value)
        elif isinstance(value, str) and name in DURATIONS:
            value = parse_duration(value)
        return msgspec.convert(value, kind, strict=False, dec_hook=_path)
    except ValueError as error:
        fact = "what is given" if name in SECRETS else repr(given.value)
        raise UsageError(
            f"{given.origin}: {fact} is no {name}: {error}", hint="correct that setting"
        ) from None


def _path(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value).expanduser()
    raise ValueError(f"expected a {kind.__name__}")


def _from_file(path: Path) -> tuple[dict[str, Given], dict[str, dict[str, Given]]]:
    """The settings of a file: those for all, and those of each profile."""
    try:
        text = path.read_text(encoding="utf-8")
        tables = tomllib.loads(text)
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}", hint="name a settings file that can be read"
        ) from None
    except ValueError as error:
        raise UsageError(f"{path}: {error}", hint="settings are TOML") from None
    profiles = tables.pop("profiles", {})
    for name in ELSEWHERE:
        tables.pop(name, None)
    return _known(tables, "", text, path), {
        name: _known(table, f"profiles.{name}.", text, path)
        for name, table in profiles.items()
    }


def _known(
    table: Mapping[str, Any], prefix: str, text: str, path: Path
) -> dict[str, Given]:
    given = {}
    for name, value in _flat(table):
        origin = f"{path}, line {_line_of(prefix + name, text)}"
        if name not in NAMES:
            close = difflib.get_close_matches(name, NAMES, n=1)
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


def _names(kind: type[Any], prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(kind)
    for item in fields(kind):
        if is_dataclass(nested := hints[item.name]):
            yield from _names(cast("type[Any]", nested), f"{prefix}{item.name}.")
        else:
            yield prefix + item.name


NAMES: Final = tuple(_names(Settings))
SIZES: Final = ("part_size", "limit_rate")
DURATIONS: Final = tuple(
    name for name in NAMES if name == "keep_finished" or name.startswith("timeouts.")
)
SECRETS: Final = tuple(name for name in NAMES if name.endswith(("api_key", "ad_token")))
ELSEWHERE: Final = ("daemon", "notify", "rules")
"""Tables of the same file that are no settings; the daemon reads them."""

FILE: Final = "UPLOADER_CONFIG"
PROFILE: Final = "UPLOADER_PROFILE"
ENVIRONMENT: Final[Mapping[str, str]] = {
    "OPENAI_BASE_URL": "base_url",
    "OPENAI_API_KEY": "api_key",
    "OPENAI_ORG_ID": "organization",
    "OPENAI_PROJECT_ID": "project",
    "AZURE_OPENAI_ENDPOINT": "azure.endpoint",
    "AZURE_OPENAI_API_KEY": "azure.api_key",
    "AZURE_OPENAI_AD_TOKEN": "azure.ad_token",
    "OPENAI_API_VERSION": "azure.api_version",
    "GOAPI_API_KEY": "goapi.api_key",
    "GOAPI_BASE_URL": "goapi.base_url",
    "LLMPROVIDER_API_KEY": "llmprovider.api_key",
    "LLMPROVIDER_BASE_URL": "llmprovider.base_url",
    # Our own variables come later and win.
    **{f"UPLOADER_{name.upper().replace('.', '_')}": name for name in NAMES},
}
