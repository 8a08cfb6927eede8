"""Settings: values that check themselves.

`Settings()` is pure; `Settings.load()` reads the file, then the environment.
Sizes are bytes, times are seconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

import platformdirs

from uploader.errors import UsageError
from uploader.model import GIB, KIB, MIB
from uploader.spelling import Given, Spelling, names_of, read_file

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


def default_file() -> Path:
    return platformdirs.user_config_path("uploader") / "uploader.toml"


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
        shared, profiles = read_file(path or default_file(), NAMES, elsewhere=ELSEWHERE)
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
    return SPELLING.build(Settings, given)


NAMES: Final = tuple(names_of(Settings))
SIZES: Final = ("part_size", "limit_rate")
DURATIONS: Final = tuple(
    name for name in NAMES if name == "keep_finished" or name.startswith("timeouts.")
)
SECRETS: Final = tuple(name for name in NAMES if name.endswith(("api_key", "ad_token")))
SPELLING: Final = Spelling(sizes=SIZES, durations=DURATIONS, secrets=SECRETS)
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
