"""Lists of files: what they are made of, what comes of them, and beginning anew."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from uploader.cli.group import cli
from uploader.cli.options import PATH, Call, common, sending, take_call
from uploader.cli.running import run
from uploader.errors import SomeFailed, UploaderError, UsageError

if TYPE_CHECKING:
    from uploader.batch import Item, Outcome
    from uploader.engine import Uploader
    from uploader.manifest import Choice

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = (
    click.option("-r", "--recursive", is_flag=True, help="Whole folders."),
    click.option(
        "--include",
        multiple=True,
        metavar="PATTERN",
        help="Of folders and lists only these, e.g. '*.jsonl'.",
    ),
    click.option("--exclude", multiple=True, metavar="PATTERN", help="But not these."),
    click.option(
        "--from-file",
        type=PATH,
        metavar="FILE",
        help="Paths, one a line or NUL-separated; - is stdin.",
    ),
    click.option(
        "--manifest", type=PATH, metavar="FILE", help="JSON lines; - is stdin."
    ),
    click.option("--priority", type=int, default=0, help="Higher comes first."),
    click.option("--tag", help="A word of your own, told with the outcome."),
    click.option(
        "--dry-run", is_flag=True, help="Only say what would go where, and how long."
    ),
)


def listing(command: F) -> F:
    """The options that name many files."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def take_choice(options: dict[str, Any]) -> Choice:
    from uploader.manifest import Choice

    return Choice(
        recursive=options.pop("recursive"),
        include=options.pop("include"),
        exclude=options.pop("exclude"),
    )


def collect(
    paths: Sequence[Path],
    like: Item,
    choice: Choice,
    *,
    from_file: Path | None,
    manifest: Path | None,
) -> list[Item]:
    """All that was named, one item for each file, each file once."""
    from dataclasses import replace

    from uploader.manifest import find_files, read_manifest, read_paths

    found = list(find_files(paths, choice))
    if from_file is not None:
        found += read_paths(_content(from_file), choice)
    items = [replace(like, path=path) for path in dict.fromkeys(found)]
    if manifest is not None:
        folder = Path() if str(manifest) == "-" else manifest.parent
        items += read_manifest(_content(manifest), str(manifest), folder, like)
    return items


def _content(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="check its path"
        ) from None


async def carry_all(call: Call, outcomes: AsyncIterator[Outcome]) -> int:
    """Report each failure as it comes, and all in the end; return how many there were.

    Raises `SomeFailed` when some failed.
    """
    from uploader.render import report
    from uploader.summary import Summary

    summary = Summary()
    async for outcome in outcomes:
        summary.add(outcome)
        if outcome.error is not None:
            report(outcome.error)
    for line in _told(call, summary):
        click.echo(line, err=not call.as_json)
    if summary.failed:
        raise SomeFailed(
            f"{summary.failed} of {len(summary.rows)} failed",
            hint="`uploader restart --failed` begins them anew",
        )
    return len(summary.rows)


def _told(call: Call, summary: Any) -> Iterable[str]:
    if call.as_json:
        return summary.json()  # type: ignore[no-any-return]
    return () if call.quiet or not summary.rows else summary.table()


async def show_drafts(call: Call, uploader: Uploader, items: Sequence[Item]) -> None:
    """What `upload` would do.  Raises `SomeFailed` when it would refuse some."""
    from uploader import preflight
    from uploader.summary import Draft, drafts_json, drafts_table

    async def problem(item: Item, failure: UploaderError | None) -> str | None:
        if failure is not None:
            return str(failure)
        if item.preflight:
            try:
                await preflight.check(
                    item.path,
                    purpose=item.purpose,
                    filename=item.filename,
                    mime_type=item.mime_type,
                )
            except UploaderError as error:
                return str(error)
        return None

    entries = await uploader.queue.plan(items)
    drafts = [
        Draft(entry, await problem(item, entry.failure))
        for item, entry in zip(items, entries, strict=True)
    ]
    drafts.sort(key=lambda draft: -draft.entry.priority)
    if call.as_json:
        lines = drafts_json(drafts)
    else:
        services = {entry.identity.service for entry in entries}
        rates = {name: await uploader.queue.rate(name) for name in services}
        lines = drafts_table(drafts, rates)
    for line in lines:
        click.echo(line)
    if refused := sum(draft.problem is not None for draft in drafts):
        raise SomeFailed(f"{refused} of {len(drafts)} would be refused")


@cli.command()
@click.argument("batch", required=False)
@click.option("--failed", is_flag=True, help="What failed; there is nothing else yet.")
@click.option(
    "--no-preflight", is_flag=True, help="Send files that the purpose may not take."
)
@sending
@common
def restart(
    batch: str | None, failed: bool, no_preflight: bool, **options: Any
) -> None:
    """Begin anew what failed in a batch, or in all of them.

    What was only stopped goes on from the journal.

    \b
    uploader restart --failed
    uploader restart --failed 7mq2xd
    """
    if not failed:
        raise click.UsageError("say what shall be restarted: --failed")
    call = take_call(options)

    async def work(uploader: Uploader) -> None:
        from uploader.batch import restart_failed

        found = await uploader.queue.batch(batch) if batch else None
        outcomes = restart_failed(
            uploader, batch=found.id if found else None, preflight=not no_preflight
        )
        if not await carry_all(call, outcomes) and not call.quiet:
            click.echo("nothing failed", err=True)

    run(call, work)
