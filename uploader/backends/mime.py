"""MIME types by file name, the same on every machine."""

from __future__ import annotations

import mimetypes
from pathlib import PurePath
from typing import Final

OCTETS: Final = "application/octet-stream"

# What Python does not know, or calls otherwise than the services do.
TYPES: Final = {
    ".jsonl": "text/jsonl",
    ".md": "text/markdown",
    ".py": "text/x-python",
    ".ts": "application/typescript",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}

# Without arguments it knows Python's own table only, not the system's.
_python = mimetypes.MimeTypes()


def mime_type(filename: str) -> str:
    """The type that the ending of *filename* stands for."""
    suffix = PurePath(filename).suffix.lower()
    known = TYPES.get(suffix)
    return known or _python.guess_type(f"name{suffix}", strict=True)[0] or OCTETS
