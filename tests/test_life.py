"""The life of uploads as a model: whatever happens, nothing is lost or doubled.

The real engine against the real emulator, in one process and in a time that is moved
by hand.  Real processes are killed in `crash/`.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar
from unittest import mock

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.command import KEY
from tests.mortal import (
    PATCHES,
    Fate,
    MortalBackend,
    OwnersClock,
    Time,
    living,
    quietly,
)
from uploader import Settings, Uploader
from uploader.backends import open_backend
from uploader.config import RetryPolicy, Timeouts
from uploader.emulator import Emulator, Switches
from uploader.errors import UploaderError
from uploader.events import Event, PartSent, UploadRestarted
from uploader.journal.sqlite import LEAST_KEPT
from uploader.message import AttachmentState
from uploader.model import Upload, UploadState
from uploader.result import Sent, UploadedFile
from uploader.state import TRANSITIONS

T = TypeVar("T")

PART_SIZE: Final = 1024
LONG_RUN: Final = float(os.environ.get("LIFE_SECONDS", 20 * 60))

KINDS = ("create", "part", "complete", "cancel", "file_list", "file_get", "any")
STATUSES = (400, 401, 404, 408, 409, 410, 413, 429, 500, 502, 503, 504)
CHANGES = ("touched", "appended", "truncated", "replaced", "rewritten", "restored")

anywhere = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(KINDS),
        "nth": st.integers(1, 6),
        "times": st.sampled_from((1, 1, 2, 5)),
        "do": st.sampled_from(("status", "reset", "truncate", "stall", "slow")),
        "when": st.sampled_from(("before", "after")),
        "status": st.sampled_from(STATUSES),
    }
)
at_complete = st.fixed_dictionaries(
    {
        "kind": st.just("complete"),
        "times": st.integers(1, 2),
        "do": st.sampled_from(("status", "status", "reset")),
        "when": st.sampled_from(("before", "after", "after")),
        "status": st.sampled_from((404, 409, 410, 410, 503)),
    }
)
faults = st.lists(st.one_of(anywhere, at_complete), max_size=2).map(
    # A 400 is the one answer that certainly means no; a service that lies there is
    # not to be saved.
    lambda script: [
        {**entry, "when": "before"} if entry["status"] == 400 else entry
        for entry in script
    ]
)
deaths = st.one_of(st.just(0), st.integers(1, 90))
changes = st.one_of(st.none(), st.tuples(st.integers(1, 4), st.sampled_from(CHANGES)))
switches = st.fixed_dictionaries(
    {
        "expired": st.sampled_from(("410", "404")),
        "forgets": st.sampled_from(("nothing",) * 6 + ("open", "completed")),
        "complete_twice": st.sampled_from(("400", "replay", "404", "409")),
        "complete_answer": st.sampled_from(("upload", "upload", "file")),
        "unlisted_parts_count": st.booleans(),
        "expires_before_created": st.booleans(),
        "file_bytes": st.sampled_from(("known", "null", "null at first")),
        "file_list_delay": st.sampled_from((0.0, 20.0)),
        "items_delay": st.sampled_from((0.0, 20.0)),
    }
)


@dataclass
class Known:
    """What was seen of one upload so far."""

    state: UploadState
    restarts: int
    upload_ids: set[str] = field(default_factory=set)
    forgiven: int = 0
    """How often a person asked for it to be sent again although it may be there."""


class Life(RuleBasedStateMachine):
    """One machine, one service, one source."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        place = memory if memory.is_dir() else None
        self.directory = Path(tempfile.mkdtemp(prefix="life-", dir=place))
        self.source = self.directory / "source.bin"
        self.random = random.Random(7)
        self.versions: set[bytes] = set()
        """Every content that the source had."""
        self.original = self.random.randbytes(4 * PART_SIZE - 100)
        self._write(self.original)
        self.runner = asyncio.Runner()
        self.runner.get_loop().set_exception_handler(quietly)
        self.patches = ExitStack()
        for module, name, replacement in PATCHES:
            patch = mock.patch.object(module, name, replacement)
            self.patches.enter_context(patch)
        self.known: dict[str, Known] = {}
        self.told: list[Event] = []
        self.died = False
        self.story: list[str] = []
        """What happened, since not every failure comes again when it is tried again."""

    # -- what there is --------------------------------------------------------

    @initialize(values=switches)
    def begin(self, values: dict[str, object]) -> None:
        chosen = Switches().with_values(values)
        self.emulator = Emulator(self.directory / "service", switches=chosen)
        self._do(self.emulator.__aenter__())
        self.time = Time(self.emulator.advance)
        self.conversation = self._do(self._new_conversation())
        self.settings = Settings(
            base_url=self.emulator.url,
            api_key=KEY,
            journal=self.directory / "state" / "journal.db",
            part_size=PART_SIZE,
            parallel=2,
            retry=RetryPolicy(max_attempts=3, give_up_after=60.0),
            timeouts=Timeouts(answer=5.0),
        )
        # The journal as it was before a step, and what the service had received.
        self.before: dict[str, Upload] = {}
        self.received = 0

    def teardown(self) -> None:
        try:
            if hasattr(self, "emulator"):
                self._do(self.emulator.__aexit__())
        finally:
            self.runner.close()
            self.patches.close()
            shutil.rmtree(self.directory, ignore_errors=True)

    async def _new_conversation(self) -> str:
        import aiohttp

        headers = {"Authorization": f"Bearer {KEY}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{self.emulator.url}/conversations", json={}) as answer,
        ):
            return str((await answer.json())["id"])

    # -- what happens ---------------------------------------------------------

    @rule(script=faults, dies_at=deaths, change=changes)
    def upload(
        self, script: list[Any], dies_at: int, change: tuple[int, str] | None
    ) -> None:
        now = {self.source.read_bytes()}
        file = self._run(
            lambda uploader: uploader.upload(self.source, purpose="assistants"),
            script,
            Fate(dies_at=dies_at),
            self._changing(change, now),
        )
        if isinstance(file, UploadedFile):
            assert self._content(file.file_id) in now, "it is not what is on disk"

    @rule(script=faults, dies_at=deaths, change=changes)
    def resume(
        self, script: list[Any], dies_at: int, change: tuple[int, str] | None
    ) -> None:
        async def resume_all(uploader: Uploader) -> None:
            for left in await uploader.resumable():
                try:
                    await uploader.resume(left.id)
                except UploaderError:
                    continue

        observer = self._changing(change, set())
        self._run(resume_all, script, Fate(dies_at=dies_at), observer)

    @rule(script=faults, dies_at=deaths, name=st.sampled_from("abc"))
    def send(self, script: list[Any], dies_at: int, name: str) -> None:
        prompt = f"look at {name}"
        now = self.source.read_bytes()

        async def send(uploader: Uploader) -> Sent:
            return await uploader.send(
                [self.source],
                to=f"conversation:{self.conversation}",
                prompt=prompt,
                purpose="assistants",
                filename="source.txt",
            )

        sent = self._run(send, script, Fate(dies_at=dies_at))
        if isinstance(sent, Sent):
            assert self._content(sent.files[0].file_id) == now
            assert prompt in self._messages()

    @rule(script=faults, dies_at=deaths)
    def cancel(self, script: list[Any], dies_at: int) -> None:
        async def cancel_all(uploader: Uploader) -> None:
            for upload in await uploader.uploads(unfinished=True):
                try:
                    await uploader.cancel(upload.id)
                except UploaderError:
                    continue

        self._run(cancel_all, script, Fate(dies_at=dies_at))

    @rule(dies_at=deaths)
    def again(self, dies_at: int) -> None:
        """A person looked, and says that it is not there; right or wrong."""
        doubtful = self._doubtful()
        if not doubtful:
            return
        upload = doubtful[0]
        self.known[upload.id].forgiven += 1

        async def insist(uploader: Uploader) -> object:
            return await uploader.resume(upload.id, again=True)

        self._run(insist, [], Fate(dies_at=dies_at))

    @rule(change=st.sampled_from(CHANGES))
    def meddle(self, change: str) -> None:
        self._change(change)
        self.story.append(change)

    @rule(seconds=st.sampled_from((1.0, 31.0, 600.0, 3601.0, 90_000.0)))
    def wait(self, seconds: float) -> None:
        self.time.advance(seconds)
        self.story.append(f"{seconds} s later")

    @rule(seconds=st.sampled_from((0.0, -7200.0, -60.0, 40.0, 4000.0)))
    def set_clock(self, seconds: float) -> None:
        """The wall clock of this machine is wrong from now on."""
        self.time.advance(LEAST_KEPT)
        self.time.skew = seconds
        self.story.append(f"the clock is {seconds} s wrong")

    @rule(keep=st.sampled_from((0.0, 3000.0)))
    def prune(self, keep: float) -> None:
        async def look(uploader: Uploader) -> None:
            await uploader.uploads()

        self._run(look, [], Fate(), keep_finished=keep)

    @rule(stops_at=st.integers(1, 60), dies=st.booleans(), cancels=st.booleans())
    def second_owner(self, stops_at: int, dies: bool, cancels: bool) -> None:
        """One is stopped, another takes over or cancels, and the first wakes up."""
        self._do(self._two(stops_at, dies=dies, cancels=cancels, late=True))

    @rule(stops_at=st.integers(1, 60), cancels=st.booleans())
    def owner_is_asked(self, stops_at: int, cancels: bool) -> None:
        """One is at work when another comes along."""
        self._do(self._two(stops_at, dies=False, cancels=cancels, late=False))

    async def _two(
        self, stops_at: int, *, dies: bool, cancels: bool, late: bool
    ) -> None:
        first, second = Fate(stops_at=stops_at), Fate()

        async def upload(uploader: Uploader) -> object:
            return await uploader.upload(self.source, purpose="assistants")

        async def cancel(uploader: Uploader) -> None:
            for found in await uploader.uploads(unfinished=True):
                await uploader.cancel(found.id)

        stopping = asyncio.create_task(self._live(upload, first))
        waiting = asyncio.create_task(first.stopped.wait())
        await asyncio.wait([stopping, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if late:
            self.time.advance(31.0)
        coming = asyncio.create_task(self._live(cancel if cancels else upload, second))
        if late:
            await coming
        else:
            await asyncio.sleep(0.005)
        first.is_dead |= dies
        first.go_on()
        await asyncio.gather(stopping, coming)

    # -- what holds -----------------------------------------------------------

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        if not hasattr(self, "before"):
            return
        try:
            self._check()
        except AssertionError as error:
            error.add_note("\n".join(self.story))
            raise

    def _check(self) -> None:
        uploads, rows = self._look()
        self._remember_ids(rows)
        served = self._served()
        for upload in uploads.values():
            self._check_state(upload)
            self._check_verdict(upload, served)
        for name, known in self.known.items():
            made = [served[id_] for id_ in known.upload_ids if served.get(id_)]
            assert len(made) <= 1 + known.forgiven, f"{name} is there {len(made)} times"
            for file_id in made:
                assert self._content(str(file_id)) in self.versions, "a mixture"
        self._check_receptions()
        said = self._said()
        assert len(said) == len(set(said)), "the same was said twice"
        self.before, self.told, self.died = uploads, [], False

    def _check_state(self, upload: Upload) -> None:
        known = self.known[upload.id]
        restarts = upload.restarts + upload.orphan_restarts
        assert upload.state in _reachable(known.state), (
            f"{known.state} → {upload.state}"
        )
        aloud = {
            event.upload for event in self.told if isinstance(event, UploadRestarted)
        }
        if restarts > known.restarts and not self.died:
            assert upload.id in aloud, "it was restarted in silence"
        known.state, known.restarts = upload.state, restarts

    def _check_verdict(self, upload: Upload, served: dict[str, str | None]) -> None:
        known = self.known[upload.id]
        current = upload.opened.upload_id if upload.opened else ""
        match upload.state:
            case UploadState.COMPLETED:
                assert upload.file is not None
                assert served[current] == upload.file.id, "it is another's file"
            case UploadState.OPEN:
                assert not served[current], "it is complete, and said to be open"
            case UploadState.PLANNED | UploadState.CANCELLED if not known.forgiven:
                made = [id_ for id_ in known.upload_ids if served.get(id_)]
                assert not made, f"it is {upload.state}, and the file is there"

    def _check_receptions(self) -> None:
        """No part that the journal had before the step came in again."""
        receptions = [r for r in self.emulator.account().receptions if r.stored]
        digest_of = {r.part_id: r.sha256 for r in receptions}
        news = {(r.upload_id, r.sha256) for r in receptions if r.number > self.received}
        for upload in self.before.values():
            for part in upload.parts.values():
                assert upload.opened is not None
                name = (upload.opened.upload_id, digest_of[part.part_id])
                assert name not in news, f"part {part.number} was received again"
        self.received = max((r.number for r in receptions), default=0)

    def _look(self) -> tuple[dict[str, Upload], list[tuple[str, str]]]:
        """The journal as it is: it opens, and holds together."""

        async def look(uploader: Uploader) -> tuple[Sequence[Upload], Any]:
            return await uploader.uploads(), await uploader.attachments()

        seen = self._do(self._live(look, Fate(), keep_finished=1e12))
        assert seen is not None, "the journal does not open"
        uploads, attachments = seen
        self._attachments = attachments
        for attachment in attachments:
            if attachment.state is AttachmentState.ATTACHED:
                assert attachment.spec.prompt in self._messages(), "it is not there"
        with closing(sqlite3.connect(self.settings.journal)) as db:
            ((health,),) = db.execute("PRAGMA quick_check")
            rows = db.execute(
                "SELECT upload, upload_id FROM intents"
                " WHERE kind = 'create' AND upload_id IS NOT NULL"
            ).fetchall()
        assert health == "ok"
        self.story += [
            f"  {u.id} {u.state} {u.opened and u.opened.upload_id} {len(u.parts)} parts"
            f" {u.file and u.file.id} {u.failure}"
            for u in uploads
            if u != self.before.get(u.id)
        ]
        found: dict[str, Upload] = {upload.id: upload for upload in uploads}
        for name in found.keys() - self.known.keys():
            self.known[name] = Known(UploadState.PLANNED, 0)
        return found, rows

    def _remember_ids(self, rows: list[tuple[str, str]]) -> None:
        for name, upload_id in rows:
            if name in self.known:
                self.known[name].upload_ids.add(upload_id)

    # -- how ------------------------------------------------------------------

    _attachments: Sequence[Any] = ()

    def _doubtful(self) -> list[Upload]:
        found = getattr(self, "before", {}).values()
        return [u for u in found if u.state is UploadState.COMPLETING]

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def _run(
        self,
        work: Callable[[Uploader], Coroutine[Any, Any, T]],
        script: list[Any],
        fate: Fate,
        observer: Callable[[Event], None] | None = None,
        **changes: Any,
    ) -> T | None:
        """Do *work* in an owner with that fate, while the service fails by script."""
        quick = {"seconds": 0.02, "rate": 1e6}
        self.emulator.add_entries([entry | quick for entry in script])
        self.story.append(f"{script}")
        result = self._do(self._live(work, fate, observer, **changes))
        self.emulator.clear_faults()
        self.died |= fate.is_dead
        assert not fate.resent, f"sent again although recorded: {fate.resent}"
        return result

    async def _live(
        self,
        work: Callable[[Uploader], Coroutine[Any, Any, T]],
        fate: Fate,
        observer: Callable[[Event], None] | None = None,
        **changes: Any,
    ) -> T | None:
        from dataclasses import replace

        chosen = replace(self.settings, **changes)
        backend: Any = MortalBackend(open_backend(chosen, "openai"), fate)
        observers = [self.told.append, *([observer] if observer else [])]

        async def life() -> T | None:
            clock = OwnersClock(self.time, fate)
            try:
                async with Uploader(
                    chosen, backend=backend, observers=observers, clock=clock
                ) as uploader:
                    return await work(uploader)
            except UploaderError as error:
                self.story.append(
                    f"{work.__qualname__}: {type(error).__name__}: {error}"
                )
                return None

        result = await living(fate, life)
        if "_look" not in work.__qualname__:
            fact = "died" if fate.is_dead else f"{result}"[:100]
            self.story.append(f"{work.__qualname__}: {fact}")
        return result

    def _changing(
        self, change: tuple[int, str] | None, now: set[bytes]
    ) -> Callable[[Event], None]:
        """An observer that meddles with the source when so many parts are sent."""
        sent = 0

        def observe(event: Event) -> None:
            nonlocal sent
            sent += isinstance(event, PartSent)
            if change is not None and sent == change[0]:
                self._change(change[1])
                now.add(self.source.read_bytes())
                sent += 1000

        return observe

    def _change(self, change: str) -> None:
        content = self.source.read_bytes()
        match change:
            case "touched":
                stamp = time.time_ns() + self.random.randrange(10**9)
                os.utime(self.source, ns=(stamp, stamp))
            case "appended":
                with self.source.open("ab") as file:
                    file.write(b"more")
                self.versions.add(self.source.read_bytes())
            case "truncated" if len(content) > PART_SIZE:
                os.truncate(self.source, len(content) - 10)
                self.versions.add(self.source.read_bytes())
            case "replaced":
                other = self.source.with_name("other")
                other.write_bytes(self.random.randbytes(len(content)))
                self.versions.add(other.read_bytes())
                other.replace(self.source)
            case "rewritten":
                self._write(self.random.randbytes(len(content)))
            case "restored":
                self._write(self.original)

    def _write(self, content: bytes) -> None:
        self.versions.add(content)
        self.source.write_bytes(content)

    def _served(self) -> dict[str, str | None]:
        """Every upload of the service, with the file that came of it."""
        rows = self._ask("SELECT id, file_id FROM uploads")
        return {row[0]: row[1] for row in rows}

    def _content(self, file_id: str) -> bytes:
        pieces = self._ask(
            "SELECT content FROM pieces WHERE file_id = ? ORDER BY position", file_id
        )
        place = self.directory / "service" / "content"
        return b"".join((place / name).read_bytes() for (name,) in pieces)

    def _said(self) -> list[tuple[str, str]]:
        """Each message of the conversation: its words and its file."""
        rows = self._ask(
            "SELECT json_extract(document, '$.content[0].text'),"
            " json_extract(document, '$.content[1].file_id') FROM items"
        )
        return [(str(text), str(file_id)) for text, file_id in rows]

    def _messages(self) -> list[str]:
        return [text for text, _ in self._said()]

    def _ask(self, query: str, *values: object) -> list[Any]:
        path = self.directory / "service" / "emulator.db"
        with closing(sqlite3.connect(path)) as db:
            return db.execute(query, values).fetchall()


def _reachable(state: UploadState) -> set[UploadState]:
    found, left = {state}, [state]
    while left:
        for after in TRANSITIONS[left.pop()].values():
            if after not in found:
                found.add(after)
                left.append(after)
    return found


ALL_OF_IT = tuple(HealthCheck)
PHASES = (
    (Phase.generate,)
    if os.environ.get("LIFE_SHRINK") == "no"
    else (Phase.generate, Phase.shrink)
)


def test_nothing_is_lost_or_doubled_whatever_happens() -> None:
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=100,
            stateful_step_count=10,
            suppress_health_check=ALL_OF_IT,
            phases=PHASES,
        ),
    )


@pytest.mark.parametrize("cancels", [False, True], ids=["uploads", "cancels"])
@pytest.mark.parametrize("stops_at", range(1, 45, 3))
def test_who_wakes_up_after_another_took_over_does_no_harm(
    stops_at: int, cancels: bool
) -> None:
    """What chance may leave out: stopped at each point of an upload, and awake again."""
    life = Life()
    try:
        life.begin(values={})
        life.nothing_is_lost_or_doubled()
        life.second_owner(stops_at=stops_at, dies=False, cancels=cancels)
        life.nothing_is_lost_or_doubled()
    finally:
        life.teardown()


@pytest.mark.long
@pytest.mark.timeout(LONG_RUN + 600)
def test_nothing_is_lost_or_doubled_for_twenty_minutes() -> None:
    until, examples = time.monotonic() + LONG_RUN, 0

    class Counted(Life):
        def teardown(self) -> None:
            nonlocal examples
            examples += 1
            super().teardown()

    while time.monotonic() < until:
        run_state_machine_as_test(
            Counted,
            settings=settings(
                max_examples=200,
                stateful_step_count=25,
                derandomize=False,
                print_blob=True,
                suppress_health_check=ALL_OF_IT,
            ),
        )
    print(f"{examples} lives in {LONG_RUN:.0f} s")  # noqa: T201
