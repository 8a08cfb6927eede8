from pathlib import Path
from typing import Any

import pytest

from uploader.config import (
    ENVIRONMENT,
    NAMES,
    OPENAI_URL,
    Limits,
    RetryPolicy,
    Settings,
    Timeouts,
)
from uploader.errors import UsageError
from uploader.model import MIB


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "uploader.toml"


def test_settings_are_pure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPLOADER_PARALLEL", "3")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")

    assert Settings().parallel == 64
    assert Settings().api_key is None


def test_loaded_without_a_file_and_an_environment_they_are_the_defaults() -> None:
    assert Settings.load(environ={}) == Settings()


def test_flags_win_over_the_environment_and_that_over_the_file(file: Path) -> None:
    file.write_text("parallel = 2\npart_size = '2MiB'\nmd5 = 'base64'\n")
    environ = {"UPLOADER_PARALLEL": "3", "UPLOADER_MD5": "off"}

    settings = Settings.load(file=file, environ=environ, md5="hex")

    assert settings.part_size == 2 * MIB
    assert settings.parallel == 3
    assert settings.md5 == "hex"


def test_the_process_environment_is_read_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UPLOADER_PARALLEL", "3")

    assert Settings.load().parallel == 3


def test_overrides_that_are_none_and_empty_variables_do_not_count() -> None:
    settings = Settings.load(environ={"UPLOADER_PARALLEL": ""}, base_url=None)

    assert settings == Settings()


def test_an_override_that_is_no_setting_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="paralel"):
        Settings.load(environ={}, paralel=3)


def test_openais_variables_are_understood_and_ours_win() -> None:
    environ = {
        "OPENAI_BASE_URL": "http://one/v1",
        "OPENAI_API_KEY": "sk-one",
        "OPENAI_ORG_ID": "org-one",
        "OPENAI_PROJECT_ID": "proj-one",
    }

    theirs = Settings.load(environ=environ)
    ours = Settings.load(environ={**environ, "UPLOADER_BASE_URL": "http://two/v1"})

    assert theirs.base_url == "http://one/v1"
    assert theirs.api_key == "sk-one"
    assert (theirs.organization, theirs.project) == ("org-one", "proj-one")
    assert ours.base_url == "http://two/v1"
    assert Settings().base_url == OPENAI_URL


def test_every_setting_has_a_variable() -> None:
    assert set(ENVIRONMENT.values()) == set(NAMES)
    assert ENVIRONMENT["UPLOADER_RETRY_MAX_ATTEMPTS"] == "retry.max_attempts"


def test_nested_settings_are_tables_of_the_file(file: Path) -> None:
    file.write_text(
        "keep_trying = true\n[retry]\nmax_attempts = 2\n[timeouts]\nsettle = '2m'\n"
    )
    environ = {"UPLOADER_TIMEOUTS_DRAIN": "5"}

    settings = Settings.load(file=file, environ=environ)

    assert settings.keep_trying
    assert settings.retry == RetryPolicy(max_attempts=2)
    assert settings.timeouts == Timeouts(settle=120.0, drain=5.0)


def test_the_file_may_be_named_by_a_variable(file: Path) -> None:
    file.write_text("parallel = 2")

    assert Settings.load(environ={"UPLOADER_CONFIG": str(file)}).parallel == 2


def test_the_users_own_file_is_read_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.toml"
    monkeypatch.setattr("uploader.config.default_file", lambda: own)
    assert Settings.load(environ={}).parallel == Settings().parallel

    own.write_text("parallel = 2")

    assert Settings.load(environ={}).parallel == 2


def test_the_journal_is_in_the_users_state_by_default(tmp_path: Path) -> None:
    assert Settings().journal.is_relative_to(tmp_path / "home")
    assert Settings().journal.name == "journal.db"


def test_a_path_may_begin_at_home(tmp_path: Path) -> None:
    settings = Settings.load(environ={"UPLOADER_JOURNAL": "~/j.db"})

    assert settings.journal == tmp_path / "home" / "j.db"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("# one\nparallel = 0", ["line 2", "parallel"], id="too little"),
        pytest.param("parallel = 'x'", ["line 1", "'x'", "parallel"], id="no number"),
        pytest.param("md5 = 'HEX'", ["line 1", "'HEX'", "md5"], id="no choice"),
        pytest.param("part_size = '8 XB'", ["line 1", "no size"], id="no size"),
        pytest.param(
            "\n[timeouts]\n\nsettle = 'soon'", ["line 4", "no duration"], id="no time"
        ),
        pytest.param(
            "[retry]\nmax_attempts = 0", ["line 2", "max_attempts"], id="nested"
        ),
        pytest.param(
            "settle = 1\n[timeouts]\nprogress = 1", ["line 1", "settle"], id="no table"
        ),
        pytest.param("parallel = ?", ["line 1"], id="no TOML"),
    ],
)
def test_a_bad_setting_is_named_with_its_file_and_line(
    file: Path, text: str, words: list[str]
) -> None:
    file.write_text(text)

    with pytest.raises(UsageError) as raised:
        Settings.load(file=file, environ={})

    for word in [str(file), *words]:
        assert word in str(raised.value)
    assert raised.value.hint


def test_a_bad_setting_of_the_environment_is_named_with_its_variable() -> None:
    with pytest.raises(UsageError, match="UPLOADER_PARALLEL: 'many'"):
        Settings.load(environ={"UPLOADER_PARALLEL": "many"})
    with pytest.raises(UsageError, match="UPLOADER_PARALLEL: parallel must be"):
        Settings.load(environ={"UPLOADER_PARALLEL": "0"})


def test_an_unknown_setting_is_answered_with_the_nearest(file: Path) -> None:
    file.write_text("[retry]\nmax_attempt = 3")

    with pytest.raises(UsageError, match=r"retry\.max_attempt$") as raised:
        Settings.load(file=file, environ={})

    assert raised.value.hint == "did you mean retry.max_attempts?"


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        Settings.load(file=tmp_path / "absent.toml", environ={})


def test_a_key_appears_in_no_repr_and_no_error(file: Path) -> None:
    assert "sk-secret" not in repr(Settings(api_key="sk-secret"))

    file.write_text("api_key = ['sk-secret']")
    with pytest.raises(UsageError, match="api_key") as raised:
        Settings.load(file=file, environ={})
    assert "sk-secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Settings, {"parallel": 0}),
        (Settings, {"part_size": 0}),
        (Settings, {"md5": "crc"}),
        (RetryPolicy, {"max_attempts": 0}),
        (RetryPolicy, {"first_contact_attempts": 0}),
        (RetryPolicy, {"backoff_initial": 0.0}),
        (RetryPolicy, {"backoff_initial": 2.0, "backoff_max": 1.0}),
        (Timeouts, {"connect": 0.0}),
        (Timeouts, {"progress": 0.0}),
        (Timeouts, {"answer": 0.0}),
        (Timeouts, {"lease": 0.0}),
        (Timeouts, {"settle": -1.0}),
        (Timeouts, {"drain": -1.0}),
        (Timeouts, {"progress": float("nan")}),
        (Limits, {"parts": 1, "part_size": 1, "upload_size": 2}),
    ],
)
def test_values_check_themselves(kind: type[Any], values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values)).split("_")[-1]):
        kind(**values)


def test_settling_and_draining_may_take_no_time() -> None:
    assert Timeouts(settle=0.0, drain=0.0).settle == 0.0
