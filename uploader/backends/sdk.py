"""The service that an `openai` client object speaks to, as a backend.

The client is asked for what it would send, nothing is sent through it; `openai`
itself is not imported.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from uploader.account import service_name
from uploader.backends.azure import Azure
from uploader.backends.openai import OpenAI
from uploader.config import Limits, Settings, Timeouts
from uploader.errors import UsageError
from uploader.headers import Headers, agent
from uploader.http import Http

OURS = ("accept", "content-type", "user-agent")
"""Headers of the client's that speak of its own requests."""

DEPLOYMENT = re.compile(r"/deployments/[^/]+/?$")
"""A model's own paths, which have no uploads."""


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
    is_azure = hasattr(client, "_get_azure_ad_token")
    http = Http(
        DEPLOYMENT.sub("", base_url) if is_azure else base_url,
        _headers(client, headers),
        timeouts=_timeouts(client.timeout, settings.timeouts),
        ca_bundle=settings.ca_bundle,
        query=query,
    )
    if is_azure:
        return Azure.at(http)
    service = service_name(http.base_url, client.organization, client.project)
    return OpenAI(http, service=service, limits=Limits())


def _headers(client: Any, given: Mapping[str, Any]) -> Headers:
    constant = {
        # Of a key that stands here an error says no more than of any other.
        "Authorization" if name.lower() == "authorization" else name: value
        for name, value in given.items()
        if isinstance(value, str)
        and name.lower() not in OURS
        and not name.lower().startswith("x-stainless-")
    }
    if "Authorization" not in constant:
        _check_credentials(client)

    async def current() -> Mapping[str, str]:
        credentials = await _credentials(client)
        # The client lets a header of its owner win over its key, too.
        return {**credentials, **constant, **agent()}

    return current


def _check_credentials(client: Any) -> None:
    for name in ("workload_identity", "provider"):
        # What the client makes of a provider is private to it.
        if getattr(client, name, getattr(client, f"_{name}", None)) is not None:
            raise UsageError(
                f"the client's credentials come from its {name},"
                " which cannot be asked for a key",
                hint="give the client an api_key, which may be a function",
            )


async def _credentials(client: Any) -> Mapping[str, str]:
    is_azure = hasattr(client, "_get_azure_ad_token")
    if is_azure:
        token = await _call(client._get_azure_ad_token)
        if token is not None:
            return {"Authorization": f"Bearer {token}"}
    # Clients of before 2025-08 keep a key and know no function for it.
    if hasattr(client, "_refresh_api_key"):
        await _call(client._refresh_api_key)
    return {"api-key": client.api_key} if is_azure else dict(client.auth_headers)


async def _call(provider: Callable[[], Any]) -> Any:
    """Ask a provider, which may be a coroutine function, or may block."""
    if inspect.iscoroutinefunction(provider):
        return await provider()
    return await asyncio.to_thread(provider)


def _timeouts(given: Any, ours: Timeouts) -> Timeouts:
    """The client's time-outs where they mean the same as ours."""
    if isinstance(given, int | float):
        return replace(ours, answer=float(given))
    write = getattr(given, "write", None)
    chosen = {
        "connect": getattr(given, "connect", None),
        "answer": getattr(given, "read", None),
        # Ten minutes, the client's default, are too much of an upload's hour.
        "progress": None if write is None else min(write, ours.progress),
    }
    return replace(ours, **{name: value for name, value in chosen.items() if value})
