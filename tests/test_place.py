"""What is said of the place where a journal is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import Command
from uploader import place
from uploader.place import Place, look

MOUNTS = """\
/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
tmpfs /run tmpfs rw 0 0
server:/home /home nfs4 rw 0 0
/dev/vdb /home/ann/disk ext4 rw 0 0
//nas/share /mnt/my\\040share cifs rw 0 0
first /layered ext4 rw 0 0
overlay /layered overlay rw 0 0
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mounts"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        pytest.param("/var/journal.db", "ext4", None, id="a disk"),
        pytest.param("/runner/j.db", "ext4", None, id="a name that begins alike"),
        pytest.param("/home/ann/disk/j.db", "ext4", None, id="a disk below a network"),
        pytest.param("/home/ann/j.db", "nfs4", "a network file system", id="nfs"),
        pytest.param("/mnt/my share/j.db", "cifs", "a network file system", id="cifs"),
        pytest.param("/run/j.db", "tmpfs", "gone with the container", id="tmpfs"),
        pytest.param("/layered/j.db", "overlay", "gone with", id="the later mount"),
    ],
)
def test_a_place_that_does_not_last_is_warned_of(
    mounts: Path, path: str, kind: str, words: str | None
) -> None:
    found = look(Path(path), mounts)

    assert found is not None
    assert found.kind == kind
    if words is None:
        assert found.warning is None
    else:
        assert found.warning is not None
        assert words in found.warning


def test_where_nobody_tells_nothing_is_said(tmp_path: Path) -> None:
    assert look(tmp_path, tmp_path / "none") is None


async def test_a_command_says_it_once_when_the_journal_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "look", lambda path: Place(path, "nfs4"))
    command = Command("http://127.0.0.1:9/v1", tmp_path / "journal.db")

    first = await command.tell("resume")
    second = await command.tell("resume")

    assert "hint: the journal " in first.stderr
    assert "network file system" in first.stderr
    assert "network" not in second.stderr


@pytest.mark.parametrize("flag", ["--quiet", "--json"])
async def test_it_is_not_said_to_scripts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    monkeypatch.setattr(place, "look", lambda path: Place(path, "nfs4"))
    command = Command("http://127.0.0.1:9/v1", tmp_path / "journal.db")

    assert "network" not in (await command.tell("resume", flag)).stderr
