"""Where bytes go: name → backend.  The only list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from uploader.backend import Backend
from uploader.backends.azure import Azure
from uploader.backends.openai import OpenAI
from uploader.config import Settings
from uploader.errors import UsageError

BACKENDS: Mapping[str, Callable[[Settings], Backend]] = {
    "azure": Azure.from_settings,
    "openai": OpenAI.from_settings,
}


def open_backend(settings: Settings) -> Backend:
    """The backend that *settings* name.  Raises `UsageError`."""
    try:
        factory = BACKENDS[settings.backend]
    except KeyError:
        raise UsageError(
            f"{settings.backend!r} is no backend",
            hint=f"choose one of {', '.join(sorted(BACKENDS))}",
        ) from None
    return factory(settings)
