"""What an image says of itself: its kind, its width and its height."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

HEAD: Final = 64 * 1024
"""Bytes within which the dimensions stand, also behind the tags of a camera."""

START_OF_FRAME: Final = frozenset(
    {*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
)


@dataclass(frozen=True, slots=True)
class Image:
    """An image; the dimensions are None where its head does not hold them."""

    mime_type: str
    width: int | None
    height: int | None


def read_image(head: bytes) -> Image | None:
    """Return what the first bytes of a file tell, or None if it is no image."""
    for mime_type, is_one, dimensions in KINDS:
        if is_one(head):
            width, height = dimensions(head) or (None, None)
            return Image(mime_type, width, height)
    return None


Dimensions = tuple[int, int] | None


def _png(head: bytes) -> Dimensions:
    return (_big(head[16:20]), _big(head[20:24])) if len(head) >= 24 else None


def _gif(head: bytes) -> Dimensions:
    return (_little(head[6:8]), _little(head[8:10])) if len(head) >= 10 else None


def _jpeg(head: bytes) -> Dimensions:
    position = 2
    while position + 9 <= len(head):
        if head[position + 1] in START_OF_FRAME:
            height, width = head[position + 5 : position + 7], head[position + 7 :][:2]
            return _big(width), _big(height)
        position += 2 + _big(head[position + 2 : position + 4])
    return None


def _webp(head: bytes) -> Dimensions:
    if len(head) < 30:
        return None
    match head[12:16]:
        case b"VP8 ":
            return _little(head[26:28]) & 0x3FFF, _little(head[28:30]) & 0x3FFF
        case b"VP8L":
            bits = _little(head[21:25])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return _little(head[24:27]) + 1, _little(head[27:30]) + 1
    return None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


KINDS: Final[
    tuple[tuple[str, Callable[[bytes], bool], Callable[[bytes], Dimensions]], ...]
] = (
    ("image/png", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), _png),
    ("image/gif", lambda head: head[:6] in (b"GIF87a", b"GIF89a"), _gif),
    ("image/jpeg", lambda head: head.startswith(b"\xff\xd8\xff"), _jpeg),
    (
        "image/webp",
        lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
        _webp,
    ),
)
