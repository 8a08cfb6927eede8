"""What the settings file says about the daemon, and how it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from uploader.config import Settings
from uploader.daemon.rules import read_orders
from uploader.errors import UsageError

GOOD = """
backend = "openai"
api_key = "sk-test"

[daemon]
quiet = "5s"
listen = "127.0.0.1:0"

[notify]
command = ["true"]
on = ["failed"]

[[rules]]
name = "batches"
folder = "/srv/in"
pattern = "*.jsonl"
purpose = "batch"
expires_after = "7d"
afterwards = "move"
move_to = "/srv/done"

[[rules]]
folder = "/srv/pictures"
to = "vector-store:vs_1"
recursive = true
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "uploader.toml"
    file.write_text(GOOD)
    return file


def settings(file: Path) -> Settings:
    return Settings.load(file=file, environ={})


def refusal(file: Path) -> str:
    with pytest.raises(UsageError) as refused:
        read_orders(file, Settings(api_key="sk-test"))
    return str(refused.value)


def test_rules_stand_beside_the_settings_in_one_file(file: Path) -> None:
    orders = read_orders(file, settings(file))

    first, second = orders.rules
    assert first.name == "batches"
    assert first.expires_after == 7 * 86_400
    assert first.quarantine_in == Path("/srv/in/quarantine")
    assert second.name == "rule-2"
    assert orders.ways.quiet == 5
    assert orders.notify.on == ("failed",)


@pytest.mark.parametrize(
    ("was", "becomes", "line", "words"),
    [
        ('purpose = "batch"', 'porpoise = "batch"', 17, "has no porpoise"),
        ('folder = "/srv/in"', 'folder = "srv/in"', 15, "absolute"),
        ('move_to = "/srv/done"', "", 13, "move_to"),
        ('afterwards = "move"', 'afterwards = "burn"', 19, "burn"),
        ('name = "batches"', 'name = "a b"', 14, "letters"),
        ("recursive = true", 'recursive = "yes"', 25, "recursive"),
        ('folder = "/srv/pictures"', "", 22, "folder"),
        ("vector-store:vs_1", "thread:t_1", 24, "gone"),
        ('"127.0.0.1:0"', '"0.0.0.0:80"', 7, "loopback"),
        ('expires_after = "7d"', 'expires_after = "7y"', 18, "duration"),
    ],
)
def test_a_broken_rule_is_refused_with_its_line(
    file: Path, was: str, becomes: str, line: int, words: str
) -> None:
    file.write_text(GOOD.replace(was, becomes))

    said = refusal(file)

    assert f"{file}, line {line}: " in said
    assert words in said


def test_what_is_moved_must_not_come_in_again(file: Path) -> None:
    file.write_text(GOOD.replace("/srv/done", "/srv/pictures"))

    assert "a folder that is watched" in refusal(file)


def test_two_rules_need_two_names(file: Path) -> None:
    file.write_text(GOOD + 'name = "batches"\n')

    assert "two rules" in refusal(file)


def test_a_file_without_rules_is_no_work(file: Path) -> None:
    file.write_text("[daemon]\n")

    assert "there is no rule" in refusal(file)
