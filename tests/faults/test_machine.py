"""A machine that others use, too: their files are refused, and ours are ours alone."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import uploader
from tests.faults.conftest import PARTS, Site
from tests.journal.nouns import begin, open_journal
from uploader.errors import JournalError
from uploader.events import Event, PartSent, SourceReplaced
from uploader.source import Source

PACKAGE = Path(uploader.__file__).parent
NOBODY = 65_534

as_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0,
    reason="only root can give a file to somebody else",
)


async def refusal(path: Path) -> JournalError:
    with pytest.raises(JournalError) as raised:
        await open_journal(path)
    assert raised.value.hint
    return raised.value


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """A state directory with a journal that was used."""
    path = tmp_path / "state" / "journal.db"
    journal = await open_journal(path)
    await begin(journal)
    await journal.aclose()
    return path


# -- owners and modes ---------------------------------------------------------


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o707, 0o720])
async def test_a_directory_that_others_may_write_to_is_refused(
    state: Path, mode: int
) -> None:
    state.parent.chmod(mode)

    error = await refusal(state)

    assert "others may write to" in str(error)
    assert f"chmod go-w {state.parent}" in str(error.hint)


async def test_a_directory_where_nobody_touches_what_is_anothers_will_do(
    state: Path,
) -> None:
    state.parent.chmod(0o1777)

    await (await open_journal(state)).aclose()


@pytest.mark.parametrize("name", ["journal.db", "journal.db-wal", "journal.db-shm"])
@pytest.mark.parametrize("mode", [0o660, 0o606])
async def test_a_journal_that_others_may_write_to_is_refused(
    state: Path, name: str, mode: int
) -> None:
    place = state.with_name(name)
    place.touch()
    place.chmod(mode)

    assert str(place) in str(await refusal(state))


async def test_a_directory_of_locks_that_others_may_write_to_is_refused(
    state: Path,
) -> None:
    state.with_name("journal.db.owners").chmod(0o777)

    assert "journal.db.owners" in str(await refusal(state))


@as_root
@pytest.mark.parametrize(
    "name", ["", "journal.db", "journal.db-wal", "journal.db.owners"]
)
async def test_what_belongs_to_another_user_is_refused_and_left_alone(
    state: Path, name: str
) -> None:
    place = state.parent / name
    if not place.exists():
        place.touch()
    os.chown(place, NOBODY, NOBODY)
    before = state.read_bytes()

    error = await refusal(state)

    assert f"belongs to user {NOBODY}" in str(error)
    assert state.read_bytes() == before


@as_root
async def test_a_journal_behind_a_link_is_judged_by_where_it_is(
    state: Path, tmp_path: Path
) -> None:
    os.chown(state, NOBODY, NOBODY)
    link = tmp_path / "journal.db"
    link.symlink_to(state)

    assert f"belongs to user {NOBODY}" in str(await refusal(link))


# -- the source's name --------------------------------------------------------


async def test_a_symlink_that_is_swapped_on_the_way_changes_nothing_of_what_is_sent(
    site: Site, tmp_path: Path
) -> None:
    content = site.source.read_bytes()
    other = tmp_path / "other"
    other.write_bytes(bytes(len(content)))
    link = tmp_path / "link"
    link.symlink_to(site.source)

    def swap(event: Event) -> None:
        if isinstance(event, PartSent) and event.number == 2:
            new = tmp_path / "new"
            new.symlink_to(other)
            new.replace(link)

    site.source = link
    file = await site.upload(swap)

    assert await site.files() == {file.file_id: content}
    assert file.receipt.path == tmp_path / "source.bin"


async def test_a_file_that_is_put_in_place_of_the_source_is_said_and_not_sent(
    site: Site, tmp_path: Path
) -> None:
    content = site.source.read_bytes()
    other = tmp_path / "other"
    other.write_bytes(bytes(len(content)))

    def swap(event: Event) -> None:
        if isinstance(event, PartSent) and event.number == 2:
            other.replace(site.source)

    file = await site.upload(swap)

    assert len(site.told.of(SourceReplaced)) == 1
    assert site.received() == PARTS
    assert await site.files() == {file.file_id: content}


def test_a_source_is_read_through_its_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(b"one")
    with Source.open(path) as source:
        path.unlink()
        path.symlink_to("/etc/passwd")

        source.check()

        assert source.is_replaced()
        assert source.fingerprint.size == 3


# -- the code itself ----------------------------------------------------------

CALLS = re.compile(
    r"\b(?:eval|exec|execfile|os\.system|os\.popen|popen2?|mktemp|pickle\.\w+"
    r"|marshal\.loads?|shelve\.open|yaml\.load|__import__)$"
)
SQL = ("execute", "executemany", "executescript", "query", "rows", "script")


def modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE), ast.parse(path.read_text())


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield f"{path}:{node.lineno}", node


def test_nothing_is_evaluated_unpickled_or_given_to_a_shell() -> None:
    found = []
    for place, call in calls():
        name = ast.unparse(call.func)
        shell = any(
            keyword.arg == "shell"
            and not (
                isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            )
            for keyword in call.keywords
        )
        if CALLS.search(name) or shell or name.endswith("create_subprocess_shell"):
            found.append(f"{place}: {name}")

    assert found == []


def test_no_module_imports_what_executes_data() -> None:
    strangers = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "code", "codeop"}
    found = []
    for path, tree in modules():
        for node in ast.walk(tree):
            names = (
                {alias.name for alias in node.names}
                if isinstance(node, ast.Import)
                else {node.module}
                if isinstance(node, ast.ImportFrom)
                else set()
            )
            found += [f"{path}: {name}" for name in names & strangers]

    assert found == []


def test_sql_holds_no_values() -> None:
    """What is put into a statement is a constant of the module, never a value."""
    found = []
    for path, tree in modules():
        # The emulator's tables are nobody's data.
        if path.parts[0] == "emulator":
            continue
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            if isinstance(call.func, ast.Attribute) and call.func.attr in SQL:
                where = f"{path}:{call.lineno}"
                found += [f"{where}: {v}" for v in _values(call.args[0], tree)]

    assert found == []


def _values(sql: ast.expr, tree: ast.Module) -> list[str]:
    """What is put into *sql* and is no constant."""
    match sql:
        case ast.JoinedStr():
            parts: list[ast.expr] = [
                node.value
                for node in sql.values
                if isinstance(node, ast.FormattedValue)
            ]
        case ast.Call(func=ast.Attribute(value=ast.Name(), attr="format")):
            parts = [keyword.value for keyword in sql.keywords]
        case ast.BinOp() | ast.Call(func=ast.Attribute(attr="replace" | "join")):
            return [ast.unparse(sql)]
        case _:
            parts = []
    return [ast.unparse(part) for part in parts if not _is_constant(part, tree)]


def _is_constant(part: ast.expr, tree: ast.Module) -> bool:
    match part:
        case ast.Constant():
            return True
        case ast.IfExp():
            return _is_constant(part.body, tree) and _is_constant(part.orelse, tree)
        case ast.Name() if part.id.isupper():
            return True
        case ast.Name():
            given = [v for name, v in _assignments(tree) if name == part.id]
            return bool(given) and all(_is_constant(value, tree) for value in given)
    return False


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign):
            yield ast.unparse(node.target), node.value
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = zip(target.elts, node.value.elts, strict=True)
                    yield from ((ast.unparse(name), value) for name, value in pairs)
                else:
                    yield ast.unparse(target), node.value


def test_no_temporary_file_has_a_name_that_can_be_foreseen() -> None:
    found = []
    for path, tree in modules():
        for node in ast.walk(tree):
            # Not where it is only spoken of.
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and re.match(r"/(?:var/)?tmp/\S*$", node.value)
            ):
                found.append(f"{path}:{node.lineno}: {node.value}")
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if re.search(r"\b(?:mktemp|gettempdir|tmpnam|tempnam)$", name):
                    found.append(f"{path}:{node.lineno}: {name}")

    assert found == []
