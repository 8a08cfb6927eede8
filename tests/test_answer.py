import json
import time
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from uploader.answer import QUOTA_CODES, Answer, printable, refusal, retry_after
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    CredentialsRefused,
    RequestRejected,
    Throttled,
    UnexpectedAnswer,
    UploadExpired,
)

KEY = "sk-proj-0123456789abcdefghij"
# 1994-11-06 08:49:37 UTC, the example of RFC 9110 in seconds since the epoch.
THEN = 784111777.0


class Shape(msgspec.Struct):
    id: str


def answer(
    status: int, body: object = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer("create", status, CIMultiDict(headers or {}), text)


def refused(
    status: int, body: object = b"", headers: Mapping[str, str] | None = None
) -> BackendError:
    return refusal(answer(status, body, headers), secret=KEY)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, RequestRejected),
        (307, RequestRejected),
        (400, RequestRejected),
        (401, CredentialsRefused),
        (403, CredentialsRefused),
        (404, RequestRejected),
        (405, RequestRejected),
        (407, CredentialsRefused),
        (408, BackendUnavailable),
        (409, RequestRejected),
        (410, UploadExpired),
        (413, RequestRejected),
        (422, RequestRejected),
        (429, Throttled),
        (500, BackendUnavailable),
        (501, BackendUnavailable),
        (502, BackendUnavailable),
        (503, BackendUnavailable),
        (504, BackendUnavailable),
        (529, BackendUnavailable),
    ],
)
def test_a_status_stands_for_an_error(status: int, kind: type[BackendError]) -> None:
    error = refused(status, {"error": {"message": "Because."}})

    assert type(error) is kind
    assert error.status == status
    assert str(error).startswith(f"create: HTTP {status}: ")


@pytest.mark.parametrize("code", sorted(QUOTA_CODES))
def test_a_429_for_want_of_quota_is_not_tried_again(code: str) -> None:
    error = refused(429, {"error": {"message": "You have no more.", "code": code}})

    assert type(error) is CredentialsRefused
    assert "billing" in (error.hint or "")


def test_a_429_that_only_speaks_of_quota_is_tried_again() -> None:
    body = {"error": {"message": "insufficient_quota", "code": "slow_down"}}

    assert type(refused(429, body)) is Throttled


@pytest.mark.parametrize(
    ("status", "wish", "kind"),
    [
        pytest.param(500, "false", RequestRejected, id="a 500 that is final"),
        pytest.param(429, "false", RequestRejected, id="a 429 that is final"),
        pytest.param(409, "true", BackendUnavailable, id="a 409 that will pass"),
        pytest.param(400, "TRUE", BackendUnavailable, id="in capitals"),
        pytest.param(401, "true", CredentialsRefused, id="a key that is wrong"),
        pytest.param(500, "perhaps", BackendUnavailable, id="neither"),
    ],
)
def test_the_services_wish_about_retrying_overrides_the_status(
    status: int, wish: str, kind: type[BackendError]
) -> None:
    assert type(refused(status, headers={"x-should-retry": wish})) is kind


def test_only_a_429_certainly_had_no_effect() -> None:
    for status in (408, 500, 502, 503, 504):
        error = refused(status)
        assert isinstance(error, BackendUnavailable)
        assert error.effect_possible

    throttled = refused(429)
    assert isinstance(throttled, Throttled)
    assert not throttled.effect_possible


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"retry-after": "7"}, 7.0, id="seconds"),
        pytest.param({"retry-after": "0.5"}, 0.5, id="half a second"),
        pytest.param({"retry-after": "-7"}, 0.0, id="less than nothing"),
        pytest.param({"retry-after-ms": "1500"}, 1.5, id="milliseconds"),
        pytest.param({"retry-after-ms": "20.5"}, 0.0205, id="less than those"),
        pytest.param(
            {"retry-after-ms": "1500", "retry-after": "7"}, 1.5, id="the finer one"
        ),
        pytest.param(
            {"retry-after-ms": "soon", "retry-after": "7"}, 7.0, id="the better one"
        ),
        pytest.param(
            {"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10.0, id="a date"
        ),
        pytest.param(
            {"retry-after": "Sun, 06 Nov 1994 09:49:47 +0100"}, 10.0, id="with a zone"
        ),
        pytest.param(
            {"retry-after": "Sun Nov  6 08:49:47 1994"}, 10.0, id="by asctime()"
        ),
        pytest.param(
            {"retry-after": "Sun, 06 Nov 1994 08:49:27 GMT"}, 0.0, id="in the past"
        ),
        pytest.param({"retry-after": "soon"}, None, id="in words"),
        pytest.param({"retry-after": "inf"}, None, id="for ever"),
        pytest.param({"retry-after-ms": "nan"}, None, id="not a number"),
    ],
)
def test_a_retry_after_is_read_in_each_spelling(
    headers: Mapping[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert retry_after(headers, now=THEN) == pytest.approx(seconds)
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text())
def test_no_retry_after_is_a_crash_or_endless(text: str) -> None:
    seconds = retry_after({"retry-after": text}, now=THEN)

    assert seconds is None or 0.0 <= seconds < float("inf")


@pytest.mark.parametrize("status", [429, 503])
def test_an_error_to_be_tried_again_carries_the_wish(status: int) -> None:
    error = refused(status, headers={"Retry-After": "7"})

    assert isinstance(error, BackendUnavailable)
    assert error.retry_after == 7.0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"error": {"message": "No."}}, "No.", id="the contract's"),
        pytest.param({"message": "No."}, "No.", id="without the outer object"),
        pytest.param({"error": "No."}, "No.", id="a word"),
        pytest.param({"error": None, "message": "No."}, "No.", id="an error of null"),
        pytest.param({"detail": "No."}, "No.", id="a detail"),
        pytest.param({"detail": [{"msg": "No."}]}, "[{'msg': 'No.'}]", id="a list"),
        pytest.param(["No."], "['No.']", id="no object"),
        pytest.param(b"  No.\r\n", "No.", id="text"),
        pytest.param(b"\xff\xfe", "��", id="no text"),
        pytest.param(
            b"\n<!DOCTYPE html><b>413</b>",
            "a page for browsers, perhaps from a proxy in between",
            id="HTML",
        ),
    ],
)
def test_the_words_of_an_error_are_found_in_each_shape(
    body: object, words: str
) -> None:
    assert str(refused(400, body)) == f"create: HTTP 400: {words}"


@pytest.mark.parametrize("body", [b"", {}, {"error": {}}, {"error": {"code": 7}}])
def test_an_error_without_words_is_its_status(body: object) -> None:
    assert str(refused(400, body)).startswith("create: HTTP 400")


def test_the_request_id_is_told_for_the_services_support() -> None:
    error = refused(500, headers={"X-Request-ID": "req_1"})

    assert error.request_id == "req_1"
    assert str(error) == "create: HTTP 500 (request req_1)"


def test_a_redirect_says_where_it_leads() -> None:
    error = refused(302, b"<html>", {"Location": "http://else.where/\x1b[2J"})

    assert str(error) == "create: HTTP 302: a redirect to http://else.where/�[2J"


HOSTILE = [
    pytest.param("\x1b[2J\x1b]0;title\x07", id="a terminal's escapes"),
    pytest.param("\x9b31m", id="an 8-bit escape"),
    pytest.param("\x00\x08\x7f", id="control characters"),
    pytest.param("\u202e\u2066", id="characters that turn the direction"),
    pytest.param("\ud800", id="half a surrogate pair"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_words_cannot_move_a_cursor(text: str) -> None:
    shown = printable(f"a{text}z")

    assert shown.isprintable()
    assert shown[0] + shown[-1] == "az"
    assert "\N{REPLACEMENT CHARACTER}" in shown


def test_line_breaks_are_spaces() -> None:
    assert printable(" two\r\n\tlines ") == "two lines"


def test_long_words_are_cut() -> None:
    assert printable("x" * 300) == "x" * 300
    assert printable("x" * 301) == "x" * 299 + "…"


@pytest.mark.parametrize("text", HOSTILE[:3])
@pytest.mark.parametrize("as_json", [True, False])
def test_errors_are_printable_whatever_the_service_says(
    text: str, as_json: bool
) -> None:
    body = {"error": {"message": text}} if as_json else text.encode()

    error = refused(400, body, {"X-Request-ID": text})

    assert str(error).isprintable()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"error": {"message": f"Wrong: {KEY}."}}, id="JSON"),
        pytest.param({"error": f"Wrong: {KEY}."}, id="a word"),
        pytest.param({"detail": [KEY]}, id="within a list"),
        pytest.param(f"Wrong: {KEY}.".encode(), id="text"),
        pytest.param(b'{"error": "\\u0073k' + KEY[2:].encode() + b'"}', id="escaped"),
        pytest.param(b"x" * 290 + KEY.encode(), id="cut where it stands"),
        pytest.param(b" " * 1990 + KEY.encode(), id="behind a lot of nothing"),
    ],
)
def test_a_key_that_the_service_repeats_is_not_shown(body: object) -> None:
    message = str(refused(401, body))

    assert KEY[:8] not in message
    assert "***" in message


def test_a_key_in_a_redirect_is_not_shown() -> None:
    error = refused(302, headers={"Location": f"http://else.where/?key={KEY}"})

    assert KEY not in str(error)


def test_without_a_key_nothing_is_blotted_out() -> None:
    error = refusal(answer(400, b"No."), secret="")

    assert str(error) == "create: HTTP 400: No."


def test_a_good_answer_is_decoded() -> None:
    assert answer(200, {"id": "x", "new": 1}).decode(Shape) == Shape(id="x")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="HTML"),
        pytest.param(b'{"id": "x"', id="half of it"),
        pytest.param(b'{"id": "\xff"}', id="no UTF-8"),
        pytest.param({"id": None}, id="null"),
        pytest.param({}, id="another shape"),
        pytest.param([], id="a list"),
    ],
)
def test_a_good_status_with_another_shape_is_no_good_answer(body: object) -> None:
    headers = {"X-Request-ID": "req_1", "Content-Type": "text/html"}

    with pytest.raises(UnexpectedAnswer, match="HTTP 200") as raised:
        answer(200, body, headers).decode(Shape)

    assert raised.value.status == 200
    assert raised.value.request_id == "req_1"
    assert "text/html" in str(raised.value)
