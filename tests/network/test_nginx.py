"""Through nginx, a real proxy: a finished upload, or a clear verdict."""

from __future__ import annotations

import asyncio
import random
import re

import pytest

from tests.network.conftest import PARTS, PATIENT, Site
from tests.network.nginx import certificates, nginx
from tests.network.proxy import Exchange, Script, proxy
from uploader.emulator import Fault
from uploader.model import MIB

pytestmark = pytest.mark.tools


async def test_an_upload_passes_through(site: Site) -> None:
    site.source.write_bytes(random.Random(8).randbytes(9 * MIB))
    async with nginx(site.directory, site.port) as url:
        done = await site.upload(url, "--part-size", "2MiB", **PATIENT)

    await site.assert_identical(done)
    assert "attempt" not in done.stderr


async def test_413_in_html_is_a_verdict_that_names_the_way_out(site: Site) -> None:
    limit = "client_max_body_size 40k;"
    async with nginx(site.directory, site.port, server=limit) as url:
        failed = await site.upload(url, **PATIENT)
        local_id = (await site.command(url).tell("list")).last_line.split()[0]
        cancelled = await site.command(url).tell("cancel", local_id)
        done = await site.upload(url, "--part-size", "32KiB", **PATIENT)

    assert failed.returncode == 4, failed
    assert "HTTP 413: a page for browsers, perhaps from a proxy" in failed.stderr
    assert "smaller --part-size" in failed.stderr
    assert cancelled.returncode == 0
    await site.assert_identical(done)


async def test_429_with_retry_after_is_obeyed(site: Site) -> None:
    async with nginx(
        site.directory,
        site.port,
        http="limit_req_zone $binary_remote_addr zone=all:1m rate=4r/s;",
        server="limit_req zone=all burst=1 nodelay; limit_req_status 429;"
        " add_header Retry-After 1 always;",
    ) as url:
        done = await site.upload(url, **PATIENT)

    waits = re.findall(r"HTTP 429: a page for browsers.* again in (.*) s", done.stderr)
    assert waits
    assert all(float(wait) >= 1.0 for wait in waits)
    await site.assert_identical(done)


async def test_502_of_a_service_that_drops_connections_is_tried_again(
    site: Site,
) -> None:
    for kind in ("create", "part", "complete"):
        site.emulator.add_fault(Fault(kind=kind, do="reset"))
        site.emulator.add_fault(Fault(kind=kind, nth=2, do="reset", when="after"))
    async with nginx(site.directory, site.port) as url:
        done = await site.upload(url, **PATIENT)

    assert done.stderr.count("HTTP 502") >= 3
    await site.assert_identical(done)


@pytest.mark.parametrize("kind", ["create", "part", "complete"])
async def test_504_of_a_service_that_is_silent_is_tried_again(
    site: Site, kind: str
) -> None:
    site.emulator.add_fault(Fault(kind=kind, do="stall", when="after"))
    async with nginx(
        site.directory, site.port, location="proxy_read_timeout 1s;"
    ) as url:
        done = await site.upload(url, **PATIENT)

    assert "HTTP 504" in done.stderr
    await site.assert_identical(done)


async def test_a_service_that_is_down_behind_its_proxy_ends_with_5_and_is_resumed(
    site: Site,
) -> None:
    site.emulator.add_fault(Fault(kind="part", nth=2, times=99, do="reset"))
    async with nginx(site.directory, site.port) as url:
        failed = await site.upload(
            url, "--parallel", "1", UPLOADER_RETRY_MAX_ATTEMPTS="2"
        )
        site.emulator.clear_faults()
        done = await site.resume(url, **PATIENT)

    assert failed.returncode == 5
    assert "HTTP 502" in failed.stderr
    assert f"resumed with 1 of {PARTS} parts" in done.stderr
    await site.assert_identical(done)


async def test_a_page_where_the_service_should_be_is_a_verdict(site: Site) -> None:
    page = (
        "default_type text/html;"
        " location /v1/ { return 200 '<html><body>Please log in</body></html>'; }"
    )
    async with nginx(site.directory, site.port, server=page) as url:
        done = await site.upload(url, **PATIENT)

    assert done.returncode == 4
    assert "the answer is not the contract's" in done.stderr
    assert "text/html" in done.stderr
    assert "hint: is the base URL that of an OpenAI-compatible service?" in done.stderr
    assert site.emulator.account().requests == ()


async def test_a_redirect_is_a_verdict_and_nobody_follows_it(site: Site) -> None:
    login = "location /v1/ { return 302 http://127.0.0.1:9/login; }"
    async with nginx(site.directory, site.port, server=login) as url:
        done = await site.upload(url, **PATIENT)

    assert done.returncode == 4
    assert "a redirect to http://127.0.0.1:9/login" in done.stderr


async def test_connections_that_close_after_each_request_cost_nothing(
    site: Site,
) -> None:
    async with nginx(site.directory, site.port, server="keepalive_requests 1;") as url:
        done = await site.upload(url, **PATIENT)

    await site.assert_identical(done)
    assert "attempt" not in done.stderr


async def test_connections_that_close_while_they_are_idle_cost_no_effect(
    site: Site,
) -> None:
    async with nginx(site.directory, site.port, server="keepalive_timeout 1ms;") as url:
        done = await site.upload(url, "--parallel", "1", **PATIENT)

    await site.assert_identical(done)


async def test_a_body_that_nginx_waits_for_in_vain_is_sent_again(site: Site) -> None:
    closed = asyncio.Event()

    async def suspended(exchange: Exchange) -> None:
        """Nothing moves until nginx has enough of it, and closes without a word."""
        await exchange.forward(exchange.size // 2)
        await exchange.service.read()
        closed.set()
        raise ConnectionResetError

    async with (
        nginx(site.directory, site.port, server="client_body_timeout 1s;") as url,
        proxy(
            int(url.split(":")[2].split("/")[0]), Script(suspended, "/parts", nth=2)
        ) as front,
    ):
        done = await site.upload(
            front, **{**PATIENT, "UPLOADER_TIMEOUTS_PROGRESS": "30"}
        )

    assert closed.is_set()
    await site.assert_identical(done)


async def test_an_authority_of_one_s_own_is_trusted_when_it_is_named(
    site: Site,
) -> None:
    own = certificates(site.directory)
    site.source.write_bytes(random.Random(9).randbytes(3 * MIB))
    async with nginx(site.directory, site.port, certificates=own) as url:
        refused = await site.upload(url, **PATIENT)
        done = await site.upload(
            url,
            *("--part-size", "1MiB"),
            **{**PATIENT, "UPLOADER_CA_BUNDLE": str(own.authority)},
        )

    assert refused.returncode == 4
    assert "the certificate of 127.0.0.1 is not trusted" in refused.stderr
    assert "hint: set ca_bundle" in refused.stderr
    await site.assert_identical(done)
