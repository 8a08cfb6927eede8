"""The rules of `uploader.backend.Backend`, for every implementation."""

import asyncio
import base64
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes import FakeBody
from uploader.backend import Backend
from uploader.backends import BACKENDS, open_backend
from uploader.config import Azure, Goapi, Llmprovider, Settings
from uploader.emulator import Emulator, Fault
from uploader.errors import (
    BackendUnavailable,
    CredentialsRefused,
    RequestRejected,
    SourceError,
    Throttled,
    UploaderError,
    UploadExpired,
    UsageError,
)
from uploader.model import (
    File,
    FileId,
    Identity,
    Opened,
    Part,
    PartId,
    Plan,
    Scope,
    SentPart,
    UploadId,
    UploadSpec,
)
from uploader.targets import open_target

KEY = "sk-contract-0123456789"
CONTENT: Final = b"abcdefgh!"
SPEC = UploadSpec(
    filename="big.txt",
    purpose="assistants",
    size=len(CONTENT),
    mime_type="text/plain",
)
IDENTITY = Identity(
    service="s", path=Path("/big.txt"), purpose="assistants", filename="big.txt"
)
STRANGER = SentPart(number=1, part_id=PartId("part_1"))
UNKNOWN = Opened(upload_id=UploadId("upload_unknown"), created_at=0)


@dataclass
class Site:
    """A backend, and the emulator that it talks to."""

    backend: Backend
    emulator: Emulator
    plan: Plan
    scope: Scope | None = None
    kinds: dict[str, str] = field(default_factory=dict)
    """What the emulator calls requests, where OpenAI's word is another."""

    async def create(self, **changes: Any) -> Opened:
        return await self.backend.create(
            dataclasses.replace(SPEC, **changes), self.scope
        )

    async def put(self, opened: Opened, part: Part) -> SentPart:
        body = FakeBody(CONTENT[part.offset : part.end])
        put = await self.backend.put_part(SPEC, opened, part, body)
        return SentPart(
            number=part.number,
            part_id=put.part_id,
            details=put.details,
            request_id=put.request_id,
        )

    async def put_all(self, opened: Opened) -> list[SentPart]:
        return [await self.put(opened, part) for part in self.plan.parts]

    async def complete(
        self, opened: Opened, parts: Sequence[SentPart], md5: str | None = None
    ) -> File:
        return await self.backend.complete(SPEC, opened, parts, md5)

    async def upload(self, **changes: Any) -> File:
        opened = await self.create(**changes)
        return await self.complete(opened, await self.put_all(opened))

    def stored(self) -> list[tuple[str | None, str]]:
        """The id and the digest of each stored part."""
        return [
            (reception.part_id or reception.file_id, reception.sha256)
            for reception in self.emulator.account().receptions
            if reception.stored
        ]


def without_request(file: File) -> File:
    return dataclasses.replace(file, request_id=None)


PARTED = ("openai", "azure", "azure v1")
"""Those that take a file in parts, and know it afterwards."""
WHOLE = ("goapi", "llmprovider")
"""Those where the only part is the file."""


def test_every_backend_is_tested() -> None:
    assert {name.split()[0] for name in PARTED + WHOLE} == set(BACKENDS)


@asynccontextmanager
async def running(name: str, directory: Path) -> AsyncIterator[Site]:
    backend, _, paths = name.partition(" ")
    keys: Any = {name: [KEY] for name in ("keys", "goapi_keys", "llmprovider_keys")}
    async with Emulator(directory, **keys) as emulator:
        settings = Settings(
            backend=backend,
            base_url=emulator.url,
            api_key=KEY,
            azure=Azure(
                endpoint=emulator.origin,
                api_key=KEY,
                paths="v1" if paths == "v1" else "classic",
            ),
            goapi=Goapi(base_url=emulator.goapi_url, api_key=KEY),
            llmprovider=Llmprovider(base_url=emulator.llmprovider_url, api_key=KEY),
        )
        opened = open_backend(settings)
        site = Site(opened, emulator, Plan.of_sizes([4, 4, 1]))
        if name in WHOLE:
            site.plan = Plan.of_sizes([len(CONTENT)])
            site.kinds = {"part": f"{name}_upload"}
        if opened.capabilities.needs_scope:
            target = open_target(f"{name}:new", settings)
            site.scope = await target.prepare()
            await target.aclose()
        try:
            yield site
        finally:
            await opened.aclose()


@pytest.fixture(params=PARTED + WHOLE)
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    async with running(request.param, tmp_path / "service") as site:
        yield site


@pytest.fixture(params=PARTED)
async def parted(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    async with running(request.param, tmp_path / "service") as site:
        yield site


@pytest.fixture(params=WHOLE)
async def whole(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    async with running(request.param, tmp_path / "service") as site:
        yield site


async def test_what_was_sent_becomes_one_file(site: Site) -> None:
    opened = await site.create()
    parts = await site.put_all(opened)

    file = await site.complete(opened, parts)

    assert file.bytes == len(CONTENT)
    assert (file.filename, file.purpose) == (SPEC.filename, SPEC.purpose)
    if site.backend.capabilities.knows_files:
        known = await site.backend.get_file(file.id)
        assert without_request(known) == without_request(file)


async def test_an_upload_knows_when_it_expires(site: Site) -> None:
    opened = await site.create()

    if site.backend.capabilities.expires:
        assert opened.expires_at is not None
        assert opened.expires_at > opened.created_at
        assert site.backend.limits.lifetime is not None
    else:
        assert opened.expires_at is None
        assert site.backend.limits.lifetime is None


async def test_each_upload_has_an_id_of_its_own(parted: Site) -> None:
    assert (await parted.create()).upload_id != (await parted.create()).upload_id


async def test_each_part_arrives_as_it_is(site: Site) -> None:
    opened = await site.create()
    parts = await site.put_all(opened)

    assert site.stored() == [
        (sent.part_id, hashlib.sha256(CONTENT[part.offset : part.end]).hexdigest())
        for sent, part in zip(parts, site.plan.parts, strict=True)
    ]


async def test_parts_may_arrive_in_any_order(parted: Site) -> None:
    opened = await parted.create()
    last, first, middle = [
        await parted.put(opened, parted.plan.parts[number]) for number in (2, 0, 1)
    ]

    md5 = hashlib.md5(CONTENT).hexdigest()
    file = await parted.complete(opened, [first, middle, last], md5)

    assert file.bytes == len(CONTENT)


async def test_parts_may_arrive_at_the_same_time(parted: Site) -> None:
    opened = await parted.create()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(parted.put(opened, part)) for part in parted.plan.parts
        ]

    md5 = hashlib.md5(CONTENT).hexdigest()
    assert await parted.complete(opened, [t.result() for t in tasks], md5)


async def test_a_part_may_be_put_twice_and_only_one_of_them_is_used(
    parted: Site,
) -> None:
    opened = await parted.create()
    await parted.put(opened, parted.plan.parts[0])

    file = await parted.complete(opened, await parted.put_all(opened))

    assert file.bytes == len(CONTENT)


async def test_a_body_is_read_once_for_each_call(site: Site) -> None:
    opened = await site.create()
    part = site.plan.parts[0]
    body = FakeBody(CONTENT[: part.size])

    await site.backend.put_part(SPEC, opened, part, body)
    await site.backend.put_part(SPEC, opened, part, body)

    assert body.readings == 2


async def test_a_missing_part_is_a_refusal(parted: Site) -> None:
    opened = await parted.create()
    first, second, _ = await parted.put_all(opened)

    with pytest.raises(RequestRejected) as raised:
        await parted.complete(opened, [first, second])
    assert raised.value.status == 400


async def test_a_wrong_md5_is_a_refusal_and_the_right_one_a_yes(parted: Site) -> None:
    opened = await parted.create()
    parts = await parted.put_all(opened)

    with pytest.raises(RequestRejected):
        await parted.complete(opened, parts, hashlib.md5(b"").hexdigest())

    md5 = hashlib.md5(CONTENT).hexdigest()
    assert await parted.complete(opened, parts, md5)


async def test_an_md5_goes_out_in_the_spelling_that_is_given(parted: Site) -> None:
    parted.emulator.switches = dataclasses.replace(
        parted.emulator.switches, md5="base64"
    )
    opened = await parted.create()
    md5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()

    assert await parted.complete(opened, await parted.put_all(opened), md5)


async def test_a_second_complete_is_a_clear_answer(parted: Site) -> None:
    opened = await parted.create()
    parts = await parted.put_all(opened)
    await parted.complete(opened, parts)

    with pytest.raises(RequestRejected) as raised:
        await parted.complete(opened, parts)
    assert raised.value.status is not None


async def test_an_expired_upload_says_so(parted: Site) -> None:
    opened = await parted.create()
    parts = await parted.put_all(opened)
    parted.emulator.advance(2 * 3600 + 1)

    with pytest.raises(UploadExpired):
        await parted.put(opened, parted.plan.parts[0])
    with pytest.raises(UploadExpired) as raised:
        await parted.complete(opened, parts)
    assert raised.value.status == 410


async def test_an_unknown_upload_is_a_refusal(parted: Site) -> None:
    with pytest.raises(RequestRejected):
        await parted.put(UNKNOWN, parted.plan.parts[0])
    with pytest.raises(RequestRejected) as raised:
        await parted.complete(UNKNOWN, [STRANGER])
    assert raised.value.status == 404


async def test_a_cancelled_upload_takes_no_more(parted: Site) -> None:
    opened = await parted.create()

    await parted.backend.cancel(opened)

    with pytest.raises((RequestRejected, UploadExpired)):
        await parted.put(opened, parted.plan.parts[0])


async def test_an_upload_that_is_gone_counts_as_cancelled(parted: Site) -> None:
    expired = await parted.create()
    parted.emulator.advance(2 * 3600 + 1)

    await parted.backend.cancel(expired)
    await parted.backend.cancel(UNKNOWN)


async def test_a_file_is_read_as_it_was_sent(parted: Site) -> None:
    file = await parted.upload()
    size = parted.plan.size

    chunks = [chunk async for chunk in parted.backend.read_file(file.id, limit=size)]

    assert b"".join(chunks) == CONTENT


async def test_a_file_is_not_read_further_than_the_limit(parted: Site) -> None:
    file = await parted.upload()

    chunks = [chunk async for chunk in parted.backend.read_file(file.id, limit=0)]

    assert len(chunks) == 1


async def test_a_file_that_is_not_handed_out_is_a_refusal(site: Site) -> None:
    with pytest.raises(RequestRejected):
        await anext(site.backend.read_file(FileId("file-unknown"), limit=1))


async def test_what_was_completed_is_found(parted: Site) -> None:
    await parted.upload(filename="other.bin")
    await parted.upload(purpose="batch")
    file = await parted.upload()

    found = await parted.backend.find_completed(IDENTITY, file.created_at)

    assert file.id in [each.id for each in found]
    assert {each.purpose for each in found} == {"assistants"}
    (mine,) = [each for each in found if each.filename == SPEC.filename]
    assert without_request(mine) == without_request(file)


async def test_what_is_found_is_complete_down_to_a_time_and_newest_first(
    parted: Site,
) -> None:
    files = []
    for _ in range(4):
        files.append(await parted.upload())
        parted.emulator.advance(10)

    found = await parted.backend.find_completed(IDENTITY, files[1].created_at)

    assert [file.id for file in found] == [file.id for file in files[:0:-1]]


async def test_nothing_completed_is_nothing_found(site: Site) -> None:
    await site.create()

    assert list(await site.backend.find_completed(IDENTITY, 0)) == []


async def test_a_file_that_is_not_there_is_a_refusal(parted: Site) -> None:
    with pytest.raises(RequestRejected) as raised:
        await parted.backend.get_file(FileId("file-unknown"))
    assert raised.value.status == 404


async def every_call(site: Site) -> dict[str, Callable[[], Awaitable[object]]]:
    opened = await site.create()
    file = await site.upload()
    return {
        "create": site.create,
        "part": lambda: site.put(opened, site.plan.parts[0]),
        "complete": lambda: site.complete(opened, [STRANGER]),
        "cancel": lambda: site.backend.cancel(opened),
        "file_list": lambda: site.backend.find_completed(IDENTITY, 0),
        "file_get": lambda: site.backend.get_file(file.id),
    }


FAULTS = [
    pytest.param({"do": "status", "status": 500}, BackendUnavailable, id="500"),
    pytest.param({"do": "status", "status": 503}, BackendUnavailable, id="503"),
    pytest.param({"do": "status", "status": 429}, Throttled, id="429"),
    pytest.param({"do": "status", "status": 401}, CredentialsRefused, id="401"),
    pytest.param({"do": "reset"}, BackendUnavailable, id="reset"),
    pytest.param({"do": "reset", "when": "after"}, BackendUnavailable, id="lost"),
    pytest.param({"do": "truncate", "when": "after"}, BackendUnavailable, id="cut"),
]


EFFECTS = ["create", "part", "complete", "cancel"]
READS = ["file_list", "file_get"]


@pytest.mark.parametrize(
    ("kind", "fault", "error"),
    [
        pytest.param(kind, *case.values, id=f"{kind} {case.id}")
        for kind in EFFECTS + READS
        for case in FAULTS
        # aiohttp itself repeats a GET on a connection that turns out to be dead.
        if kind in EFFECTS or case.id not in ("reset", "lost")
    ],
)
async def test_a_failure_is_raised_and_never_tried_again_by_the_backend(
    parted: Site, kind: str, fault: dict[str, object], error: type[UploaderError]
) -> None:
    calls = await every_call(parted)
    before = parted.emulator.account().counts[kind]
    parted.emulator.add_entries([{"kind": kind, **fault}])

    with pytest.raises(error) as raised:
        await calls[kind]()

    assert type(raised.value) is error
    assert parted.emulator.account().counts[kind] == before + 1


@pytest.mark.parametrize(("fault", "error"), FAULTS)
async def test_a_whole_file_that_fails_is_never_sent_again_by_the_backend(
    whole: Site, fault: dict[str, object], error: type[UploaderError]
) -> None:
    opened = await whole.create()
    kind = whole.kinds["part"]
    whole.emulator.add_entries([{"kind": kind, **fault}])

    with pytest.raises(error) as raised:
        await whole.put(opened, whole.plan.parts[0])

    assert type(raised.value) is error
    assert whole.emulator.account().counts[kind] == 1
    assert KEY not in str(raised.value)


async def test_a_whole_file_is_one_request_and_nothing_can_be_asked(
    whole: Site,
) -> None:
    before = len(whole.emulator.account().requests)
    file = await whole.upload()

    assert whole.backend.capabilities.part_is_effect
    assert list(await whole.backend.find_completed(IDENTITY, 0)) == []
    for ask in (whole.backend.get_file, whole.backend.delete_file):
        with pytest.raises(RequestRejected) as raised:
            await ask(file.id)
        assert raised.value.hint
    asked = whole.emulator.account().requests[before:]
    assert [request.kind for request in asked] == [whole.kinds["part"]]


async def test_a_backend_that_needs_a_conversation_says_so(whole: Site) -> None:
    whole.scope = None
    if whole.backend.capabilities.needs_scope:
        with pytest.raises(UsageError, match="conversation"):
            await whole.create()
    else:
        assert (await whole.upload()).details["conversation_id"]


async def test_after_an_outage_the_same_call_may_be_made_again(site: Site) -> None:
    opened = await site.create()
    kind = site.kinds.get("part", "part")
    site.emulator.add_fault(Fault(kind=kind, do="reset", when="after"))
    with pytest.raises(BackendUnavailable) as raised:
        await site.put(opened, site.plan.parts[0])

    assert raised.value.effect_possible
    assert await site.complete(opened, await site.put_all(opened))


async def test_a_complete_whose_answer_is_lost_can_be_found(parted: Site) -> None:
    opened = await parted.create()
    parts = await parted.put_all(opened)
    parted.emulator.add_fault(Fault(kind="complete", do="reset", when="after"))
    with pytest.raises(BackendUnavailable):
        await parted.complete(opened, parts)

    (file,) = await parted.backend.find_completed(IDENTITY, opened.created_at)

    assert (file.filename, file.bytes) == (SPEC.filename, SPEC.size)


async def test_a_spec_that_the_service_takes_passes_the_check(site: Site) -> None:
    site.backend.check(SPEC)


async def test_the_check_refuses_before_anything_is_sent(site: Site) -> None:
    before = site.emulator.account().requests
    specs = [dataclasses.replace(SPEC, expires_after=1)]
    if not site.backend.capabilities.part_is_effect:
        specs.append(dataclasses.replace(SPEC, purpose="world_domination"))
    for spec in specs:
        with pytest.raises((SourceError, UsageError)) as raised:
            site.backend.check(spec)
        assert raised.value.hint

    assert site.emulator.account().requests == before


async def test_a_mime_type_comes_from_the_name_alone(site: Site) -> None:
    assert site.backend.mime_type("notes.txt") == "text/plain"
    assert site.backend.mime_type("no ending") == "application/octet-stream"


async def test_the_service_is_named_without_its_key(site: Site) -> None:
    assert site.backend.service
    assert KEY not in site.backend.service
