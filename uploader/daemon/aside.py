"""Moving and removing exactly the file that is meant, whatever its name leads to by now.

Between a look at a name and what is done to it, the name may come to lead to another
file.  So the file is put aside under a hidden name first, looked at there, and put
back if it is another one.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SUFFIX: Final = ".uploader-aside"


def remove(path: Path, fd: int) -> bool:
    """Remove the file that *fd* has open; False when *path* is another one by now."""
    aside = _put_aside(path, fd)
    if aside is None:
        return False
    aside.unlink()
    return True


def move(path: Path, fd: int, folder: Path) -> Path | None:
    """Move the file that *fd* has open into *folder*, over nothing that is there.

    Returns where it is, or None when *path* is another one by now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = _put_aside(path, fd)
    if aside is None:
        return None
    try:
        goal = _name_anew(aside, folder, path.name)
    except OSError:
        put_back(aside)
        raise
    return goal


def sweep(folder: Path, *, recursive: bool) -> None:
    """Put back what a killed run left aside; it is looked into anew."""
    pattern = f".*{SUFFIX}"
    with contextlib.suppress(OSError):
        found = folder.rglob(pattern) if recursive else folder.glob(pattern)
        for aside in list(found):
            if aside.is_file() and not aside.is_symlink():
                put_back(aside)


def put_back(aside: Path) -> None:
    name = aside.name.removeprefix(".").removesuffix(SUFFIX)
    _name_anew(aside, aside.parent, name)


def _put_aside(path: Path, fd: int) -> Path | None:
    aside = path.with_name(f".{path.name}{SUFFIX}")
    if aside.exists():
        put_back(aside)
    before = os.fstat(fd)
    try:
        path.rename(aside)
    except FileNotFoundError:
        return None
    now, there = os.fstat(fd), aside.lstat()
    same_file = (there.st_dev, there.st_ino) == (now.st_dev, now.st_ino)
    untouched = (before.st_size, before.st_mtime_ns) == (now.st_size, now.st_mtime_ns)
    if same_file and untouched:
        return aside
    put_back(aside)
    return None


def _name_anew(path: Path, folder: Path, name: str) -> Path:
    """Give *path* the first free name in *folder* that is like *name*."""
    for goal in _names(folder / name):
        try:
            os.link(path, goal, follow_symlinks=False)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno == errno.EXDEV:
                return _copy(path, goal)
            if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                # A file system without links.
                if goal.exists():
                    continue
                return path.rename(goal)
            raise
        path.unlink()
        return goal
    raise AssertionError("there is always a next name")


def _copy(path: Path, goal: Path) -> Path:
    """To another file system: whole under a hidden name, then under its own."""
    draft = goal.with_name(f".{goal.name}{SUFFIX}-copy")
    try:
        shutil.copy2(path, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        goal = _name_anew(draft, goal.parent, goal.name)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    path.unlink()
    return goal


def _names(wanted: Path) -> Iterator[Path]:
    yield wanted
    for number in itertools.count(2):
        yield wanted.with_name(f"{wanted.stem} ({number}){wanted.suffix}")
