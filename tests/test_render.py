import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.fakes import FakeClock
from tests.test_model import upload_in
from uploader import events, render, tables
from uploader.errors import RequestRejected, UploaderError
from uploader.model import FileId, LocalId, UploadId, UploadState

ID = LocalId("u1")
HOSTILE = "big\x1b[2J\u202e\r\n.bin"


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    clock.advance(1000.0)
    monkeypatch.setattr(render, "time", SimpleNamespace(monotonic=clock.elapsed))
    return clock


def event(
    kind: type[events.UploadEvent], name: str = "big.bin", **fields: Any
) -> events.Event:
    return kind(upload=ID, path=Path("/data") / name, **fields)


def started(name: str = "big.bin", recorded_parts: int = 0) -> events.Event:
    return event(
        events.UploadStarted,
        name,
        size=4096,
        parts=4,
        recorded=1024 * recorded_parts,
        recorded_parts=recorded_parts,
    )


def part_sent(number: int) -> events.Event:
    return event(events.PartSent, number=number, size=1024, attempts=1)


def completed(name: str = "big.bin") -> events.Event:
    return event(
        events.UploadCompleted, name, file_id=FileId("file-1"), bytes=4096, md5="0a"
    )


BACKING_OFF = event(
    events.BackingOff, operation="part 2", attempt=3, delay=1.25, reason="HTTP 503"
)
TELLING = [
    (BACKING_OFF, ["HTTP 503", "attempt 3 of part 2", "1.2 s"]),
    (
        event(events.DeadlineAtRisk, rate=1024.0, needed=4096.0, remaining=60.0),
        ["1.0 KiB/s", "60 s left", "4.0 KiB/s are needed"],
    ),
    (event(events.UploadRestarted, reason="it expired"), ["over: it expired"]),
    (event(events.SourceReplaced), ["another file"]),
    (event(events.OutcomeSought, reason="HTTP 404"), ["looking for", "HTTP 404"]),
    (event(events.UploadCancelled), ["cancelled"]),
]
EVERYTHING = [
    started(),
    event(events.UploadOpened, upload_id=UploadId("upload_1"), expires_at=None),
    event(events.PartProgressed, number=1, sent=512),
    part_sent(1),
    event(events.CompleteAsked),
    *(told for told, _ in TELLING),
    completed(),
    event(events.UploadFailed, error="x", hint="y", exit_code=5, resumable=True),
]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2, "1.0 MiB"),
        (1024**3, "1.00 GiB"),
        (8 * 1024**3, "8.00 GiB"),
        (5000 * 1024**3, "5000.00 GiB"),
    ],
)
def test_sizes_are_in_powers_of_1024(count: int, text: str) -> None:
    assert tables.size(count) == text


def said(capsys: pytest.CaptureFixture[str]) -> tuple[str, Sequence[str]]:
    out, err = capsys.readouterr()
    return out, err.splitlines()


def test_an_error_is_shown_with_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    render.report(RequestRejected("it said no", hint="ask nicely"))

    assert capsys.readouterr() == ("", "error: it said no\n\nhint: ask nicely\n")


def test_an_error_without_a_hint_is_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.report(UploaderError("it said no"))

    assert said(capsys) == ("", ["error: it said no"])


def test_lines_tell_how_an_upload_begins_and_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = render.Lines()
    for one in (started(), part_sent(1), completed()):
        lines(one)

    assert said(capsys) == (
        "file-1\n",
        ["big.bin: 4.0 KiB in 4 parts", "big.bin: complete, 4.0 KiB, md5 0a"],
    )


def test_a_resumed_upload_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    render.Lines()(started(recorded_parts=3))

    assert said(capsys) == ("", ["big.bin: resumed with 3 of 4 parts"])


def test_progress_is_told_calmly(
    capsys: pytest.CaptureFixture[str], clock: FakeClock
) -> None:
    lines = render.Lines()
    lines(started(recorded_parts=1))
    lines(part_sent(2))
    clock.advance(render.CALM)
    lines(part_sent(3))
    lines(part_sent(4))

    assert said(capsys)[1][1:] == ["big.bin: 3.0 KiB of 4.0 KiB (75 %)"]


def test_verbose_lines_tell_of_each_part(capsys: pytest.CaptureFixture[str]) -> None:
    lines = render.Lines(verbose=True)
    for one in EVERYTHING[:4]:
        lines(one)

    assert said(capsys)[1][1:] == [
        "big.bin: opened upload_1",
        "big.bin: 1.0 KiB of 4.0 KiB (25 %)",
    ]


def test_after_a_restart_progress_begins_anew(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = render.Lines(verbose=True)
    lines(started(recorded_parts=3))
    lines(event(events.UploadRestarted, reason="it expired"))
    lines(part_sent(1))

    assert said(capsys)[1][-1] == "big.bin: 1.0 KiB of 4.0 KiB (25 %)"


@pytest.mark.parametrize(("one", "words"), TELLING)
def test_what_a_person_should_hear_is_told_by_lines(
    capsys: pytest.CaptureFixture[str], one: events.Event, words: list[str]
) -> None:
    render.Lines()(one)

    out, (line,) = said(capsys)
    assert out == ""
    assert line.startswith("big.bin: ")
    assert all(word in line for word in words)


def test_quiet_is_the_file_id_alone(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = render.Quiet()
    with quiet.shown():
        for one in EVERYTHING:
            quiet(one)

    assert said(capsys) == ("file-1\n", [])


def test_json_is_one_object_for_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    program = render.Json()
    for one in EVERYTHING:
        program(one)

    out, err = said(capsys)
    assert err == []
    assert [json.loads(line) for line in out.splitlines()] == [
        events.as_json(one) for one in EVERYTHING
    ]


def test_json_tells_the_progress_of_a_part_once_a_second(
    capsys: pytest.CaptureFixture[str], clock: FakeClock
) -> None:
    program = render.Json()
    for number in range(1, 31):
        program(event(events.PartProgressed, number=1, sent=number))
        clock.advance(0.1)
    program(event(events.PartProgressed, number=2, sent=100))

    out, _ = said(capsys)
    assert [json.loads(line)["sent"] for line in out.splitlines()] == [1, 11, 21, 100]


def test_bars_move_within_a_part_and_print_the_file_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bars = render.Bars()
    with bars.shown():
        for one in EVERYTHING:
            bars(one)

    out, err = capsys.readouterr()
    assert out == "file-1\n"
    assert "0/4 parts" in err
    assert "starting over: it expired" in " ".join(err.split())


def test_a_bar_counts_what_is_recorded_sent_and_moving() -> None:
    bars = render.Bars()
    with bars.shown():
        bars(started(recorded_parts=1))
        bars(event(events.PartProgressed, number=2, sent=512))
        bars(event(events.PartProgressed, number=3, sent=1024))
        bars(part_sent(3))
        (task,) = bars._progress.tasks

        assert task.total == 4096
        assert task.completed == 1024 + 1024 + 512
        assert task.fields["parts"] == "2/4 parts"

        bars(event(events.UploadRestarted, reason="it expired"))
        assert task.completed == 0


@pytest.mark.parametrize("shown", ["lines", "bars"])
def test_hostile_file_names_are_blotted(
    capsys: pytest.CaptureFixture[str], shown: str
) -> None:
    show: render.Quiet = render.Lines() if shown == "lines" else render.Bars()
    with show.shown():
        show(started(HOSTILE))
        show(event(events.UploadRestarted, HOSTILE, reason="a\x1b[2Jb"))

    _, err = capsys.readouterr()
    assert "\x1b[2J" not in err
    assert "\u202e" not in err
    assert "\N{REPLACEMENT CHARACTER}[2J" in err


def test_hostile_file_names_are_escaped_in_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.Json()(started(HOSTILE))

    out, _ = said(capsys)
    assert out.rstrip("\n").isprintable()
    assert json.loads(out)["path"] == f"/data/{HOSTILE}"


def test_a_markup_in_a_file_name_is_no_markup(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bars = render.Bars()
    with bars.shown():
        bars(started("[red]x[nonsense]"))
        bars(event(events.UploadRestarted, "[red]x[nonsense]", reason="r"))

    shown = capsys.readouterr().err
    assert "[red]x[nonsense]: starting over" in shown
    assert "[red]x[nonsense] " in shown


def test_hostile_errors_and_ids_are_blotted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.report(RequestRejected("no\x1b[2J", hint="why\x1b[2J"))
    render.Quiet()(
        event(events.UploadCompleted, file_id=FileId("f\x1b[2J"), bytes=1, md5=None)
    )

    out, err = capsys.readouterr()
    assert "\x1b" not in out + err


@pytest.mark.parametrize(
    ("flags", "terminal", "kind"),
    [
        ({"as_json": True, "quiet": True}, True, render.Json),
        ({"quiet": True, "verbose": True}, True, render.Quiet),
        ({"verbose": True}, True, render.Lines),
        ({}, True, render.Bars),
        ({}, False, render.Lines),
    ],
)
def test_flags_and_the_terminal_choose(
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, bool],
    terminal: bool,
    kind: type[render.Quiet],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    chosen = {"as_json": False, "quiet": False, "verbose": False, **flags}

    assert type(render.choose(**chosen)) is kind


def test_the_table_has_a_line_for_each_upload() -> None:
    open_one = dataclasses.replace(upload_in(UploadState.OPEN), owner="pid 7")
    failed = dataclasses.replace(upload_in(UploadState.FAILED), failure="HTTP 400")

    head, *lines = tables.table([open_one, failed], (), ())

    assert head.split() == ["ID", "STATE", "PARTS", "SIZE", "FILE"]
    assert [line.split() for line in lines] == [
        ["u1", "open", "2/3", "9", "B", "/f", "(pid", "7)"],
        ["u1", "failed", "2/3", "9", "B", "/f", "!", "HTTP", "400"],
    ]


def test_the_table_blots_what_others_named() -> None:
    hostile = dataclasses.replace(
        upload_in(UploadState.OPEN), owner=HOSTILE, failure=HOSTILE
    )

    _, line = tables.table([hostile], (), ())

    assert line.isprintable()


def test_an_upload_as_json_is_what_the_journal_knows() -> None:
    document = json.loads(tables.as_json(upload_in(UploadState.OPEN)))

    assert document["id"] == "u1"
    assert document["state"] == "open"
    assert document["identity"]["path"] == "/f"
    assert set(document["parts"]) == {"1", "3"}


# -- messages and answers -----------------------------------------------------


def message(
    kind: type[events.AttachmentEvent], **fields: Any
) -> events.AttachmentEvent:
    return kind(attachment=ID, target="conversation:new", **fields)


def attached(answer: str | None) -> events.AttachmentEvent:
    return message(
        events.AttachmentCompleted,
        conversation_id="conv_1",
        message_id="msg_1",
        file_ids=(FileId("file-1"), FileId("file-2")),
        answer=answer,
    )


def on_the_way(file_id: str) -> events.Event:
    return event(
        events.UploadCompleted,
        file_id=file_id,
        bytes=4096,
        md5=None,
        target="conversation:new",
    )


def test_an_answer_is_the_output_as_it_comes_and_the_ids_go_beside_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = render.Quiet()
    show(on_the_way("file-1"))
    for text in ("It is", " a\ncat."):
        show(message(events.AnswerProgressed, text=text))
    show(attached("It is a\ncat."))

    assert capsys.readouterr() == ("It is a\ncat.\n", "file-1\nfile-2\n")


def test_an_answer_that_did_not_come_in_pieces_is_the_output_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.Quiet()(attached("It is a cat."))

    assert capsys.readouterr() == ("It is a cat.\n", "file-1\nfile-2\n")


def test_answers_that_come_at_the_same_time_are_said_one_after_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = render.Quiet()
    ids = [LocalId("u1"), LocalId("u2")]
    for text, id_ in [("It is", ids[0]), ("No", ids[1]), (" a cat.", ids[0])]:
        told = message(events.AnswerProgressed, text=text)
        show(dataclasses.replace(told, attachment=id_))
    show(event(events.UploadCompleted, file_id=FileId("file-9"), bytes=1, md5=None))
    show(dataclasses.replace(attached("It is a cat."), attachment=ids[0]))
    show(dataclasses.replace(attached("No dog."), attachment=ids[1]))

    assert capsys.readouterr().out == "It is a cat.\nfile-9\nNo dog.\n"


def test_an_answer_that_fails_in_the_middle_ends_its_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = render.Quiet()
    show(message(events.AnswerProgressed, text="It is"))
    failed = {"error": "x", "hint": None, "exit_code": 6, "resumable": True}
    show(message(events.AttachmentFailed, **failed))

    assert capsys.readouterr().out == "It is\n"


def test_without_an_answer_the_ids_are_the_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = render.Quiet()
    show(on_the_way("file-1"))
    show(attached(None))

    assert capsys.readouterr() == ("file-1\nfile-2\n", "")


def test_an_answer_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    render.Quiet()(message(events.AnswerProgressed, text="a\x1b[2Jb\r\tc"))

    assert capsys.readouterr().out == "a\ufffd[2Jb\ufffd\tc"


def test_a_file_on_its_way_is_named_in_case_its_message_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show = render.Lines()
    show(started())
    show(on_the_way("file-1"))
    show(message(events.AttachOutcomeSought, reason="reset"))
    show(attached(None))

    said = capsys.readouterr().err.splitlines()
    assert said[1] == "big.bin: complete, 4.0 KiB, md5 off, file-1"
    assert said[2].startswith("conversation:new: looking for the message")
    assert said[3] == "conversation:new: attached in conv_1"


def test_answers_and_bars_get_along(capsys: pytest.CaptureFixture[str]) -> None:
    show = render.Bars()
    with show.shown():
        show(started())
        show(on_the_way("file-1"))
        show(message(events.AnswerProgressed, text="It is a cat."))
        show(attached("It is a cat."))

    assert capsys.readouterr().out == "It is a cat.\n"
