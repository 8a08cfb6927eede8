"""The event stream of GoAPI: cumulative snapshots of messages, one per event.

Documented are the envelope and the first event; the rest is as the service behind
it does it.
"""

from collections.abc import Iterator
from functools import partial
from typing import Final

from uploader.emulator import ids, sse
from uploader.emulator.answers import Document
from uploader.emulator.exchange import Exchange
from uploader.emulator.relays import Message
from uploader.emulator.switches import Switches

PAD: Final = "A" * 26
SNAPSHOTS: Final = 3


def events(
    held: Exchange,
    *,
    model: str,
    gizmo_id: str | None,
    now: float,
    switches: Switches,
) -> Iterator[str]:
    """Yield the events that answer a question."""
    asked, answer = held
    show = partial(_event, asked.conversation_id, switches)
    assistant = partial(
        _message, answer, now, metadata=_metadata(asked, model, gizmo_id)
    )
    yield show(_system(now))
    if switches.goapi_user_echo:
        yield show(_message(asked, now, text=asked.text, metadata={}))
    for number in range(SNAPSHOTS):
        yield show(assistant(text=_cut(answer.text, number), finished=False))
        if number == 0:
            yield from _disturbances(asked, switches)
    if switches.goapi_stream_error == "none":
        yield from _end(show(assistant(text=answer.text)), switches)


def _cut(text: str, number: int) -> str:
    return text[: len(text) * (number + 1) // (SNAPSHOTS + 1)]


def _end(final: str, switches: Switches) -> Iterator[str]:
    match switches.goapi_end:
        case "cut":
            yield final[: len(final) // 2]
        case "nothing":
            yield final
        case terminator:
            yield final
            yield f"data:{' ' if switches.goapi_data_space else ''}{terminator}\n\n"


def _disturbances(asked: Message, switches: Switches) -> Iterator[str]:
    """What may come between the snapshots."""
    space = switches.goapi_data_space
    if switches.goapi_moderation:
        yield sse.data(
            {
                "type": "moderation",
                "conversation_id": asked.conversation_id,
                "message_id": asked.id,
                "is_completion": False,
                "moderation_response": {"flagged": False, "blocked": False},
            },
            space=space,
        )
    words = "Something went wrong."
    failure: object = {"message": words, "code": "internal_error"}
    if switches.goapi_stream_error != "none":
        error = words if switches.goapi_stream_error == "string" else failure
        yield _event(asked.conversation_id, switches, None, error=error)


def _event(
    conversation_id: str,
    switches: Switches,
    message: Document | None,
    *,
    error: object = None,
) -> str:
    document: Document = {
        "message": message,
        "conversation_id": conversation_id,
        "error": error,
    }
    return sse.data(document, space=switches.goapi_data_space)


def _system(now: float) -> Document:
    """The first event, which is finished and says nothing (documented)."""
    return {
        "id": ids.message_id(),
        "author": {"role": "system", "name": None, "metadata": {}},
        "create_time": now,
        "update_time": None,
        "content": {"content_type": "text", "parts": [""]},
        "status": "finished_successfully",
        "end_turn": True,
        "weight": 0.0,
        "metadata": {},
        "recipient": "all",
        "channel": None,
    }


def _message(
    message: Message,
    now: float,
    *,
    text: str,
    metadata: Document,
    finished: bool = True,
) -> Document:
    is_answer = message.role == "assistant"
    return {
        "id": message.id,
        "author": {"role": message.role, "name": None, "metadata": {}},
        "create_time": now,
        "update_time": None,
        "content": {"content_type": "text", "parts": [text]},
        "status": "finished_successfully" if finished else "in_progress",
        "end_turn": True if finished and is_answer else None,
        "weight": 1.0,
        "metadata": metadata,
        "recipient": "all",
        "channel": None,
    }


def _metadata(asked: Message, model: str, gizmo_id: str | None) -> Document:
    return {
        "citations": [],
        "content_references": [],
        "gizmo_id": gizmo_id,
        "message_type": "next",
        "model_slug": model,
        "default_model_slug": model,
        "pad": PAD,
        "parent_id": asked.id,
        "model_switcher_deny": [],
    }
