"""The command, as a real process against the emulator."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.command import KEY, Command, Done, files_at
from uploader.emulator import Emulator, Fault, Switches

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and modes")


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(tmp_path / "service") as emulator:
        yield emulator


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.jsonl"
    path.write_bytes(b'{"messages": []}\n' * 1000)
    return path


def assert_refused(done: Done, exit_code: int, *words: str) -> None:
    """An error with a hint, in words and without a traceback."""
    assert done.returncode == exit_code, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert "\nhint: " in done.stderr
    for word in words:
        assert word in done.stderr


async def test_the_last_line_of_stdout_is_the_file_id(
    command: Command, source: Path
) -> None:
    done = await command("upload", "-q", str(source), "--purpose", "evals")

    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.startswith("file-")
    assert len(done.stdout.splitlines()) == 1


async def test_json_is_one_object_a_line_and_tells_the_story(
    command: Command, source: Path
) -> None:
    done = await command("upload", "--json", str(source), "--part-size", "8KiB")

    events = [json.loads(line) for line in done.stdout.splitlines()]
    names = [event["event"] for event in events]
    assert done.stderr == ""
    assert names[:2] == ["upload_started", "upload_opened"]
    assert names[-2:] == ["complete_asked", "upload_completed"]
    assert names.count("part_sent") == 3
    assert {event["v"] for event in events} == {1}


async def test_several_files_are_uploaded_and_one_bad_one_stops_no_other(
    command: Command, source: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("other")

    done = await command("upload", str(source), str(tmp_path / "none"), str(other))

    assert done.returncode == 11
    assert len(done.stdout.splitlines()) == 2
    assert "no such file" in done.stderr
    assert "1 of 3 failed" in done.stderr


async def test_the_options_reach_the_service(
    command: Command, emulator: Emulator, source: Path
) -> None:
    await command(
        *("upload", str(source), "--purpose", "user_data", "--filename", "a b.txt"),
        *("--mime-type", "text/plain", "--expires-after", "7d", "--md5", "off"),
    )

    create, _, complete, _ = emulator.account().requests
    assert create.body == {
        "filename": "a b.txt",
        "purpose": "user_data",
        "bytes": 17_000,
        "mime_type": "text/plain",
        "expires_after": {"anchor": "created_at", "seconds": 604_800},
    }
    assert isinstance(complete.body, dict)
    assert set(complete.body) == {"part_ids"}


async def test_the_bundled_emulator_needs_neither_account_nor_address(
    source: Path, tmp_path: Path
) -> None:
    command = Command("http://127.0.0.1:9/v1", tmp_path / "state" / "journal.db")

    done = await command(
        "upload", "--emulator", str(source), OPENAI_API_KEY="", OPENAI_BASE_URL=""
    )
    resumed = await command("resume", "--emulator")

    assert done.returncode == 0, done
    assert done.last_line.startswith("file-")
    assert resumed.returncode == 0, resumed


async def test_a_cancelled_upload_is_gone_here_and_at_the_service(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="part", do="status", status=400))
    assert (await command("upload", str(source))).returncode == 4
    listed = await command("list")
    local_id = listed.last_line.split()[0]

    done = await command("cancel", local_id)

    assert done.returncode == 0, done
    assert emulator.account().counts["cancel"] == 1
    assert (await command("list")).stdout == ""
    assert "cancelled" in (await command("list", "--all")).stdout


# -- bad input: a clear error, nothing sent, nothing lost ---------------------


async def test_sources_that_cannot_be_uploaded_are_refused(
    command: Command, emulator: Emulator, tmp_path: Path
) -> None:
    fifo, empty = tmp_path / "fifo", tmp_path / "empty"
    os.mkfifo(fifo)
    empty.touch()

    assert_refused(await command("upload", str(tmp_path / "none")), 3, "no such file")
    assert_refused(await command("upload", str(tmp_path)), 3, "a directory")
    assert_refused(await command("upload", str(fifo)), 3, "a FIFO")
    assert_refused(await command("upload", str(empty)), 3, "empty")
    assert emulator.account().requests == ()


async def test_a_file_over_the_service_s_limit_is_refused(
    command: Command, emulator: Emulator, tmp_path: Path
) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(8 * 1024**3 + 1)

    done = await command("upload", str(huge))

    assert_refused(done, 3, "8589934593 bytes", "at most 8589934592")
    assert emulator.account().requests == ()


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        pytest.param(("--purpose", "fun"), 2, "'fun' is no purpose", id="purpose"),
        pytest.param(
            ("--purpose", "batch", "--filename", "a.csv"), 3, ".jsonl", id="ending"
        ),
        pytest.param(("--part-size", "0"), 2, "part_size", id="no part size"),
        pytest.param(("--part-size", "65MiB"), 2, "68157440", id="part too large"),
        pytest.param(("--base-url", "ftp://x"), 2, "ftp://x", id="URL"),
        pytest.param(
            ("--base-url", "http://a:b@x/"), 2, "credentials", id="key in URL"
        ),
        pytest.param(("--expires-after", "60s"), 2, "3600", id="too short a life"),
        pytest.param(("--digest", "rot13"), 2, "rot13", id="digest"),
        pytest.param(("--parallel", "0"), 2, "parallel", id="no slots"),
    ],
)
async def test_arguments_that_cannot_be_meant_are_refused(
    command: Command,
    emulator: Emulator,
    source: Path,
    arguments: tuple[str, ...],
    exit_code: int,
    words: str,
) -> None:
    done = await command("upload", str(source), *arguments)

    assert_refused(done, exit_code, words)
    assert emulator.account().requests == ()


async def test_without_a_key_nothing_is_sent(
    command: Command, emulator: Emulator, source: Path
) -> None:
    done = await command("upload", str(source), OPENAI_API_KEY="")

    assert_refused(done, 2, "no API key", "OPENAI_API_KEY", "--emulator")
    assert emulator.account().requests == ()


async def test_a_wrong_key_says_so_and_loses_nothing(
    tmp_path: Path, source: Path
) -> None:
    async with Emulator(tmp_path / "service", keys=["sk-right"]) as emulator:
        command = Command(emulator.url, tmp_path / "journal.db")

        refused = await command("upload", str(source))
        done = await command("resume", OPENAI_API_KEY="sk-right")

    assert_refused(refused, 10, "HTTP 401", "check the key")
    assert KEY not in refused.stderr
    assert done.returncode == 0, done


async def test_an_address_where_nobody_listens_is_given_up_soon(
    tmp_path: Path, source: Path
) -> None:
    command = Command("http://127.0.0.1:1/v1", tmp_path / "journal.db")

    done = await command("upload", "-q", str(source))

    assert_refused(done, 5, "127.0.0.1:1", os.strerror(errno.ECONNREFUSED))


async def test_a_journal_that_is_none_is_refused_and_left_alone(
    command: Command, emulator: Emulator, source: Path, tmp_path: Path
) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear friend, this is no journal. " * 50)

    done = await command("upload", str(source), "--journal", str(letter))

    assert_refused(done, 8, str(letter))
    assert letter.read_text().startswith("Dear friend")
    assert emulator.account().requests == ()


async def test_a_journal_of_a_newer_program_is_refused(
    command: Command, emulator: Emulator, source: Path
) -> None:
    assert (await command("upload", str(source))).returncode == 0
    requests = len(emulator.account().requests)
    with sqlite3.connect(command.journal) as db:
        db.execute("PRAGMA user_version = 99")  # of a program to come
    db.close()

    done = await command("upload", str(source))

    assert_refused(done, 8, "99", "upgrade")
    assert len(emulator.account().requests) == requests


async def test_a_journal_in_a_place_that_cannot_be_is_refused(
    command: Command, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    done = await command(
        "upload", str(source), "--journal", str(tmp_path / "file" / "journal.db")
    )

    assert_refused(done, 8, str(tmp_path / "file"))


async def test_an_unknown_id_is_refused(command: Command) -> None:
    assert_refused(await command("resume", "nosuchid"), 2, "nosuchid")
    assert_refused(await command("cancel", "nosuchid"), 2, "nosuchid")


async def test_a_source_that_grew_is_an_error_and_cancel_is_the_way_out(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="part", nth=2, do="status", status=400))
    await command("upload", str(source), "--part-size", "8KiB", "--parallel", "1")
    with source.open("ab") as file:
        file.write(b"more")

    refused = await command("resume")
    local_id = (await command("list")).last_line.split()[0]
    cancelled = await command("cancel", local_id)
    done = await command("upload", str(source))

    assert_refused(refused, 3, "17000 bytes became 17004", "uploader cancel")
    assert cancelled.returncode == 0, cancelled
    assert done.returncode == 0, done


async def test_an_unknown_outcome_says_how_to_go_on(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="complete", do="reset", when="after"))
    emulator.switches = emulator.switches.with_values(
        {"complete_twice": "404", "file_list": "404"}
    )

    unknown = await command("upload", str(source))
    local_id = (await command("list")).last_line.split()[0]
    still = await command("resume", local_id)
    again = await command("resume", local_id, "--again")

    for done in (unknown, still):
        assert done.returncode == 6, done
        assert f"uploader resume {local_id} --accept FILE_ID" in done.stderr
    assert again.returncode == 0, again


async def test_a_person_may_name_the_file_that_came_of_it(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="complete", do="reset", when="after"))
    emulator.switches = emulator.switches.with_values(
        {"complete_twice": "404", "file_list": "404"}
    )
    assert (await command("upload", str(source))).returncode == 6
    local_id = (await command("list")).last_line.split()[0]
    emulator.switches = Switches()
    (file_id,) = await files_at(emulator.url)
    emulator.switches = Switches(complete_twice="404", file_list="404")

    wrong = await command("resume", local_id, "--accept", "file-nosuch")
    done = await command("resume", local_id, "--accept", file_id)

    assert wrong.returncode == 4, wrong
    assert done.last_line == file_id
