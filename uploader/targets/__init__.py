"""Where a file id goes: `--to` → target.  The only list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from uploader.config import Settings
from uploader.errors import UsageError
from uploader.target import Target


def open_target(name: str, settings: Settings) -> Target:
    """The target that *name* says: `conversation:ID`, or `conversation:new`.

    Raises `UsageError`.
    """
    kind, _, where = name.partition(":")
    if kind in GONE:
        raise UsageError(
            f"{name!r}: the endpoints for assistants and threads are gone since"
            " 2026-08-26",
            hint="a conversation takes their place: --to conversation:ID, or"
            " conversation:new",
        )
    if kind not in TARGETS:
        known = ", ".join(f"{kind}:ID" for kind in TARGETS)
        raise UsageError(
            f"{name!r} is no target",
            hint=f"choose one of {known}; with new as ID for a new one",
        )
    if not where or where != where.strip():
        raise UsageError(
            f"{name!r} does not say which {kind}",
            hint=f"write {kind}:ID, or {kind}:new for a new one",
        )
    return TARGETS[kind](name, settings)


# Each is imported when it is asked for: a run that only uploads needs none.


def _conversation(name: str, settings: Settings) -> Target:
    from uploader.targets.conversation import Conversation

    return Conversation.from_settings(name, settings)


def _goapi(name: str, settings: Settings) -> Target:
    from uploader.targets.goapi import GoapiConversation

    return GoapiConversation.from_settings(name, settings)


def _llmprovider(name: str, settings: Settings) -> Target:
    from uploader.targets.llmprovider import LlmproviderConversation

    return LlmproviderConversation.from_settings(name, settings)


def _vector_store(name: str, settings: Settings) -> Target:
    from uploader.targets.vector_store import VectorStore

    return VectorStore.from_settings(name, settings)


TARGETS: Final[Mapping[str, Callable[[str, Settings], Target]]] = {
    "conversation": _conversation,
    "goapi": _goapi,
    "llmprovider": _llmprovider,
    "vector-store": _vector_store,
}
GONE: Final = ("thread", "assistant")
