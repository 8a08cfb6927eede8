import struct

import pytest

from tests.emulator.client import png
from uploader.emulator.images import Image, read_image

JPEG = b"\xff\xd8\xff\xe0\x00\x04\x00\x00\xff\xc0\x00\x11\x08\x00\x02\x00\x03\x03"


def webp(kind: bytes, head: bytes) -> bytes:
    return (b"RIFF\0\0\0\0WEBP" + kind + bytes(4) + head).ljust(30, b"\0")


@pytest.mark.parametrize(
    ("head", "mime_type"),
    [
        (png(3, 2), "image/png"),
        (b"GIF89a" + struct.pack("<HH", 3, 2), "image/gif"),
        (JPEG, "image/jpeg"),
        (
            webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", 3, 2)),
            "image/webp",
        ),
        (webp(b"VP8L", b"\x2f" + struct.pack("<I", 2 | 1 << 14)), "image/webp"),
        (webp(b"VP8X", bytes(4) + b"\x02\0\0\x01\0\0"), "image/webp"),
    ],
)
def test_an_image_says_its_kind_and_size(head: bytes, mime_type: str) -> None:
    assert read_image(head) == Image(mime_type, 3, 2)


def test_the_size_of_an_image_may_stand_too_far_behind() -> None:
    assert read_image(JPEG[:9]) == Image("image/jpeg", None, None)
    assert read_image(png()[:12]) == Image("image/png", None, None)


def test_other_files_are_no_images() -> None:
    assert read_image(b"%PDF-1.7") is None
    assert read_image(b"") is None
