import pytest

from uploader.model import GIB, MIB
from uploader.spelling import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1000", 1000),
        ("512k", 512_000),
        ("64MB", 64_000_000),
        ("8MiB", 8 * MIB),
        (" 1.5 gib ", GIB + GIB // 2),
        ("0.1KB", 100),
        ("1TiB", 1024 * GIB),
        ("8b", 8),
    ],
)
def test_sizes_are_decimal_or_binary(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "8 i", "8iB", "1e3", "8 MiBs"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90.0), ("0.5", 0.5), ("45m", 2700.0), ("12H", 43_200.0), ("7d", 604_800.0)],
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "-1", "1w", "1h30m", "nan", "inf"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)
