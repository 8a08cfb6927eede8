import struct
from pathlib import Path

import pytest

from tests.pictures import GIF, JPEG, PNG, WEBP
from uploader.image import dimensions


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(PNG, id="png"),
        pytest.param(GIF, id="gif"),
        pytest.param(JPEG, id="jpeg"),
        pytest.param(WEBP, id="webp"),
    ],
)
def test_an_image_tells_its_dimensions(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image").write_bytes(content)

    assert dimensions(tmp_path / "image") == (3, 2)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(PNG[:20], id="cut off"),
        pytest.param(b"\xff\xd8\xff" + b"\0" * 100, id="a broken jpeg"),
        pytest.param(PNG[:16] + struct.pack(">II", 0, 0) + PNG[24:], id="no pixels"),
        pytest.param(b"<svg width='3' height='2'/>", id="svg"),
        pytest.param(b"BM" + b"\0" * 100, id="bmp"),
        pytest.param(b"RIFF\0\0\0\0WAVEfmt ", id="a sound"),
        pytest.param(b"%PDF-1.7", id="pdf"),
    ],
)
def test_everything_else_has_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)

    assert dimensions(tmp_path / "file") is None


def test_a_file_that_is_gone_has_none(tmp_path: Path) -> None:
    assert dimensions(tmp_path / "gone") is None
