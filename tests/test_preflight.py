"""What a purpose demands, seen before a byte is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from uploader import preflight
from uploader.errors import PreflightFailed, SourceError
from uploader.preflight import BATCH_LINES, FINDINGS, check

REQUEST = {"custom_id": "1", "method": "POST", "url": "/v1/responses", "body": {}}
CHAT = {"messages": [{"role": "user", "content": "hello"}]}


def lines(*objects: object) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


async def findings(
    tmp_path: Path,
    purpose: str,
    content: bytes,
    name: str = "a.jsonl",
    mime_type: str | None = None,
) -> tuple[str, ...]:
    path = tmp_path / "source"
    path.write_bytes(content)
    try:
        await check(path, purpose=purpose, filename=name, mime_type=mime_type)
    except PreflightFailed as failed:
        return failed.findings
    return ()


@pytest.mark.parametrize(
    ("purpose", "content"),
    [
        pytest.param(
            "batch", lines(REQUEST, {**REQUEST, "custom_id": "2"}), id="batch"
        ),
        pytest.param("batch", lines(REQUEST).rstrip(), id="no last newline"),
        pytest.param("batch", lines({**REQUEST, "custom_id": "é"}), id="not ASCII"),
        pytest.param("fine-tune", lines(CHAT, CHAT), id="conversations"),
        pytest.param(
            "fine-tune", lines({"prompt": "a", "completion": "b"}), id="prompts"
        ),
        pytest.param(
            "fine-tune",
            lines({"input": {}, "preferred_output": [], "non_preferred_output": []}),
            id="preferences",
        ),
        pytest.param("user_data", b"\xff\x00", id="purposes that take anything"),
    ],
)
async def test_what_suits_its_purpose_passes(
    tmp_path: Path, purpose: str, content: bytes
) -> None:
    assert await findings(tmp_path, purpose, content) == ()


@pytest.mark.parametrize(
    ("purpose", "content", "finding"),
    [
        pytest.param(
            "batch", lines(REQUEST, REQUEST), "line 2: custom_id '1'", id="id"
        ),
        pytest.param("batch", b"{]\n", "line 1: ", id="no JSON"),
        pytest.param("batch", b'{"a": 1}\n', "missing required field", id="no field"),
        pytest.param("batch", lines([1]), "line 1: expected `object`", id="no object"),
        pytest.param(
            "batch", lines({**REQUEST, "method": "GET"}), "POST only", id="method"
        ),
        pytest.param("batch", lines({**REQUEST, "url": "x"}), "url is 'x'", id="URL"),
        pytest.param("batch", lines({**REQUEST, "body": 1}), "$.body", id="body"),
        pytest.param(
            "batch", lines(REQUEST) + b"\n", "line 2: it is empty", id="blank"
        ),
        pytest.param("batch", b'{"a": "\xff"}\n', "is not UTF-8", id="encoding"),
        pytest.param(
            "batch", b"\xef\xbb\xbf" + lines(REQUEST), "byte order mark", id="BOM"
        ),
        pytest.param("batch", b"", "no lines", id="empty"),
        pytest.param("fine-tune", lines({"x": 1}), "neither messages", id="example"),
        pytest.param("fine-tune", lines({"messages": []}), "is empty", id="silence"),
    ],
)
async def test_the_line_and_its_fault_are_named(
    tmp_path: Path, purpose: str, content: bytes, finding: str
) -> None:
    (found,) = await findings(tmp_path, purpose, content)

    assert finding in found


async def test_only_the_first_findings_are_told(tmp_path: Path) -> None:
    found = await findings(tmp_path, "batch", b"?\n" * 1000)

    assert [each.split(":")[0] for each in found] == [
        f"line {number}" for number in range(1, FINDINGS + 1)
    ]


async def test_a_batch_of_too_many_lines_or_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = lines(*({**REQUEST, "custom_id": str(n)} for n in range(BATCH_LINES + 1)))
    assert await findings(tmp_path, "batch", many) == ("it has more than 50000 lines",)

    monkeypatch.setattr(preflight, "BATCH_SIZE", 100)
    (found,) = await findings(tmp_path, "batch", lines({**REQUEST, "url": "/" * 99}))
    assert found == "it has more than 100 bytes"


async def test_a_line_without_an_end_is_not_held_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "LINE", 1000)

    (found,) = await findings(tmp_path, "fine-tune", b"[" * 5000)

    assert found == "line 1: it is longer than 1000 bytes"


@pytest.mark.parametrize(
    ("purpose", "name", "mime_type", "finding"),
    [
        ("batch", "a.csv", None, "does not end in .jsonl"),
        ("batch", "a.jsonl", "image/png", "image/png is no type of JSON lines"),
        ("vision", "a.pdf", None, ".pdf is no picture"),
        ("vision", "a.png", "text/plain", "text/plain is no type of a picture"),
    ],
)
async def test_name_and_type_have_to_suit_the_purpose(
    tmp_path: Path, purpose: str, name: str, mime_type: str | None, finding: str
) -> None:
    (found,) = await findings(tmp_path, purpose, lines(REQUEST), name, mime_type)

    assert finding in found


async def test_a_file_that_is_gone_is_the_sources_fault(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        await check(tmp_path / "none.jsonl", purpose="batch")
