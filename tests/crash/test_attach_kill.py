"""Real processes, killed by a service anywhere between a file and its message."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.command import GOAPI_KEY, KEY, LLMPROVIDER_KEY, Command, Done, finish
from tests.fakes import FakeClock
from tests.pictures import PNG
from tests.services import items
from uploader import Settings, Uploader
from uploader.config import Timeouts
from uploader.emulator import Emulator, Fault, Switches
from uploader.lease import HEARTBEATS
from uploader.result import Sent

When = Literal["before", "after"]


@dataclass(frozen=True)
class Way:
    """What is sent where, and which requests that takes."""

    target: str
    name: str
    requests: tuple[str, ...]
    message: str
    """The request that adds the message."""
    options: tuple[str, ...] = ()


UPLOAD = ("create", "part", "complete", "file_get")
CONVERSATION = Way(
    "conversation:new",
    "a.txt",
    (*UPLOAD, "conversation_create", "item_list", "item_create"),
    "item_create",
    ("--prompt", "what is it?"),
)
WITH_A_MODEL = Way(
    "conversation:new",
    "a.txt",
    (*UPLOAD, "conversation_create", "item_list", "response_create"),
    "response_create",
    ("--prompt", "what is it?", "--model", "gpt-6-astra"),
)
VECTOR_STORE = Way(
    "vector-store:new",
    "a.txt",
    (*UPLOAD, "vector_store_create", "vector_file_create", "vector_file_get"),
    "vector_file_create",
)
GOAPI = Way(
    "goapi:new",
    "a.png",
    ("goapi_create", "goapi_upload", "goapi_message"),
    "goapi_message",
    ("--prompt", "what is it?"),
)
LLMPROVIDER = Way(
    "llmprovider:new",
    "a.png",
    ("llmprovider_chat", "llmprovider_upload", "llmprovider_chat"),
    "llmprovider_chat",
    ("--prompt", "what is it?"),
)

LEASE = 4000.0

ANSWER = "You asked: “what is it?”; and I was given “{}”.\n"


@dataclass(frozen=True)
class Site:
    """Where a test happens."""

    emulator: Emulator
    command: Command
    folder: Path

    async def send_until_killed(self, way: Way, fault: Fault) -> None:
        self.emulator.add_fault(fault)
        process = await self.command.start(
            "upload", str(self.folder / way.name), "--to", way.target, *way.options
        )
        self.emulator.client_pid = process.pid
        done = await finish(process)
        assert done.returncode == -9, done
        self.emulator.client_pid = None
        assert self.emulator.account().faults_left == ()

    async def resume(self, *arguments: str, settle: str = "0") -> Done:
        return await self.command.tell(
            "resume", "-q", *arguments, UPLOADER_TIMEOUTS_SETTLE=settle
        )

    def effects(self, way: Way) -> int:
        """How many messages with a file there are at the service."""
        return sum(
            request.kind == way.message
            and request.status == 200
            and "file" in json.dumps(request.body)
            for request in self.emulator.account().requests
        )

    def settings(self, settle: float) -> Settings:
        return Settings(
            base_url=self.emulator.url,
            api_key=KEY,
            journal=self.command.journal,
            timeouts=Timeouts(settle=settle, lease=LEASE),
        )


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    (tmp_path / "a.txt").write_bytes(b"hello")
    (tmp_path / "a.png").write_bytes(PNG)
    async with Emulator(
        tmp_path / "service",
        keys=[KEY],
        goapi_keys=[GOAPI_KEY],
        llmprovider_keys=[LLMPROVIDER_KEY],
    ) as emulator:
        command = Command(emulator.url, tmp_path / "state" / "journal.db")
        yield Site(emulator, command, tmp_path)


@pytest.mark.parametrize(
    "way", [CONVERSATION, WITH_A_MODEL, VECTOR_STORE, GOAPI, LLMPROVIDER]
)
async def test_the_requests_are_those_at_which_it_is_killed(
    site: Site, way: Way
) -> None:
    done = await site.command.tell(
        "upload", str(site.folder / way.name), "--to", way.target, *way.options
    )

    assert done.returncode == 0, done
    kinds = tuple(request.kind for request in site.emulator.account().requests)
    assert kinds == way.requests
    assert site.effects(way) == 1


# What comes before the conversation is the same for every target at OpenAI.
CASES = [
    pytest.param(
        way, nth, when, id=f"{way.message}-{nth}-{way.requests[nth - 1]}-{when}"
    )
    for way, first in [(CONVERSATION, 1), (WITH_A_MODEL, 7), (VECTOR_STORE, 5)]
    for nth in range(first, len(way.requests) + 1)
    for when in ("before", "after")
]


@pytest.mark.parametrize(("way", "nth", "when"), CASES)
async def test_killed_at_any_request_there_is_one_message_in_the_end(
    site: Site, way: Way, nth: int, when: When
) -> None:
    await site.send_until_killed(way, Fault(kind="any", nth=nth, do="kill", when=when))

    done = await site.resume()
    idle = await site.resume()

    assert done.returncode == 0, done
    assert site.effects(way) == 1
    if way is WITH_A_MODEL:
        assert done.stdout == ANSWER.format("a.txt")
        assert done.stderr.startswith("file-")
    else:
        assert re.fullmatch(r"file-\w+\n", done.stdout)
    assert (idle.returncode, idle.stdout) == (0, "")


@pytest.mark.parametrize("events", [1, 4])
async def test_killed_in_the_middle_of_an_answer_it_is_fetched_not_asked_again(
    site: Site, events: int
) -> None:
    await site.send_until_killed(
        WITH_A_MODEL,
        Fault(kind="response_create", do="kill", when="after", events=events),
    )

    done = await site.resume()

    assert done.returncode == 0, done
    assert done.stdout == ANSWER.format("a.txt")
    assert site.effects(WITH_A_MODEL) == 1


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("way", [GOAPI, LLMPROVIDER], ids=lambda way: way.target)
async def test_where_nobody_can_be_asked_it_says_so_and_again_finishes(
    site: Site, way: Way, nth: int, when: When
) -> None:
    await site.send_until_killed(way, Fault(kind="any", nth=nth, do="kill", when=when))
    effects = int(nth == 3 and when == "after")
    assert site.effects(way) == effects

    done = await site.resume()
    if nth > 1:
        assert done.returncode == 6, done
        assert site.effects(way) == effects
        again = re.search(r"`uploader (resume \w+ --again)`", done.stderr)
        assert again is not None, done
        done = await site.resume(*again[1].split()[1:])

    assert done.returncode == 0, done
    assert done.stdout == ANSWER.format("a.png")
    assert site.effects(way) == effects + 1
    assert (await site.resume()).stdout == ""


async def test_a_file_whose_upload_is_in_doubt_may_be_named_and_is_attached(
    site: Site,
) -> None:
    await site.send_until_killed(
        GOAPI, Fault(kind="goapi_upload", do="kill", when="after")
    )
    (reception,) = site.emulator.account().receptions
    assert reception.file_id is not None
    unknown = await site.resume()
    accept = re.search(r"`uploader resume (\w+) --accept", unknown.stderr)
    assert accept is not None, unknown

    done = await site.resume(accept[1], "--accept", reception.file_id)

    assert done.returncode == 0, done
    assert done.stderr == f"{reception.file_id}\n"
    assert site.effects(GOAPI) == 1


async def test_the_same_command_goes_on_where_the_killed_one_stopped(
    site: Site,
) -> None:
    await site.send_until_killed(
        CONVERSATION, Fault(kind="item_create", do="kill", when="after")
    )

    done = await site.command.tell(
        *("upload", "-q", str(site.folder / "a.txt"), "--to", "conversation:new"),
        *CONVERSATION.options,
    )

    assert done.returncode == 0, done
    assert site.effects(CONVERSATION) == 1
    assert site.emulator.account().counts["complete"] == 1


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_same_file_and_words_from_an_earlier_message_fool_nobody(
    site: Site, when: When
) -> None:
    async with Uploader(site.settings(0)) as uploader:
        file = await uploader.upload(site.folder / "a.txt")
        sent = await uploader.attach([file], to="conversation:new", prompt="hi")
    site.emulator.add_fault(Fault(kind="item_create", do="kill", when=when))
    target = f"conversation:{sent.conversation_id}"
    process = await site.command.start(
        "attach", file.file_id, "--to", target, "--prompt", "hi"
    )
    site.emulator.client_pid = process.pid
    assert (await finish(process)).returncode == -9

    done = await site.resume()

    assert done.returncode == 0, done
    assert len(await items(site.emulator, sent.conversation_id)) == 2


@pytest.mark.parametrize("way", [WITH_A_MODEL, GOAPI], ids=lambda way: way.target)
async def test_asked_to_end_in_the_middle_of_a_message_it_can_be_resumed(
    site: Site, way: Way
) -> None:
    # The answer stalls when the message is there.
    kind = way.message
    site.emulator.add_fault(Fault(kind=kind, do="stall", when="after", seconds=60))
    process = await site.command.start(
        *("upload", "--json", str(site.folder / way.name), "--to", way.target),
        *way.options,
        UPLOADER_TIMEOUTS_DRAIN="0.2",
    )
    assert process.stdout is not None
    while b"attach_asked" not in await process.stdout.readline():
        pass
    async with asyncio.timeout(20):
        while site.effects(way) == 0:
            await asyncio.sleep(0.01)

    process.terminate()
    stopped = await finish(process)
    done = await site.resume()

    assert stopped.returncode == 143, stopped
    assert "uploader resume" in stopped.stderr
    assert site.effects(way) == 1
    if way is GOAPI:
        assert done.returncode == 6, done
    else:
        assert done.stdout == ANSWER.format(way.name)


class ServiceClock(FakeClock):
    """Whoever waits by this clock makes the service's time go by, too.

    A heartbeat is not due before the test is over.
    """

    def __init__(self, emulator: Emulator) -> None:
        super().__init__(wall=time.time())
        self._emulator = emulator

    async def sleep(self, seconds: float) -> None:
        if seconds >= LEASE / HEARTBEATS:
            await asyncio.Event().wait()
        self._emulator.advance(seconds)
        await super().sleep(seconds)


@pytest.mark.parametrize(
    ("settle", "messages"),
    [
        pytest.param(60.0, 1, id="within the settle time it is found"),
        pytest.param(0.0, 2, id="without one it is there twice"),
    ],
)
async def test_a_message_that_is_listed_late_is_what_the_settle_time_is_for(
    site: Site, settle: float, messages: int
) -> None:
    site.emulator.switches = Switches(items_delay=30.0)
    await site.send_until_killed(
        CONVERSATION, Fault(kind="item_create", do="kill", when="after")
    )

    clock = ServiceClock(site.emulator)
    async with Uploader(site.settings(settle), clock=clock) as uploader:
        (left,) = await uploader.attachments(unfinished=True)
        sent = await uploader.resume(left.id)

    site.emulator.advance(60)
    assert isinstance(sent, Sent)
    listed: Any = await items(site.emulator, sent.attached.conversation_id)
    assert len(listed) == messages
    assert sent.attached.message_id == listed[0]["id"]
