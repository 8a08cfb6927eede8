"""`uploader benchmark`: what it measures, and the advice that follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.command import KEY, files_at
from uploader.benchmark import Measures, advise, measure, report
from uploader.config import Settings
from uploader.emulator import Emulator, Fault
from uploader.model import MIB

LINK = Measures(
    rate=10e6,
    limit=8,
    most=64,
    size=256 * MIB,
    processor=0.1,
    disk=1e9,
    md5=500e6,
)


@pytest.mark.parametrize(
    ("measures", "what"),
    [
        pytest.param(LINK, "the link", id="link"),
        pytest.param(replace(LINK, throttled=3, retried=3), "3 times", id="429"),
        pytest.param(replace(LINK, retried=3), "loses connections", id="loss"),
        pytest.param(replace(LINK, md5=11e6), "the MD5", id="md5"),
        pytest.param(replace(LINK, md5=None, disk=11e6), "the disk", id="disk"),
        pytest.param(replace(LINK, processor=0.95), "the processor", id="processor"),
        pytest.param(replace(LINK, limit=64), "each connection", id="connections"),
    ],
)
def test_what_limits_is_named_with_an_advice(measures: Measures, what: str) -> None:
    limit, advice = advise(measures)

    assert what in limit
    assert advice


async def test_it_measures_a_real_upload_and_leaves_nothing_behind(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.add_fault(Fault(kind="part", do="status", status=429))
    settings = Settings(
        base_url=emulator.url, api_key=KEY, journal=tmp_path / "journal.db"
    )

    measures = await measure(settings, size=4 * MIB, directory=tmp_path)

    assert measures.size == 4 * MIB
    assert measures.throttled == 1
    assert min(measures.rate, measures.disk, measures.md5 or 0) > 0
    assert await files_at(emulator.url) == {}
    assert list(tmp_path.glob("*.bin")) == []
    assert "the service" in "\n".join(report(measures))
