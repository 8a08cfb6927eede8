"""README is true: its programs run, and it leaves out no command, setting or event."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from tests.command import KEY, Done, files_at, finish
from uploader import errors, events
from uploader.cli import cli
from uploader.config import ENVIRONMENT, NAMES, Settings
from uploader.emulator import Emulator
from uploader.errors import UploaderError
from uploader.events import AttachmentEvent, Event, PartSent, UploadEvent, as_json
from uploader.model import LocalId

HOUSE = Path(__file__).parents[1]
README = (HOUSE / "README.md").read_text(encoding="utf-8")

CONTENT = b'{"messages": []}\n' * 1000


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


def section(title: str) -> str:
    """The text below a heading, up to the next one of its rank."""
    _, _, rest = README.partition(f"\n## {title}\n")
    assert rest, f"README has no section {title}"
    return rest.partition("\n## ")[0]


def rows(title: str) -> Iterator[list[str]]:
    """The cells of every table row in a section; head and rule are left out."""
    for line in section(title).splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if line.startswith("| `") or re.match(r"\| \d", line):
            yield cells


def named(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# -- it runs ------------------------------------------------------------------


@pytest.mark.parametrize("program", blocks("python"))
async def test_its_programs_run(
    program: str, emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "big.jsonl").write_bytes(CONTENT)

    done = await run(program, emulator, tmp_path)

    assert (done.returncode, done.stderr) == (0, ""), done
    ((file_id, content),) = (await files_at(emulator.url)).items()
    assert content == CONTENT
    assert file_id in done.stdout


async def run(program: str, emulator: Emulator, directory: Path) -> Done:
    environ = {
        **os.environ,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": emulator.url,
        "PYTHONPATH": str(HOUSE),
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program),
        cwd=directory,
        env=environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    return await finish(process)


def test_the_library_fits_into_fifteen_lines() -> None:
    program, *_ = blocks("python")

    assert len([line for line in program.splitlines() if line]) <= 15


def test_its_settings_file_can_be_read(tmp_path: Path) -> None:
    text = next(block for block in blocks("toml") if "[profiles." in block)
    file = tmp_path / "uploader.toml"
    file.write_text(text)

    for profile in (None, *tomllib.loads(text)["profiles"]):
        settings = Settings.load(file=file, profile=profile, environ={})
        assert settings.parallel == 16


def test_its_event_is_one() -> None:
    (line,) = blocks("json")
    shown = json.loads(line)

    event = PartSent(
        upload=LocalId(shown["upload"]),
        path=Path(shown["path"]),
        **{name: shown[name] for name in ("number", "size", "attempts")},
    )

    assert list(shown.items()) == list(as_json(event).items())


def test_the_two_commands_that_ci_runs_are_marked() -> None:
    for mark in ("try", "test"):
        assert re.search(rf"^<!-- {mark} -->\n```sh\n.+\n```$", README, re.M)


# -- it is complete -----------------------------------------------------------


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield prefix + name, command


def test_it_has_a_row_for_every_command_and_no_other() -> None:
    rowed = {
        re.match(r"uploader ([a-z ]*[a-z])", named(cells[0])[0])
        for cells in rows("The command")
    }

    assert {match[1] for match in rowed if match} == {name for name, _ in commands(cli)}


def test_it_names_every_flag_and_no_flag_that_is_none() -> None:
    ours = {
        flag for _, command in commands(cli) for p in command.params for flag in p.opts
    }
    flags = {flag for flag in ours if flag.startswith("-")} | {"--help", "--version"}
    mentioned = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", section("The command")))

    assert flags - mentioned == set()
    assert mentioned - flags == {"-h"}


@pytest.mark.parametrize(("name", "command"), [*commands(cli)])
def test_the_row_of_a_command_has_the_flags_of_its_own(name: str, command: Any) -> None:
    shared = set(named(section("The command").partition("Commands that send")[2]))
    cells = next(
        cells
        for cells in rows("The command")
        if re.match(rf"`uploader {name}\b", cells[0])
    )
    own = {p.opts[0] for p in command.params if p.param_type_name == "option"} - shared

    assert {flag.split()[0] for flag in named(cells[2])} == own


def leaves(kind: type[UploaderError]) -> Iterator[type[UploaderError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from leaves(below)


def test_it_has_a_row_for_every_exit_code() -> None:
    codes = {int(code) for cells in rows("Exit codes") for code in cells[0].split(",")}

    raised = {kind.exit_code for kind in leaves(UploaderError)}
    assert codes == raised | {0, 130, 143}
    assert errors.Interrupted("", number=15).exit_code == 143


def shown(value: object) -> str | None:
    """A default as the table writes it; None where words are better."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float) and value.is_integer():
        return f"`{int(value)}`"
    return None if value is None or isinstance(value, Path) else f"`{value}`"


def test_it_has_every_setting_with_its_default_and_variables() -> None:
    told = {named(cells[0])[0]: cells for cells in rows("Settings")}

    assert list(told) == list(NAMES)
    for name, cells in told.items():
        value: object = Settings()
        for step in name.split("."):
            value = getattr(value, step)
        if (default := shown(value)) is not None:
            assert cells[1] == default, name
        variables = [key for key, setting in ENVIRONMENT.items() if setting == name]
        assert named(cells[3]) == variables


def test_it_has_every_event_with_its_fields() -> None:
    told = {named(cells[0])[0]: named(cells[1]) for cells in rows("Events")}

    known = {}
    for kind in vars(events).values():
        if isinstance(kind, type) and issubclass(kind, UploadEvent | AttachmentEvent):
            base = UploadEvent if issubclass(kind, UploadEvent) else AttachmentEvent
            if kind is not base:
                name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
                known[name] = fields_of(kind)[len(fields_of(base)) :]
    assert told == known


def fields_of(kind: type[Event]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def test_the_tests_that_it_names_exist() -> None:
    written = "".join(
        path.read_text(encoding="utf-8")
        for path in (HOUSE / "tests").rglob("test_*.py")
    )
    cited = re.findall(r"`(test_\w+)`", README)

    assert cited
    for name in cited:
        assert f"def {name}(" in written, name


def test_it_draws_every_module() -> None:
    drawing = next(block for block in blocks("text") if " entry " in block)
    modules = {
        path.stem for path in (HOUSE / "uploader").iterdir() if is_module(path)
    } - {"__init__", "__main__"}

    for module in modules:
        assert re.search(rf"  {module}\b", drawing), module


def is_module(path: Path) -> bool:
    return path.suffix == ".py" or (path / "__init__.py").exists()


def test_nothing_in_it_belongs_to_one_machine() -> None:
    assert not re.search(r"/(root|home|tmp|work)/", README)
