"""Commands that carry uploads on: upload, resume, cancel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from uploader.cli.batches import carry_all, collect, listing, show_drafts, take_choice
from uploader.cli.group import cli
from uploader.cli.options import DURATION, PATH, SIZE, Call, common, sending, take_call
from uploader.cli.running import each, run
from uploader.errors import Interrupted, UploaderError

if TYPE_CHECKING:
    from uploader.engine import Uploader


TARGETS = (
    "conversation:ID, vector-store:ID, goapi:ID or llmprovider:ID; new makes a new one."
)


@cli.command()
@click.argument("paths", nargs=-1, type=PATH, metavar="[PATH]...")
@click.option("--purpose", help="What the service may use it for.  [user_data]")
@click.option("--filename", help="What the service shall call it.")
@click.option("--mime-type", help="Its type, if the name does not tell.")
@click.option("--expires-after", type=DURATION, help="Life of the file, e.g. 7d.")
@click.option("--to", metavar="TARGET", help=TARGETS)
@click.option("--prompt", help="What to say about the files in the conversation.")
@click.option("--model", help="Ask this model, in an OpenAI conversation.")
@click.option("--part-size", type=SIZE, help="E.g. 16MiB; chosen by size if left out.")
@click.option(
    "--reuse", is_flag=True, help="Take the same file if the service has it already."
)
@click.option(
    "--no-preflight", is_flag=True, help="Send files that the purpose may not take."
)
@listing
@sending
@common
def upload(
    paths: tuple[Path, ...],
    purpose: str | None,
    filename: str | None,
    mime_type: str | None,
    expires_after: float | None,
    to: str | None,
    prompt: str | None,
    model: str | None,
    reuse: bool,
    no_preflight: bool,
    from_file: Path | None,
    manifest: Path | None,
    priority: int,
    tag: str | None,
    dry_run: bool,
    **options: Any,
) -> None:
    """Upload files, or go on with them where an earlier run stopped.

    The file id is the last line on stdout.  With --to all files go to a conversation
    as one message; if there is an answer it goes to stdout, and the ids to stderr.

    Several files are queued first, so that `resume` goes on with all of them; with
    --recursive, --from-file and --manifest each goes to its target by itself.

    \b
    uploader upload big.jsonl --purpose batch
    uploader upload *.pdf --expires-after 7d
    uploader upload big.bin --json | jq .event
    uploader upload big.bin --emulator
    uploader upload photo.png --to goapi:new --prompt "describe this image"
    uploader upload data --recursive --include '*.jsonl' --purpose batch
    find . -name '*.pdf' -print0 | uploader upload --from-file -
    uploader upload --manifest files.jsonl --dry-run
    """
    if not paths and from_file is None and manifest is None:
        raise click.UsageError("there is nothing to upload: name a PATH")
    if filename is not None and len(paths) > 1:
        raise click.UsageError("--filename names one file; there are several paths")
    if to is None and manifest is None and (prompt or model):
        raise click.UsageError("--prompt and --model need a conversation: --to")
    details: dict[str, Any] = {
        "filename": filename,
        "mime_type": mime_type,
        "expires_after": None if expires_after is None else int(expires_after),
        "reuse": reuse,
    }
    if purpose is not None:
        details["purpose"] = purpose
    is_list = options["recursive"] or from_file is not None or manifest is not None
    backend = options["backend"] if to is not None else None
    choice = take_choice(options)
    call = take_call(options)

    async def work(uploader: Uploader) -> None:
        from uploader import preflight
        from uploader.batch import Item, upload_many

        like = Item(
            path=Path(),
            **details,
            to=to,
            prompt=prompt,
            model=model,
            priority=priority,
            tag=tag,
            preflight=not no_preflight,
        )
        items = collect(paths, like, choice, from_file=from_file, manifest=manifest)
        if dry_run:
            await show_drafts(call, uploader, items)
            return
        if is_list or (to is None and len(items) != 1):
            await carry_all(call, upload_many(uploader, items))
            return
        for item in items if not no_preflight else ():
            await preflight.check(
                item.path, purpose=item.purpose, filename=filename, mime_type=mime_type
            )
        if to is None:
            await uploader.upload(items[0].path, **details)
        else:
            await uploader.send(
                [item.path for item in items],
                to=to,
                prompt=prompt,
                model=model,
                backend=backend,
                **details,
            )

    run(call, work)


@cli.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--accept", metavar="FILE_ID", help="This file is it; go on from there.")
@click.option("--again", is_flag=True, help="There is no file; send it once more.")
@sending
@common
def resume(
    ids: tuple[str, ...], accept: str | None, again: bool, **options: Any
) -> None:
    """Go on with unfinished uploads: those named, or all of this service.

    Then with what waits in the queue.

    Where nobody can tell what became of `complete`, look at the service yourself
    and say what you saw with --accept or --again.

    \b
    uploader resume
    uploader resume k3v9 --md5 base64
    uploader resume k3v9 --accept file-PKdN3T9UGQsHPLmWfarMbK
    """
    if (accept or again) and len(ids) != 1:
        raise click.UsageError("--accept and --again speak of one upload; give its ID")
    if accept and again:
        raise click.UsageError("--accept and --again contradict each other")

    async def work(uploader: Uploader) -> None:
        from uploader.model import FileId

        known = FileId(accept) if accept else None
        names = ids or [upload.id for upload in await uploader.resumable()]
        failure: UploaderError | None = None
        try:
            await each(
                names, lambda name: uploader.resume(name, accept=known, again=again)
            )
        except Interrupted:
            raise
        except UploaderError as error:
            failure = error
        if not ids:
            await _go_on(call, uploader, failure)
        if failure is not None:
            raise failure

    call = take_call(options)
    run(call, work)


async def _go_on(call: Call, uploader: Uploader, failure: UploaderError | None) -> None:
    """Carry on what waits in the queue, after what was begun."""
    from uploader.batch import go_on
    from uploader.render import report

    if not (await uploader.queue.size())[0]:
        return
    if failure is not None:
        report(failure)
    await carry_all(call, go_on(uploader))


@cli.command()
@click.argument("file_ids", nargs=-1, required=True, metavar="FILE_ID...")
@click.option("--to", required=True, metavar="TARGET", help=TARGETS)
@click.option("--prompt", help="What to say about the files in the conversation.")
@click.option("--model", help="Ask this model, in an OpenAI conversation.")
@click.option("--name", help="Name of the file, where the service does not tell.")
@click.option("--size", type=SIZE, help="Its size, likewise.")
@click.option("--mime-type", help="Its type, likewise.")
@click.option("--width", type=int, help="Of an image, in pixels.")
@click.option("--height", type=int, help="Of an image, in pixels.")
@common
def attach(
    file_ids: tuple[str, ...],
    to: str,
    prompt: str | None,
    model: str | None,
    name: str | None,
    size: float | None,
    **options: Any,
) -> None:
    """Attach files that exist at the target's service, as one message."""
    described = {key: options.pop(key) for key in ("mime_type", "width", "height")}

    async def work(uploader: Uploader) -> None:
        from uploader.message import FileRef
        from uploader.model import FileId

        files = [
            FileRef(
                file_id=FileId(file_id),
                name=name or "",
                size=None if size is None else int(size),
                **described,
            )
            for file_id in file_ids
        ]
        await uploader.attach(files, to=to, prompt=prompt, model=model)

    run(take_call(options), work)


@cli.command()
@click.argument("target")
@click.argument("prompt")
@click.option("--model", help="Ask this model, in an OpenAI conversation.")
@common
def ask(target: str, prompt: str, model: str | None, **options: Any) -> None:
    """Go on in a conversation.

    \b
    uploader ask goapi:66f41b8c-8e18 "and what is in the background?"
    """

    async def work(uploader: Uploader) -> None:
        await uploader.ask(target, prompt, model=model)

    run(take_call(options), work)


@cli.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@common
def cancel(ids: tuple[str, ...], **options: Any) -> None:
    """Give uploads up, here and at the service.

    A process that is at work on one is asked to stop it.

    \b
    uploader cancel k3v9
    """

    async def work(uploader: Uploader) -> None:
        await each(ids, uploader.cancel)

    run(take_call(options), work)
