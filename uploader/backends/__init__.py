"""Where bytes go: name → backend.  The only list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from uploader.backend import Backend
from uploader.backends.azure import LIMITS as AZURE_LIMITS
from uploader.backends.azure import Azure
from uploader.backends.goapi import GoAPI
from uploader.backends.llmprovider import LLMProvider
from uploader.backends.openai import OpenAI
from uploader.config import Limits, Settings
from uploader.errors import UsageError

BACKENDS: Mapping[str, Callable[[Settings], Backend]] = {
    "azure": Azure.from_settings,
    "goapi": GoAPI.from_settings,
    "llmprovider": LLMProvider.from_settings,
    "openai": OpenAI.from_settings,
}


def open_backend(settings: Settings, name: str | None = None) -> Backend:
    """The backend of that name, by default the one that *settings* name.

    Raises `UsageError`.
    """
    name = settings.backend if name is None else name
    try:
        factory = BACKENDS[name]
    except KeyError:
        raise UsageError(
            f"{name!r} is no backend",
            hint=f"choose one of {', '.join(sorted(BACKENDS))}",
        ) from None
    return factory(settings)


LIFETIMES: Mapping[str, float | None] = {
    "azure": AZURE_LIMITS.lifetime,
    "goapi": GoAPI.limits.lifetime,
    "llmprovider": LLMProvider.limits.lifetime,
}


def lifetime_at(service: str) -> float | None:
    """How long an upload stays open at *service*, as the journal names it.

    None where nothing is ever open.
    """
    return LIFETIMES.get(service.split()[0], Limits().lifetime)
