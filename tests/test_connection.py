from __future__ import annotations

import socket

import pytest

from uploader.connection import open_socket, parse_url
from uploader.errors import UsageError


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        (" https://api.openai.com/v1// ", "https://api.openai.com/v1"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://[::1]:80/v1", "http://[::1]/v1"),
    ],
)
def test_a_base_url_is_read(text: str, base: str) -> None:
    assert str(parse_url(text)).rstrip("/") == base


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.openai.com/v1",
        "localhost:8000",
        "ftp://host/v1",
        "file:///etc/passwd",
        "https:///v1",
        "http://host:0/v1",
        "http://host:99999/v1",
        "http://[::1",
        "https://host/v1?key=1",
        "https://host/v1#top",
    ],
)
def test_what_no_request_can_be_built_on_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_url(text)

    assert "https://api.openai.com/v1" in (raised.value.hint or "")


@pytest.mark.parametrize(
    "text",
    [
        "https://me:s3cret@host/v1",
        "https://s3cret@host/v1",
        "ftp://me:s3cret@host/v1",
        "http://me:s3cret@host:99999/v1",
        "me:s3cret@host/v1",
        "http://me:s3cret/a@host/v1",
        "https://me:s3cret@host/v1?x=1",
        "https://host/v1?api-key=s3cret",
    ],
)
def test_a_base_url_with_credentials_is_refused_without_showing_them(text: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_url(text)

    assert "s3cret" not in str(raised.value)


def test_sockets_notice_a_peer_that_is_gone() -> None:
    info = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))

    with open_socket(info) as opened:
        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
