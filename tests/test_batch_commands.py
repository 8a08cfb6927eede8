"""Lists of files on the command line."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.command import Command, Done, files_at, finish
from uploader.emulator import Emulator, Fault


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    for name in ("a.txt", "b.txt", "sub/c.txt", "sub/d.md", ".hidden"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"content of {name}")
    return folder


def events(done: Done, name: str) -> list[Mapping[str, Any]]:
    every = (json.loads(line) for line in done.stdout.splitlines())
    return [event for event in every if event["event"] == name]


async def names_at(emulator: Emulator) -> set[str]:
    return {
        content.decode()[11:] for content in (await files_at(emulator.url)).values()
    }


async def test_a_folder_is_uploaded_with_a_table_in_the_end(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    done = await command.tell("upload", str(folder), "-r", "--exclude", "*.md")

    assert done.returncode == 0, done
    assert await names_at(emulator) == {"a.txt", "b.txt", "sub/c.txt"}
    assert len(done.stdout.splitlines()) == 3
    assert "3 files: 3 complete (52 B), 0 failed" in done.stderr
    for file_id in done.stdout.split():
        assert f"{file_id}\n" in done.stderr


async def test_programs_get_one_object_for_each_file(
    command: Command, folder: Path
) -> None:
    done = await command.tell(
        *("upload", str(folder / "a.txt"), str(folder / "none"), "--json"),
        *("--tag", "mine"),
    )

    good, bad = sorted(events(done, "outcome"), key=lambda each: each["exit_code"])
    [finished] = events(done, "batch_finished")
    assert done.returncode == 11
    assert good["file_id"].startswith("file-")
    assert (good["error"], good["tag"]) == (None, "mine")
    assert (bad["file_id"], bad["exit_code"]) == (None, 3)
    assert "no such file" in bad["error"]
    assert (finished["completed"], finished["failed"]) == (1, 1)


async def test_paths_are_read_from_stdin(
    command: Command,
    emulator: Emulator,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = (folder / "a.txt", folder / "sub" / "d.md")
    content = b"".join(bytes(name) + b"\0" for name in names)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    done = await command.tell("upload", "--from-file", "-")

    assert done.returncode == 0, done
    assert await names_at(emulator) == {"a.txt", "sub/d.md"}


async def test_a_manifest_says_what_is_wanted_of_each_file(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    manifest = folder / "manifest.jsonl"
    rows = [
        {"path": "a.txt", "filename": "other.txt", "expires_after": "7d"},
        {"path": "b.txt", "purpose": "assistants", "tag": "second"},
    ]
    manifest.write_text("\n".join(map(json.dumps, rows)))

    done = await command.tell("upload", "--manifest", str(manifest), "--json")

    assert done.returncode == 0, done
    creates = [each for each in emulator.account().requests if each.kind == "create"]
    wished = {
        each.body["filename"]: each.body
        for each in creates
        if isinstance(each.body, dict)
    }
    assert wished["other.txt"]["expires_after"]["seconds"] == 604_800
    assert wished["b.txt"]["purpose"] == "assistants"
    assert {each["tag"] for each in events(done, "outcome")} == {None, "second"}


async def test_a_dry_run_says_where_and_how_long_and_sends_nothing(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    (folder / "requests.jsonl").write_text("{}\n")

    done = await command.tell("upload", str(folder), "-r", "--dry-run")
    batch = await command.tell(
        *("upload", str(folder / "requests.jsonl"), "--purpose", "batch"),
        *("--dry-run", "--json"),
    )

    assert done.returncode == 0, done
    assert "a.txt" in done.stdout
    assert "5 files, 74 B, to openai" in done.stdout
    assert "no rate is known yet" in done.stdout
    [draft] = events(batch, "draft")
    assert batch.returncode == 11
    assert "line 1: object missing required field `custom_id`" in draft["problem"]
    assert emulator.account().requests == ()
    assert (await command.tell("list", "--all")).stdout == ""


async def test_what_failed_is_restarted_and_nothing_else(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    bad = folder / "bad.jsonl"
    bad.write_text("{}\n")
    await command.tell(
        *("upload", str(bad), str(folder / "sub" / "d.md"), "--purpose", "batch"),
    )

    batches = await command.tell("list", "--batches", "--json")
    [batch] = map(json.loads, batches.stdout.splitlines())
    done = await command.tell("restart", "--failed", batch["id"], "--no-preflight")
    again = await command.tell("restart", "--failed", "--no-preflight")

    assert (batch["failed"], batch["completed"]) == (2, 0)
    assert done.returncode == 11, done
    assert len(done.stdout.splitlines()) == 1
    assert len(await files_at(emulator.url)) == 1
    assert "1 of 1 failed" in again.stderr


async def test_a_killed_list_loses_no_row_and_resume_takes_it_up(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    for number in range(30):
        (folder / f"{number}.bin").write_text(f"content of {number}")
    emulator.add_fault(Fault(kind="complete", nth=3, do="kill"))
    process = await command.start("upload", str(folder), "-r", "--parallel", "2")
    emulator.client_pid = process.pid
    assert (await finish(process)).returncode == -9
    listed = await command.tell("list")

    done = await command.tell("resume")

    assert "queued" in listed.stdout
    assert "wait, " in listed.stdout or listed.stdout.count("queued") > 1
    assert done.returncode == 0, done
    assert len(await files_at(emulator.url)) == 34
    assert (await command.tell("list")).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a PATH"),
        (("--manifest", "/none"), "cannot be read"),
        (("--limit-rate", "1", "/none"), "limit_rate must be at least"),
    ],
)
async def test_lists_that_cannot_be_meant_are_refused(
    command: Command, arguments: tuple[str, ...], words: str
) -> None:
    done = await command.tell("upload", *arguments)

    assert done.returncode == 2
    assert words in done.stderr
