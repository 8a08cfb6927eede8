"""An account at a service; `from_settings` opens the one at OpenAI, or its like.

Backend and targets share it: a file id means something to one account only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from uploader.answer import quotable
from uploader.config import Settings
from uploader.errors import RequestRejected
from uploader.headers import Headers, agent, checked_key, constant
from uploader.http import Http


@dataclass(frozen=True, slots=True)
class Account:
    """*service* is its URL and name without credentials, as the journal keeps them."""

    http: Http
    service: str
    secret: str = field(repr=False)

    @classmethod
    def from_settings(cls, settings: Settings) -> Account:
        """Raises `UsageError` for settings that no request could be made with."""
        key = checked_key(settings.api_key, "OPENAI_API_KEY")
        http = Http(
            settings.base_url,
            _headers(settings, key),
            timeouts=settings.timeouts,
            ca_bundle=settings.ca_bundle,
        )
        service = service_name(
            settings.service or http.base_url, settings.organization, settings.project
        )
        return cls(http, service, key)

    def quotable(self, text: str) -> str:
        """What the service says, fit for an error: without the key."""
        return quotable(text, secret=self.secret)


def service_name(url: object, organization: str | None, project: str | None) -> str:
    account = "/".join(filter(None, (organization, project)))
    return f"openai {url}" + (f" {account}" if account else "")


def unseen(subject: str, error: RequestRejected, *, hint: str) -> RequestRejected:
    """A 404 in words that say whose view it is."""
    refused = RequestRejected(
        f"this key does not see {subject}: {error}", hint=hint, status=error.status
    )
    # Not as an argument: *error* names the request already.
    refused.request_id, refused.code = error.request_id, error.code
    return refused


def _headers(settings: Settings, key: str) -> Headers:
    account = {
        "OpenAI-Organization": settings.organization,
        "OpenAI-Project": settings.project,
    }
    chosen = {name: value for name, value in account.items() if value}
    return constant({"Authorization": f"Bearer {key}", **agent(), **chosen})
