"""What every request says of itself and of who asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from uploader import __version__
from uploader.errors import UsageError

Headers = Callable[[], Awaitable[Mapping[str, str]]]
"""Asked before every request, so that a token may be renewed in mid-upload."""


def checked_key(key: str | None, variable: str) -> str:
    """A key that can be sent.  Raises `UsageError`."""
    key = (key or "").strip()
    if not key:
        raise UsageError(
            "there is no API key",
            hint=f"set {variable}, or try it without an account: --emulator",
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UsageError(
            "the API key holds characters that no key has",
            hint=f"copy it once more into {variable}",
        )
    return key


def agent() -> Mapping[str, str]:
    """What every request says of itself."""
    return {"Accept": "application/json", "User-Agent": f"uploader/{__version__}"}


def constant(headers: Mapping[str, str]) -> Headers:
    """The same headers for every request.  Raises `UsageError` for what is none."""
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise UsageError(
                f"the header {name} would hold characters that no header may have",
                hint="check key, organisation and project",
            )

    async def current() -> Mapping[str, str]:
        return headers

    return current
