"""The rules of `uploader.backend.Backend`, for every implementation."""

import asyncio
import base64
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.fakes import FakeBody
from uploader.backend import Backend
from uploader.backends import open_backend
from uploader.config import Settings
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
    UploadId,
    UploadSpec,
)

KEY = "sk-contract-0123456789"
CONTENT: Final = b"abcdefgh!"
PLAN = Plan.of_sizes([4, 4, 1])
SPEC = UploadSpec(
    filename="big.bin",
    purpose="assistants",
    size=len(CONTENT),
    mime_type="application/octet-stream",
)
IDENTITY = Identity(
    service="s", path=Path("/big.bin"), purpose="assistants", filename="big.bin"
)
UNKNOWN = Opened(upload_id=UploadId("upload_unknown"), created_at=0)


@dataclass
class Site:
    """A backend, and the emulator that it talks to."""

    backend: Backend
    emulator: Emulator

    async def create(self, **changes: Any) -> Opened:
        return await self.backend.create(dataclasses.replace(SPEC, **changes))

    async def put(self, opened: Opened, part: Part) -> PartId:
        body = FakeBody(CONTENT[part.offset : part.end])
        return (await self.backend.put_part(opened, part, body)).part_id

    async def put_all(self, opened: Opened) -> list[PartId]:
        return [await self.put(opened, part) for part in PLAN.parts]

    async def upload(self, **changes: Any) -> File:
        opened = await self.create(**changes)
        return await self.backend.complete(opened, await self.put_all(opened), None)

    def stored(self) -> dict[str | None, str]:
        """The digest of each stored part."""
        return {
            reception.part_id: reception.sha256
            for reception in self.emulator.account().receptions
            if reception.stored
        }


def without_request(file: File) -> File:
    return dataclasses.replace(file, request_id=None)


@asynccontextmanager
async def openai(directory: Path) -> AsyncIterator[Site]:
    async with Emulator(directory, keys=[KEY]) as emulator:
        backend = open_backend(Settings(base_url=emulator.url, api_key=KEY))
        try:
            yield Site(backend, emulator)
        finally:
            await backend.aclose()


IMPLEMENTATIONS: dict[str, Callable[[Path], AbstractAsyncContextManager[Site]]] = {
    "openai": openai
}


@pytest.fixture(params=IMPLEMENTATIONS)
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    async with IMPLEMENTATIONS[request.param](tmp_path / "service") as site:
        yield site


async def test_what_was_sent_becomes_one_file(site: Site) -> None:
    opened = await site.create()
    part_ids = await site.put_all(opened)

    file = await site.backend.complete(opened, part_ids, None)

    assert file.bytes == len(CONTENT)
    assert (file.filename, file.purpose) == (SPEC.filename, SPEC.purpose)
    assert without_request(await site.backend.get_file(file.id)) == without_request(
        file
    )


async def test_an_upload_knows_when_it_expires(site: Site) -> None:
    opened = await site.create()

    if site.backend.capabilities.expires:
        assert opened.expires_at is not None
        assert opened.expires_at > opened.created_at
        assert site.backend.limits.lifetime is not None


async def test_each_upload_has_an_id_of_its_own(site: Site) -> None:
    assert (await site.create()).upload_id != (await site.create()).upload_id


async def test_each_part_arrives_as_it_is(site: Site) -> None:
    opened = await site.create()
    part_ids = await site.put_all(opened)

    assert site.stored() == {
        part_id: hashlib.sha256(CONTENT[part.offset : part.end]).hexdigest()
        for part_id, part in zip(part_ids, PLAN.parts, strict=True)
    }


async def test_parts_may_arrive_in_any_order(site: Site) -> None:
    opened = await site.create()
    last, first, middle = [
        await site.put(opened, PLAN.parts[number]) for number in (2, 0, 1)
    ]

    md5 = hashlib.md5(CONTENT).hexdigest()
    file = await site.backend.complete(opened, [first, middle, last], md5)

    assert file.bytes == len(CONTENT)


async def test_parts_may_arrive_at_the_same_time(site: Site) -> None:
    opened = await site.create()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(site.put(opened, part)) for part in PLAN.parts]

    md5 = hashlib.md5(CONTENT).hexdigest()
    assert await site.backend.complete(opened, [t.result() for t in tasks], md5)


async def test_a_part_may_be_put_twice_and_only_one_of_them_is_used(site: Site) -> None:
    opened = await site.create()
    await site.put(opened, PLAN.parts[0])

    file = await site.backend.complete(opened, await site.put_all(opened), None)

    assert file.bytes == len(CONTENT)


async def test_a_body_is_read_once_for_each_call(site: Site) -> None:
    opened = await site.create()
    body = FakeBody(b"abcd")

    await site.backend.put_part(opened, PLAN.parts[0], body)
    await site.backend.put_part(opened, PLAN.parts[0], body)

    assert body.readings == 2


async def test_a_missing_part_is_a_refusal(site: Site) -> None:
    opened = await site.create()
    first, second, _ = await site.put_all(opened)

    with pytest.raises(RequestRejected) as raised:
        await site.backend.complete(opened, [first, second], None)
    assert raised.value.status == 400


async def test_a_wrong_md5_is_a_refusal_and_the_right_one_a_yes(site: Site) -> None:
    opened = await site.create()
    part_ids = await site.put_all(opened)

    with pytest.raises(RequestRejected):
        await site.backend.complete(opened, part_ids, hashlib.md5(b"").hexdigest())

    md5 = hashlib.md5(CONTENT).hexdigest()
    assert await site.backend.complete(opened, part_ids, md5)


async def test_an_md5_goes_out_in_the_spelling_that_is_given(site: Site) -> None:
    site.emulator.switches = dataclasses.replace(site.emulator.switches, md5="base64")
    opened = await site.create()
    md5 = base64.b64encode(hashlib.md5(CONTENT).digest()).decode()

    assert await site.backend.complete(opened, await site.put_all(opened), md5)


async def test_a_second_complete_is_a_clear_answer(site: Site) -> None:
    opened = await site.create()
    part_ids = await site.put_all(opened)
    await site.backend.complete(opened, part_ids, None)

    with pytest.raises(RequestRejected) as raised:
        await site.backend.complete(opened, part_ids, None)
    assert raised.value.status is not None


async def test_an_expired_upload_says_so(site: Site) -> None:
    opened = await site.create()
    part_ids = await site.put_all(opened)
    site.emulator.advance(3601)

    with pytest.raises(UploadExpired):
        await site.put(opened, PLAN.parts[0])
    with pytest.raises(UploadExpired) as raised:
        await site.backend.complete(opened, part_ids, None)
    assert raised.value.status == 410


async def test_an_unknown_upload_is_a_refusal(site: Site) -> None:
    with pytest.raises(RequestRejected):
        await site.put(UNKNOWN, PLAN.parts[0])
    with pytest.raises(RequestRejected) as raised:
        await site.backend.complete(UNKNOWN, [PartId("part_1")], None)
    assert raised.value.status == 404


async def test_a_cancelled_upload_takes_no_more(site: Site) -> None:
    opened = await site.create()

    await site.backend.cancel(opened)

    with pytest.raises((RequestRejected, UploadExpired)):
        await site.put(opened, PLAN.parts[0])


async def test_an_upload_that_is_gone_counts_as_cancelled(site: Site) -> None:
    expired = await site.create()
    site.emulator.advance(3601)

    await site.backend.cancel(expired)
    await site.backend.cancel(UNKNOWN)


async def test_what_was_completed_is_found(site: Site) -> None:
    await site.upload(filename="other.bin")
    await site.upload(purpose="vision")
    file = await site.upload()

    found = await site.backend.find_completed(IDENTITY, file.created_at)

    assert file.id in [each.id for each in found]
    assert {each.purpose for each in found} == {"assistants"}
    (mine,) = [each for each in found if each.filename == SPEC.filename]
    assert without_request(mine) == without_request(file)


async def test_what_is_found_is_complete_down_to_a_time_and_newest_first(
    site: Site,
) -> None:
    files = []
    for _ in range(4):
        files.append(await site.upload())
        site.emulator.advance(10)

    found = await site.backend.find_completed(IDENTITY, files[1].created_at)

    assert [file.id for file in found] == [file.id for file in files[:0:-1]]


async def test_nothing_completed_is_nothing_found(site: Site) -> None:
    await site.create()

    assert list(await site.backend.find_completed(IDENTITY, 0)) == []


async def test_a_file_that_is_not_there_is_a_refusal(site: Site) -> None:
    with pytest.raises(RequestRejected) as raised:
        await site.backend.get_file(FileId("file-unknown"))
    assert raised.value.status == 404


async def every_call(site: Site) -> dict[str, Callable[[], Awaitable[object]]]:
    opened = await site.create()
    file = await site.upload()
    return {
        "create": site.create,
        "part": lambda: site.put(opened, PLAN.parts[0]),
        "complete": lambda: site.backend.complete(opened, [PartId("p")], None),
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
    site: Site, kind: str, fault: dict[str, object], error: type[UploaderError]
) -> None:
    calls = await every_call(site)
    before = site.emulator.account().counts[kind]
    site.emulator.add_entries([{"kind": kind, **fault}])

    with pytest.raises(error) as raised:
        await calls[kind]()

    assert type(raised.value) is error
    assert site.emulator.account().counts[kind] == before + 1


async def test_after_an_outage_the_same_call_may_be_made_again(site: Site) -> None:
    opened = await site.create()
    site.emulator.add_fault(Fault(kind="part", do="reset", when="after"))
    with pytest.raises(BackendUnavailable) as raised:
        await site.put(opened, PLAN.parts[0])

    assert raised.value.effect_possible
    assert await site.backend.complete(opened, await site.put_all(opened), None)


async def test_a_complete_whose_answer_is_lost_can_be_found(site: Site) -> None:
    opened = await site.create()
    part_ids = await site.put_all(opened)
    site.emulator.add_fault(Fault(kind="complete", do="reset", when="after"))
    with pytest.raises(BackendUnavailable):
        await site.backend.complete(opened, part_ids, None)

    (file,) = await site.backend.find_completed(IDENTITY, opened.created_at)

    assert (file.filename, file.bytes) == (SPEC.filename, SPEC.size)


async def test_a_spec_that_the_service_takes_passes_the_check(site: Site) -> None:
    site.backend.check(SPEC)


async def test_the_check_refuses_before_anything_is_sent(site: Site) -> None:
    for spec in (
        dataclasses.replace(SPEC, purpose="world_domination"),
        dataclasses.replace(SPEC, expires_after=1),
    ):
        with pytest.raises((SourceError, UsageError)) as raised:
            site.backend.check(spec)
        assert raised.value.hint

    assert site.emulator.account().requests == ()


async def test_a_mime_type_comes_from_the_name_alone(site: Site) -> None:
    assert site.backend.mime_type("notes.txt") == "text/plain"
    assert site.backend.mime_type("no ending") == "application/octet-stream"


async def test_the_service_is_named_without_its_key(site: Site) -> None:
    assert site.backend.service
    assert KEY not in site.backend.service
