"""Commands that tell: what is known, what was sent, what is in force, what is there."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.command import KEY, Command, Done, files_at
from uploader.emulator import Emulator, Fault, Switches

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals and modes")

CONTENT = b'{"messages": []}\n' * 1000


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(tmp_path / "service") as emulator:
        yield emulator


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.jsonl"
    path.write_bytes(CONTENT)
    return path


def id_of(listed: Done) -> str:
    return listed.last_line.split()[0]


# -- show and receipt ---------------------------------------------------------


async def test_what_is_unfinished_is_shown_with_its_failure_and_its_parts(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="part", nth=2, do="status", status=400))
    await command("upload", str(source), "--part-size", "8KiB", "--parallel", "1")
    local_id = id_of(await command.tell("list"))

    text = await command.tell("show", local_id[:4])
    found = json.loads((await command.tell("show", local_id, "--json")).stdout)

    assert "state                   open" in text.stdout
    assert "number 1  offset 0  size 8192" in text.stdout
    assert "failure                 part 2 of upload_" in text.stdout
    assert found["id"] == local_id
    assert found["state"] == "open"
    assert list(found["parts"]) == ["1"]
    assert found["file"] is None


async def test_a_receipt_says_what_was_sent_with_which_ids_and_digests(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="part", nth=2, do="status", status=503))
    done = await command(
        *("upload", str(source), "--part-size", "8KiB", "--parallel", "1"),
        UPLOADER_RETRY_BACKOFF_INITIAL="0.001",
    )
    local_id = id_of(await command.tell("list", "--all"))

    text = await command.tell("receipt", local_id)
    found = json.loads((await command.tell("receipt", local_id, "--json")).stdout)

    assert found["file_id"] == done.last_line
    assert found["size"] == found["bytes_needed"] == len(CONTENT)
    assert found["part_sizes"] == [8192, 8192, 616]
    assert found["attempts"] == 4
    assert found["bytes_sent"] == len(CONTENT) + 8192
    assert set(found["request_ids"]) == {"create", "complete"}
    assert len({part["request_id"] for part in found["parts"]}) == 3
    assert all(part["digest"].startswith("blake3:") for part in found["parts"])
    assert found["started_at"] <= found["completed_at"]
    for fact in (str(source), done.last_line, found["md5"], found["upload_id"]):
        assert fact in text.stdout
    for part in found["parts"]:
        assert f"number {part['number']}  part id {part['part_id']}" in text.stdout


async def test_the_receipt_of_a_resumed_upload_counts_this_run_s_bytes_only(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="part", nth=3, do="status", status=400))
    await command("upload", str(source), "--part-size", "8KiB", "--parallel", "1")
    await command("resume")

    local_id = id_of(await command.tell("list", "--all"))
    found = json.loads((await command.tell("receipt", local_id, "--json")).stdout)

    assert found["bytes_needed"] == found["bytes_sent"] == len(CONTENT) - 2 * 8192


async def test_an_unfinished_upload_has_no_receipt_and_an_unknown_one_is_refused(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="part", do="status", status=400))
    await command("upload", str(source))
    local_id = id_of(await command.tell("list"))

    early = await command.tell("receipt", local_id)
    unknown = await command.tell("receipt", "nosuchid")

    assert (early.returncode, unknown.returncode) == (2, 2)
    assert f"`uploader resume {local_id}`" in early.stderr
    assert "nosuchid" in unknown.stderr


# -- config -------------------------------------------------------------------


async def test_config_says_where_each_setting_comes_from(
    command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "uploader.toml"
    file.write_text(
        'project = "proj"\n[timeouts]\nsettle = "2m"\n[profiles.work]\nparallel = 3\n'
    )

    done = await command.tell(
        *("config", "--json", "--config", str(file), "--profile", "work"),
        *("--part-size", "16MiB", "--md5", "off"),
        UPLOADER_DIGEST="off",
    )

    found = {
        line["name"]: (line["value"], line["origin"])
        for line in map(json.loads, done.stdout.splitlines())
    }
    assert found["project"] == ("proj", f"{file}, line 1")
    assert found["timeouts.settle"] == (120.0, f"{file}, line 3")
    assert found["parallel"] == (3, f"{file}, line 5")
    assert found["base_url"] == (command.base_url, "OPENAI_BASE_URL")
    assert found["digest"] == ("off", "UPLOADER_DIGEST")
    assert found["part_size"] == (16 * 1024**2, "--part-size")
    assert found["md5"] == ("off", "--md5")
    assert found["retry.max_attempts"] == (8, "default")


async def test_config_masks_what_is_secret(command: Command) -> None:
    secrets = {
        "AZURE_OPENAI_API_KEY": "azure-secret",
        "AZURE_OPENAI_AD_TOKEN": "entra-secret",
    }

    for form in ((), ("--json",)):
        done = await command.tell("config", *form, **secrets)

        assert done.returncode == 0, done
        assert done.stdout.count("***") >= 3
        for secret in (KEY, *secrets.values()):
            assert secret not in done.stdout + done.stderr


async def test_config_names_a_bad_setting_as_every_command_does(
    command: Command, tmp_path: Path
) -> None:
    file = tmp_path / "uploader.toml"
    file.write_text("\nparallel = 'many'\n")

    bad = await command.tell("config", "--config", str(file))
    unknown = await command.tell("config", "--profile", "none")

    assert (bad.returncode, unknown.returncode) == (2, 2)
    assert f"{file}, line 2: 'many' is no parallel" in bad.stderr
    assert "there is no profile 'none'" in unknown.stderr
    assert "[profiles.none]" in unknown.stderr


# -- profiles -----------------------------------------------------------------


async def test_a_profile_is_an_account_of_its_own(
    emulator: Emulator, source: Path, tmp_path: Path
) -> None:
    command = Command("http://127.0.0.1:9/v1", tmp_path / "state" / "journal.db")
    file = tmp_path / "uploader.toml"
    file.write_text(
        f'parallel = 2\n[profiles.work]\nbase_url = "{emulator.url}"\n'
        'api_key = "sk-work"\norganization = "org-work"\nproject = "proj-work"\n'
    )

    done = await command(
        "upload", str(source), "--profile", "work", UPLOADER_CONFIG=str(file)
    )
    listed = await command.tell("list", "--all", "--json")

    assert done.returncode == 0, done
    for request in emulator.account().requests:
        assert request.headers["openai-organization"] == "org-work"
        assert request.headers["openai-project"] == "proj-work"
    service = json.loads(listed.stdout)["identity"]["service"]
    assert service == f"openai {emulator.url} org-work/proj-work"
    assert "sk-work" not in listed.stdout


async def test_resume_takes_up_what_belongs_to_the_profile_only(
    command: Command, emulator: Emulator, source: Path, tmp_path: Path
) -> None:
    file = tmp_path / "uploader.toml"
    file.write_text('[profiles.a]\nproject = "a"\n[profiles.b]\nproject = "b"\n')
    for profile in "ab":
        emulator.add_fault(Fault(kind="part", do="status", status=400))
        await command(
            "upload", str(source), "--profile", profile, "--config", str(file)
        )

    done = await command("resume", "--profile", "b", "--config", str(file))
    left = json.loads((await command.tell("list", "--json")).last_line)

    assert done.returncode == 0, done
    assert len(done.stdout.splitlines()) == 1
    assert left["identity"]["service"].endswith(" a")


# -- files at the service -----------------------------------------------------


async def test_files_are_listed_looked_at_and_removed(
    command: Command, emulator: Emulator, source: Path
) -> None:
    batch = (await command("upload", str(source), "--purpose", "evals")).last_line
    other = (await command("upload", str(source))).last_line

    listed = await command.tell("files", "list")
    batches = await command.tell("files", "list", "--purpose", "evals", "--json")
    got = await command.tell("files", "get", batch, other, "--json")
    told = await command.tell("files", "get", batch)
    removed = await command.tell("files", "rm", other)
    gone = await command.tell("files", "get", other)

    assert [line.split()[0] for line in listed.stdout.splitlines()] == [other, batch]
    assert [json.loads(line)["id"] for line in batches.stdout.splitlines()] == [batch]
    found = [json.loads(line) for line in got.stdout.splitlines()]
    assert [file["id"] for file in found] == [batch, other]
    assert found[0]["bytes"] == len(CONTENT)
    assert "purpose                 evals" in told.stdout
    assert removed.stderr == f"removed {other}\n"
    assert gone.returncode == 4
    assert "No such File object" in gone.stderr
    assert list(await files_at(emulator.url)) == [batch]


async def test_files_are_removed_until_one_is_not_there(command: Command) -> None:
    done = await command.tell("files", "rm", "file-none", "file-none-either")

    assert done.returncode == 4
    assert "file-none" in done.stderr
    assert "\nhint: " in done.stderr or "No such File" in done.stderr


# -- after complete -----------------------------------------------------------


async def test_a_file_that_the_service_calls_broken_is_no_success(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.switches = Switches(file_status="error")

    done = await command("upload", str(source), "--purpose", "evals")
    again = await command("resume")

    assert done.returncode == 4, done
    assert done.stdout == ""
    (file_id,) = await files_at(emulator.url)
    assert f"{file_id} has the status 'error'" in done.stderr
    assert "does not suit the purpose evals" in done.stderr
    assert again.returncode == 0
    assert emulator.account().counts["create"] == 1


async def test_a_file_that_is_unknown_for_a_moment_is_waited_for(
    command: Command, emulator: Emulator, source: Path
) -> None:
    emulator.add_fault(Fault(kind="file_get", do="status", status=404))

    done = await command("upload", str(source))

    assert done.returncode == 0, done
    assert emulator.account().counts["file_get"] == 2
    assert await files_at(emulator.url) == {done.last_line: CONTENT}


# -- the log ------------------------------------------------------------------


async def test_a_log_file_tells_the_story_and_no_secret(
    command: Command, emulator: Emulator, source: Path, tmp_path: Path
) -> None:
    log = tmp_path / "uploader.log"
    emulator.add_fault(
        Fault(kind="part", do="status", status=503, body=f"{KEY} is no good")
    )

    done = await command(
        *("upload", "-q", str(source)),
        UPLOADER_LOG_FILE=str(log),
        UPLOADER_RETRY_BACKOFF_INITIAL="0.001",
    )

    assert done.returncode == 0, done
    assert done.stderr == ""
    told = log.read_text()
    for event in ("upload_opened", "backing_off", "part_sent", "upload_completed"):
        assert f'"event": "{event}"' in told
    assert done.last_line in told
    assert "part_progressed" not in told
    assert KEY not in told


async def test_a_log_file_that_cannot_be_is_refused(
    command: Command, emulator: Emulator, source: Path, tmp_path: Path
) -> None:
    done = await command(
        "upload", str(source), UPLOADER_LOG_FILE=str(tmp_path / "none" / "x.log")
    )

    assert done.returncode == 2
    assert "log_file" in done.stderr
    assert "\nhint: " in done.stderr
    assert emulator.account().requests == ()


# -- quick, and in every shell ------------------------------------------------


def cpu_seconds(*arguments: str) -> float:
    """What a run of the command takes, at best of three."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "uploader", *arguments],
            check=True,
            capture_output=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(
            after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        )
    return min(times)


@pytest.mark.parametrize("arguments", [("--version",), ("--help",)])
def test_a_short_question_is_answered_at_once(arguments: tuple[str, ...]) -> None:
    assert cpu_seconds(*arguments) < 0.3


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment with the command on its path."""
    program = tmp_path / "bin" / "uploader"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nfrom uploader.cli import main\n\nmain()\n")
    program.chmod(0o755)
    house = Path(__file__).parents[1]
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(house),
        "PYTHONSAFEPATH": "1",
    }


def asked(shell: str, script: str, environ: dict[str, str]) -> list[str]:
    """What a shell says, line by line."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    flags = {"bash": ("--noprofile", "--norc"), "zsh": ("-f",), "fish": ("-N",)}
    done = subprocess.run(
        [shell, *flags[shell], "-c", script],
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def ask_bash(environ: dict[str, str], *words: str) -> list[str]:
    script = """
        eval "$(uploader completion bash)"
        compopt() { local IFS=' '; echo "$*"; }  # says which way the shell itself completes
        COMP_WORDS=(uploader "$@"); COMP_CWORD=$#
        _uploader_completion uploader
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    quoted = " ".join(f"'{word}'" for word in words)
    return asked("bash", f"set -- {quoted}\n{script}", environ)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        pytest.param(["up"], ["upload"], id="command"),
        pytest.param(["files", "l"], ["list"], id="command of a group"),
        pytest.param(["upload", "--purp"], ["--purpose"], id="flag"),
        pytest.param(["upload", "--md5", "b"], ["base64"], id="choice"),
        pytest.param(["upload", ""], ["-o default", ""], id="path"),
    ],
)
def test_bash_completes(
    installed: dict[str, str], words: list[str], answer: list[str]
) -> None:
    assert ask_bash(installed, *words) == answer


@pytest.mark.tools
def test_zsh_completes(installed: dict[str, str]) -> None:
    script = """
        compdef() { : }
        _describe() { print -rl -- $completions_with_descriptions }
        eval "$(uploader completion zsh)"
        words=(uploader res); CURRENT=2
        _uploader_completion || true  # it ends with a test for another kind of answer
    """

    (line,) = asked("zsh", script, installed)

    assert line.startswith("resume:Go on with unfinished uploads")


@pytest.mark.tools
def test_fish_completes(installed: dict[str, str]) -> None:
    script = """
        uploader completion fish | source
        complete -C "uploader res"
    """

    (line,) = asked("fish", script, installed)

    assert line.startswith("resume\tGo on with unfinished uploads")


async def test_help_teaches_with_examples(command: Command) -> None:
    for name in ("upload", "resume", "cancel", "list", "show", "receipt", "config"):
        done = await command.tell(name, "--help")

        assert f"  uploader {name}" in done.stdout
        assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_every_command_and_every_flag_has_words() -> None:
    from uploader.cli import cli

    for command in _commands(cli):
        assert command.help, command.name
        for parameter in command.params:
            if parameter.param_type_name == "option":
                name = f"{command.name} {parameter.name}"
                assert getattr(parameter, "help", None) or parameter.metavar, name


def _commands(group: Any) -> list[Any]:
    found = []
    for command in group.commands.values():
        found += _commands(command) if hasattr(command, "commands") else [command]
    return found
