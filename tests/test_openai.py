import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.fakes import FakeBody, serving
from uploader import __version__
from uploader.backends import open_backend
from uploader.backends.openai import MAX_PAGES, PURPOSES, OpenAI
from uploader.config import Settings
from uploader.emulator import Emulator
from uploader.errors import (
    RequestRejected,
    SourceError,
    UnexpectedAnswer,
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
    SentPart,
    UploadId,
    UploadSpec,
)

KEY = "sk-test-0123456789"
OPENED = Opened(upload_id=UploadId("upload_1"), created_at=1757000000)
PART = Part(number=3, offset=0, size=4)
PARTS = [
    SentPart(number=1, part_id=PartId("part_2")),
    SentPart(number=2, part_id=PartId("part_1")),
]
IDENTITY = Identity(
    service="s", path=Path("/f"), purpose="fine-tune", filename="f.jsonl"
)

# The recorded answers, ids shortened.
UPLOAD = {
    "id": "upload_1",
    "object": "upload",
    "bytes": 9,
    "created_at": 1757000000,
    "filename": "f.jsonl",
    "purpose": "fine-tune",
    "status": "pending",
    "expires_at": 1757003600,
}
FILE = {
    "object": "file",
    "id": "file-1",
    "purpose": "fine-tune",
    "filename": "f.jsonl",
    "bytes": 9,
    "created_at": 1757000000,
    "expires_at": None,
    "status": "processed",
    "status_details": None,
}


def spec(**changes: Any) -> UploadSpec:
    given = {
        "filename": "f.jsonl",
        "purpose": "fine-tune",
        "size": 9,
        "mime_type": "text/jsonl",
        **changes,
    }
    return UploadSpec(**given)


class Service:
    """Answers with what it is given, and keeps every request as it came."""

    def __init__(self) -> None:
        self.answer: Callable[[web.Request], object] = lambda _: UPLOAD
        self.status = 200
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        self.bodies.append(await request.read())
        return web.json_response(
            self.answer(request), status=self.status, headers={"X-Request-ID": "req_1"}
        )

    def says(self, document: object, status: int = 200) -> None:
        self.answer = lambda _: document
        self.status = status


@pytest.fixture
def service() -> Service:
    return Service()


@asynccontextmanager
async def talking(service: Service, **settings: Any) -> AsyncIterator[OpenAI]:
    async with serving(service.handle) as url:
        backend = OpenAI.from_settings(Settings(base_url=url, api_key=KEY, **settings))
        try:
            yield backend
        finally:
            await backend.aclose()


@pytest.fixture
async def openai(service: Service) -> AsyncIterator[OpenAI]:
    async with talking(service) as backend:
        yield backend


async def test_create_asks_for_exactly_what_the_contract_names(
    openai: OpenAI, service: Service
) -> None:
    opened = await openai.create(spec())

    assert (service.requests[0].method, service.requests[0].path) == (
        "POST",
        "/v1/uploads",
    )
    assert service.requests[0].headers["Content-Type"] == "application/json"
    assert json.loads(service.bodies[0]) == {
        "filename": "f.jsonl",
        "purpose": "fine-tune",
        "bytes": 9,
        "mime_type": "text/jsonl",
    }
    assert opened == Opened(
        upload_id=UploadId("upload_1"),
        created_at=1757000000,
        expires_at=1757003600,
        request_id="req_1",
    )


async def test_the_life_of_the_file_counts_from_its_creation(
    openai: OpenAI, service: Service
) -> None:
    await openai.create(spec(expires_after=7200))

    assert json.loads(service.bodies[0])["expires_after"] == {
        "anchor": "created_at",
        "seconds": 7200,
    }


async def test_complete_lists_the_parts_in_the_order_of_the_file(
    openai: OpenAI, service: Service
) -> None:
    service.says({**UPLOAD, "status": "completed", "file": FILE})

    file = await openai.complete(spec(), OPENED, PARTS, "0a0b")

    assert service.requests[0].path == "/v1/uploads/upload_1/complete"
    assert json.loads(service.bodies[0]) == {
        "part_ids": ["part_2", "part_1"],
        "md5": "0a0b",
    }
    assert file == File(
        id=FileId("file-1"),
        bytes=9,
        created_at=1757000000,
        filename="f.jsonl",
        purpose="fine-tune",
        status="processed",
        expires_at=None,
        request_id="req_1",
    )


@pytest.mark.parametrize("md5", ["0a0b", None])
async def test_a_repeated_complete_is_the_same_to_the_byte(
    openai: OpenAI, service: Service, md5: str | None
) -> None:
    service.says({**UPLOAD, "file": FILE})

    await openai.complete(spec(), OPENED, PARTS, md5)
    await openai.complete(spec(), OPENED, tuple(PARTS), md5)

    assert service.bodies[0] == service.bodies[1]
    assert (b"md5" in service.bodies[0]) is (md5 is not None)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(FILE, "has no file", id="a file in its place"),
        pytest.param(UPLOAD, "has no file", id="no file"),
        pytest.param({**UPLOAD, "file": None}, "has no file", id="null for a file"),
        pytest.param(
            {**UPLOAD, "id": "upload_2", "file": FILE}, "upload_2", id="another upload"
        ),
        pytest.param(
            {**UPLOAD, "file": {**FILE, "id": None}}, "contract", id="a file of no name"
        ),
    ],
)
async def test_a_complete_without_its_file_is_an_unexpected_answer(
    openai: OpenAI, service: Service, answer: object, words: str
) -> None:
    service.says(answer)

    with pytest.raises(UnexpectedAnswer, match=words) as raised:
        await openai.complete(spec(), OPENED, PARTS, None)
    assert raised.value.status == 200
    assert raised.value.request_id == "req_1"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"bytes": None}, id="a size of null"),
        pytest.param({"created_at": 1757000000.75}, id="half a second"),
        pytest.param({"expires_at": 1757007200.5}, id="an expiry with a fraction"),
    ],
)
async def test_a_file_may_be_told_a_little_otherwise(
    openai: OpenAI, service: Service, change: Mapping[str, object]
) -> None:
    service.says({**FILE, **change})

    file = await openai.get_file(FileId("file-1"))

    assert file.created_at == 1757000000
    assert file.bytes == (None if "bytes" in change else 9)
    assert file.expires_at == (1757007200 if "expires_at" in change else None)


async def test_an_upload_may_be_opened_without_an_expiry(
    openai: OpenAI, service: Service
) -> None:
    service.says({"id": "upload_1", "created_at": 5})

    assert (await openai.create(spec())).expires_at is None


async def test_cancel_has_neither_a_body_nor_a_content_type(
    openai: OpenAI, service: Service
) -> None:
    await openai.cancel(OPENED)

    assert service.requests[0].path == "/v1/uploads/upload_1/cancel"
    assert "Content-Type" not in service.requests[0].headers
    assert service.bodies == [b""]


async def test_cancel_satisfies_services_that_refuse_a_type_without_a_body(
    tmp_path: Path,
) -> None:
    async with Emulator(tmp_path / "service") as emulator:
        emulator.switches = emulator.switches.with_values({"cancel_empty_json": "400"})
        backend = open_backend(Settings(base_url=emulator.url, api_key=KEY))
        opened = await backend.create(spec())

        await backend.cancel(opened)
        await backend.aclose()


@pytest.mark.parametrize("status", [404, 410])
async def test_what_is_gone_is_cancelled(
    openai: OpenAI, service: Service, status: int
) -> None:
    service.says({}, status)

    await openai.cancel(OPENED)


async def test_a_cancel_that_is_refused_is_a_refusal(
    openai: OpenAI, service: Service
) -> None:
    service.says({}, 400)

    with pytest.raises(RequestRejected):
        await openai.cancel(OPENED)


async def test_a_part_is_named_in_what_goes_wrong(
    openai: OpenAI, service: Service
) -> None:
    service.says({"error": {"message": "Gone."}}, 410)

    with pytest.raises(UploadExpired, match=r"part 3 of upload_1: HTTP 410: Gone\."):
        await openai.put_part(spec(), OPENED, PART, FakeBody(b"abcd"))


async def test_a_404_on_a_part_says_that_this_key_does_not_see_the_upload(
    openai: OpenAI, service: Service
) -> None:
    service.says({"error": {"message": "No such Upload."}}, 404)

    with pytest.raises(RequestRejected, match="this key does not see") as raised:
        await openai.put_part(spec(), OPENED, PART, FakeBody(b"abcd"))

    assert "upload_1" in str(raised.value)
    assert "No such Upload." in str(raised.value)
    assert "project" in (raised.value.hint or "")
    assert raised.value.status == 404
    assert raised.value.request_id == "req_1"
    assert str(raised.value).count("req_1") == 1


async def test_an_id_that_a_service_made_up_is_no_path(
    openai: OpenAI, service: Service
) -> None:
    await openai.cancel(Opened(upload_id=UploadId("../files?x#y"), created_at=0))
    service.says(FILE)
    await openai.get_file(FileId("a/b"))

    assert [request.raw_path for request in service.requests] == [
        "/v1/uploads/..%2Ffiles%3Fx%23y/cancel",
        "/v1/files/a%2Fb",
    ]


class Listing:
    """Lists files of these times, *limit* at once."""

    def __init__(self, *times: int, limit: int = 2, order: bool = True) -> None:
        self.files = [
            {**FILE, "id": f"file-{number}", "created_at": time}
            for number, time in enumerate(times)
        ]
        self.limit = limit

    def __call__(self, request: web.Request) -> object:
        ids = [file["id"] for file in self.files]
        after = request.query.get("after")
        start = 0 if after is None else ids.index(after) + 1
        page = self.files[start : start + self.limit]
        return {"data": page, "has_more": start + self.limit < len(self.files)}


async def found(openai: OpenAI, since: int) -> list[int]:
    return [file.created_at for file in await openai.find_completed(IDENTITY, since)]


async def test_the_list_is_asked_for_by_purpose_and_newest_first(
    openai: OpenAI, service: Service
) -> None:
    service.answer = Listing(9, 8, 7)

    await openai.find_completed(IDENTITY, 0)

    assert [dict(request.query) for request in service.requests] == [
        {"purpose": "fine-tune", "order": "desc", "limit": "100"},
        {"purpose": "fine-tune", "order": "desc", "limit": "100", "after": "file-1"},
    ]


async def test_pages_are_read_down_to_the_time_and_no_further(
    openai: OpenAI, service: Service
) -> None:
    service.answer = Listing(9, 8, 7, 6, 5, 4, 3, 2, 1)

    assert await found(openai, 6) == [9, 8, 7, 6]
    assert len(service.requests) == 3


async def test_a_file_of_the_very_time_on_the_next_page_is_found(
    openai: OpenAI, service: Service
) -> None:
    service.answer = Listing(9, 8, 8, 7)

    assert await found(openai, 8) == [9, 8, 8]


async def test_a_list_that_ends_is_complete(openai: OpenAI, service: Service) -> None:
    service.answer = Listing(9, 8)
    assert await found(openai, 0) == [9, 8]

    service.answer = Listing()
    assert await found(openai, 0) == []


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_a_service_that_lists_oldest_first_is_read_to_its_end(
    openai: OpenAI, service: Service, limit: int
) -> None:
    service.answer = Listing(1, 2, 3, 4, 9, limit=limit)

    assert await found(openai, 9) == [9]


async def test_a_service_that_gives_the_same_page_for_ever_proves_nothing(
    openai: OpenAI, service: Service
) -> None:
    service.says({"data": [FILE], "has_more": True})

    with pytest.raises(UnexpectedAnswer, match="no end"):
        await openai.find_completed(IDENTITY, 0)
    assert len(service.requests) == 2


async def test_a_list_without_end_is_given_up(openai: OpenAI, service: Service) -> None:
    service.answer = Listing(*range(5000, 0, -1))

    with pytest.raises(UnexpectedAnswer, match=f"{2 * MAX_PAGES} files, and no end"):
        await openai.find_completed(IDENTITY, 0)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_every_purpose_passes_with_a_jsonl(purpose: str) -> None:
    backend().check(spec(purpose=purpose))


def backend(**settings: Any) -> OpenAI:
    return OpenAI.from_settings(Settings(**{"api_key": KEY, **settings}))


def test_an_unknown_purpose_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="'jsonl' is no purpose") as raised:
        backend().check(spec(purpose="jsonl"))

    assert all(purpose in (raised.value.hint or "") for purpose in PURPOSES)


@pytest.mark.parametrize("purpose", ["batch", "fine-tune"])
@pytest.mark.parametrize("name", ["f.json", "f.jsonl.gz", "jsonl", ".jsonl", "f.JSONL"])
def test_batches_and_training_data_end_in_jsonl(purpose: str, name: str) -> None:
    with pytest.raises(SourceError, match=r"does not end in \.jsonl"):
        backend().check(spec(purpose=purpose, filename=name))


def test_other_purposes_take_any_name() -> None:
    backend().check(spec(purpose="assistants", filename="notes"))


@pytest.mark.parametrize(
    ("seconds", "fine"),
    [(3599, False), (3600, True), (2_592_000, True), (2_592_001, False)],
)
def test_a_file_lives_an_hour_to_thirty_days(seconds: int, fine: bool) -> None:
    if fine:
        backend().check(spec(expires_after=seconds))
        return
    with pytest.raises(UsageError, match=f"expires_after is {seconds}"):
        backend().check(spec(expires_after=seconds))


async def test_organisation_and_project_go_out_as_headers(service: Service) -> None:
    async with talking(service, organization="org-1", project="proj_1") as openai:
        await openai.create(spec())

    headers = service.requests[0].headers
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["OpenAI-Organization"] == "org-1"
    assert headers["OpenAI-Project"] == "proj_1"
    assert headers["User-Agent"] == f"uploader/{__version__}"
    assert headers["Accept"] == "application/json"


async def test_without_them_the_headers_are_absent(
    openai: OpenAI, service: Service
) -> None:
    await openai.create(spec())

    assert not {"OpenAI-Organization", "OpenAI-Project"} & {
        *service.requests[0].headers
    }


def test_an_account_is_part_of_the_service_and_a_key_is_not() -> None:
    url = "http://localhost:1/v1"

    assert backend(base_url=url + "/").service == f"openai {url}"
    assert (
        backend(base_url=url, organization="org-1", project="proj_1").service
        == f"openai {url} org-1/proj_1"
    )
    assert backend(base_url=url, service="emulator").service == "openai emulator"


@pytest.mark.parametrize("key", [None, "", "  "])
def test_without_a_key_there_is_a_way_to_try(key: str | None) -> None:
    with pytest.raises(UsageError, match="no API key") as raised:
        backend(api_key=key)

    assert "--emulator" in (raised.value.hint or "")


@pytest.mark.parametrize("key", ["sk-a b", "sk-a\nb", "sk-ä", "sk-\x1b"])
def test_a_key_that_cannot_be_one_is_refused_unseen(key: str) -> None:
    with pytest.raises(UsageError, match="no key has") as raised:
        backend(api_key=key)

    assert key not in str(raised.value)


async def test_blanks_around_a_key_are_not_part_of_it(service: Service) -> None:
    async with serving(service.handle) as url:
        openai = backend(base_url=url, api_key=f" {KEY}\n")
        await openai.create(spec())
        await openai.aclose()

    assert service.requests[0].headers["Authorization"] == f"Bearer {KEY}"


def test_an_unknown_backend_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="'s3' is no backend") as raised:
        open_backend(Settings(backend="s3", api_key=KEY))

    assert "openai" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", "text/jsonl"),
        ("A.JSONL", "text/jsonl"),
        ("a.pdf", "application/pdf"),
        ("a.md", "text/markdown"),
        ("a.tar.gz", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_a_mime_type_is_the_same_on_every_machine(name: str, kind: str) -> None:
    assert backend().mime_type(name) == kind
