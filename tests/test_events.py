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
    "backing_off": {"operation": "create", "attempt": 1, "delay": 0.5, "reason": "x"},
    "deadline_at_risk": {"rate": 1.0, "needed": 2.0, "remaining": 3.0},
    "source_replaced": {},
    "upload_restarted": {"reason": "it expired"},
    "complete_asked": {},
    "outcome_sought": {"reason": "404"},
    "upload_completed": {"file_id": "file-1", "bytes": 9, "md5": None},
    "upload_failed": {"error": "x", "hint": None, "exit_code": 5, "resumable": True},
    "upload_cancelled": {},
}

KINDS = {
    kind.__name__: kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
}


def kind_of(name: str) -> type[Event]:
    return KINDS[name.title().replace("_", "")]


def test_every_event_is_in_the_table() -> None:
    assert {kind_of(name) for name in FIELDS} == set(KINDS.values())


@pytest.mark.parametrize("name", FIELDS)
def test_an_event_as_json_is_one_flat_object(name: str) -> None:
    event = kind_of(name)(upload=LocalId("u1"), path=Path("/big.bin"), **FIELDS[name])

    document = as_json(event)

    assert document == {
        "v": 1,
        "event": name,
        "upload": "u1",
        "path": "/big.bin",
        **FIELDS[name],
    }
    assert json.loads(json.dumps(document)) == document
    assert list(document)[:4] == ["v", "event", "upload", "path"]


@pytest.mark.parametrize("name", FIELDS)
def test_an_event_has_no_field_that_the_table_does_not_name(name: str) -> None:
    fields = {field.name for field in dataclasses.fields(kind_of(name))}

    assert fields == {"upload", "path", *FIELDS[name]}


def test_events_do_not_change() -> None:
    event = events.UploadCancelled(upload=LocalId("u1"), path=Path("/big.bin"))

    with pytest.raises(dataclasses.FrozenInstanceError):
        event.upload = LocalId("u2")  # type: ignore[misc]
