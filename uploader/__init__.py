"""Resumable large-file uploads into AI platforms.

    async with uploader.Uploader() as u:
        file = await u.upload("big.jsonl", purpose="batch")

Everything public is named here; the modules below are the house's own business.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from uploader import errors, events
    from uploader.batch import Item, Outcome, upload_many
    from uploader.config import Limits, RetryPolicy, Settings, Timeouts
    from uploader.engine import Uploader, upload
    from uploader.errors import UploaderError
    from uploader.events import Event
    from uploader.model import Upload, UploadState
    from uploader.result import Receipt, UploadedFile

__all__ = [
    "Event",
    "Item",
    "Limits",
    "Outcome",
    "Receipt",
    "RetryPolicy",
    "Settings",
    "Timeouts",
    "Upload",
    "UploadState",
    "UploadedFile",
    "Uploader",
    "UploaderError",
    "errors",
    "events",
    "upload",
    "upload_many",
]

_HOMES = {
    "Event": "events",
    "Item": "batch",
    "Limits": "config",
    "Outcome": "batch",
    "Receipt": "result",
    "RetryPolicy": "config",
    "Settings": "config",
    "Timeouts": "config",
    "Upload": "model",
    "UploadState": "model",
    "UploadedFile": "result",
    "Uploader": "engine",
    "UploaderError": "errors",
    "upload": "engine",
    "upload_many": "batch",
}


def __getattr__(name: str) -> Any:
    # The engine brings aiohttp, and `uploader --version` shall not wait for it.
    if name in _HOMES:
        return getattr(import_module(f"uploader.{_HOMES[name]}"), name)
    if name in ("errors", "events"):
        return import_module(f"uploader.{name}")
    raise AttributeError(f"module 'uploader' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
