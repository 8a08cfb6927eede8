"""Events as lines and bars for people, and as JSON for programs.

Results go to stdout, everything for eyes to stderr.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from uploader import events
from uploader.answer import printable
from uploader.errors import UploaderError
from uploader.model import LocalId
from uploader.tables import size

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

logger = logging.getLogger("uploader")

CALM: Final = 10.0
"""Seconds between two lines about the same upload when nobody watches a bar."""

MOST_BARS: Final = 8
"""So many files may keep their bars when they are done."""

JSON_PROGRESS: Final = 1.0
"""Seconds between two `part_progressed` of the same part."""


def report(error: UploaderError) -> None:
    """What went wrong, and what to do next."""
    click.echo(f"error: {printable(str(error), 2000)}", err=True)
    if error.hint is not None:
        click.echo(f"\nhint: {printable(error.hint, 2000)}", err=True)


class Quiet:
    """Results, and nothing else: an answer if there is one, else the file ids.

    The ids of files that were asked about go to stderr, so that stdout is the answer.
    """

    def __init__(self) -> None:
        self._speaker: LocalId | None = None
        """The message whose answer is coming in."""
        self._silenced: set[LocalId] = set()
        self._kept: list[str] = []

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.UploadCompleted(target=None):
                self._put(printable(event.file_id))
            case events.AnswerProgressed():
                self._speak(event)
            case events.AttachmentCompleted():
                self._finish(event)
            case events.AttachmentFailed():
                self._stop(event.attachment)
            case _:
                pass

    def _put(self, line: str) -> None:
        if self._speaker is None:
            click.echo(line)
        else:
            self._kept.append(line)

    def _speak(self, event: events.AnswerProgressed) -> None:
        """One answer at a time; another one follows, whole, when that is over."""
        if self._speaker is None and event.attachment not in self._silenced:
            self._speaker = event.attachment
        if self._speaker == event.attachment:
            click.echo(prose(event.text), nl=False)
        else:
            self._silenced.add(event.attachment)

    def _finish(self, event: events.AttachmentCompleted) -> None:
        has_spoken = self._stop(event.attachment)
        if event.answer is not None and not has_spoken:
            self._put(prose(event.answer))
        for file_id in event.file_ids:
            if event.answer is None:
                self._put(printable(file_id))
            else:
                click.echo(printable(file_id), err=True)

    def _stop(self, attachment: LocalId) -> bool:
        """Whether it was this one that spoke; what had to wait is said now."""
        self._silenced.discard(attachment)
        if self._speaker != attachment:
            return False
        self._speaker = None
        for line in ("", *self._kept):
            click.echo(line)
        self._kept.clear()
        return True

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        yield


class Json(Quiet):
    """One object for each event, on stdout."""

    def __init__(self) -> None:
        super().__init__()
        self._told: dict[tuple[LocalId, int], float] = {}

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.PartProgressed):
            key = (event.upload, event.number)
            if time.monotonic() - self._told.get(key, 0.0) < JSON_PROGRESS:
                return
            self._told[key] = time.monotonic()
        elif isinstance(event, events.PartSent):
            self._told.pop((event.upload, event.number), None)
        click.echo(json.dumps(events.as_json(event)))


class Lines(Quiet):
    """Calm lines, for a log or a pipe."""

    def __init__(self, *, verbose: bool = False) -> None:
        super().__init__()
        self._verbose = verbose
        self._sent: dict[LocalId, int] = {}
        self._size: dict[LocalId, int] = {}
        self._said_at: dict[LocalId, float] = {}

    def __call__(self, event: events.Event) -> None:
        text = self._text(event)
        if text is not None:
            self.say(f"{subject(event)}: {text}")
        super().__call__(event)

    def say(self, line: str) -> None:
        click.echo(printable(line, 2000), err=True)

    def _text(self, event: events.Event) -> str | None:
        match event:
            case events.UploadStarted():
                self._sent[event.upload] = event.recorded
                self._size[event.upload] = event.size
                self._said_at[event.upload] = time.monotonic()
                parts = f"{event.parts} part{'s' * (event.parts > 1)}"
                if event.recorded_parts:
                    return f"resumed with {event.recorded_parts} of {parts}"
                return f"{size(event.size)} in {parts}"
            case events.PartSent():
                return self._progress(event)
            case events.UploadRestarted():
                self._sent[event.upload] = 0
                return told(event)
            case events.UploadOpened():
                return f"opened {event.upload_id}" if self._verbose else None
            case events.UploadCompleted():
                # Its id is the result; on the way to a target, this is where it is told.
                file = f", {event.file_id}" if event.target else ""
                return f"complete, {size(event.bytes)}, md5 {event.md5 or 'off'}{file}"
            case _:
                return told(event)

    def _progress(self, event: events.PartSent) -> str | None:
        self._sent[event.upload] = self._sent.get(event.upload, 0) + event.size
        now = time.monotonic()
        if not self._verbose and now - self._said_at.get(event.upload, 0.0) < CALM:
            return None
        self._said_at[event.upload] = now
        sent, whole = self._sent[event.upload], self._size.get(event.upload, 1)
        return f"{size(sent)} of {size(whole)} ({100 * sent // whole} %)"


def subject(event: events.Event) -> str:
    """What an event is about."""
    match event:
        case events.UploadEvent():
            return event.path.name
        case events.AttachmentEvent():
            return event.target
        case _:
            return "uploader"


def prose(text: str) -> str:
    """A model's words, without what could move a terminal's cursor."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )


def told(event: events.Event) -> str | None:
    """What a person should hear in any case."""
    match event:
        case events.BackingOff() | events.AttachBackingOff():
            return (
                f"{event.reason}; attempt {event.attempt} of {event.operation},"
                f" again in {event.delay:.1f} s"
            )
        case events.DeadlineAtRisk():
            return (
                f"at {size(event.rate)}/s the rest does not fit into the"
                f" {event.remaining:.0f} s left; {size(event.needed)}/s are needed"
            )
        case events.UploadRestarted():
            return f"starting over: {event.reason}"
        case events.SourceReplaced():
            return "the name leads to another file now; the opened one was sent"
        case events.OutcomeSought():
            return f"looking for the file at the service: {event.reason}"
        case events.UploadCancelled():
            return "cancelled"
        case events.FileReused():
            return f"the service has it already as {event.file_id}"
        case events.AttachOutcomeSought():
            return f"looking for the message in the conversation: {event.reason}"
        case events.AttachmentCompleted():
            return f"attached in {event.conversation_id}"
        case _:
            return None


class Bars(Quiet):
    """A bar for each file, moving within a part."""

    def __init__(self) -> None:
        super().__init__()
        self._progress: Progress
        self._tasks: dict[LocalId, TaskID] = {}
        self._parts: dict[LocalId, list[int]] = {}
        self._done: dict[LocalId, int] = {}
        self._moving: dict[LocalId, dict[int, int]] = {}

    @contextlib.contextmanager
    def shown(self) -> Iterator[None]:
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=None),
            progress.TaskProgressColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(compact=True),
            progress.TextColumn("{task.fields[parts]}", markup=False),
            console=Console(stderr=True),
            speed_estimate_period=10.0,
        )
        with self._progress:
            yield

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.UploadStarted():
                self._begin(event)
            case events.PartProgressed():
                self._moving[event.upload][event.number] = event.sent
                self._move(event.upload)
            case events.PartSent():
                self._moving[event.upload].pop(event.number, None)
                self._done[event.upload] += event.size
                self._parts[event.upload][0] += 1
                self._move(event.upload)
            case events.UploadRestarted():
                self._moving[event.upload].clear()
                self._done[event.upload] = self._parts[event.upload][0] = 0
                self._move(event.upload)
            case events.UploadCompleted() | events.UploadFailed():
                self._end(event.upload)
        text = told(event)
        if text is not None:
            self._progress.console.print(
                printable(f"{subject(event)}: {text}", 2000), markup=False
            )
        super().__call__(event)

    def _begin(self, event: events.UploadStarted) -> None:
        self._parts[event.upload] = [event.recorded_parts, event.parts]
        self._done[event.upload] = event.recorded
        self._moving[event.upload] = {}
        self._tasks[event.upload] = self._progress.add_task(
            printable(event.path.name, 40),
            total=event.size,
            completed=event.recorded,
            parts=self._count(event.upload),
        )

    def _end(self, upload: LocalId) -> None:
        """Keep the bars of a few files; of many only those that move."""
        if upload in self._tasks and len(self._tasks) > MOST_BARS:
            self._progress.remove_task(self._tasks.pop(upload))
            del self._parts[upload], self._done[upload], self._moving[upload]

    def _move(self, upload: LocalId) -> None:
        moving = sum(self._moving[upload].values())
        self._progress.update(
            self._tasks[upload],
            completed=self._done[upload] + moving,
            parts=self._count(upload),
        )

    def _count(self, upload: LocalId) -> str:
        done, parts = self._parts[upload]
        return f"{done}/{parts} parts"


def log(event: events.Event) -> None:
    """One line for each event that somebody may ask about later."""
    if not isinstance(event, events.PartProgressed):
        logger.info("%s", json.dumps(events.as_json(event)))


def choose(*, as_json: bool, quiet: bool, verbose: bool) -> Quiet:
    """The one that suits the flags and what stderr is."""
    if as_json:
        return Json()
    if quiet:
        return Quiet()
    if sys.stderr.isatty() and not verbose:
        return Bars()
    return Lines(verbose=verbose)
