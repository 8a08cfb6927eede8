"""No dependency that is installed has a known vulnerability."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.tools

Tool = Callable[[str], Path]


def installed() -> dict[str, str]:
    found = importlib.metadata.distributions()
    return {each.name: each.version for each in found if each.name != "uploader"}


@pytest.mark.timeout(300)
def test_no_dependency_has_a_known_vulnerability(tool: Tool, tmp_path: Path) -> None:
    program, listed = tool("venv/bin/pip-audit"), tmp_path / "installed.txt"
    listed.write_text("".join(f"{n}=={v}\n" for n, v in sorted(installed().items())))
    options = ("--no-deps", "--disable-pip", "--format", "json", "-r", str(listed))

    done = subprocess.run(
        [program, *options], capture_output=True, text=True, check=False
    )

    if not done.stdout:
        pytest.skip(f"the database of vulnerabilities is away: {done.stderr[-200:]}")
    audited = [one for one in json.loads(done.stdout)["dependencies"] if "vulns" in one]
    if not audited:
        pytest.skip("the registry here knows nothing of vulnerabilities")
    assert [one for one in audited if one["vulns"]] == []
