"""What lies in the folders, without what is nobody's to take."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from uploader.daemon.rules import Orders, Rule
from uploader.model import Fingerprint

try:
    import fcntl
except ImportError:  # Windows has no leases.
    fcntl = None  # type: ignore[assignment]

TEMPORARY: Final = (
    "~",
    ".part",
    ".partial",
    ".tmp",
    ".temp",
    ".crdownload",
    ".download",
    ".filepart",
    ".swp",
    ".lock",
)
"""How names end while somebody still writes."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that a rule takes as soon as it is whole."""

    path: Path
    rule: Rule
    fingerprint: Fingerprint


def is_temporary(name: str) -> bool:
    """Whether a name says: hidden, or not finished."""
    return name.startswith((".", "~", "#")) or name.lower().endswith(TEMPORARY)


def scan(orders: Orders) -> Iterator[Found]:
    """Every file of every rule, once; a folder that is away has none."""
    seen: set[Path] = set()
    for rule in orders.rules:
        for path, found in _files(rule.folder, orders, recursive=rule.recursive):
            if path not in seen and rule.takes(path):
                seen.add(path)
                yield Found(path, rule, fingerprint_of(found))


def _files(
    folder: Path, orders: Orders, *, recursive: bool
) -> Iterator[tuple[Path, os.stat_result]]:
    if orders.is_own(folder):
        return
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # Away, or closed to us; the next look may find it.
    for entry in entries:
        if is_temporary(entry.name):
            continue
        # Neither test follows a symlink: what it leads to is not in this folder, or
        # is found under its own name.
        with contextlib.suppress(OSError):
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path), entry.stat(follow_symlinks=False)
            elif recursive and entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path), orders, recursive=True)


def fingerprint_of(found: os.stat_result) -> Fingerprint:
    return Fingerprint(
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        device=found.st_dev,
        inode=found.st_ino,
    )


def look_at(path: Path) -> Fingerprint | None:
    """The fingerprint of a regular file that is no symlink; None without one."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return fingerprint_of(found) if stat.S_ISREG(found.st_mode) else None


def is_straight(path: Path) -> bool:
    """Whether *path* leads where it says, through no symlink."""
    return os.path.realpath(path) == str(path)


def has_writer(path: Path) -> bool:
    """Whether some process has the file open for writing, as far as one can know.

    Linux gives nobody a lease to read while there is a writer.  Elsewhere, and on
    network file systems, nobody can tell.
    """
    if fcntl is None or not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A writer that comes in this very moment makes the kernel send a signal, by
        # default one that would end us.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(fd)
    return False
