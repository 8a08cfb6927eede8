"""Through a proxy that fails below HTTP: a finished upload, or a clear verdict."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from tests.network.conftest import PART_SIZE, PARTS, PATIENT, Site
from tests.network.proxy import Exchange, Fault, Script, proxy
from uploader.model import MIB

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX sockets")

LATENCY = 0.01


async def late(exchange: Exchange) -> None:
    await asyncio.sleep(LATENCY)
    await exchange.forward()
    answer = await exchange.answer()
    await asyncio.sleep(LATENCY)
    exchange.to_client.write(answer)


async def reset_in_mid_body(exchange: Exchange) -> None:
    await exchange.forward(exchange.size // 2)
    exchange.reset()


async def reset_before_the_answer(exchange: Exchange) -> None:
    await exchange.forward()
    await exchange.answer()
    exchange.reset()


async def stalled_in_mid_body(exchange: Exchange) -> None:
    await exchange.forward(exchange.size // 2)
    await exchange.silence()


async def half_open(exchange: Exchange) -> None:
    await exchange.silence()


async def without_its_answer(exchange: Exchange) -> None:
    await exchange.forward()
    await exchange.answer()
    await exchange.silence()


async def truncated(exchange: Exchange) -> None:
    await exchange.forward()
    answer = await exchange.answer()
    exchange.to_client.write(answer[: len(answer) - 20])
    await exchange.to_client.drain()
    raise ConnectionResetError


async def cut_off_in_its_head(exchange: Exchange) -> None:
    await exchange.forward()
    answer = await exchange.answer()
    exchange.to_client.write(answer[:20])
    await exchange.to_client.drain()
    raise ConnectionResetError


async def slow(exchange: Exchange) -> None:
    await exchange.forward()
    answer = await exchange.answer()
    for offset in range(0, len(answer), 40):
        exchange.to_client.write(answer[offset : offset + 40])
        await asyncio.sleep(0.001)


async def continued(exchange: Exchange) -> None:
    exchange.to_client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    await exchange.pass_on()


async def refusing_to_continue(exchange: Exchange) -> None:
    """As some middleboxes do to every request that asks for it."""
    if b"\r\nexpect:" in exchange.head.lower():
        exchange.to_client.write(
            b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n"
        )
        await exchange.to_client.drain()
        raise ConnectionResetError
    await exchange.pass_on()


@pytest.mark.parametrize("suffix", ["/uploads", "/parts", "/complete"])
@pytest.mark.parametrize(
    "fault",
    [
        reset_in_mid_body,
        reset_before_the_answer,
        stalled_in_mid_body,
        half_open,
        without_its_answer,
        truncated,
        cut_off_in_its_head,
    ],
)
async def test_a_connection_that_fails_ends_in_one_identical_file(
    site: Site, suffix: str, fault: Fault
) -> None:
    script = Script(fault, suffix, nth=2 if suffix == "/parts" else 1)
    async with proxy(site.port, script) as url:
        done = await site.upload(url)

    assert script.hits == 1
    await site.assert_identical(done)


@pytest.mark.parametrize("fault", [late, slow, continued, refusing_to_continue])
async def test_what_is_only_slow_or_ceremonious_costs_no_attempt(
    site: Site, fault: Fault
) -> None:
    script = Script(fault, times=99)
    async with proxy(site.port, script) as url:
        done = await site.upload(url, **PATIENT)

    assert script.hits >= 1 + PARTS + 1
    await site.assert_identical(done)
    assert "attempt" not in done.stderr


async def test_a_body_on_which_nothing_moves_is_given_up_and_said(site: Site) -> None:
    size = 12 * MIB
    site.source.write_bytes(random.Random(6).randbytes(size))
    script = Script(stalled_in_mid_body, "/parts")
    async with proxy(site.port, script) as url:
        done = await site.upload(
            url, "--part-size", str(size), UPLOADER_TIMEOUTS_ANSWER="30"
        )

    assert "nothing moved for 0.5 s; the connection was given up" in done.stderr
    await site.assert_identical(done)


async def test_a_part_that_never_gets_through_ends_with_5_and_is_resumed(
    site: Site,
) -> None:
    script = Script(reset_in_mid_body, "/parts", nth=2, times=99)
    async with proxy(site.port, script) as url:
        failed = await site.upload(
            url, "--parallel", "1", UPLOADER_RETRY_MAX_ATTEMPTS="2"
        )
        script.times = 0
        done = await site.resume(url)

    assert failed.returncode == 5
    assert "hint: what was recorded is kept" in failed.stderr
    assert f"resumed with 1 of {PARTS} parts" in done.stderr
    await site.assert_identical(done)


async def oversized(exchange: Exchange) -> None:
    """An answer of 17 MiB, to see who is so good as to read all of it."""
    await exchange.forward()
    await exchange.answer()
    size = 17 * MIB
    exchange.to_client.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % size
    )
    for _ in range(size // MIB):
        exchange.to_client.write(b" " * MIB)
        await exchange.to_client.drain()


async def test_an_oversized_answer_is_not_read_to_its_end_and_is_a_verdict(
    site: Site,
) -> None:
    script = Script(oversized, "/parts", nth=2)
    async with proxy(site.port, script) as url:
        failed = await site.upload(url, "--parallel", "1")
        done = await site.resume(url)

    assert failed.returncode == 4
    assert "an answer of more than 16777216 bytes" in failed.stderr
    await site.assert_identical(done)


async def test_no_request_asks_to_be_allowed_to_continue(site: Site) -> None:
    async with proxy(site.port) as url:
        await site.upload(url)

    heads = [request.headers for request in site.emulator.account().requests]
    assert not any("expect" in head for head in heads)
    assert site.emulator.account().part_bytes
    assert max(site.emulator.account().part_bytes.values()) == PART_SIZE
