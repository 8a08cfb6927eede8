"""The rules of `uploader.target.Target`, for every implementation."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeBody
from tests.services import KEY
from uploader.backends import open_backend
from uploader.config import Goapi, Llmprovider, Settings
from uploader.emulator import Emulator, Fault
from uploader.errors import (
    BackendError,
    BackendUnavailable,
    CredentialsRefused,
    RequestRejected,
    SourceError,
    Throttled,
    UploaderError,
    UsageError,
)
from uploader.message import Attached, FileRef
from uploader.model import GIB, FileId, Part, Scope, SentPart, UploadSpec
from uploader.target import Message, Target
from uploader.targets import TARGETS, open_target

CONTENT = b"%PDF-1.7 a document"


@dataclass(frozen=True)
class Kind:
    """How one implementation is tested: what a message needs, and what adds it."""

    name: str
    request: str
    """What the emulator calls the request that adds a message."""
    prompt: str | None = None
    model: str | None = None


CONVERSATION = Kind("conversation", "item_create", prompt="look at this")
KINDS = {
    "conversation": CONVERSATION,
    "conversation with a model": replace(
        CONVERSATION, request="response_create", model="gpt-6-astra"
    ),
    "vector-store": Kind("vector-store", "vector_file_create"),
    "goapi": Kind("goapi", "goapi_message", prompt="look at this"),
    "llmprovider": Kind("llmprovider", "llmprovider_chat", prompt="look at this"),
}


@dataclass
class Site:
    """A target, and the emulator that it talks to."""

    kind: Kind
    emulator: Emulator
    settings: Settings
    target: Target
    answer: str = ""
    response_id: str | None = None

    async def file(self, scope: Scope, name: str = "a.pdf") -> FileRef:
        """A file that the target can take: uploaded to its backend, as a run does."""
        backend = open_backend(self.settings, self.target.backend)
        spec = UploadSpec(
            filename=name,
            purpose="user_data",
            size=len(CONTENT),
            mime_type=backend.mime_type(name),
        )
        part = Part(number=1, offset=0, size=len(CONTENT))
        try:
            opened = await backend.create(spec, scope)
            put = await backend.put_part(spec, opened, part, FakeBody(CONTENT))
            sent = SentPart(number=1, part_id=put.part_id, details=put.details)
            file = await backend.complete(spec, opened, [sent], None)
        finally:
            await backend.aclose()
        owns_files = self.target.capabilities.owns_files
        return FileRef(
            file_id=file.id,
            name=name,
            size=len(CONTENT),
            mime_type=spec.mime_type,
            scope=scope.conversation_id if owns_files else None,
            details=file.details,
        )

    async def message(self, *names: str) -> Message:
        """A message that nobody sent yet, in a new conversation."""
        scope = await self.target.prepare()
        files = [await self.file(scope, name) for name in names or ("a.pdf",)]
        return Message(
            scope=scope,
            files=tuple(files),
            prompt=self.kind.prompt,
            model=self.kind.model,
            cursor=await self.target.newest(scope),
        )

    async def attach(self, message: Message) -> Attached:
        return await self.target.attach(
            message, on_delta=self.told, on_response=self.named
        )

    def told(self, text: str) -> None:
        self.answer += text

    async def named(self, response_id: str) -> None:
        assert not self.answer
        self.response_id = response_id

    def asked(self) -> int:
        """How often a message was asked to be added."""
        return self.emulator.account().counts[self.kind.request]


@pytest.fixture(params=KINDS)
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    kind = KINDS[request.param]
    keys: Any = {name: [KEY] for name in ("keys", "goapi_keys", "llmprovider_keys")}
    async with Emulator(tmp_path / "service", **keys) as emulator:
        settings = Settings(
            base_url=emulator.url,
            api_key=KEY,
            goapi=Goapi(base_url=emulator.goapi_url, api_key=KEY),
            llmprovider=Llmprovider(base_url=emulator.llmprovider_url, api_key=KEY),
        )
        target = open_target(f"{kind.name}:new", settings)
        try:
            yield Site(kind, emulator, settings, target)
        finally:
            await target.aclose()


def test_every_target_is_tested() -> None:
    assert {kind.name for kind in KINDS.values()} == set(TARGETS)


async def test_a_target_keeps_the_name_that_the_user_gave_it(site: Site) -> None:
    assert site.target.name == f"{site.kind.name}:new"


async def test_a_target_is_at_the_service_of_its_backend(site: Site) -> None:
    backend = open_backend(site.settings, site.target.backend)

    assert site.target.service == backend.service
    assert KEY not in site.target.service


async def test_new_is_another_one_each_time(site: Site) -> None:
    first, second = await site.target.prepare(), await site.target.prepare()

    assert first.conversation_id != second.conversation_id


async def test_a_conversation_that_exists_is_used_as_it_is(site: Site) -> None:
    scope = await site.target.prepare()
    before = len(site.emulator.account().requests)

    named = open_target(f"{site.kind.name}:{scope.conversation_id}", site.settings)
    try:
        prepared = await named.prepare()
    finally:
        await named.aclose()

    assert prepared.conversation_id == scope.conversation_id
    added = site.emulator.account().requests[before:]
    assert all(request.method == "GET" for request in added)


async def test_one_that_does_not_exist_is_refused_at_the_latest_by_attach(
    site: Site,
) -> None:
    message = await site.message()
    named = open_target(f"{site.kind.name}:no_such_one", site.settings)

    async def use() -> None:
        scope = await named.prepare()
        # As if a person had named the file: nobody knows whose it is.
        files = tuple(replace(file, scope=None) for file in message.files)
        await named.attach(
            replace(message, scope=scope, files=files),
            on_delta=site.told,
            on_response=site.named,
        )

    try:
        with pytest.raises(RequestRejected, match="no_such_one"):
            await use()
    finally:
        await named.aclose()


async def test_what_it_accepts_it_takes(site: Site) -> None:
    message = await site.message()
    before = site.asked()
    site.target.accepts(message.files, message.prompt)

    attached = await site.attach(message)

    assert attached.conversation_id == message.scope.conversation_id
    assert attached.message_id
    assert site.asked() == before + 1


async def test_it_goes_by_name_and_size_while_there_is_no_id_yet(site: Site) -> None:
    file = FileRef(file_id=FileId(""), name="a.pdf", size=1000)

    site.target.accepts([file], site.kind.prompt)

    assert site.emulator.account().requests == ()


async def test_a_file_that_is_too_large_is_refused_before_a_byte_is_sent(
    site: Site,
) -> None:
    file = FileRef(file_id=FileId(""), name="huge.pdf", size=GIB)

    with pytest.raises(SourceError, match=r"huge\.pdf") as raised:
        site.target.accepts([file], site.kind.prompt)

    assert str(GIB) in str(raised.value)
    assert raised.value.hint
    assert site.emulator.account().requests == ()


async def test_a_message_of_nothing_is_refused(site: Site) -> None:
    with pytest.raises(UsageError) as raised:
        site.target.accepts([], None)
    assert raised.value.hint


async def test_the_answer_is_told_as_it_is_returned(site: Site) -> None:
    attached = await site.attach(await site.message())

    assert site.answer == (attached.answer or "")
    assert site.response_id == attached.response_id


async def test_several_files_are_one_message(site: Site) -> None:
    message = await site.message("a.pdf", "b.pdf")

    attached = await site.attach(message)

    assert attached.message_id
    if site.target.capabilities.can_find:
        assert await site.target.find(message) is not None
        alone = replace(message, files=message.files[:1], prompt="another")
        if site.kind.prompt:
            assert await site.target.find(alone) is None


async def test_files_are_usable_in_the_end(site: Site) -> None:
    message = await site.message()
    attached = await site.attach(message)
    site.emulator.advance(60)

    assert await site.target.wait(message, attached)


async def test_a_message_that_nobody_sent_is_not_found(site: Site) -> None:
    message = await site.message()

    if site.target.capabilities.can_find:
        assert await site.target.find(message) is None


async def test_a_message_is_found(site: Site) -> None:
    message = await site.message()
    attached = await site.attach(message)

    if site.target.capabilities.can_find:
        found = await site.target.find(message)
        assert found is not None
        assert found.conversation_id == attached.conversation_id
        assert found.message_id == attached.message_id
        assert found.answer == attached.answer


async def test_a_response_can_be_asked_for_by_its_name(site: Site) -> None:
    attached = await site.attach(await site.message())

    if attached.response_id is not None:
        fetched = await site.target.fetch(attached.response_id)
        assert fetched is not None
        assert fetched.answer == attached.answer


FAULTS = [
    pytest.param({"do": "status", "status": 500}, BackendUnavailable, True, id="500"),
    pytest.param({"do": "status", "status": 503}, BackendUnavailable, True, id="503"),
    pytest.param({"do": "status", "status": 429}, Throttled, False, id="429"),
    pytest.param({"do": "status", "status": 401}, CredentialsRefused, False, id="401"),
    pytest.param({"do": "status", "status": 400}, RequestRejected, False, id="400"),
    pytest.param({"do": "reset"}, BackendUnavailable, True, id="reset"),
    pytest.param({"do": "reset", "when": "after"}, BackendUnavailable, True, id="lost"),
    pytest.param(
        {"do": "truncate", "when": "after"}, BackendUnavailable, True, id="cut"
    ),
]


@pytest.mark.parametrize(("fault", "error", "effect_possible"), FAULTS)
async def test_a_failure_is_raised_and_never_tried_again_by_the_target(
    site: Site,
    fault: dict[str, object],
    error: type[UploaderError],
    effect_possible: bool,
) -> None:
    message = await site.message()
    before = site.asked()
    site.emulator.add_entries([{"kind": site.kind.request, **fault}])

    with pytest.raises(error) as raised:
        await site.attach(message)

    assert type(raised.value) is error
    assert getattr(raised.value, "effect_possible", False) is effect_possible
    assert site.asked() == before + 1
    assert KEY not in str(raised.value)


async def test_a_message_whose_answer_is_lost_can_be_found(site: Site) -> None:
    message = await site.message()
    site.emulator.add_fault(Fault(kind=site.kind.request, do="reset", when="after"))
    with pytest.raises(BackendUnavailable):
        await site.attach(message)

    if site.target.capabilities.can_find:
        assert await site.target.find(message) is not None


async def test_after_a_clear_no_the_same_message_may_be_sent_again(site: Site) -> None:
    message = await site.message()
    site.emulator.add_fault(Fault(kind=site.kind.request, do="status", status=429))
    with pytest.raises(Throttled):
        await site.attach(message)

    assert (await site.attach(message)).message_id


async def test_a_file_that_nobody_has_is_a_refusal(site: Site) -> None:
    message = await site.message()
    stranger = replace(message.files[0], file_id=FileId("file-nobody"))

    with pytest.raises(BackendError) as raised:
        await site.attach(replace(message, files=(stranger,)))

    assert type(raised.value) is RequestRejected
    assert "file-nobody" in str(raised.value)


async def test_what_cannot_be_found_owns_up_to_it(site: Site) -> None:
    if not site.target.capabilities.can_find:
        message = await site.message()
        assert message.cursor is None
        with pytest.raises(UploaderError):
            await site.target.find(message)
