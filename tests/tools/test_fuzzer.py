"""Schemathesis against the emulator: what it finds has to be explained here."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.tools.conftest import SPEC, output_of
from uploader.emulator import Emulator

pytestmark = pytest.mark.tools

KEY = "sk-fuzz"

REJECTED = "ST202"
"""A request that the schema allows, and that was refused."""
UNDECLARED = "ST204"
"""A method that the description does not have, and no 405."""

NAMED = "filename|purpose|bytes|mime_type|expires_after|part_ids|md5|data|file"
"""What the description names in requests; to refuse that needs another reason."""

EXPLAINED = [
    (REJECTED, r"is already (cancelled|completed)", "an upload has a state"),
    (REJECTED, r"No such part|listed more than once|non-empty", "so have its parts"),
    (REJECTED, r"was created with \d+ bytes", "the parts have to be as many bytes"),
    (REJECTED, r"md5 does not match", "and to be these bytes"),
    (REJECTED, r"[Mm]ust be \.jsonl", "batch and fine-tune take .jsonl only"),
    (REJECTED, r"length >= 1 - at `\$\.(filename|mime_type)`", "names have letters"),
    (REJECTED, r"(>= 0|minimum of 1).*bytes", "sizes are positive"),
    (REJECTED, r"(bytes are too many|exceeds)", "and limited: in words, not schema"),
    (REJECTED, r"int.* - at `\$\.limit`", "limit is 1 to 10,000: in words, too"),
    (REJECTED, r"The part is empty", "a part is at least one byte"),
    (REJECTED, r"is not a file", "a file has a name in its form"),
    (REJECTED, rf"not allowed \('(?!({NAMED})')", "what has no name is not taken"),
    (REJECTED, r"'expires_after' was", "forms have expires_after[anchor], as SDKs do"),
    (UNDECLARED, r"Invalid URL \(TRACE ", "what it does not have is 404 at OpenAI"),
]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the fuzzer objects to, and the service's own words."""

    code: str
    objection: str
    answer: str

    @property
    def is_explained(self) -> bool:
        return any(
            code == self.code and re.search(words, self.answer)
            for code, words, _ in EXPLAINED
        )


def findings(report: Path) -> Iterator[Finding]:
    for line in report.read_text().splitlines():
        scenario = json.loads(line).get("ScenarioFinished")
        if scenario is not None:
            yield from _of_scenario(scenario["recorder"])


def _of_scenario(recorder: dict[str, Any]) -> Iterator[Finding]:
    for case, checks in recorder.get("checks", {}).items():
        for check in checks:
            if (info := check.get("failure_info")) is not None:
                failure = info["failure"]
                yield Finding(
                    code=failure["code"],
                    objection=f"{failure['operation']}: {failure['message']}",
                    answer=_answer(recorder.get("interactions", {}).get(case)),
                )


def _answer(interaction: dict[str, Any] | None) -> str:
    response = (interaction or {}).get("response") or {}
    content = (response.get("content") or {}).get("$base64", "")
    return base64.b64decode(content).decode("utf-8", "replace")


async def test_a_fuzzer_finds_no_answer_that_is_not_explained(
    tool: Callable[[str], Path], tmp_path: Path
) -> None:
    program, report = tool("venv/bin/schemathesis"), tmp_path / "report.ndjson"

    async with Emulator(tmp_path / "service", keys=[KEY]) as emulator:
        said = await output_of(
            *(program, "run", SPEC, "--url", emulator.url),
            *("-H", f"Authorization: Bearer {KEY}"),
            *("--max-examples", "30", "--workers", "1", "--generation-deterministic"),
            *("--report", "ndjson", "--report-ndjson-path", report),
            cwd=tmp_path,
        )

    assert re.search(r"Tested: 9\b", said), said
    found = list(findings(report))
    assert found, "it always finds something; is this the report?"
    assert [finding for finding in found if not finding.is_explained] == []
