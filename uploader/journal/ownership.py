"""Whose the journal is: what others could write to is no record.

Whoever may write to it, or to its directory, could name files to be sent, and
services to send them to.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from uploader.errors import JournalError

WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH

COMPANIONS: Final = ("", "-wal", "-shm", ".owners")
"""What stands beside the journal, and is believed as much."""


def refuse_foreign(path: Path) -> None:
    """Raise `JournalError` unless journal and directory are the user's alone.

    A directory may also be the system's, and one like /tmp, where nobody can touch
    another's files, will do.
    """
    if not hasattr(os, "geteuid"):
        return
    _check(path.parent, path.parent.stat(), owners={os.geteuid(), 0})
    for companion in COMPANIONS:
        place = path.with_name(path.name + companion)
        try:
            found = place.stat()
        except FileNotFoundError:
            continue
        _check(place, found, owners={os.geteuid()})


def _check(place: Path, found: os.stat_result, *, owners: set[int]) -> None:
    if found.st_uid not in owners:
        raise JournalError(
            f"{place} belongs to user {found.st_uid}, not to user {os.geteuid()}",
            hint="the journal has to be yours; name one in a directory of your own",
        )
    if found.st_mode & WRITABLE_BY_OTHERS and not found.st_mode & stat.S_ISVTX:
        raise JournalError(
            f"others may write to {place} (mode {stat.S_IMODE(found.st_mode):o})",
            hint=f"`chmod go-w {place}`, or name a journal where only you may write",
        )
