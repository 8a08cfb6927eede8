"""Where a connection leads, and how it is opened: address, proxy, certificates, socket."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

from aiohttp import AddrInfoType
from yarl import URL

from uploader.errors import UsageError


def parse_url(text: str) -> URL:
    """A base URL that requests can be built on.  Raises `UsageError`."""
    hint = "a base URL looks like https://api.openai.com/v1"
    try:
        url = URL(text.strip().rstrip("/"))
        valid = url.scheme in ("http", "https") and bool(url.host) and bool(url.port)
    except ValueError:
        valid = False
    if not valid:
        # What stands before an @ may be a password.
        shown = re.sub(r"^(\w+://)?.*@", r"\1***@", text)
        raise UsageError(f"{shown!r} is no base URL", hint=hint)
    if url.user or url.password:
        raise UsageError(
            f"the base URL for {url.host} holds credentials",
            hint="leave them out; the key has a setting of its own",
        )
    if url.query_string or url.fragment:
        # A query may hold a key.
        raise UsageError(
            f"a query or a fragment follows {url.with_query(None).with_fragment(None)}",
            hint=hint,
        )
    return url


def proxy_for(url: URL) -> URL | None:
    """The proxy that the environment names for *url*.  Raises `UsageError`.

    Asked once: aiohttp's `trust_env` asks in two threads before each request, and
    would send passwords of a netrc file, too.
    """
    named = getproxies().get(url.scheme)
    if not named or proxy_bypass(url.authority):
        return None
    variable = f"{url.scheme.upper()}_PROXY"
    hint = f"set {variable} to http://host:port, or NO_PROXY={url.host}"
    try:
        proxy = URL(named if "://" in named else f"http://{named}")
        valid = proxy.scheme in ("http", "https") and bool(proxy.host)
    except ValueError:
        valid = False
    if not valid:
        # What stands before an @ may be a password.
        shown = re.sub(r"//.*@", "//***@", named)
        raise UsageError(f"{variable} is {shown!r}: no proxy of HTTP", hint=hint)
    return proxy


def tls_context(ca_bundle: Path | None) -> ssl.SSLContext:
    """The system's authorities, and those in *ca_bundle*.  Raises `UsageError`."""
    context = ssl.create_default_context()
    if ca_bundle is not None:
        try:
            context.load_verify_locations(ca_bundle)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"{ca_bundle} holds no certificates: {error.strerror or error}",
                hint="ca_bundle names a PEM file",
            ) from None
    return context


def open_socket(info: AddrInfoType) -> socket.socket:
    """A socket that notices a peer which is gone without a word.

    After a suspend, or behind a middlebox that forgot the connection, nothing else
    would tell.
    """
    family, kind, protocol, _, _ = info
    opened = socket.socket(family=family, type=kind, proto=protocol)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 60_000),
    ):
        if hasattr(socket, option):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return opened
