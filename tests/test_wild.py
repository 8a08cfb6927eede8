"""Services as they are in the wild: a finished upload, or a clear verdict.

Each difference that was seen by running or reading other servers, switched on in the
emulator.  Whatever it does, the engine never succeeds falsely, and never makes a
second copy without a word.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.command import KEY, files_at
from tests.fakes import Told
from uploader import Settings, UploadedFile, Uploader
from uploader.clock import SystemClock
from uploader.config import RetryPolicy, Timeouts
from uploader.emulator import Emulator, Fault, Switches
from uploader.errors import (
    CredentialsRefused,
    FileUnusable,
    OutcomeUnknown,
    RequestRejected,
    UnexpectedAnswer,
    UploaderError,
    WrongFile,
)
from uploader.events import UploadFailed, UploadRestarted
from uploader.model import UploadState

PART_SIZE = 4096
PARTS = 4


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
    path.write_bytes(random.Random(9).randbytes(PARTS * PART_SIZE - 50))
    return path


async def upload(
    settings: Settings, source: Path, *observers: Told, later: float = 0.0
) -> UploadedFile:
    clock = Later(later)
    async with Uploader(settings, observers=observers, clock=clock) as uploader:
        return await uploader.upload(source, purpose="assistants")


class Later(SystemClock):
    """A clock that is ahead, as it is after a suspend."""

    def __init__(self, seconds: float) -> None:
        self._ahead = seconds

    def wall(self) -> float:
        return super().wall() + self._ahead


async def files_of(emulator: Emulator) -> list[bytes]:
    """What is at the service, asked in a way that no switch bends."""
    switches, emulator.switches = emulator.switches, Switches()
    emulator.clear_faults()
    files = await files_at(emulator.url)
    emulator.switches = switches
    return list(files.values())


def wild(**switches: object) -> Switches:
    return Switches().with_values(switches)


LOST: dict[str, Any] = {"kind": "complete", "do": "reset", "when": "after"}
"""The file is made, and nobody hears of it."""
TWICE: dict[str, Any] = {"kind": "part", "nth": 2, "do": "reset", "when": "after"}
"""The part is stored, and it is sent again."""


# -- what ends in one good file -----------------------------------------------


@pytest.mark.parametrize(
    ("switches", "faults", "restarts"),
    [
        pytest.param({"complete_answer": "file"}, [], 0, id="complete answers a File"),
        pytest.param({"complete_answer": "no file key"}, [], 0, id="no file in it"),
        pytest.param({"invalid_answer": "complete"}, [], 0, id="200 that is no JSON"),
        pytest.param({"md5": "ignored"}, [], 0, id="MD5 ignored"),
        pytest.param({"md5": "either"}, [], 0, id="MD5 in any spelling"),
        pytest.param({"complete_twice": "400"}, [LOST], 0, id="twice is a 400"),
        pytest.param({"complete_twice": "404"}, [LOST], 0, id="twice is forgotten"),
        pytest.param({"complete_twice": "409"}, [LOST], 0, id="twice is a conflict"),
        pytest.param({"complete_twice": "replay"}, [LOST], 0, id="twice is the same"),
        pytest.param({"forgets": "completed"}, [LOST], 0, id="completed is forgotten"),
        pytest.param({}, [TWICE], 0, id="a part stored twice"),
        pytest.param(
            {"unlisted_parts_count": True}, [TWICE], 1, id="all parts count: start over"
        ),
        pytest.param({"file_bytes": "null"}, [], 0, id="a size that is never known"),
        pytest.param({"file_bytes": "null at first"}, [], 0, id="a size known later"),
        pytest.param({"file_status": "uploaded"}, [], 0, id="another status"),
        pytest.param({"expires_before_created": True}, [], 0, id="expired when made"),
        pytest.param({"compact_json": True}, [], 0, id="compact JSON"),
        pytest.param({"error_detail": False}, [], 0, id="errors without detail"),
        pytest.param({"file_list": "empty"}, [], 0, id="a list that is always empty"),
        pytest.param({"file_list": "404"}, [], 0, id="no list of files"),
        pytest.param(
            {},
            [{"kind": "file_get", "do": "status", "status": 404, "times": 9}],
            0,
            id="no way to look at a file",
        ),
        pytest.param(
            {},
            [{"kind": "part", "do": "status", "status": 503, "body": "<html>"}],
            0,
            id="a page for browsers once",
        ),
        pytest.param(
            {},
            [{"kind": "complete", "do": "truncate", "when": "after"}],
            0,
            id="an answer that breaks off",
        ),
    ],
)
async def test_it_ends_in_one_file_that_is_the_source(
    settings: Settings,
    source: Path,
    emulator: Emulator,
    switches: dict[str, object],
    faults: list[dict[str, Any]],
    restarts: int,
) -> None:
    emulator.switches = wild(**switches)
    emulator.add_entries(faults)
    told = Told()

    file = await upload(settings, source, told)

    assert await files_of(emulator) == [source.read_bytes()]
    assert file.bytes == source.stat().st_size
    assert len(told.of(UploadRestarted)) == restarts
    assert emulator.account().counts["create"] == 1 + restarts


@pytest.mark.parametrize("answer", ["file", "no file key"])
@pytest.mark.parametrize("twice", ["400", "404", "409"])
async def test_strange_answers_may_come_together(
    settings: Settings, source: Path, emulator: Emulator, answer: str, twice: str
) -> None:
    emulator.switches = wild(complete_answer=answer, complete_twice=twice)
    emulator.add_entries([LOST])

    await upload(settings, source)

    assert await files_of(emulator) == [source.read_bytes()]
    assert emulator.account().counts["create"] == 1


@pytest.mark.parametrize("expired", ["410", "404"])
async def test_what_expired_is_sent_anew_and_aloud_whatever_the_status(
    settings: Settings, source: Path, emulator: Emulator, expired: str
) -> None:
    emulator.switches = wild(expired=expired)
    await stopped_halfway(settings, source, emulator)
    emulator.advance(3601)
    told = Told()

    await upload(settings, source, told, later=3601)

    assert len(told.of(UploadRestarted)) == 1
    assert await files_of(emulator) == [source.read_bytes()]


async def stopped_halfway(settings: Settings, source: Path, emulator: Emulator) -> None:
    """Leave an upload with two of its parts at the service."""
    emulator.add_fault(Fault(kind="part", nth=3, do="status", status=401, times=9))
    with pytest.raises(CredentialsRefused):
        await upload(replace(settings, parallel=1), source)
    emulator.clear_faults()


# -- what ends in a verdict ---------------------------------------------------


def unknown_part(nth: int) -> dict[str, Any]:
    """An answer to a part with an id that the service will not know."""
    body = {"id": "part_unknown", "object": "upload.part"}
    return {"kind": "part", "nth": nth, "do": "status", "status": 200, "body": body}


@pytest.mark.parametrize(
    ("switches", "faults", "error", "exit_code", "words", "resumable", "files"),
    [
        pytest.param(
            {"unknown_parts": "drop", "md5": "ignored"},
            [unknown_part(2)],
            WrongFile,
            4,
            "bytes were sent",
            False,
            1,
            id="unknown parts are dropped: a short file",
        ),
        pytest.param(
            {"unknown_parts": "drop"},
            [unknown_part(2)],
            RequestRejected,
            4,
            "HTTP 400",
            True,
            0,
            id="unknown parts are dropped, and the MD5 is looked at",
        ),
        pytest.param(
            {}, [unknown_part(2)], RequestRejected, 4, "400", True, 0, id="refused"
        ),
        pytest.param(
            {"md5": "base64"},
            [],
            RequestRejected,
            4,
            "400",
            True,
            0,
            id="MD5 in base64",
        ),
        pytest.param(
            {"max_part": 1000, "part_too_large": "413"},
            [],
            RequestRejected,
            4,
            "HTTP 413",
            True,
            0,
            id="a part too large is 413",
        ),
        pytest.param(
            {"max_part": 1000}, [], RequestRejected, 4, "400", True, 0, id="or 400"
        ),
        pytest.param(
            {"forgets": "open"},
            [],
            RequestRejected,
            4,
            "does not see",
            True,
            0,
            id="open uploads are forgotten",
        ),
        pytest.param(
            {"invalid_answer": "create"},
            [],
            UnexpectedAnswer,
            4,
            "not the contract's",
            True,
            0,
            id="create: 200 that is no JSON",
        ),
        pytest.param(
            {"invalid_answer": "part"},
            [],
            UnexpectedAnswer,
            4,
            "not the contract's",
            True,
            0,
            id="part: 200 that is no JSON",
        ),
        pytest.param(
            {"complete_answer": "file", "file_list": "empty"},
            [],
            OutcomeUnknown,
            6,
            "lists no such file",
            True,
            1,
            id="a File, and an empty list",
        ),
        pytest.param(
            {"complete_answer": "no file key", "file_list": "404"},
            [],
            OutcomeUnknown,
            6,
            "does not list",
            True,
            1,
            id="no file, and no list",
        ),
        pytest.param(
            {"complete_answer": "file", "file_list": "405"},
            [],
            OutcomeUnknown,
            6,
            "does not list",
            True,
            1,
            id="a File, and the list is 405",
        ),
        pytest.param(
            {"complete_answer": "file", "file_bytes": "null"},
            [],
            OutcomeUnknown,
            6,
            "may be complete",
            True,
            1,
            id="a File, and a list without sizes",
        ),
        pytest.param(
            {"invalid_answer": "complete", "file_list": "404"},
            [],
            OutcomeUnknown,
            6,
            "does not list",
            True,
            1,
            id="complete: no JSON, and no list",
        ),
        pytest.param(
            {"complete_twice": "404", "file_list": "404"},
            [LOST],
            OutcomeUnknown,
            6,
            "does not list",
            True,
            1,
            id="a lost answer, forgotten, and no list",
        ),
        pytest.param(
            {"unlisted_parts_count": True},
            [TWICE, {**TWICE, "nth": 7}],
            RequestRejected,
            4,
            "400",
            True,
            0,
            id="all parts count, and twice there is one too many",
        ),
        pytest.param(
            {"file_status": "error"},
            [],
            FileUnusable,
            4,
            "'error'",
            False,
            1,
            id="a file that the service calls broken",
        ),
    ],
)
async def test_it_ends_in_a_verdict_and_in_no_second_copy(
    settings: Settings,
    source: Path,
    emulator: Emulator,
    switches: dict[str, object],
    faults: list[dict[str, Any]],
    error: type[UploaderError],
    exit_code: int,
    words: str,
    resumable: bool,
    files: int,
) -> None:
    emulator.switches = wild(**switches)
    emulator.add_entries(faults)
    told = Told()

    with pytest.raises(error, match=words) as raised:
        await upload(settings, source, told)

    assert type(raised.value) is error
    assert raised.value.exit_code == exit_code
    assert raised.value.hint
    (failed,) = told.of(UploadFailed)
    assert failed.resumable == resumable
    assert len(await files_of(emulator)) == files
    if exit_code == 6:
        # Whoever asks again hears the same, and nothing is sent twice.
        with pytest.raises(OutcomeUnknown):
            await upload(settings, source)
        assert emulator.account().counts["create"] == 1
        assert len(await files_of(emulator)) == files


def late(nth: int) -> Fault:
    """A part that is refused once, and comes when the others are there already."""
    headers = {"retry-after-ms": "100"}
    # A 503 would slow the others down, too.
    return Fault(kind="part", nth=nth, do="status", status=500, headers=headers)


async def test_an_order_that_is_ignored_is_caught_by_the_md5(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.switches = wild(part_order="received")
    emulator.add_fault(late(1))
    emulator.add_fault(late(1 + PARTS + 1))
    told = Told()

    with pytest.raises(RequestRejected, match="md5 does not match") as refused:
        await upload(settings, source, told)

    # A part was sent twice, so it was worth another try; after that it is said.
    assert len(told.of(UploadRestarted)) == 1
    assert refused.value.exit_code == 4
    assert await files_of(emulator) == []


async def test_one_part_at_a_time_suits_a_service_that_ignores_order_and_md5(
    settings: Settings, source: Path, emulator: Emulator
) -> None:
    emulator.switches = wild(part_order="received", md5="ignored")
    emulator.add_fault(late(1))

    await upload(replace(settings, parallel=1), source)

    assert await files_of(emulator) == [source.read_bytes()]


# -- bodies of errors ---------------------------------------------------------


BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "html": ("a page for browsers", {"body": "<html><h1>no</h1></html>"}),
    "text": ("no such luck", {"body": "no such luck"}),
    "detail": ("no such luck", {"body": {"detail": "no such luck"}}),
    "empty": ("HTTP", {"body": ""}),
    "list": ("no such luck", {"body": '["no such luck"]'}),
    "openai": ("no such luck", {"body": {"error": {"message": "no such luck"}}}),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", ["create", "part", "complete"])
async def test_a_refusal_is_understood_whatever_its_body(
    settings: Settings, source: Path, emulator: Emulator, kind: str, body: str
) -> None:
    words, fault = BODIES[body]
    emulator.add_entries(
        [{"kind": kind, "do": "status", "status": 400, "times": 9, **fault}]
    )

    with pytest.raises(RequestRejected, match="HTTP 400") as refused:
        await upload(settings, source)

    assert words in str(refused.value)
    assert refused.value.exit_code == 4
    assert await files_of(emulator) == []
    # Nothing is lost by it.
    await upload(settings, source, later=2)
    assert await files_of(emulator) == [source.read_bytes()]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("kind", ["create", "part", "complete", "file_get"])
async def test_a_moment_s_failure_is_gone_through_whatever_its_body(
    settings: Settings, source: Path, emulator: Emulator, kind: str, body: str
) -> None:
    _, fault = BODIES[body]
    emulator.add_entries([{"kind": kind, "do": "status", "status": 502, **fault}])

    await upload(settings, source)

    assert await files_of(emulator) == [source.read_bytes()]


@pytest.mark.parametrize("body", ["html", "text", "detail"])
async def test_a_service_that_never_speaks_openai_s_words_is_understood(
    settings: Settings, source: Path, emulator: Emulator, body: str
) -> None:
    emulator.switches = wild(error_body=body, complete_twice="409")
    emulator.add_entries([LOST])

    await upload(settings, source)

    assert await files_of(emulator) == [source.read_bytes()]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="nothing"),
        pytest.param("null", id="null"),
        pytest.param("[]", id="a list"),
        pytest.param("<html>", id="a page"),
        pytest.param('{"id": 7}', id="half of it"),
        pytest.param('{"error": {"message": "no"}}', id="an error"),
    ],
)
@pytest.mark.parametrize("kind", ["create", "part", "complete"])
async def test_a_yes_in_other_words_is_no_success(
    settings: Settings, source: Path, emulator: Emulator, kind: str, body: str
) -> None:
    emulator.add_entries(
        [{"kind": kind, "do": "status", "status": 200, "body": body, "times": 9}]
    )

    with pytest.raises((UnexpectedAnswer, OutcomeUnknown)) as raised:
        await upload(settings, source)

    assert raised.value.exit_code == (6 if kind == "complete" else 4)
    assert await files_of(emulator) == []


# -- cancel -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switches", "faults"),
    [
        pytest.param({"cancel_empty_json": "400"}, [], id="strict about its body"),
        pytest.param({"forgets": "open"}, [], id="forgotten"),
        pytest.param(
            {}, [{"kind": "cancel", "do": "status", "status": 410}], id="expired"
        ),
        pytest.param(
            {}, [{"kind": "cancel", "do": "reset", "when": "after"}], id="answer lost"
        ),
        pytest.param({"invalid_answer": "cancel"}, [], id="no JSON"),
    ],
)
async def test_a_cancel_succeeds_wherever_the_upload_is_gone(
    settings: Settings,
    source: Path,
    emulator: Emulator,
    switches: dict[str, object],
    faults: list[dict[str, Any]],
) -> None:
    await stopped_halfway(settings, source, emulator)
    emulator.switches = wild(**switches)
    emulator.add_entries(faults)

    async with Uploader(settings) as uploader:
        (left,) = await uploader.resumable()
        await uploader.cancel(left.id)
        (cancelled,) = await uploader.uploads()

    assert cancelled.state is UploadState.CANCELLED
    for request in emulator.account().requests:
        if request.kind == "cancel":
            assert "content-type" not in request.headers
            assert request.headers["content-length"] == "0"
