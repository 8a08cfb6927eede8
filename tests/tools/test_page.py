"""The daemon's page in a real browser."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.conftest import Running, Yard, until, yard
from uploader.emulator import Fault

__all__ = ["yard"]

pytestmark = pytest.mark.tools

EVIL = '<img src=x onerror="document.title=1">.bin'
MIB = 1024 * 1024
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing")
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("chromium and chromium-driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'browser'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(driver)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        browser.set_window_size(1200, 1000)
        yield browser
    finally:
        browser.quit()


@pytest.fixture
async def daemon(yard: Yard) -> AsyncIterator[Running]:
    yard.write(yard.rule(purpose="user_data", name="inbox"))
    async with yard.running("--listen", "127.0.0.1:0", "--parallel", "2") as running:
        yield running


async def open_page(browser: Any, daemon: Running) -> None:
    url = re.search(r"http://\S+", await daemon.hear("to be watched"))
    token = (await daemon.hear("its token is")).split()[-1]
    assert url is not None
    await asyncio.to_thread(browser.get, url[0])
    await seen(lambda: field(browser, "#token").is_displayed())
    field(browser, "#token").send_keys(token)
    field(browser, "#gate button").click()
    await seen(lambda: field(browser, "#main").is_displayed())


def field(browser: Any, css: str) -> Any:
    return browser.find_element("css selector", css)


def names(browser: Any, section: str = "s-active") -> list[str]:
    found = browser.find_elements("css selector", f"#{section} .name")
    return [name.text for name in found]


async def seen(is_so: Callable[[], object]) -> None:
    """Wait for the page; what is being replaced just now is looked at again."""

    def calm() -> object:
        with contextlib.suppress(Exception):
            return is_so()
        return False

    async with asyncio.timeout(30):
        while not await asyncio.to_thread(calm):
            await asyncio.sleep(0.1)


def keep_picture(browser: Any, name: str) -> None:
    """For people, where `PAGE_PICTURES` names a folder."""
    if PICTURES:
        browser.save_screenshot(str(Path(PICTURES) / f"{name}.png"))


PICTURES = os.environ.get("PAGE_PICTURES", "")


def look_like(browser: Any, theme: str, width: int, height: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": theme}]},
    )
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": width < 600,
        },
    )


def progress(browser: Any, name: str) -> int:
    bars = browser.find_elements("css selector", "#s-active [role=progressbar]")
    (bar,) = [bar for bar in bars if name in bar.get_attribute("aria-label")]
    return int(bar.get_attribute("aria-valuenow"))


async def test_progress_moves_and_cancel_works_and_a_name_is_only_text(
    browser: Any, daemon: Running, yard: Yard
) -> None:
    await open_page(browser, daemon)
    yard.drop("finished.txt", b"x" * 40_000)
    yard.drop("empty.jsonl", b"")
    await until(lambda: (yard.done / "finished.txt").exists())
    slow = Fault(kind="part", do="slow", nth=2, times=400, rate=60_000)
    yard.emulator.add_fault(slow)
    yard.drop(EVIL, os.urandom(3 * MIB))
    yard.drop("long training run, second half.jsonl", os.urandom(2 * MIB))

    await seen(lambda: EVIL in names(browser))
    await seen(lambda: progress(browser, "onerror") > 0)
    before = progress(browser, "onerror")
    await seen(lambda: progress(browser, "onerror") > before)
    await seen(lambda: "finished.txt" in names(browser, "s-ended"))
    await seen(lambda: "empty.jsonl" in names(browser, "s-trouble"))

    assert browser.title == "uploader"
    assert browser.find_elements("css selector", "main img") == []
    await asyncio.sleep(4 if PICTURES else 0)
    for theme in ("light", "dark"):
        for width, height in ((1200, 1000), (390, 1300)):
            look_like(browser, theme, width, height)
            await seen(lambda: field(browser, "#rate").text)
            assert browser.execute_script(
                "return document.documentElement.scrollWidth <= innerWidth"
            )
            keep_picture(browser, f"{theme}-{width}")
    look_like(browser, "light", 1200, 1000)

    field(browser, '[aria-label^="Cancel <img"]').click()
    await seen(lambda: field(browser, "#sure").is_displayed())
    keep_picture(browser, "sure")
    field(browser, '#sure [value="yes"]').click()

    await seen(lambda: EVIL in names(browser, "s-trouble"))
    assert (yard.bad / EVIL).exists()
    assert yard.emulator.account().counts["cancel"] == 1
    keep_picture(browser, "cancelled")
    yard.emulator.clear_faults()

    field(browser, '[aria-label^="Restart <img"]').click()
    await seen(lambda: EVIL in names(browser, "s-ended"))
    assert (yard.done / EVIL).exists()
    severe = [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert [line for line in severe if "401" not in line["message"]] == []


async def test_the_page_can_be_used_with_the_keyboard_alone(
    browser: Any, daemon: Running, yard: Yard
) -> None:
    await open_page(browser, daemon)
    yard.emulator.add_fault(Fault(kind="part", do="slow", times=400, rate=20_000))
    yard.drop("a.bin", os.urandom(MIB))
    await seen(lambda: "a.bin" in names(browser))

    await seen(lambda: _press_tab_until(browser, "Pause a.bin"))
    _keys(browser, "\ue007")

    await seen(lambda: "paused" in field(browser, "#s-active .facts").text)
    await seen(lambda: _press_tab_until(browser, "Resume a.bin"))
    _keys(browser, "\ue007")
    await seen(lambda: "sending" in field(browser, "#s-active .facts").text)


def _keys(browser: Any, keys: str) -> None:
    browser.switch_to.active_element.send_keys(keys)


def _press_tab_until(browser: Any, label: str) -> bool:
    for _ in range(12):
        active = browser.switch_to.active_element
        if active.get_attribute("aria-label") == label:
            return True
        _keys(browser, "\ue004")
    return False


async def test_a_wrong_token_is_refused_in_words(browser: Any, daemon: Running) -> None:
    url = re.search(r"http://\S+", await daemon.hear("to be watched"))
    assert url is not None
    await asyncio.to_thread(browser.get, url[0])
    await seen(lambda: field(browser, "#token").is_displayed())
    keep_picture(browser, "gate")

    field(browser, "#token").send_keys("wrong")
    field(browser, "#gate button").click()

    await seen(lambda: "not the token" in field(browser, "#refused").text)
    assert not field(browser, "#main").is_displayed()
