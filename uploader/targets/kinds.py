"""What a file is, as far as a target minds."""

from __future__ import annotations

from pathlib import PurePath
from typing import Final

from uploader.message import FileRef
from uploader.model import MIB

VECTOR_STORE_FILE: Final = 512 * MIB
"""What the guides call 512 MB; elsewhere this service's MB are shown to be MiB."""

OCTETS: Final = "application/octet-stream"
IMAGE_ENDINGS: Final = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".ico": "image/vnd.microsoft.icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}


def image_type(file: FileRef) -> str | None:
    """The MIME type of an image made of pixels; None for everything else.

    A drawing in SVG is a text.
    """
    given = (file.mime_type or OCTETS).partition(";")[0].strip().lower()
    if given == OCTETS:
        return IMAGE_ENDINGS.get(PurePath(file.name).suffix.lower())
    is_image = given.startswith("image/") and given != "image/svg+xml"
    return given if is_image else None
