"""A real reverse proxy in front of the emulator."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.tools.conftest import free_port

PATIENCE = 30.0

AUTHORITY = "-subj /CN=authority -addext keyUsage=critical,keyCertSign"
SIGNING = "-CA ca.pem -CAkey ca.key -CAcreateserial -days 2"

CONFIG = """\
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 0;
    {http}
    server {{
        listen 127.0.0.1:{port}{ssl};
        {server}
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            {location}
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Certificates:
    """An authority of our own, and what it signed for 127.0.0.1."""

    authority: Path
    certificate: Path
    key: Path

    @property
    def directives(self) -> str:
        return f"ssl_certificate {self.certificate}; ssl_certificate_key {self.key};"


@asynccontextmanager
async def nginx(
    directory: Path,
    upstream: int,
    *,
    http: str = "",
    server: str = "",
    location: str = "",
    certificates: Certificates | None = None,
) -> AsyncIterator[str]:
    """The base URL of an nginx in front of the service at *upstream*.

    Skips the test where nginx is not installed.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin") or (
        shutil.which("nginx")
    )
    if program is None:
        pytest.skip("nginx is not installed")
    place = directory / "nginx"
    place.mkdir()
    port = free_port()
    config = place / "nginx.conf"
    config.write_text(
        CONFIG.format(
            directory=place,
            port=port,
            upstream=upstream,
            http=http,
            server=server + (certificates.directives if certificates else ""),
            location=location,
            ssl=" ssl" if certificates else "",
        )
    )
    process = await asyncio.create_subprocess_exec(
        *(program, "-p", str(place), "-c", str(config), "-e", str(place / "early.log")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await _listens(port, process)
        yield f"http{'s' if certificates else ''}://127.0.0.1:{port}/v1"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _listens(port: int, process: asyncio.subprocess.Process) -> None:
    while process.returncode is None:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(0.02)
    _, said = await process.communicate()
    pytest.fail(f"nginx ended with {process.returncode}: {said.decode()}")


def certificates(directory: Path) -> Certificates:
    """Skips the test where openssl is not installed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    place = directory / "tls"
    place.mkdir()
    extensions = place / "extensions"
    extensions.write_text(
        "basicConstraints=critical,CA:FALSE\n"
        "keyUsage=critical,digitalSignature\n"
        "subjectKeyIdentifier=hash\n"
        "authorityKeyIdentifier=keyid\n"
        "subjectAltName=IP:127.0.0.1\n"
    )
    new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for command in (
        f"req -x509 {new_key} -keyout ca.key -out ca.pem {AUTHORITY}",
        f"req {new_key} -keyout server.key -out server.csr -subj /CN=127.0.0.1",
        f"x509 -req -in server.csr {SIGNING} -extfile extensions -out server.pem",
    ):
        subprocess.run(
            ["openssl", *command.split()], cwd=place, check=True, capture_output=True
        )
    return Certificates(place / "ca.pem", place / "server.pem", place / "server.key")
