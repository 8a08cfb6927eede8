import pytest

from uploader.backends import open_backend
from uploader.config import Goapi, Llmprovider, Settings
from uploader.errors import UsageError
from uploader.targets import TARGETS, open_target

KEYS = ("sk-openai-1", "goapi-1", "llmprovider-1")
SETTINGS = Settings(
    api_key=KEYS[0],
    goapi=Goapi(api_key=KEYS[1]),
    llmprovider=Llmprovider(api_key=KEYS[2]),
)


@pytest.mark.parametrize("kind", TARGETS)
async def test_a_target_is_at_the_service_of_its_backend(kind: str) -> None:
    target = open_target(f"{kind}:new", SETTINGS)
    backend = open_backend(
        Settings(
            backend=target.backend,
            api_key=SETTINGS.api_key,
            goapi=SETTINGS.goapi,
            llmprovider=SETTINGS.llmprovider,
        )
    )

    assert target.name == f"{kind}:new"
    assert target.service == backend.service
    assert target.service.startswith(f"{target.backend} https://")
    for key in KEYS:
        assert key not in f"{target!r} {backend!r} {vars(target)!r} {vars(backend)!r}"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("slack:general", "vector-store:ID", id="no target"),
        pytest.param("goapi", "goapi:ID, or goapi:new", id="no id"),
        pytest.param("goapi:", "goapi:ID, or goapi:new", id="an empty id"),
        pytest.param("goapi: x", "goapi:ID, or goapi:new", id="a blank"),
        pytest.param("", "conversation:ID", id="nothing"),
        pytest.param("thread:t1", "conversation:new", id="a thread"),
        pytest.param("assistant:a1", "conversation:new", id="an assistant"),
    ],
)
def test_what_is_no_target_is_refused_with_those_that_are(
    name: str, words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        open_target(name, SETTINGS)

    assert words in (caught.value.hint or "")


def test_threads_are_said_to_be_gone() -> None:
    with pytest.raises(UsageError, match="gone since 2026-08-26"):
        open_target("thread:t1", SETTINGS)


def test_an_id_may_hold_colons() -> None:
    assert open_target("goapi:a:b", SETTINGS).name == "goapi:a:b"
