"""From a file on disk to a conversation: what the services are told, word for word."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.command import GOAPI_KEY, KEY, LLMPROVIDER_KEY, Command, Done
from tests.fakes import Told
from tests.pictures import PNG, png
from uploader import Settings, Uploader
from uploader.config import Goapi, Llmprovider, RetryPolicy, Timeouts
from uploader.emulator import Emulator, Fault, Switches
from uploader.errors import (
    BackendUnavailable,
    OutcomeUnknown,
    RequestRejected,
    UploadOwned,
    UsageError,
)
from uploader.events import AnswerProgressed, AttachmentFailed, PartSent
from uploader.message import FileRef
from uploader.model import FileId, UploadState

MODEL = "gpt-6-astra"
PDF = b"%PDF-1.7\n% nothing to see\n"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.fixture
async def emulator(tmp_path: Path) -> AsyncIterator[Emulator]:
    async with Emulator(
        tmp_path / "service",
        keys=[KEY],
        goapi_keys=[GOAPI_KEY],
        llmprovider_keys=[LLMPROVIDER_KEY],
    ) as emulator:
        yield emulator


@pytest.fixture
def settings(emulator: Emulator, tmp_path: Path) -> Settings:
    return Settings(
        base_url=emulator.url,
        api_key=KEY,
        journal=tmp_path / "state" / "journal.db",
        retry=RetryPolicy(backoff_initial=0.001, backoff_max=0.001, max_attempts=4),
        timeouts=Timeouts(settle=0.0),
        goapi=Goapi(base_url=emulator.goapi_url, api_key=GOAPI_KEY),
        llmprovider=Llmprovider(
            base_url=emulator.llmprovider_url, api_key=LLMPROVIDER_KEY
        ),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of each kind that a person sends."""
    contents = {
        "a.png": PNG,
        "b.png": png(5, 4),
        "note.txt": b"hello",
        "report.pdf": PDF,
        "letter.docx": b"PK\x03\x04 a letter",
        "table.xlsx": b"PK\x03\x04 a table",
        "broken.png": b"\x89PNG\r\n\x1a\n",
    }
    folder = tmp_path / "files"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def bodies(emulator: Emulator, kind: str) -> list[Any]:
    """What the requests of a kind said, in order."""
    return [
        request.body for request in emulator.account().requests if request.kind == kind
    ]


def stored(emulator: Emulator) -> list[str]:
    """The ids of the files that a relay made, in order."""
    receptions = emulator.account().receptions
    return [each.file_id for each in receptions if each.stored and each.file_id]


def asked(emulator: Emulator, kind: str) -> str:
    """The id in the path of the newest request of a kind."""
    requests = [each for each in emulator.account().requests if each.kind == kind]
    return requests[-1].path.rpartition("/")[2]


def succeeded(done: Done) -> Done:
    assert done.returncode == 0, done
    return done


# -- OpenAI -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("report.pdf", {"type": "input_file"}),
        ("a.png", {"type": "input_image", "detail": "auto"}),
    ],
)
@pytest.mark.parametrize("prompt", [None, "what is it?"])
async def test_a_file_goes_into_a_conversation_as_the_contract_has_it(
    command: Command,
    emulator: Emulator,
    folder: Path,
    name: str,
    content: dict[str, str],
    prompt: str | None,
) -> None:
    said = ["--prompt", prompt] if prompt else []

    done = succeeded(
        await command.tell(
            "upload", "-q", str(folder / name), "--to", "conversation:new", *said
        )
    )

    words = [{"type": "input_text", "text": prompt}] if prompt else []
    file = {"file_id": done.last_line, **content}
    message = {"type": "message", "role": "user", "content": [*words, file]}
    assert bodies(emulator, "item_create") == [{"items": [message]}]
    assert done.stdout == f"{file['file_id']}\n"
    assert done.stderr == ""


async def test_a_model_is_asked_through_a_response_and_its_answer_is_the_output(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    done = succeeded(
        await command(
            *("upload", "-q", str(folder / "report.pdf"), "--to", "conversation:new"),
            *("--prompt", "Summarise the file", "--model", MODEL),
        )
    )

    file_id = done.stderr.strip()
    assert bodies(emulator, "item_create") == []
    (body,) = bodies(emulator, "response_create")
    assert body == {
        "model": MODEL,
        "conversation": body["conversation"],
        "store": True,
        "stream": True,
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Summarise the file"},
                    {"type": "input_file", "file_id": file_id},
                ],
            }
        ],
    }
    assert body["conversation"].startswith("conv_")
    assert file_id.startswith("file-")
    assert "“Summarise the file”" in done.stdout
    assert "“report.pdf”" in done.stdout
    assert file_id not in done.stdout


async def test_several_files_and_a_prompt_are_one_message(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    done = succeeded(
        await command.tell(
            *("upload", "-q", str(folder / "a.png"), str(folder / "report.pdf")),
            *("--to", "conversation:new", "--prompt", "compare"),
        )
    )

    image, document = done.stdout.split()
    assert bodies(emulator, "item_create") == [
        {
            "items": [
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "compare"},
                        {"type": "input_image", "file_id": image, "detail": "auto"},
                        {"type": "input_file", "file_id": document},
                    ],
                }
            ]
        }
    ]


async def test_a_file_goes_into_a_vector_store_and_is_waited_for(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    emulator.switches = Switches(indexing_polls=1)

    done = succeeded(
        await command.tell(
            "upload", "-q", str(folder / "report.pdf"), "--to", "vector-store:new"
        )
    )

    assert bodies(emulator, "vector_store_create") == [{"name": "uploader"}]
    assert bodies(emulator, "vector_file_create") == [{"file_id": done.last_line}]
    assert emulator.account().counts["vector_file_get"] == 2


# -- GoAPI --------------------------------------------------------------------


def goapi_image(file_id: str, name: str, size: int, width: int, height: int) -> Any:
    """The attachment of an image, with the MIME type under both of its names."""
    return {
        "id": file_id,
        "name": name,
        "size": size,
        "mime_type": "image/png",
        "mimeType": "image/png",
        "width": width,
        "height": height,
    }


def goapi_pointer(file_id: str, size: int, width: int, height: int) -> Any:
    return {
        "content_type": "image_asset_pointer",
        "asset_pointer": f"file-service://{file_id}",
        "size_bytes": size,
        "width": width,
        "height": height,
    }


def opening(emulator: Emulator) -> str:
    """The message that a new conversation at a relay ends with: its parent."""
    account = emulator.account()
    kind = "goapi_message" if account.counts["goapi_create"] else "llmprovider_chat"
    body: Any = bodies(emulator, kind)[-1]
    parent: str = body["parent_message_id"]
    assert parent
    return parent


async def goapi_sends(command: Command, folder: Path, *names: str) -> Done:
    paths = [str(folder / name) for name in names]
    return succeeded(
        await command.tell(
            "upload", "-q", *paths, "--to", "goapi:new", "--prompt", "what is it?"
        )
    )


async def test_a_new_conversation_at_goapi_is_opened_with_a_greeting(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    await goapi_sends(command, folder, "note.txt")

    assert bodies(emulator, "goapi_create") == [
        {"model": "gpt-4o", "content": {"content_type": "text", "parts": ["Hello"]}}
    ]
    kinds = [request.kind for request in emulator.account().requests]
    assert kinds == ["goapi_create", "goapi_upload", "goapi_message"]


async def test_an_image_goes_to_goapi_as_pointer_and_attachment(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    done = await goapi_sends(command, folder, "a.png")

    (a,), size = stored(emulator), len(PNG)
    assert bodies(emulator, "goapi_message") == [
        {
            "model": "gpt-4o",
            "parent_message_id": opening(emulator),
            "content": {
                "content_type": "multimodal_text",
                "parts": [goapi_pointer(a, size, 3, 2), "what is it?"],
            },
            "metadata": {"attachments": [goapi_image(a, "a.png", size, 3, 2)]},
        }
    ]
    assert done.stdout == "You asked: “what is it?”; and I was given “a.png”.\n"
    assert done.stderr == f"{a}\n"


async def test_two_images_go_to_goapi_in_order_before_the_prompt(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    done = await goapi_sends(command, folder, "a.png", "b.png")

    a, b = done.stderr.split()
    sizes = len(PNG), len(png(5, 4))
    assert bodies(emulator, "goapi_message") == [
        {
            "model": "gpt-4o",
            "parent_message_id": opening(emulator),
            "content": {
                "content_type": "multimodal_text",
                "parts": [
                    goapi_pointer(a, sizes[0], 3, 2),
                    goapi_pointer(b, sizes[1], 5, 4),
                    "what is it?",
                ],
            },
            "metadata": {
                "attachments": [
                    goapi_image(a, "a.png", sizes[0], 3, 2),
                    goapi_image(b, "b.png", sizes[1], 5, 4),
                ]
            },
        }
    ]


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        ("note.txt", "text/plain"),
        ("report.pdf", "application/pdf"),
        ("letter.docx", DOCX),
        ("table.xlsx", XLSX),
    ],
)
async def test_a_document_goes_to_goapi_in_the_metadata_alone(
    command: Command, emulator: Emulator, folder: Path, name: str, mime_type: str
) -> None:
    done = await goapi_sends(command, folder, name)

    (file_id,) = stored(emulator)
    size = (folder / name).stat().st_size
    assert bodies(emulator, "goapi_message") == [
        {
            "model": "gpt-4o",
            "parent_message_id": opening(emulator),
            "content": {"content_type": "text", "parts": ["what is it?"]},
            "metadata": {
                "attachments": [
                    {
                        "id": file_id,
                        "name": name,
                        "size": size,
                        "mime_type": mime_type,
                    }
                ]
            },
        }
    ]
    assert name in done.stdout
    assert done.stderr == f"{file_id}\n"


async def test_image_and_document_in_one_message_are_told_apart(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    done = await goapi_sends(command, folder, "note.txt", "a.png")

    note, a = done.stderr.split()
    (body,) = bodies(emulator, "goapi_message")
    assert body["content"] == {
        "content_type": "multimodal_text",
        "parts": [goapi_pointer(a, len(PNG), 3, 2), "what is it?"],
    }
    assert body["metadata"]["attachments"] == [
        {"id": note, "name": "note.txt", "size": 5, "mime_type": "text/plain"},
        goapi_image(a, "a.png", len(PNG), 3, 2),
    ]


async def test_a_follow_up_at_goapi_names_the_last_answer_and_no_file(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    await goapi_sends(command, folder, "a.png")
    conversation = asked(emulator, "goapi_message")

    first = await command.tell("ask", "-q", f"goapi:{conversation}", "and behind it?")
    second = await command.tell("ask", "-q", f"goapi:{conversation}", "thanks")

    _, behind, thanks = bodies(emulator, "goapi_message")
    assert behind == {
        "model": "gpt-4o",
        "parent_message_id": behind["parent_message_id"],
        "content": {"content_type": "text", "parts": ["and behind it?"]},
    }
    parents = {opening(emulator), behind["parent_message_id"]}
    assert len(parents) == 2
    assert thanks["parent_message_id"] != behind["parent_message_id"]
    assert "“and behind it?”" in succeeded(first).stdout
    assert succeeded(second).stderr == ""


@pytest.mark.parametrize(
    "name", ["a ] b`$).txt", "50% “off”.txt", "back\\slash.txt", "naïve é.txt"]
)
async def test_a_name_survives_byte_for_byte(
    command: Command, emulator: Emulator, folder: Path, name: str
) -> None:
    (folder / name).write_bytes(b"hello")

    done = await goapi_sends(command, folder, name)

    (body,) = bodies(emulator, "goapi_message")
    assert body["metadata"]["attachments"][0]["name"] == name
    assert f"“{name}”" in done.stdout


# -- LLMProvider --------------------------------------------------------------


async def test_an_image_goes_to_llmprovider_as_multimodal(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    done = succeeded(
        await command.tell(
            *("upload", "-q", str(folder / "a.png"), "--to", "llmprovider:new"),
            *("--prompt", "what is it?"),
        )
    )

    a, size = done.stderr.strip(), len(PNG)
    _, body = bodies(emulator, "llmprovider_chat")
    assert body == {
        "model": "gizmo-gpt-4o",
        "conversation_id": body["conversation_id"],
        "parent_message_id": opening(emulator),
        "stream": False,
        "messages": [
            {
                "role": "user",
                "content": "what is it?",
                "attachments": [
                    {
                        "id": a,
                        "name": "a.png",
                        "size": size,
                        "mimeType": "image/png",
                        "width": 3,
                        "height": 2,
                    }
                ],
                "parts": [
                    {
                        "name": "a.png",
                        "asset_pointer": f"file-service://{a}",
                        "size_bytes": size,
                        "width": 3,
                        "height": 2,
                    }
                ],
            }
        ],
    }
    assert done.stdout == "You asked: “what is it?”; and I was given “a.png”.\n"


async def test_a_document_goes_to_llmprovider_as_one_of_my_files(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    done = succeeded(
        await command.tell(
            *("upload", "-q", str(folder / "report.pdf"), "--to", "llmprovider:new"),
            *("--prompt", "what is it?"),
        )
    )

    greeting, body = bodies(emulator, "llmprovider_chat")
    assert greeting == {
        "model": "gizmo-gpt-4o",
        "stream": False,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    assert body == {
        "model": "gizmo-gpt-4o",
        "conversation_id": body["conversation_id"],
        "parent_message_id": opening(emulator),
        "stream": False,
        "messages": [
            {
                "role": "user",
                "content": "what is it?",
                "attachments": [
                    {
                        "id": done.stderr.strip(),
                        "name": "report.pdf",
                        "size": len(PDF),
                        "mimeType": "application/pdf",
                        "fileTokenSize": len(PDF) // 4 + 1,
                    }
                ],
            }
        ],
    }


async def test_a_follow_up_at_llmprovider_names_conversation_and_last_answer(
    settings: Settings, emulator: Emulator, folder: Path
) -> None:
    async with Uploader(settings) as uploader:
        file = await uploader.upload(
            folder / "report.pdf", to="llmprovider:new", prompt="what is it?"
        )
        assert file.attached is not None
        conversation = file.attached.conversation_id
        await uploader.ask(f"llmprovider:{conversation}", "and then?")

    assert bodies(emulator, "llmprovider_chat")[-1] == {
        "model": "gizmo-gpt-4o",
        "conversation_id": conversation,
        "parent_message_id": file.attached.message_id,
        "stream": False,
        "messages": [{"role": "user", "content": "and then?"}],
    }


# -- files that exist already, and the library ---------------------------------


async def test_a_file_that_exists_is_attached_by_its_id_alone(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    uploaded = succeeded(await command.tell("upload", str(folder / "a.png")))

    done = succeeded(
        await command.tell("attach", uploaded.last_line, "--to", "conversation:new")
    )

    image = {"type": "input_image", "file_id": uploaded.last_line, "detail": "auto"}
    message = {"type": "message", "role": "user", "content": [image]}
    assert bodies(emulator, "item_create") == [{"items": [message]}]
    assert done.last_line == uploaded.last_line


async def test_a_file_at_a_relay_is_attached_with_what_the_journal_knows_of_it(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    file_id = (await goapi_sends(command, folder, "a.png")).stderr.strip()
    target = f"goapi:{asked(emulator, 'goapi_message')}"

    succeeded(
        await command.tell("attach", file_id, "--to", target, "--prompt", "again?")
    )

    before, after = bodies(emulator, "goapi_message")
    assert after["metadata"] == before["metadata"]
    assert after["content"]["parts"][:-1] == before["content"]["parts"][:-1]


async def test_a_file_that_the_journal_does_not_know_is_described_by_flags(
    command: Command, emulator: Emulator, folder: Path, tmp_path: Path
) -> None:
    file_id = (await goapi_sends(command, folder, "a.png")).stderr.strip()
    target = f"goapi:{asked(emulator, 'goapi_message')}"
    elsewhere = replace(command, journal=tmp_path / "other.db")
    arguments = ("attach", file_id, "--to", target, "--prompt", "again?")

    refused = await elsewhere.tell(*arguments)
    succeeded(
        await elsewhere.tell(
            *(*arguments, "--name", "a.png", "--size", str(len(PNG))),
            *("--width", "3", "--height", "2"),
        )
    )

    assert_refused(refused, 2, file_id, "size")
    before, after = bodies(emulator, "goapi_message")
    assert after["metadata"] == before["metadata"]


async def test_the_library_sends_attaches_and_asks(
    settings: Settings, emulator: Emulator, folder: Path
) -> None:
    told = Told()
    async with Uploader(settings, observers=[told]) as uploader:
        sent = await uploader.send(
            [folder / "a.png", folder / "report.pdf"],
            to="conversation:new",
            prompt="compare",
            model=MODEL,
        )
        target = f"conversation:{sent.attached.conversation_id}"
        attached = await uploader.attach(sent.files[:1], to=target)
        answered = await uploader.ask(target, "why?", model=MODEL)

    assert [file.filename for file in sent.files] == ["a.png", "report.pdf"]
    assert all(file.attached == sent.attached for file in sent.files)
    assert sent.attached.answer is not None
    assert attached.answer is None
    assert answered.answer is not None
    pieces = "".join(event.text for event in told.of(AnswerProgressed))
    assert pieces == sent.attached.answer + answered.answer


async def test_json_tells_the_answer_and_where_it_is(
    command: Command, folder: Path
) -> None:
    done = succeeded(
        await command.tell(
            *("upload", "--json", str(folder / "a.png"), "--to", "goapi:new"),
            *("--prompt", "what is it?"),
        )
    )

    events = [json.loads(line) for line in done.stdout.splitlines()]
    names = [event["event"] for event in events]
    assert done.stderr == ""
    assert names[0] == "upload_started"
    assert names.index("upload_completed") < names.index("attach_asked")
    assert names[-1] == "attachment_completed"
    last = events[-1]
    assert last["answer"] == "".join(
        event["text"] for event in events if event["event"] == "answer_progressed"
    )
    assert last["conversation_id"]
    assert last["message_id"]
    assert last["target"] == "goapi:new"


async def test_asked_again_a_file_is_attached_again(
    settings: Settings, emulator: Emulator, folder: Path
) -> None:
    async with Uploader(settings) as uploader:
        first = await uploader.upload(folder / "note.txt", to="conversation:new")
        assert first.attached is not None
        target = f"conversation:{first.attached.conversation_id}"
        again = [await uploader.attach([first], to=target) for _ in range(2)]

    ids = {first.attached.message_id, *(each.message_id for each in again)}
    assert len(ids) == 3
    assert emulator.account().counts["item_create"] == 3


async def test_who_sends_to_one_service_needs_no_key_of_another(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    done = await command.tell(
        *("upload", str(folder / "note.txt"), "--to", "goapi:new", "--prompt", "?"),
        OPENAI_API_KEY="",
    )

    succeeded(done)
    assert emulator.account().counts["goapi_message"] == 1


# -- bad input: a clear error, nothing lost -----------------------------------


def assert_refused(done: Done, exit_code: int, *words: str) -> None:
    """An error with a hint, in words and without a traceback."""
    assert done.returncode == exit_code, done
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
    assert "\nhint: " in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("name", "to", "exit_code", "words"),
    [
        pytest.param("note.txt", "fridge:new", 2, ("'fridge:new' is no target",)),
        pytest.param("note.txt", "conversation", 2, ("does not say which",)),
        pytest.param("note.txt", "thread:abc", 2, ("gone", "conversation:new")),
        pytest.param("note.txt", "assistant:abc", 2, ("gone", "conversation:new")),
        pytest.param(
            "a.bmp", "conversation:new", 3, ("a.bmp is image/bmp", "convert it")
        ),
        pytest.param("a.png", "vector-store:new", 3, ("a.png", "conversation:new")),
        pytest.param("broken.png", "goapi:new", 3, ("broken.png", "width and height")),
        pytest.param(
            "broken.png", "llmprovider:new", 3, ("broken.png", "width and height")
        ),
        pytest.param("table.xlsx", "llmprovider:new", 3, ("table.xlsx", "goapi:new")),
        pytest.param(
            "large.pdf", "conversation:new", 3, ("large.pdf", "vector-store:new")
        ),
        pytest.param("large.pdf", "llmprovider:new", 3, ("large.pdf", "goapi:new")),
        pytest.param("huge.txt", "vector-store:new", 3, ("huge.txt", "536870912")),
        pytest.param("huge.txt", "goapi:new", 3, ("huge.txt", "536870912")),
    ],
)
async def test_what_a_target_does_not_take_is_refused_before_a_byte_is_sent(
    command: Command,
    emulator: Emulator,
    folder: Path,
    name: str,
    to: str,
    exit_code: int,
    words: tuple[str, ...],
) -> None:
    for odd, size in [
        ("a.bmp", 10),
        ("large.pdf", 50_000_000),
        ("huge.txt", 2**29 + 1),
    ]:
        with (folder / odd).open("wb") as file:
            file.truncate(size)
    said = [] if to.startswith("vector-store") else ["--prompt", "?"]

    done = await command.tell("upload", str(folder / name), "--to", to, *said)

    assert_refused(done, exit_code, *words)
    assert emulator.account().requests == ()
    listed = await command.tell("list", "--all")
    assert name not in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "vector-store:new", "--prompt", "?"), ("takes no prompt",)),
        (("--to", "vector-store:new", "--model", MODEL), ("it asks no model",)),
        (("--to", "goapi:new"), ("--prompt",)),
        (("--to", "llmprovider:new"), ("--prompt",)),
        (("--to", "conversation:new", "--backend", "goapi"), ("--backend openai",)),
    ],
)
async def test_a_message_that_cannot_be_meant_is_refused_before_a_byte_is_sent(
    command: Command,
    emulator: Emulator,
    folder: Path,
    arguments: tuple[str, ...],
    words: tuple[str, ...],
) -> None:
    done = await command.tell("upload", str(folder / "note.txt"), *arguments)

    assert_refused(done, 2, *words)
    assert emulator.account().requests == ()


async def test_files_that_are_too_many_megabytes_together_are_refused(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    paths = [folder / "one.pdf", folder / "two.pdf"]
    for path in paths:
        with path.open("wb") as file:
            file.truncate(26_000_000)

    done = await command.tell("upload", *map(str, paths), "--to", "conversation:new")

    assert_refused(done, 3, "52000000", "vector-store:new")
    assert emulator.account().requests == ()


@pytest.mark.parametrize(
    "to", ["conversation:conv_none", "vector-store:vs_none", "goapi:none"]
)
async def test_a_conversation_that_does_not_exist_is_known_before_a_byte_is_sent(
    command: Command, emulator: Emulator, folder: Path, to: str
) -> None:
    said = [] if to.startswith("vector-store") else ["--prompt", "?"]
    name = to.partition(":")[2]

    done = await command.tell("upload", str(folder / "note.txt"), "--to", to, *said)

    assert_refused(done, 4, name)
    assert not any(each.stored for each in emulator.account().receptions)


async def test_a_conversation_of_somebody_else_is_as_good_as_none(
    tmp_path: Path, folder: Path
) -> None:
    keys = [KEY, "sk-somebody-else"]
    async with Emulator(
        tmp_path / "service", keys=keys, switches=Switches(own_conversations=True)
    ) as emulator:
        command = Command(emulator.url, tmp_path / "journal.db")
        theirs = succeeded(
            await command.tell(
                *("upload", str(folder / "note.txt"), "--to", "conversation:new"),
                OPENAI_API_KEY="sk-somebody-else",
            )
        )
        conversation = theirs.stderr.rpartition("attached in ")[2].strip()

        done = await command.tell(
            "upload", str(folder / "report.pdf"), "--to", f"conversation:{conversation}"
        )

    assert_refused(done, 4, conversation, "this key does not see")


async def test_a_locked_conversation_leaves_the_file_to_be_attached_elsewhere(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    emulator.switches = Switches(locked_conversations=True)
    refused = await command.tell(
        "upload", str(folder / "note.txt"), "--to", "conversation:new"
    )
    emulator.switches = Switches()
    (upload,) = await uploads_of(command)
    assert upload.file is not None

    done = succeeded(
        await command.tell("attach", upload.file.id, "--to", "vector-store:new")
    )

    assert_refused(refused, 4, "locked")
    assert upload.file.id in refused.stderr
    assert done.last_line == upload.file.id
    assert emulator.account().counts["complete"] == 1


async def test_sent_again_after_a_refusal_only_the_message_is_new(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    emulator.add_fault(Fault(kind="goapi_message", do="status", status=400))
    arguments = ("upload", str(folder / "a.png"), "--to", "goapi:new", "--prompt", "?")

    refused = await command.tell(*arguments)
    done = await command.tell(*arguments)

    assert_refused(refused, 4, "400")
    succeeded(done)
    counts = emulator.account().counts
    assert (counts["goapi_upload"], counts["goapi_create"]) == (1, 1)
    assert counts["goapi_message"] == 2


async def test_a_file_that_cannot_be_indexed_says_why_and_may_be_sent_again(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    emulator.switches = Switches(
        indexing_ends="failed", indexing_error="unsupported_file"
    )
    arguments = ("upload", str(folder / "note.txt"), "--to", "vector-store:new")

    refused = await command.tell(*arguments)
    emulator.switches = Switches()
    done = await command.tell(*arguments)

    assert_refused(refused, 4, "unsupported_file", "attached elsewhere")
    succeeded(done)
    assert emulator.account().counts["complete"] == 1


async def test_a_wrong_key_for_one_service_is_named_and_harms_no_other(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    arguments = ("upload", str(folder / "a.png"), "--prompt", "?", "--to")

    refused = await command.tell(*arguments, "goapi:new", GOAPI_API_KEY="wrong-key-123")
    other = await command.tell(*arguments, "llmprovider:new")
    resumed = await command.tell("resume")

    assert_refused(refused, 10, "HTTP 401", "GOAPI_API_KEY")
    assert "wrong-key-123" not in refused.stderr
    succeeded(other)
    succeeded(resumed)
    counts = emulator.account().counts
    assert (counts["goapi_message"], counts["llmprovider_chat"]) == (1, 2)


async def test_a_file_of_another_service_is_refused_with_the_way_to_take_it_there(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    at_goapi = (await goapi_sends(command, folder, "note.txt")).stderr.strip()
    at_openai = succeeded(
        await command.tell("upload", "-q", str(folder / "note.txt"))
    ).last_line
    conversation = f"goapi:{asked(emulator, 'goapi_message')}"
    before = len(emulator.account().requests)

    for file_id, target in [
        (at_goapi, "conversation:new"),
        (at_goapi, "llmprovider:new"),
        (at_goapi, "goapi:new"),
        (at_goapi, "goapi:66f41b8c-another"),
        (at_openai, conversation),
    ]:
        done = await command.tell("attach", file_id, "--to", target, "--prompt", "?")
        assert_refused(done, 2, file_id, f"--to {target}")

    assert len(emulator.account().requests) == before


async def test_an_id_that_nobody_has_is_a_refusal(command: Command) -> None:
    done = await command.tell("attach", "file-nobody", "--to", "conversation:new")

    assert_refused(done, 4, "file-nobody")


# -- the machine: slots, failures, resume -------------------------------------


async def uploads_of(command: Command) -> Any:
    settings = Settings(base_url=command.base_url, api_key=KEY, journal=command.journal)
    async with Uploader(settings) as uploader:
        return await uploader.uploads()


async def test_the_uploads_of_a_message_share_the_slots(
    settings: Settings, emulator: Emulator, folder: Path
) -> None:
    paths = []
    for number in range(3):
        paths.append(folder / f"{number}.txt")
        paths[-1].write_bytes(os.urandom(40_000))
    settings = replace(settings, part_size=8192, parallel=2)
    told = Told()

    async with Uploader(settings, observers=[told]) as uploader:
        sent = await uploader.send(paths, to="conversation:new")

    assert [file.receipt.path for file in sent.files] == paths
    order = [event.path for event in told.of(PartSent)]
    assert len(order) == 15
    # They take turns: none is through before the last has begun.
    assert set(order[:6]) == set(paths)


async def test_one_upload_that_fails_stops_no_other_and_the_message_waits(
    settings: Settings, emulator: Emulator, folder: Path
) -> None:
    emulator.add_fault(Fault(kind="goapi_upload", do="status", status=400))
    paths, told = [folder / "a.png", folder / "b.png"], Told()

    async with Uploader(settings, observers=[told]) as uploader:
        with pytest.raises(RequestRejected):
            await uploader.send(paths, to="goapi:new", prompt="?")
        before = emulator.account().counts["goapi_upload"]
        (left,) = await uploader.attachments(unfinished=True)
        sent = await uploader.resume(left.id)

    (failed,) = told.of(AttachmentFailed)
    assert failed.resumable
    assert before == 2
    assert emulator.account().counts["goapi_upload"] == 3
    assert emulator.account().counts["goapi_message"] == 1
    assert len(stored(emulator)) == 2
    assert sent is not None


async def test_what_failed_lets_go_of_its_uploads(
    settings: Settings, emulator: Emulator, folder: Path
) -> None:
    async with Uploader(settings) as uploader:
        for _ in range(2):
            with pytest.raises(RequestRejected):
                await uploader.upload(folder / "note.txt", to="conversation:conv_none")
        (upload,) = await uploader.uploads()

    assert upload.state is UploadState.PLANNED


async def test_one_message_is_not_sent_twice_at_the_same_time(
    settings: Settings, folder: Path
) -> None:
    async with Uploader(settings) as uploader, Uploader(settings) as other:
        file = await uploader.upload(folder / "note.txt")
        first = uploader.attach([file], to="conversation:new", prompt="?")
        results = await asyncio.gather(
            first,
            other.attach([file], to="conversation:new", prompt="?"),
            return_exceptions=True,
        )

    assert [type(result) for result in results].count(UploadOwned) == 1


async def test_resume_takes_up_uploads_and_messages_of_every_service(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    # Each kind of refusal ends a run that can be resumed.
    for kind in ("part", "goapi_message", "llmprovider_chat", "item_create"):
        emulator.add_fault(Fault(kind=kind, do="status", status=401))
    note = str(folder / "note.txt")
    await command.tell("upload", note)
    for to in ("goapi:new", "llmprovider:new", "conversation:new"):
        refused = await command.tell("upload", note, "--to", to, "--prompt", "?")
        assert refused.returncode == 10, refused

    done = await command.tell("resume", "-q")

    succeeded(done)
    assert done.stdout.count("file-") == 2
    assert done.stdout.count("You asked") == 2
    counts = emulator.account().counts
    assert counts["goapi_message"] == 2
    assert counts["item_create"] == 2
    assert emulator.account().faults_left == ()
    assert (
        "nothing is unfinished"
        in (await command.tell("list")).stdout.lower()
        + (await command.tell("list")).stderr.lower()
    )


async def test_an_answer_that_breaks_off_is_fetched_and_said_once(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    emulator.add_fault(
        Fault(kind="response_create", do="truncate", when="after", events=6)
    )

    done = succeeded(
        await command.tell(
            *("upload", "-q", str(folder / "note.txt"), "--to", "conversation:new"),
            *("--prompt", "what is it?", "--model", MODEL),
        )
    )

    assert done.stdout == "You asked: “what is it?”; and I was given “note.txt”.\n"
    assert emulator.account().counts["response_create"] == 1
    assert emulator.account().counts["response_get"] == 1


async def test_a_service_that_always_fails_is_given_up(
    settings: Settings, emulator: Emulator, folder: Path
) -> None:
    emulator.add_fault(Fault(kind="item_create", do="status", status=500, times=100))

    async with Uploader(settings) as uploader:
        with pytest.raises(BackendUnavailable):
            await uploader.upload(folder / "note.txt", to="conversation:new")
        emulator.clear_faults()
        (left,) = await uploader.attachments(unfinished=True)
        await uploader.resume(left.id)

    assert emulator.account().counts["item_create"] == 4 + 1


@pytest.mark.parametrize("events", [1, 3])
async def test_a_stream_that_breaks_off_at_goapi_is_unknown_and_again_sends_it(
    settings: Settings, emulator: Emulator, folder: Path, events: int
) -> None:
    emulator.add_fault(
        Fault(kind="goapi_message", do="truncate", when="after", events=events)
    )

    async with Uploader(settings) as uploader:
        with pytest.raises(OutcomeUnknown) as raised:
            await uploader.upload(folder / "note.txt", to="goapi:new", prompt="?")
        (left,) = await uploader.attachments(unfinished=True)
        with pytest.raises(OutcomeUnknown):
            await uploader.resume(left.id)
        asked_before = emulator.account().counts["goapi_message"]
        await uploader.resume(left.id, again=True)
        with pytest.raises(UsageError):
            await uploader.attach(
                [FileRef(file_id=FileId("file-x"), name="x")], to="goapi:new"
            )

    assert f"uploader resume {left.id} --again" in (raised.value.hint or "")
    assert "message to" in str(raised.value)
    assert asked_before == 1
    assert emulator.account().counts["goapi_message"] == 2


async def test_a_message_that_nobody_can_settle_may_be_given_up(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    emulator.add_fault(Fault(kind="goapi_message", do="reset", when="after"))
    unknown = await command.tell(
        *("upload", str(folder / "note.txt"), "--to", "goapi:new", "--prompt", "?")
    )
    assert unknown.returncode == 6, unknown
    local_id = unknown.stderr.partition("`uploader resume ")[2].split()[0]

    succeeded(await command.tell("cancel", local_id))
    twice = await command.tell("cancel", local_id)
    idle = succeeded(await command.tell("resume"))

    assert_refused(twice, 2, "nothing to cancel")
    assert idle.stdout == ""
    assert emulator.account().counts["goapi_message"] == 1


async def test_again_is_for_what_is_in_doubt(
    command: Command, emulator: Emulator, folder: Path
) -> None:
    emulator.add_fault(Fault(kind="item_create", do="status", status=401))
    await command.tell(
        "upload", str(folder / "note.txt"), "--to", "conversation:new", "--prompt", "?"
    )
    settings = Settings(base_url=emulator.url, api_key=KEY, journal=command.journal)
    async with Uploader(settings) as uploader:
        (left,) = await uploader.attachments(unfinished=True)

    refused = await command.tell("resume", left.id, "--again")

    assert_refused(refused, 2, "not in doubt", "leave out --again")
    assert emulator.account().counts["item_create"] == 1


# -- what others see of it ----------------------------------------------------


async def test_the_official_client_sees_what_was_attached(
    settings: Settings, folder: Path, emulator: Emulator
) -> None:
    async with Uploader(settings) as uploader:
        talked = await uploader.upload(
            folder / "report.pdf", to="conversation:new", prompt="what is it?"
        )
        stored = await uploader.upload(folder / "note.txt", to="vector-store:new")
    assert talked.attached is not None
    assert stored.attached is not None

    async with AsyncOpenAI(base_url=emulator.url, api_key=KEY) as client:
        items = await client.conversations.items.list(talked.attached.conversation_id)
        (message,) = items.data
        file = await client.vector_stores.files.retrieve(
            stored.file_id, vector_store_id=stored.attached.conversation_id
        )

    assert message.type == "message"
    assert [
        getattr(part, "file_id", None) or getattr(part, "text", None)
        for part in message.content
    ] == ["what is it?", talked.file_id]
    assert file.status == "completed"
