"""`uploader selftest`: what it tries, and that it says so when something fails."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command import Command
from uploader.errors import JournalError, UploaderError
from uploader.journal.health import Health
from uploader.model import MIB
from uploader.selftest import durability, ground
from uploader.selftest.chaos import chaos_check, random_faults
from uploader.selftest.durability import DURABILITY
from uploader.selftest.ground import Ended
from uploader.selftest.killing import killing_check, resume_without_repeating
from uploader.selftest.report import Broken, Check, Say, run_all
from uploader.selftest.streaming import streaming_check

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

Capture = pytest.CaptureFixture[str]


def raising(error: Exception) -> Callable[[Path, Say], Awaitable[str]]:
    async def run(directory: Path, say: Say) -> str:
        raise error

    return run


async def hold(directory: Path, say: Say) -> str:
    (directory / "something").write_text("left behind")
    say("half way")
    return "as promised"


def test_all_of_it_holds_here_and_nothing_is_left_behind(
    tmp_path: Path, capsys: Capture
) -> None:
    checks = [
        DURABILITY,
        killing_check(parts=1),
        streaming_check(size=48 * MIB, part_size=24 * MIB),
        chaos_check(0, seed=1),
    ]

    run_all(tmp_path / "state", checks)

    report, _ = capsys.readouterr()
    assert report.count("\nheld    ") == 4
    assert "synchronous=FULL" in report
    assert "6 of 6 uploads" in report
    assert "memory grew by" in report
    assert "seed 1: 1 uploads" in report
    assert report.endswith("all 4 held\n")
    assert [*(tmp_path / "state").iterdir()] == []


def test_a_broken_promise_is_named_and_ends_with_1(
    tmp_path: Path, capsys: Capture
) -> None:
    checks = [
        Check("the first", raising(Broken("two files"))),
        Check("the second", hold),
    ]

    with pytest.raises(UploaderError, match="1 of 2 did not hold") as raised:
        run_all(tmp_path, checks)

    report, progress = capsys.readouterr()
    assert raised.value.exit_code == 1
    assert "FAILED  the first: two files\n" in report
    assert "held    the second: as promised\n" in report
    assert "the second: half way" in progress
    assert "all" not in report.splitlines()[-1]


def test_without_a_journal_nothing_else_is_tried(
    tmp_path: Path, capsys: Capture
) -> None:
    checks = [Check("journal", raising(JournalError("full"))), Check("rest", hold)]

    with pytest.raises(JournalError, match="2 of 2 did not hold"):
        run_all(tmp_path, checks)

    assert "SKIPPED rest" in capsys.readouterr().out


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(JournalError, match="Not a directory"):
        run_all(tmp_path / "file" / "state", [])


def test_a_log_that_would_not_survive_a_power_cut_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    weak = Health(mode="delete", synchronous="NORMAL", sound=True)
    monkeypatch.setattr(durability, "examine", lambda path: weak)

    with pytest.raises(UploaderError):
        run_all(tmp_path, [DURABILITY])

    assert "journal_mode is delete and synchronous NORMAL" in capsys.readouterr().out


def test_records_that_are_gone_are_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    async def forgetful(path: Path) -> set[int]:
        return {1, 2, 3}

    monkeypatch.setattr(durability, "_recorded", forgetful)

    with pytest.raises(UploaderError):
        run_all(tmp_path, [DURABILITY])

    assert "acknowledged records are gone after SIGKILL" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("received", "code", "words"),
    [
        pytest.param(["a", "c"], 0, "1 recorded parts were sent again", id="repeats"),
        pytest.param(["c"], 6, "resume ended with 6: unknown", id="gives up"),
    ],
)
async def test_a_resume_that_repeats_or_gives_up_is_a_failure(
    received: list[str], code: int, words: str
) -> None:
    class Site:
        resumed = False

        async def recorded(self) -> frozenset[str]:
            return frozenset({"a", "b"})

        def received(self) -> list[str]:
            return ["a", "b", *received] if self.resumed else ["a", "b"]

        async def resume(self) -> Ended:
            self.resumed = True
            return Ended(code, "unknown")

    site: Any = Site()
    with pytest.raises(Broken, match=words):
        await resume_without_repeating(site)


async def test_a_service_with_another_file_or_two_of_them_is_a_failure(
    tmp_path: Path,
) -> None:
    async with ground.ground(tmp_path, b"content", 4) as site:
        with pytest.raises(Broken, match="0 files instead of one"):
            await site.check_file()
        assert (await site.upload()).code == 0
        await site.check_file()
        site.source.write_bytes(b"another")
        with pytest.raises(Broken, match="is not what was sent"):
            await site.check_file()


def test_a_process_that_does_not_get_done_is_a_failure_with_its_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    async def refuse(self: object) -> Ended:
        return Ended(6, "nobody can tell")

    monkeypatch.setattr(ground.Ground, "upload", refuse)

    with pytest.raises(UploaderError):
        run_all(tmp_path, [chaos_check(0, seed=9)])

    said = capsys.readouterr().out
    assert "seed 9, upload 1: it ended with 6: nobody can tell" in said


def test_a_seed_repeats_its_faults() -> None:
    draws = [random_faults(random.Random("7/1"), requests=9) for _ in range(2)]

    assert draws[0] == draws[1]
    assert draws[0] != random_faults(random.Random("8/1"), requests=9)


async def test_a_seed_without_chaos_is_refused() -> None:
    done = await Command("http://127.0.0.1:9/v1", Path("j")).tell(
        "selftest", "--seed", "1"
    )

    assert done.returncode == 2
    assert "--chaos" in done.stderr


@pytest.mark.tools
def test_on_a_full_disk_it_says_so_and_ends_with_8(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    private = [str(unshare), "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=1m full {tmp_path}"
    if (
        unshare is None
        or subprocess.run([*private, "sh", "-c", mount], check=False).returncode
    ):
        pytest.skip("no file system can be mounted in a namespace of its own")
    fill = f"dd if=/dev/zero of={tmp_path}/fill bs=4k 2>/dev/null"
    test = f"{sys.executable} -m uploader selftest --dir {tmp_path}"

    done = subprocess.run(
        [*private, "sh", "-c", f"{mount}; {fill}; {test}"],
        check=False,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 8, done
    assert "is on tmpfs, which is gone with the container" in done.stdout
    assert "FAILED  journal: " in done.stdout
    assert "the disk is full" in done.stdout
    assert "held" not in done.stdout
    assert "error: 3 of 3 did not hold" in done.stderr
    assert "Traceback" not in done.stderr
