import subprocess
import sys

import pytest

import uploader

# Each costs a tenth of a second or a dozen megabytes that `--version` does not need.
HEAVY = {"aiohttp", "sqlite_utils", "tenacity", "rich", "blake3", "sqlite3"}


def python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def test_the_public_names_are_sorted() -> None:
    assert uploader.__all__ == sorted(uploader.__all__)


def test_every_public_name_can_be_had() -> None:
    for name in uploader.__all__:
        assert getattr(uploader, name) is not None
        assert name in dir(uploader)


def test_the_public_names_are_what_they_say() -> None:
    modules = {"errors", "events"}

    for name in set(uploader.__all__) - modules:
        assert getattr(uploader, name).__name__ == name
    for name in modules:
        assert getattr(uploader, name).__name__ == f"uploader.{name}"


def test_all_of_them_can_be_imported_at_once() -> None:
    names = python("-c", "from uploader import *; print(*sorted(dir()))").split()

    assert {name for name in names if not name.startswith("_")} == {*uploader.__all__}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Downloader'"):
        _ = uploader.Downloader


def modules_after(statement: str) -> set[str]:
    return set(python("-c", f"import sys; {statement}; print(*sys.modules)").split())


def test_the_import_brings_nothing_that_can_wait() -> None:
    imported = modules_after("import uploader")

    assert imported & {*HEAVY, "click", "asyncio", "msgspec"} == set()


def test_the_command_brings_nothing_that_only_an_upload_needs() -> None:
    assert modules_after("import uploader.cli") & HEAVY == set()


def test_the_engine_comes_with_the_first_use() -> None:
    assert "aiohttp" in modules_after("import uploader; uploader.Uploader")


def test_the_emulator_imports_nothing_of_the_house() -> None:
    imported = modules_after("import uploader.emulator")

    ours = {name for name in imported if name.startswith("uploader.")}
    assert {name for name in ours if not name.startswith("uploader.emulator")} == set()


def test_the_module_is_the_command() -> None:
    said = python("-m", "uploader", "--version")

    assert said == f"uploader {uploader.__version__}\n"
