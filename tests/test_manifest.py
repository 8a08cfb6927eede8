"""Lists of files: folders, patterns, streams of paths, manifests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from uploader.errors import UsageError
from uploader.intake import Item
from uploader.manifest import Choice, find_files, read_manifest, read_paths

ALL = Choice(recursive=True)
Found = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.txt", "sub/c.jsonl", "sub/deep/d.txt", ".env", ".git/x"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


@pytest.fixture
def found(folder: Path) -> Found:
    def found(choice: Choice, *paths: str) -> list[str]:
        below = [folder / path for path in paths or (".",)]
        return [
            path.relative_to(folder).as_posix() for path in find_files(below, choice)
        ]

    return found


def test_a_folder_is_all_its_files_in_one_order_without_hidden_ones(
    found: Found,
) -> None:
    assert found(ALL) == ["a.txt", "b.jsonl", "sub/c.jsonl", "sub/deep/d.txt"]


def test_a_folder_that_nobody_asked_to_open_stays_one_path(found: Found) -> None:
    assert found(Choice(), "sub") == ["sub"]


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.jsonl"], [], ["b.jsonl", "sub/c.jsonl"]),
        ([], ["*.jsonl"], ["a.txt", "sub/deep/d.txt"]),
        (["*.txt", "*.jsonl"], ["sub/*"], ["a.txt", "b.jsonl"]),
        (["sub/*.jsonl"], [], ["sub/c.jsonl"]),
        ([".env"], [], [".env"]),
        (["*env"], [], []),
    ],
)
def test_patterns_choose_by_name_or_by_the_way_there(
    found: Found, include: list[str], exclude: list[str], expected: list[str]
) -> None:
    choice = Choice(recursive=True, include=include, exclude=exclude)

    assert found(choice) == expected


def test_a_pattern_finds_files_and_one_that_finds_none_is_passed_on(
    found: Found,
) -> None:
    assert found(Choice(), "*.txt", "**/*.jsonl") == ["a.txt", "b.jsonl", "sub/c.jsonl"]
    assert found(Choice(), "*.pdf") == ["*.pdf"]


def test_what_is_there_under_its_very_name_is_no_pattern(
    folder: Path, found: Found
) -> None:
    (folder / "[1].txt").touch()

    assert found(Choice(), "[1].txt") == ["[1].txt"]


def test_links_to_folders_are_not_followed(folder: Path, found: Found) -> None:
    (folder / "sub" / "loop").symlink_to(folder)

    assert len(found(ALL)) == 4


@pytest.mark.parametrize(
    "content", [b"a b\nc\n", b"a b\0c\0", b"a b\r\nc", b"\na b\n\nc\n"]
)
def test_paths_come_by_lines_or_with_nul(content: bytes) -> None:
    assert [str(path) for path in read_paths(content, Choice())] == ["a b", "c"]


def test_with_nul_a_name_may_hold_a_newline() -> None:
    assert [str(path) for path in read_paths(b"a\nb\0", Choice())] == ["a\nb"]


LIKE = Item(path=Path(), purpose="evals", tag="all", priority=1)


def manifest(*rows: object) -> list[Item]:
    content = "\n".join(json.dumps(row) for row in rows).encode()
    return read_manifest(content, "files.jsonl", Path("/in"), LIKE)


def test_a_manifest_says_of_each_file_what_is_wanted() -> None:
    row = {
        "path": "a.jsonl",
        "purpose": "batch",
        "filename": "b.jsonl",
        "to": "conversation:new",
        "prompt": "What is this?",
        "expires_after": "7d",
        "priority": 5,
        "tag": "mine",
    }

    full, bare = manifest(row, {"path": "/elsewhere/c.txt"})

    assert full == Item(
        path=Path("/in/a.jsonl"),
        purpose="batch",
        filename="b.jsonl",
        to="conversation:new",
        prompt="What is this?",
        expires_after=604_800,
        priority=5,
        tag="mine",
    )
    assert bare.path == Path("/elsewhere/c.txt")
    assert (bare.purpose, bare.tag, bare.priority) == ("evals", "all", 1)


def test_bad_lines_of_a_manifest_are_named_and_nothing_is_taken() -> None:
    with pytest.raises(UsageError) as raised:
        manifest({"path": "a"}, {"paht": "b"}, {"path": "c", "priority": "high"}, 7)

    for place in ("files.jsonl: line 2", "`paht`", "line 3", "$.priority", "line 4"):
        assert place in str(raised.value)
