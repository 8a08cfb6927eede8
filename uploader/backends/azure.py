"""Azure OpenAI: the Uploads API under other paths, with other limits.

From the service's REST specification 2024-10-21 (classic paths) and the Foundry
reference (v1 paths).  Practice and reference contradict each other about which of
the two a resource answers, so both are there to choose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from uploader.backends.openai import OpenAI
from uploader.config import Azure as AzureSettings
from uploader.config import Limits, Settings
from uploader.errors import RequestRejected, UsageError
from uploader.headers import Headers, agent, checked_key, constant
from uploader.http import Http
from uploader.model import GIB, Opened, Scope, UploadSpec

LIMITS: Final = Limits(upload_size=9 * GIB, lifetime=7200.0)
PURPOSES: Final = ("assistants", "batch", "fine-tune", "user_data", "vision")


class Azure(OpenAI):
    """`uploader.backend.Backend` for Azure OpenAI."""

    purposes = PURPOSES

    @classmethod
    def from_settings(cls, settings: Settings) -> Azure:
        """Raises `UsageError` for settings that no request could be made with."""
        azure = settings.azure
        if azure.endpoint is None:
            raise UsageError(
                "there is no Azure endpoint",
                hint="set AZURE_OPENAI_ENDPOINT to https://NAME.openai.azure.com",
            )
        root = resource(azure.endpoint)
        classic = azure.paths == "classic"
        http = Http(
            f"{root}/openai" if classic else f"{root}/openai/v1",
            _headers(azure),
            timeouts=settings.timeouts,
            ca_bundle=settings.ca_bundle,
            query={"api-version": azure.api_version} if classic else None,
        )
        return cls.at(http)

    @classmethod
    def at(cls, http: Http) -> Azure:
        """The resource that *http* leads to, by whichever of its paths."""
        return cls(http, service=f"azure {resource(http.base_url)}", limits=LIMITS)

    def check(self, spec: UploadSpec) -> None:
        super().check(spec)
        if spec.expires_after is not None and "api-version" in self._http.query:
            raise UsageError(
                "the classic paths of Azure know no expires_after",
                hint='leave --expires-after out, or set azure.paths = "v1"',
            )

    async def create(self, spec: UploadSpec, scope: Scope | None = None) -> Opened:
        try:
            return await super().create(spec, scope)
        except RequestRejected as error:
            if error.status != 404:
                raise
            raise RequestRejected(
                f"{error}; tried {self._http.base_url}/uploads",
                hint=_other_paths(classic="api-version" in self._http.query),
                status=404,
            ) from error


def resource(url: object) -> str:
    """What Azure calls the endpoint: a URL without the paths of its services."""
    return re.sub(r"/openai(/v1)?(/deployments/[^/]+)?$", "", str(url).rstrip("/"))


def _other_paths(*, classic: bool) -> str:
    other = "v1" if classic else "classic"
    return (
        f'this resource may use the {other} paths: set azure.paths = "{other}",'
        f" or UPLOADER_AZURE_PATHS={other}"
    )


def _headers(azure: AzureSettings) -> Headers:
    if azure.ad_token:
        key = checked_key(azure.ad_token, "AZURE_OPENAI_AD_TOKEN")
        credentials: Mapping[str, str] = {"Authorization": f"Bearer {key}"}
    else:
        key = checked_key(azure.api_key, "AZURE_OPENAI_API_KEY")
        credentials = {"api-key": key}
    return constant({**credentials, **agent()})
