import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from uploader import events
from uploader.events import Event, as_json
from uploader.model import LocalId

# Every event with all its fields: programs read these names, so a line here only
# ever gains a field.
FIELDS: dict[str, dict[str, Any]] = {
    "upload_started": {"size": 9, "parts": 3, "recorded": 4, "recorded_parts": 1},
    "upload_opened": {"upload_id": "upload_1", "expires_at": None},
    "part_progressed": {"number": 1, "sent": 2},
    "part_sent": {"number": 1, "size": 4, "attempts": 2},
    "backing_off": {
        "operation": "create",
        "attempt": 1,
        "delay": 0.5,
        "reason": "x",
        "cause": "",
    },
    "deadline_at_risk": {"rate": 1.0, "needed": 2.0, "remaining": 3.0},
    "source_replaced": {},
    "upload_restarted": {"reason": "it expired"},
    "complete_asked": {},
    "outcome_sought": {"reason": "404"},
    "upload_completed": {"file_id": "file-1", "bytes": 9, "md5": None, "target": None},
    "upload_failed": {"error": "x", "hint": None, "exit_code": 5, "resumable": True},
    "upload_cancelled": {},
    "attach_asked": {"conversation_id": "conv_1", "files": 2},
    "attach_backing_off": {
        "operation": "attach",
        "attempt": 1,
        "delay": 0.5,
        "reason": "x",
    },
    "attach_outcome_sought": {"reason": "reset"},
    "answer_progressed": {"text": "It is"},
    "attachment_completed": {
        "conversation_id": "conv_1",
        "message_id": "msg_1",
        "file_ids": ["file-1", "file-2"],
        "answer": None,
    },
    "attachment_failed": {
        "error": "x",
        "hint": None,
        "exit_code": 4,
        "resumable": False,
    },
    "file_reused": {"file_id": "file-1"},
    "batch_started": {"uploads": 3, "bytes": 9, "refused": 1},
    "batch_finished": {
        "completed": 1,
        "failed": 1,
        "unfinished": 1,
        "bytes": 9,
        "seconds": 0.5,
    },
}

# What comes before those, by whom the event is about.
SUBJECTS: dict[type[Event], dict[str, Any]] = {
    events.UploadEvent: {"upload": "u1", "path": Path("/big.bin")},
    events.AttachmentEvent: {"attachment": "a1", "target": "conversation:new"},
    events.BatchEvent: {"batch": "b1"},
}

KINDS = {
    kind.__name__: kind
    for kind in vars(events).values()
    if isinstance(kind, type)
    and issubclass(kind, Event)
    and kind not in (Event, *SUBJECTS)
}


def kind_of(name: str) -> type[Event]:
    return KINDS[name.title().replace("_", "")]


def subject_of(name: str) -> dict[str, Any]:
    [subject] = [
        fields for kind, fields in SUBJECTS.items() if issubclass(kind_of(name), kind)
    ]
    return subject


def test_every_event_is_in_the_table() -> None:
    assert {kind_of(name) for name in FIELDS} == set(KINDS.values())


@pytest.mark.parametrize("name", FIELDS)
def test_an_event_as_json_is_one_flat_object(name: str) -> None:
    subject = subject_of(name)
    event = kind_of(name)(**subject, **FIELDS[name])

    document = json.loads(json.dumps(as_json(event)))

    about = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in subject.items()
    }
    assert document == {"v": 1, "event": name, **about, **FIELDS[name]}
    assert list(document)[: 2 + len(about)] == ["v", "event", *about]


@pytest.mark.parametrize("name", FIELDS)
def test_an_event_has_no_field_that_the_table_does_not_name(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(kind_of(name))}

    assert fields == {*subject_of(name), *FIELDS[name]}


def test_events_do_not_change() -> None:
    event = events.UploadCancelled(upload=LocalId("u1"), path=Path("/big.bin"))

    with pytest.raises(dataclasses.FrozenInstanceError):
        event.upload = LocalId("u2")  # type: ignore[misc]
