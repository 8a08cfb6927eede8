"""`uploader verify`: receipt, source and file, compared."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from tests.command import Command, Done
from uploader.emulator import Emulator, Fault, Switches

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and modes")

PART_SIZE = 8192
# Text, as a fault can answer with nothing else.
CONTENT = (
    random.Random(11).randbytes(5 * PART_SIZE).hex().encode()[: 5 * PART_SIZE - 100]
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(CONTENT)
    return path


async def uploaded(command: Command, source: Path, *options: str) -> str:
    """Upload, and return our id of it."""
    done = await command.tell(
        "upload", str(source), "--part-size", str(PART_SIZE), *options
    )
    assert done.returncode == 0, done
    return (await command.tell("list", "--all")).last_line.split()[0]


def findings(done: Done) -> dict[str, str]:
    """What was found, by what it was found of: `source md5` → `equal`."""
    return {
        f"{line[:8].strip()} {line[8:22].strip()}": line[22:36].strip()
        for line in done.stdout.splitlines()[1:]
    }


async def test_a_whole_upload_is_equal_in_everything(
    command: Command, source: Path
) -> None:
    name = await uploaded(command, source)

    done = await command.tell("verify", name)
    found = json.loads((await command.tell("verify", "--json", name)).stdout)

    assert done.returncode == 0, done
    assert set(findings(done).values()) == {"equal"}
    assert [*findings(done)] == [
        *("source size", "source fingerprint", "source part digests", "source md5"),
        *("file size", "file filename", "file purpose", "file part digests"),
        "file md5",
    ]
    assert "5 of 5 parts" in done.stdout
    assert found["equal"] is True
    assert {one["outcome"] for one in found["source"] + found["file"]} == {"equal"}


async def test_a_source_that_was_only_touched_is_equal_by_its_content(
    command: Command, source: Path
) -> None:
    name = await uploaded(command, source)
    os.utime(source, (1, 1))

    done = await command.tell("verify", name)

    assert done.returncode == 0
    assert findings(done)["source fingerprint"] == "not compared"
    assert findings(done)["source md5"] == "equal"


async def test_a_touched_source_without_any_digest_is_not_called_equal(
    command: Command, source: Path
) -> None:
    name = await uploaded(command, source, "--md5", "off", "--digest", "off")
    untouched = await command.tell("verify", name)
    os.utime(source, (1, 1))

    touched = await command.tell("verify", name)

    assert untouched.returncode == 0
    assert findings(untouched)["file md5"] == "not compared"
    assert touched.returncode == 3
    assert findings(touched)["source fingerprint"] == "differs"


@pytest.mark.parametrize(
    ("changed", "aspects"),
    [
        pytest.param(
            CONTENT[:9000] + b"?" + CONTENT[9001:],
            {"source part digests", "source md5"},
            id="one byte",
        ),
        pytest.param(CONTENT + b"?", {"source size"}, id="appended"),
        pytest.param(CONTENT[:-1], {"source size"}, id="truncated"),
        pytest.param(None, {"source content"}, id="gone"),
    ],
)
async def test_a_changed_source_is_named_and_ends_with_3(
    command: Command, source: Path, changed: bytes | None, aspects: set[str]
) -> None:
    name = await uploaded(command, source)
    if changed is None:
        source.unlink()
    else:
        source.write_bytes(changed)

    done = await command.tell("verify", name)

    different = {key for key, outcome in findings(done).items() if outcome == "differs"}
    assert done.returncode == 3, done
    assert different - {"source fingerprint"} == aspects
    assert findings(done)["file md5"] == "equal"
    assert "hint: the file at the service is the version that was sent" in done.stderr


async def test_a_file_that_may_not_be_read_is_said_and_no_error(
    command: Command, emulator: Emulator, source: Path
) -> None:
    name = await uploaded(command, source)
    emulator.switches = Switches(file_content="refused")

    done = await command.tell("verify", name)

    assert done.returncode == 0
    assert findings(done)["file content"] == "not compared"
    assert "Not allowed to download files of purpose: user_data" in done.stdout


async def test_a_file_that_is_gone_ends_with_4(command: Command, source: Path) -> None:
    name = await uploaded(command, source)
    found = json.loads((await command.tell("show", name, "--json")).stdout)
    await command.tell("files", "rm", found["file"]["id"])

    done = await command.tell("verify", name)

    assert done.returncode == 4
    assert findings(done)["file file"] == "differs"


@pytest.mark.parametrize(
    ("content", "aspects"),
    [
        pytest.param(
            CONTENT[:9000] + b"?" + CONTENT[9001:],
            {"file part digests", "file md5"},
            id="one byte",
        ),
        pytest.param(CONTENT[:-1], {"file content"}, id="short"),
        pytest.param(CONTENT + b"?", {"file content"}, id="long"),
        pytest.param(b"", {"file content"}, id="empty"),
    ],
)
async def test_a_file_with_other_content_ends_with_4(
    command: Command,
    emulator: Emulator,
    source: Path,
    content: bytes,
    aspects: set[str],
) -> None:
    name = await uploaded(command, source)
    emulator.add_fault(
        Fault(kind="file_content", do="status", status=200, body=content.decode())
    )

    done = await command.tell("verify", name)

    assert done.returncode == 4, done
    assert "is not what was sent" in done.stderr
    different = {key for key, outcome in findings(done).items() if outcome == "differs"}
    assert different == aspects


async def test_a_service_that_is_away_is_an_error_of_its_own(
    command: Command, emulator: Emulator, source: Path
) -> None:
    name = await uploaded(command, source)
    emulator.add_fault(
        Fault(kind="file_content", times=99, do="truncate", when="after")
    )

    done = await command.tell(
        "verify",
        name,
        UPLOADER_RETRY_MAX_ATTEMPTS="2",
        UPLOADER_RETRY_BACKOFF_INITIAL="0.001",
    )

    assert done.returncode == 5
    assert emulator.account().counts["file_content"] == 2


async def test_an_upload_without_a_receipt_is_refused(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="part", do="status", status=400))
    await command.tell("upload", str(source))
    name = (await command.tell("list")).last_line.split()[0]

    done = await command.tell("verify", name)

    assert done.returncode == 2
    assert "it has no receipt yet" in done.stderr


@pytest.mark.parametrize(
    ("answer", "aspect", "outcome", "code"),
    [
        pytest.param({"bytes": None}, "size", "not compared", 0, id="no size"),
        pytest.param({"bytes": 7}, "size", "differs", 4, id="another size"),
        pytest.param({"id": "file-2"}, "id", "differs", 4, id="another id"),
        pytest.param({"filename": "b"}, "filename", "differs", 4, id="another name"),
        pytest.param({"purpose": "batch"}, "purpose", "differs", 4, id="purpose"),
        pytest.param({"status": "error"}, "status", "differs", 4, id="broken"),
    ],
)
async def test_what_the_service_says_of_the_file_is_compared(
    command: Command,
    emulator: Emulator,
    source: Path,
    answer: dict[str, object],
    aspect: str,
    outcome: str,
    code: int,
) -> None:
    name = await uploaded(command, source)
    shown = json.loads((await command.tell("show", name, "--json")).stdout)
    emulator.add_fault(
        Fault(
            kind="file_get", do="status", status=200, body={**shown["file"], **answer}
        )
    )

    done = await command.tell("verify", name)

    assert done.returncode == code, done
    assert findings(done)[f"file {aspect}"] == outcome
