"""The service that an `openai` client object speaks to, as a backend.

The client is asked for what it would send, nothing is sent through it; `openai`
itself is not imported.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from uploader.backends.azure import LIMITS, Azure
from uploader.backends.openai import OpenAI, agent
from uploader.config import Limits, Settings, Timeouts
from uploader.errors import UsageError
from uploader.http import Headers, Http

OURS = ("accept", "authorization", "content-type", "user-agent")
"""Headers of the client's that speak of its own requests."""


def from_client(client: Any, settings: Settings) -> OpenAI:
    """A backend with the client's URL, credentials, account, headers and time-outs.

    *client* is an `openai.OpenAI`, `AsyncOpenAI`, `AzureOpenAI` or
    `AsyncAzureOpenAI`.  A key that is a function, and a provider of Entra tokens, are
    asked before every request.
    """
    try:
        base_url = str(client.base_url)
        query = {name: str(value) for name, value in client.default_query.items()}
        headers = client.default_headers
    except AttributeError as error:
        raise UsageError(
            f"{type(client).__name__} is no openai client: {error}",
            hint="pass an openai.OpenAI, AsyncOpenAI, AzureOpenAI or AsyncAzureOpenAI",
        ) from None
    http = Http(
        base_url,
        _headers(client, headers),
        timeouts=_timeouts(client.timeout, settings.timeouts),
        ca_bundle=settings.ca_bundle,
        query=query,
    )
    if hasattr(client, "_get_azure_ad_token"):
        resource = str(http.base_url).removesuffix("/v1").removesuffix("/openai")
        return Azure(http, service=f"azure {resource}", limits=LIMITS)
    service = OpenAI.service_name(http.base_url, client.organization, client.project)
    return OpenAI(http, service=service, limits=Limits())


def _headers(client: Any, given: Mapping[str, Any]) -> Headers:
    constant = {
        name: value
        for name, value in given.items()
        if isinstance(value, str)
        and name.lower() not in OURS
        and not name.lower().startswith("x-stainless-")
    }

    async def current() -> Mapping[str, str]:
        return {**constant, **agent(), **await _credentials(client)}

    return current


async def _credentials(client: Any) -> Mapping[str, str]:
    if hasattr(client, "_get_azure_ad_token"):
        token = await _call(client._get_azure_ad_token)
        if token is not None:
            return {"Authorization": f"Bearer {token}"}
        return {"api-key": client.api_key}
    await _call(client._refresh_api_key)
    return dict(client.auth_headers)


async def _call(provider: Callable[[], Any]) -> Any:
    """Ask a provider, which may be a coroutine function, or may block."""
    if inspect.iscoroutinefunction(provider):
        return await provider()
    return await asyncio.to_thread(provider)


def _timeouts(given: Any, ours: Timeouts) -> Timeouts:
    """The client's time-outs where they mean the same as ours."""
    if isinstance(given, int | float):
        return replace(ours, answer=float(given))
    chosen = {
        "connect": getattr(given, "connect", None),
        "answer": getattr(given, "read", None),
        "progress": getattr(given, "write", None),
    }
    return replace(ours, **{name: value for name, value in chosen.items() if value})
