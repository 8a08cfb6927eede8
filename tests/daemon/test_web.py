"""Who may watch the daemon, what they are told, and what they may do."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.daemon.conftest import Running, Yard, until
from uploader.emulator import Fault


@dataclass(frozen=True, slots=True)
class Api:
    """The daemon's API, asked with its token unless another is given."""

    url: str
    token: str
    session: aiohttp.ClientSession

    async def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = "",
        **headers: str,
    ) -> tuple[int, Any]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token or self.token}")
        if body is not None:
            sent.setdefault("Content-Type", "application/json")
        data = None if body is None else json.dumps(body)
        async with self.session.request(
            method, self.url + path, data=data, headers=sent
        ) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(text) if is_json else text


@pytest.fixture
async def daemon(yard: Yard) -> AsyncIterator[Running]:
    yard.write(yard.rule())
    async with yard.running("--listen", "127.0.0.1:0") as running:
        yield running


@pytest.fixture
async def api(daemon: Running) -> AsyncIterator[Api]:
    url = re.search(r"http://[^/\s]+", await daemon.hear("to be watched"))
    token = (await daemon.hear("its token is")).split()[-1]
    await daemon.hear("watching")
    assert url is not None
    async with aiohttp.ClientSession() as session:
        yield Api(url[0], token, session)


async def test_only_the_token_opens_anything_but_health_and_the_empty_page(
    api: Api,
) -> None:
    for path in ("/healthz", "/readyz"):
        assert await api("GET", path, token=None) == (200, "")
    status, page = await api("GET", "/", token=None)
    assert status == 200
    assert api.token not in page

    for path in ("/metrics", "/api/state", "/api/uploads", "/api/uploads/x"):
        assert (await api("GET", path, token=None))[0] == 401
        assert (await api("GET", path, token="x" * 43))[0] == 401
        assert (await api("GET", path, Authorization=f"Basic {api.token}"))[0] == 401
    assert (await api("POST", "/api/pause", {}, token=None))[0] == 401
    assert (await api("GET", "/api/state"))[0] == 200


async def test_a_page_of_others_can_do_nothing_even_with_the_token(api: Api) -> None:
    refused: list[tuple[int, dict[str, str]]] = [
        (421, {"Host": "evil.example"}),
        (421, {"Host": "127.0.0.1.evil.example:80"}),
        (403, {"Origin": "http://evil.example"}),
        (403, {"Origin": "null"}),
        (403, {"Sec_Fetch_Site": "cross-site"}),
        (415, {"Content_Type": "text/plain"}),
    ]
    for status, headers in refused:
        assert (await api("POST", "/api/pause", {}, **headers))[0] == status
    own = {"Origin": api.url, "Sec_Fetch_Site": "same-origin"}

    assert (await api("GET", "/api/state", **own))[1]["paused"] is False


async def test_the_page_runs_no_script_but_its_own(api: Api) -> None:
    async with api.session.get(api.url) as answer:
        policy = answer.headers["Content-Security-Policy"]
        page = await answer.text()

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write", page)
    assert not re.search(r"(src|href)=[\"'](?!data:|#)", page)
    assert "Set-Cookie" not in answer.headers


async def test_metrics_parse_and_hold_no_file_name(api: Api, yard: Yard) -> None:
    yard.emulator.add_entries([{"kind": "part", "do": "status", "status": 429}])
    yard.drop("secret-name.bin", b"x" * 1000)
    yard.drop("empty-name.bin", b"")
    await until(lambda: (yard.done / "secret-name.bin").exists())
    await until(yard.reasons)

    _, text = await api("GET", "/metrics")

    assert "-name" not in text
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    where = (("rule", "in"), ("service", "openai"))
    assert samples["uploader_sent_bytes_total", *where] == 1000
    assert samples["uploader_throttled_total", *where] == 1
    retries = (("reason", "throttled"), *where)
    assert samples["uploader_retries_total", *retries] == 1
    outcome = (("outcome", "failed"), *where)
    assert samples["uploader_files_total", *outcome] == 1
    assert ("uploader_service_paused", ("service", "openai")) in samples


async def test_submit_takes_only_regular_files_below_a_rule_s_folder(
    api: Api, yard: Yard, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"secret")
    (yard.inbox / "link").symlink_to(outside)
    (yard.inbox / "folder").mkdir()
    yard.receipts.mkdir(exist_ok=True)
    refused = [
        outside,
        yard.inbox / "link",
        yard.inbox / "folder",
        yard.inbox / ".." / "outside.txt",
        yard.inbox / "gone",
        Path("in/relative"),
    ]
    for path in refused:
        assert (await api("POST", "/api/uploads", {"path": str(path)}))[0] == 403
    beyond = {"path": str(outside), "to": "conversation:new"}
    assert (await api("POST", "/api/uploads", beyond))[0] == 400

    hidden = yard.inbox / ".by-hand"
    hidden.write_bytes(b"x")
    status, shown = await api("POST", "/api/uploads", {"path": str(hidden)})

    assert status == 202
    assert shown["rule"] == "in"
    await until(lambda: (yard.done / ".by-hand").exists())
    assert await yard.contents() == [b"x"]


async def test_an_upload_can_be_paused_resumed_cancelled_and_restarted(
    api: Api, yard: Yard
) -> None:
    content = os.urandom(3 * 65536)
    yard.emulator.add_fault(Fault(kind="part", nth=2, times=2, do="stall"))
    yard.drop("a.bin", content)
    await until(lambda: yard.emulator.account().counts["part"] >= 2)
    ((id_,),) = [
        [upload["id"] for upload in (await api("GET", "/api/state"))[1]["uploads"]]
    ]
    one = f"/api/uploads/{id_}"

    assert (await api("POST", f"{one}/pause", {}))[1]["stage"] == "paused"
    assert (await api("POST", f"{one}/pause", {}))[0] == 409
    assert (await api("POST", f"{one}/cancel", {}))[1]["stage"] == "cancelled"
    assert (yard.bad / "a.bin").exists()
    assert yard.emulator.account().counts["cancel"] == 1
    assert (await api("GET", one))[1]["quarantined"]

    yard.emulator.clear_faults()
    assert (await api("POST", f"{one}/restart", {}))[0] == 200
    await until(lambda: (yard.done / "a.bin").exists())
    assert await yard.contents() == [content]
    assert (await api("GET", "/api/uploads/nobody"))[0] == 404


async def test_a_service_or_all_can_be_paused_and_the_rate_set(
    api: Api, yard: Yard
) -> None:
    assert (await api("POST", "/api/pause", {}))[0] == 200
    assert (await api("POST", "/api/pause", {"service": "openai"}))[0] == 200
    assert (await api("POST", "/api/pause", {"service": "nowhere"}))[0] == 404
    yard.drop("a.txt", b"x")
    await until(lambda: yard.inbox.exists())
    assert (await api("POST", "/api/resume", {"service": "openai"}))[0] == 200
    assert (await api("PUT", "/api/rate", {"bytes_per_second": 10_000_000}))[0] == 200
    assert (await api("PUT", "/api/rate", {"bytes_per_second": -1}))[0] == 400
    state = (await api("GET", "/api/state"))[1]
    assert state["paused"] is True
    assert state["limit_rate"] == 10_000_000
    assert not (yard.done / "a.txt").exists()

    await api("POST", "/api/resume", {})
    await until(lambda: (yard.done / "a.txt").exists())


async def test_a_unix_socket_is_for_its_owner_and_needs_no_token(yard: Yard) -> None:
    path = yard.root / "run" / "daemon.sock"
    async with yard.running("--listen", f"unix:{path}") as daemon:
        await daemon.hear("watching")
        modes = [stat.S_IMODE(place.stat().st_mode) for place in (path.parent, path)]
        connector = aiohttp.UnixConnector(str(path))
        async with aiohttp.ClientSession(connector=connector) as session:
            api = Api("http://localhost", "", session)
            assert (await api("GET", "/api/state", token=None))[0] == 200

    assert modes == [0o700, 0o600]


async def test_a_socket_in_a_folder_that_others_can_enter_is_refused(
    yard: Yard,
) -> None:
    async with yard.running("--listen", f"unix:{yard.root}/open/daemon.sock") as first:
        await first.hear("watching")
    (yard.root / "open").chmod(0o755)
    async with yard.running("--listen", f"unix:{yard.root}/open/daemon.sock") as again:
        assert await again.ended() == 2
        await again.hear("open to others")


async def test_a_token_file_is_made_for_its_owner_and_refused_to_others(
    yard: Yard,
) -> None:
    file = yard.root / "token"
    arguments = ("--listen", "127.0.0.1:0", "--token-file", str(file))
    async with yard.running(*arguments) as first:
        await first.hear("its token is in")
        token = file.read_text().strip()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert not [line for line in first.said if token in line]
    file.chmod(0o644)
    async with yard.running(*arguments) as again:
        assert await again.ended() == 2
        await again.hear("can be read by others")
