import json
import random

import pytest

from uploader.errors import UnexpectedAnswer
from uploader.sse import Event, Parser

GOAPI = (
    'data: {"message":{"text":""},"error":null}\n\n'
    'data: {"message":{"text":"Grüße \N{GRINNING FACE}"},"error":null}\n\n'
    "data:[none]\n\n"
)
OPENAI = (
    ": keep-alive\n\n"
    "event: response.created\n"
    'data: {"type":"response.created"}\n\n'
    "event: response.output_text.delta\n"
    "id: 7\nretry: 10\n"
    'data: {"delta":"naïve\\n"}\n\n'
    "data: one\ndata:  two\ndata\n\n"
    "event: nothing\n\n"
    "data: [DONE]\n\n"
)
GOAPI_EVENTS = [
    Event(None, '{"message":{"text":""},"error":null}'),
    Event(None, '{"message":{"text":"Grüße \N{GRINNING FACE}"},"error":null}'),
    Event(None, "[none]"),
]
OPENAI_EVENTS = [
    Event("response.created", '{"type":"response.created"}'),
    Event("response.output_text.delta", '{"delta":"naïve\\n"}'),
    Event(None, "one\n two\n"),
    Event(None, "[DONE]"),
]
STREAMS = pytest.mark.parametrize(
    ("stream", "events"),
    [
        pytest.param(GOAPI, GOAPI_EVENTS, id="goapi"),
        pytest.param(OPENAI, OPENAI_EVENTS, id="openai"),
    ],
)
LINE_ENDS = pytest.mark.parametrize(
    "end",
    [
        pytest.param("\n", id="LF"),
        pytest.param("\r\n", id="CRLF"),
        pytest.param("\r", id="CR"),
    ],
)


def parse(*chunks: bytes) -> list[Event]:
    parser = Parser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return events + parser.close()


def feed_often(parser: Parser, chunk: bytes) -> None:
    for _ in range(1000):
        parser.feed(chunk)


@STREAMS
@LINE_ENDS
def test_a_stream_split_in_two_anywhere_is_the_same(
    stream: str, events: list[Event], end: str
) -> None:
    raw = stream.replace("\n", end).encode()

    for at in range(len(raw) + 1):
        assert parse(raw[:at], raw[at:]) == events


@STREAMS
@LINE_ENDS
def test_a_stream_that_comes_byte_by_byte_is_the_same(
    stream: str, events: list[Event], end: str
) -> None:
    raw = stream.replace("\n", end).encode()

    assert parse(*(raw[at : at + 1] for at in range(len(raw)))) == events


@STREAMS
def test_an_event_is_there_as_soon_as_its_empty_line_is(
    stream: str, events: list[Event]
) -> None:
    parser, seen = Parser(), []

    for byte in stream.encode():
        seen += parser.feed(bytes([byte]))

    assert seen == events
    assert parser.close() == []


@STREAMS
def test_a_stream_cut_anywhere_gives_the_events_before_and_at_most_half_a_one(
    stream: str, events: list[Event]
) -> None:
    raw = stream.encode()

    for at in range(len(raw)):
        seen = parse(raw[:at])
        if seen and seen[-1] not in events:
            half = seen.pop().data.rstrip("\N{REPLACEMENT CHARACTER}")
            assert events[len(seen)].data.startswith(half)
        assert seen == events[: len(seen)]


def test_line_ends_may_be_mixed() -> None:
    assert parse(b"data: a\r\ndata: b\rdata: c\n\r\ndata: d\r\r") == [
        Event(None, "a\nb\nc"),
        Event(None, "d"),
    ]


def test_other_separators_stay_in_the_text() -> None:
    text = "a\u2028b\x0bc\x85d"

    assert parse(f"data: {text}\n\n".encode()) == [Event(None, text)]


def test_a_byte_order_mark_at_the_beginning_is_skipped() -> None:
    raw = b"\xef\xbb\xbfdata: a\n\ndata: \xef\xbb\xbfb\n\n"

    for at in range(5):
        assert parse(raw[:at], raw[at:]) == [
            Event(None, "a"),
            Event(None, "\N{ZERO WIDTH NO-BREAK SPACE}b"),
        ]


def test_broken_letters_do_not_stop_it() -> None:
    assert parse(b"data: \xff\n\n") == [Event(None, "\N{REPLACEMENT CHARACTER}")]


def test_an_event_that_does_not_end_is_refused() -> None:
    parser = Parser(max_event=100)

    with pytest.raises(UnexpectedAnswer, match="an event of more than 100 characters"):
        feed_often(parser, b"x" * 10)


def test_an_event_of_many_lines_is_refused_too() -> None:
    parser = Parser(max_event=100)

    with pytest.raises(UnexpectedAnswer):
        feed_often(parser, b"data: x\n")


def test_comments_may_go_on_for_ever() -> None:
    parser = Parser(max_event=100)

    for _ in range(1000):
        assert parser.feed(b": still there\n") == []
    assert parser.feed(b"data: x\n\n") == [Event(None, "x")]


def test_noise_is_no_traceback() -> None:
    noise = random.Random(7).randbytes(100_000)

    for event in parse(*(noise[at : at + 97] for at in range(0, len(noise), 97))):
        json.dumps(event.data)
