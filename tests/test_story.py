"""Whole uploads, in this process, against the emulator with a fault or a switch."""

from __future__ import annotations

import asyncio
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command import KEY, files_at
from tests.fakes import Told
from uploader import Settings, Uploader
from uploader.config import RetryPolicy, Timeouts
from uploader.emulator import Emulator, Fault, Switches
from uploader.errors import (
    BackendUnavailable,
    CredentialsRefused,
    OutcomeUnknown,
    RequestRejected,
    SourceChanged,
    UploadExpired,
    UploadOwned,
    WrongFile,
)
from uploader.events import (
    DeadlineAtRisk,
    Event,
    PartSent,
    SourceReplaced,
    UploadCompleted,
    UploadFailed,
    UploadRestarted,
)
from uploader.model import UploadState
from uploader.result import UploadedFile

PART_SIZE = 4096
PARTS = 6


@pytest.fixture
def settings(emulator: Emulator, tmp_path: Path) -> Settings:
    return Settings(
        base_url=emulator.url,
        api_key=KEY,
        journal=tmp_path / "state" / "journal.db",
        part_size=PART_SIZE,
        parallel=2,
        retry=RetryPolicy(backoff_initial=0.001, backoff_max=0.001, max_attempts=4),
        timeouts=Timeouts(settle=0.0),
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(random.Random(3).randbytes(PARTS * PART_SIZE - 100))
    return path


async def upload(settings: Settings, source: Path, told: Told | None = None) -> str:
    observers = [] if told is None else [told]
    async with Uploader(settings, observers=observers) as uploader:
        return (await uploader.upload(source)).file_id


async def assert_one_good_file(emulator: Emulator, file_id: str, source: Path) -> None:
    switches, emulator.switches = emulator.switches, Switches()
    assert await files_at(emulator.url) == {file_id: source.read_bytes()}
    emulator.switches = switches


# -- what goes well -----------------------------------------------------------


async def test_the_result_has_the_digests_and_the_receipt(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    async with Uploader(settings) as uploader:
        file = await uploader.upload(source)

    assert file.bytes == source.stat().st_size
    assert file.md5 is not None
    assert len(file.receipt.parts) == PARTS
    assert file.receipt.bytes_sent == file.receipt.bytes_needed == file.bytes
    assert all(
        part.digest is not None and part.digest.startswith("blake3:")
        for part in file.receipt.parts
    )
    assert all(part.request_id for part in file.receipt.parts)
    await assert_one_good_file(emulator, file.file_id, source)


async def test_uploads_of_one_uploader_run_side_by_side(
    settings: Settings, tmp_path: Path, emulator: Emulator
) -> None:
    sources = {}
    for number in range(5):
        path = tmp_path / f"{number}.bin"
        path.write_bytes(random.Random(number).randbytes(3 * PART_SIZE))
        sources[path] = path.read_bytes()

    async with Uploader(settings) as uploader:
        files = await asyncio.gather(*(uploader.upload(path) for path in sources))

    assert await files_at(emulator.url) == {
        file.file_id: content
        for file, content in zip(files, sources.values(), strict=True)
    }


async def test_one_file_is_not_uploaded_twice_at_the_same_time(
    settings: Settings, source: Path
) -> None:
    async with Uploader(settings) as uploader:
        results = await asyncio.gather(
            uploader.upload(source), uploader.upload(source), return_exceptions=True
        )

    assert [type(result) for result in results].count(UploadOwned) == 1


async def test_an_observer_that_fails_is_dropped_and_harms_nobody(
    settings: Settings, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise ZeroDivisionError(event)

    told = Told()
    async with Uploader(settings, observers=[broken, told]) as uploader:
        await uploader.upload(source)

    assert len(told.of(PartSent)) == PARTS
    assert caplog.text.count("Traceback") == 1


# -- faults -------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("do", ["reset", "truncate", "status"])
@pytest.mark.parametrize("kind", ["create", "part", "complete"])
async def test_a_fault_at_any_request_ends_in_one_good_file(
    settings: Settings, source: Path, emulator: Emulator, kind: str, do: str, when: str
) -> None:
    emulator.add_entries([{"kind": kind, "do": do, "when": when, "status": 503}])

    file_id = await upload(settings, source)

    await assert_one_good_file(emulator, file_id, source)


async def test_a_429_is_obeyed_and_a_used_up_quota_is_not_retried(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.add_entries(
        [
            {"kind": "part", "do": "status", "status": 429},
            {
                "kind": "part",
                "nth": 4,
                "do": "status",
                "status": 429,
                "body": {"error": {"message": "no", "code": "insufficient_quota"}},
            },
        ]
    )

    with pytest.raises(CredentialsRefused, match="429"):
        await upload(settings, source)

    assert emulator.account().counts["part"] <= 6
    await assert_one_good_file(emulator, await upload(settings, source), source)


async def test_a_service_that_stays_broken_is_given_up_and_what_was_sent_is_kept(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.add_entries(
        [{"kind": "part", "nth": 4, "times": 9, "do": "status", "status": 500}]
    )
    told = Told()

    with pytest.raises(BackendUnavailable, match="500"):
        await upload(settings, source, told)

    (failed,) = told.of(UploadFailed)
    assert failed.resumable
    emulator.clear_faults()
    again = Told()
    file_id = await upload(settings, source, again)
    assert len(again.of(PartSent)) == PARTS - 3
    await assert_one_good_file(emulator, file_id, source)


async def test_parts_that_are_there_twice_cause_one_restart_said_aloud(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.switches = Switches(unlisted_parts_count=True)
    emulator.add_entries([{"kind": "part", "nth": 2, "do": "reset", "when": "after"}])
    told = Told()

    file_id = await upload(settings, source, told)

    assert len(told.of(UploadRestarted)) == 1
    await assert_one_good_file(emulator, file_id, source)


# -- complete -----------------------------------------------------------------


async def test_a_refused_complete_keeps_the_parts_and_names_the_causes(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.switches = Switches(md5="base64")

    with pytest.raises(RequestRejected, match="400") as refused:
        await upload(settings, source)

    assert "--md5 base64" in str(refused.value.hint)
    told = Told()
    file_id = await upload(replace(settings, md5="base64"), source, told)
    assert told.of(PartSent) == []
    await assert_one_good_file(emulator, file_id, source)


@pytest.mark.parametrize(
    "switches",
    [
        pytest.param({"complete_answer": "file"}, id="a File"),
        pytest.param({"complete_answer": "no file key"}, id="no file"),
        pytest.param({"invalid_answer": "complete"}, id="broken JSON"),
    ],
)
async def test_an_answer_to_complete_that_is_not_the_contract_s_is_looked_into(
    settings: Settings, source: Path, emulator: Emulator, switches: dict[str, object]
) -> None:
    emulator.switches = Switches().with_values(switches)

    file_id = await upload(settings, source)

    await assert_one_good_file(emulator, file_id, source)


@pytest.mark.parametrize("file_list", ["empty", "404", "405"])
@pytest.mark.parametrize("answer", ["file", "no file key"])
async def test_without_a_witness_the_outcome_is_unknown_and_nothing_is_repeated(
    settings: Settings, source: Path, emulator: Emulator, file_list: str, answer: str
) -> None:
    emulator.switches = Switches().with_values(
        {"complete_answer": answer, "file_list": file_list}
    )

    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            await upload(settings, source)

    assert emulator.account().counts["create"] == 1


async def test_a_short_file_is_named_and_is_not_a_success(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.switches = Switches(unknown_parts="drop", md5="ignored")
    emulator.add_entries(
        [
            {
                "kind": "part",
                "nth": 3,
                "do": "status",
                "status": 200,
                "body": {"id": "part_unknown", "object": "upload.part"},
            }
        ]
    )

    with pytest.raises(WrongFile, match="were sent"):
        await upload(settings, source)

    async with Uploader(settings) as uploader:
        (failed,) = await uploader.uploads()
    assert failed.state is UploadState.FAILED


async def test_a_size_that_the_service_does_not_know_yet_is_asked_for_again(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.switches = Switches(file_bytes="null at first")

    file_id = await upload(settings, source)

    assert emulator.account().counts["file_get"] >= 1
    await assert_one_good_file(emulator, file_id, source)


async def test_a_file_that_is_listed_late_is_waited_for(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.switches = Switches(complete_answer="file", file_list_delay=0.2)
    patient = replace(settings, timeouts=Timeouts(settle=20.0))

    file_id = await upload(patient, source)

    await assert_one_good_file(emulator, file_id, source)


# -- the hour -----------------------------------------------------------------


async def test_an_upload_that_expired_is_restarted_aloud_and_ends_in_one_file(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    await _stop_halfway(settings, source, emulator)
    emulator.advance(3601)
    told = Told()

    file_id = await upload(settings, source, told)

    assert len(told.of(UploadRestarted)) == 1
    assert len(told.of(PartSent)) == PARTS
    await assert_one_good_file(emulator, file_id, source)


async def test_an_upload_that_expires_again_and_again_is_given_up(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.add_entries([{"kind": "part", "times": 99, "do": "status", "status": 410}])

    with pytest.raises(UploadExpired, match="expired 3 times"):
        await upload(settings, source)

    assert emulator.account().counts["create"] == 3


async def test_an_upload_that_this_key_does_not_see_is_no_reason_to_restart(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.add_entries([{"kind": "part", "do": "status", "status": 404}])

    with pytest.raises(RequestRejected, match="does not see"):
        await upload(settings, source)

    assert emulator.account().counts["create"] == 1


async def test_what_cannot_finish_in_time_is_said_with_the_rate_that_it_takes(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    told = Told()
    async with Uploader(settings, observers=[told]) as uploader:
        machine = await uploader.machine()
        machine.retry.pace.remembered_rate = 1.0
        await uploader.upload(source)

    (risk,) = told.of(DeadlineAtRisk)
    assert risk.rate == 1.0
    assert risk.needed == pytest.approx(source.stat().st_size / 3600, rel=0.01)


# -- the source ---------------------------------------------------------------


async def test_a_source_that_was_only_touched_goes_on(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    await _stop_halfway(settings, source, emulator)
    os.utime(source, ns=(1, 1))
    told = Told()

    file_id = await upload(settings, source, told)

    assert len(told.of(PartSent)) == PARTS - 3
    await assert_one_good_file(emulator, file_id, source)


async def test_a_source_with_other_content_is_an_error_never_a_mixture(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    await _stop_halfway(settings, source, emulator)
    content = bytearray(source.read_bytes())
    content[10] ^= 1
    source.write_bytes(content)

    with pytest.raises(SourceChanged, match="part 1 has other content"):
        await upload(settings, source)

    assert emulator.account().counts["complete"] == 0


async def test_a_source_that_changes_on_the_way_is_an_error(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    def meddle(event: Event) -> None:
        if isinstance(event, PartSent) and event.number == 2:
            with source.open("ab") as file:
                file.write(b"!")

    with pytest.raises(SourceChanged, match="bytes became"):
        async with Uploader(settings, observers=[meddle]) as uploader:
            await uploader.upload(source)

    assert emulator.account().counts["complete"] == 0


async def test_a_name_that_is_replaced_on_the_way_is_said_and_the_open_file_sent(
    settings: Settings, source: Path, emulator: Emulator, tmp_path: Path
) -> None:
    content = source.read_bytes()
    other = tmp_path / "other"
    other.write_bytes(b"another file")
    told = Told()

    def replace_source(event: Event) -> None:
        if isinstance(event, PartSent) and event.number == 2:
            other.replace(source)

    async with Uploader(settings, observers=[told, replace_source]) as uploader:
        file = await uploader.upload(source)

    assert len(told.of(SourceReplaced)) == 1
    assert await files_at(emulator.url) == {file.file_id: content}


async def test_a_file_that_is_complete_is_not_handed_over_for_other_content(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    class Died(BaseException):
        pass

    def die(event: Event) -> None:
        if isinstance(event, UploadCompleted):
            raise Died

    before = source.read_bytes()
    with pytest.raises(Died):
        async with Uploader(settings, observers=[die]) as uploader:
            await uploader.upload(source)
    source.write_bytes(before[::-1])

    with pytest.raises(SourceChanged) as refused:
        await upload(settings, source)

    async with Uploader(settings) as uploader:
        (left,) = await uploader.resumable()
        assert f"resume {left.id}" in str(refused.value.hint)
        file = await uploader.resume(left.id)
    assert isinstance(file, UploadedFile)
    assert await files_at(emulator.url) == {file.file_id: before}
    assert await upload(settings, source) != file.file_id


async def test_complete_is_found_out_without_the_source(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.add_entries(
        [
            {
                "kind": "complete",
                "do": "status",
                "status": 503,
                "when": "after",
                "times": 9,
            }
        ]
    )
    with pytest.raises(BackendUnavailable):
        await upload(settings, source)
    emulator.clear_faults()
    content = source.read_bytes()
    source.unlink()

    async with Uploader(settings) as uploader:
        (left,) = await uploader.resumable()
        file = await uploader.resume(left.id)

    assert isinstance(file, UploadedFile)
    assert await files_at(emulator.url) == {file.file_id: content}


# -- the end ------------------------------------------------------------------


async def test_a_delivered_upload_is_a_new_one_the_next_time(
    settings: Settings, source: Path
) -> None:
    first = await upload(settings, source)
    second = await upload(settings, source)

    assert first != second


async def test_the_result_is_announced_before_it_counts_as_delivered(
    settings: Settings, source: Path
) -> None:
    class Died(BaseException):
        pass

    def die(event: Event) -> None:
        if isinstance(event, UploadCompleted):
            raise Died

    with pytest.raises(Died):
        async with Uploader(settings, observers=[die]) as uploader:
            await uploader.upload(source)

    told = Told()
    await upload(settings, source, told)
    assert told.of(PartSent) == []
    assert len(told.of(UploadCompleted)) == 1


async def _stop_halfway(settings: Settings, source: Path, emulator: Emulator) -> None:
    """Leave an upload with three of its parts at the service."""
    emulator.add_fault(Fault(kind="part", nth=4, do="status", status=401, times=9))
    with pytest.raises(CredentialsRefused):
        await upload(replace(settings, parallel=1), source)
    emulator.clear_faults()
