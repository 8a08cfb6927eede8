"""What kind of file system a path is on: will a journal there last?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MOUNTS: Final = Path("/proc/mounts")

NETWORK: Final = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "davfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb2",
        "smb3",
        "smbfs",
        "virtiofs",
    }
)
FLEETING: Final = frozenset(
    {"aufs", "overlay", "overlayfs", "ramfs", "rootfs", "tmpfs"}
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a path is, or will be."""

    path: Path
    kind: str
    """The name of its file system, as the kernel says it."""

    @property
    def warning(self) -> str | None:
        """What speaks against keeping a journal there."""
        if self.kind in NETWORK:
            return (
                f"{self.path} is on {self.kind}, a network file system: locks and"
                " write-ahead logs of SQLite do not work there reliably"
            )
        if self.kind in FLEETING:
            return (
                f"{self.path} is on {self.kind}, which is gone with the container, or"
                " at the next start"
            )
        return None


def look(path: Path, mounts: Path = MOUNTS) -> Place | None:
    """Where *path* is; None where nobody tells (not Linux)."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    real = path.resolve()
    found: tuple[int, str] | None = None
    for line in lines.splitlines():
        _, point, kind, *_ = line.split(" ")
        directory = Path(_unescaped(point))
        depth = len(directory.parts)
        # Of two at the same place the later one covers the earlier.
        if real.is_relative_to(directory) and (found is None or depth >= found[0]):
            found = depth, kind
    return None if found is None else Place(path, found[1])


def _unescaped(field: str) -> str:
    r"""A space is written as \040 there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
