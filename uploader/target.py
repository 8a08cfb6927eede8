"""What is asked of the place that a file id goes to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from uploader.message import Attached, FileRef
from uploader.model import Scope

OnDelta = Callable[[str], None]
"""Told each new piece of an answer as it arrives."""

OnResponse = Callable[[str], Awaitable[None]]
"""Awaited with the id of a response before its first word is passed on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What `attach` adds to a conversation: files in order, then the prompt.

    *cursor* is the newest item that was there before it was first asked.
    """

    scope: Scope
    files: tuple[FileRef, ...]
    prompt: str | None = None
    model: str | None = None
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCapabilities:
    """What differs between targets."""

    can_find: bool = True
    """The service can be asked what is in the conversation."""
    owns_files: bool = False
    """A file belongs to the conversation that it was uploaded into."""
    asks_models: bool = True
    """A message may name the model that is to answer it."""


class Target(Protocol):
    """A conversation, or whatever else takes files by id.

    Methods never retry.  A refusal is `RequestRejected`; `BackendUnavailable` with
    `effect_possible` means that the message may be there, and is never answered by
    simply asking again.

    `tests/test_target_contract.py` states these rules as tests and runs them against
    every implementation.
    """

    name: str
    """As the user wrote it: `vector-store:new`."""
    backend: str
    """The backend whose file ids it takes."""
    service: str
    """URL and account without credentials; equal to that backend's."""
    capabilities: TargetCapabilities

    def accepts(self, files: Sequence[FileRef], prompt: str | None) -> None:
        """Raise `SourceError` or `UsageError` for what the service would refuse.

        Called before a byte is sent, with ids still empty: it goes by names, sizes and
        types.  The hint names a target that takes the file.
        """
        ...

    async def prepare(self) -> Scope:
        """The existing conversation that was named, or a new one."""
        ...

    async def newest(self, scope: Scope) -> str | None:
        """The newest item, a cursor for `find`; None when there is none."""
        ...

    async def find(self, message: Message) -> Attached | None:
        """The message with exactly these files and this prompt, behind its cursor.

        None means that it is not there now; its effect may still be under way.
        """
        ...

    async def attach(
        self, message: Message, *, on_delta: OnDelta, on_response: OnResponse
    ) -> Attached:
        """Add the message, and read the answer to its end if there is one.

        A stream that breaks off is `BackendUnavailable` with `effect_possible`.
        """
        ...

    async def fetch(self, response_id: str) -> Attached | None:
        """What became of a response; None while it is still being made."""
        ...

    async def wait(self, message: Message, attached: Attached) -> bool:
        """Whether the files are usable now; asked again until it says so.

        Raises `RequestRejected` when they never will be.
        """
        ...

    async def aclose(self) -> None: ...
