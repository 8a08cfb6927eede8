"""What is taken from a folder, and that only what is meant is moved or removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from uploader.daemon import aside
from uploader.daemon.afterwards import quarantine, take_back
from uploader.daemon.folders import has_writer, is_temporary, look_at, scan
from uploader.daemon.rules import Orders, Rule
from uploader.errors import RequestRejected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = Path(os.path.realpath(tmp_path)) / "in"
    folder.mkdir()
    return folder


def names(folder: Path, *, recursive: bool = False) -> set[str]:
    rule = Rule(name="a", folder=folder, recursive=recursive)
    return {found.path.name for found in scan(Orders(rules=(rule,)))}


@pytest.mark.parametrize(
    "name", [".a", "a~", "a.part", "a.TMP", "#a#", "~$a.doc", "a.crdownload"]
)
def test_hidden_and_temporary_names_are_nobody_s(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")

    assert is_temporary(name)
    assert names(folder) == set()


def test_own_receipts_and_the_quarantine_are_never_taken(folder: Path) -> None:
    for place in ("receipts", "quarantine", "below"):
        (folder / place).mkdir()
        (folder / place / f"{place}.json").write_bytes(b"x")

    assert names(folder, recursive=True) == {"below.json"}


def test_what_a_symlink_leads_to_is_not_taken(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"x")
    (folder / "file").symlink_to(outside / "secret")
    (folder / "folder").symlink_to(outside)
    os.mkfifo(folder / "fifo")

    assert names(folder, recursive=True) == set()


def test_a_folder_that_is_away_has_nothing(folder: Path) -> None:
    folder.rmdir()

    assert names(folder) == set()


def test_a_file_with_a_writer_is_known(folder: Path) -> None:
    path = folder / "a"
    with path.open("wb") as writer:
        writer.write(b"x")
        if not has_writer(path):
            pytest.skip("this system does not tell")
    assert not has_writer(path)


def test_a_file_that_took_the_name_is_neither_removed_nor_moved(folder: Path) -> None:
    path = folder / "a.bin"
    path.write_bytes(b"old")
    with path.open("rb") as old:
        other = folder / "b"
        other.write_bytes(b"new")
        other.replace(path)

        assert not aside.remove(path, old.fileno())
        assert aside.move(path, old.fileno(), folder / "to") is None

    assert path.read_bytes() == b"new"
    assert [entry.name for entry in folder.iterdir() if entry.is_file()] == ["a.bin"]


def test_nothing_is_overwritten_where_a_file_goes(folder: Path) -> None:
    goal = folder / "to"
    goal.mkdir()
    (goal / "a.bin").write_bytes(b"first")
    path = folder / "a.bin"
    path.write_bytes(b"second")

    with path.open("rb") as file:
        moved = aside.move(path, file.fileno(), goal)

    assert moved == goal / "a (2).bin"
    assert moved.read_bytes() == b"second"
    assert (goal / "a.bin").read_bytes() == b"first"


def test_what_a_killed_run_left_aside_comes_back(folder: Path) -> None:
    (folder / f".a.bin{aside.SUFFIX}").write_bytes(b"x")

    aside.sweep(folder, recursive=False)

    assert (folder / "a.bin").read_bytes() == b"x"


def test_a_bad_file_is_put_away_with_its_reason_and_can_be_brought_back(
    folder: Path,
) -> None:
    rule = Rule(name="a", folder=folder)
    path = folder / "a.bin"
    path.write_bytes(b"x")
    fingerprint = look_at(path)
    assert fingerprint is not None
    error = RequestRejected("no", hint="never")

    bad = quarantine(rule, path, fingerprint, error, {"rule": "a"})

    assert bad == rule.quarantine_in / "a.bin"
    reason = bad.with_name("a.bin.reason.json").read_text()
    assert '"error": "no"' in reason
    assert not path.exists()
    assert take_back(bad, path)
    assert list(rule.quarantine_in.iterdir()) == []


def test_a_file_that_changed_since_it_failed_is_not_put_away(folder: Path) -> None:
    rule = Rule(name="a", folder=folder)
    path = folder / "a.bin"
    path.write_bytes(b"x")
    fingerprint = look_at(path)
    assert fingerprint is not None
    path.write_bytes(b"better")

    assert quarantine(rule, path, fingerprint, RequestRejected("no"), {}) is None
    assert path.read_bytes() == b"better"
