"""How large an image is.  The only user of imagesize."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import imagesize

# What is looked at first: the library reads more kinds, and some of them whole.
_HEAD: Final = 12


def dimensions(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels as stored, of a png, jpeg, gif or webp.

    None for everything else, and for an image whose head is broken.
    """
    try:
        with path.open("rb") as file:
            if not _is_image(file.read(_HEAD)):
                return None
            file.seek(0)
            width, height = imagesize.get(file, exif_rotation=False)
    except OSError:
        return None
    return (width, height) if width > 0 and height > 0 else None


def _is_image(head: bytes) -> bool:
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    return head.startswith(
        (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
    )
