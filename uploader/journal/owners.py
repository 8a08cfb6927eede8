"""Who works on uploads, and whether it still lives.

An owner is one open journal.  As long as it lives it holds an OS lock on a file of
its own, which the kernel frees at its death, however sudden.  So on one host a
dead owner is known at once, without waiting for a lease to expire.

Every look at these locks is taken inside a write transaction of the journal.
Nobody else looks meanwhile, so a lock that is held is held by its owner, and not
by a process that is just looking.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from uploader.journal.failures import explained

if TYPE_CHECKING:
    from filelock import BaseFileLock


def described(host: str, pid: int) -> str:
    """Name an owner in words for people."""
    return f"process {pid} on {host}"


class Owner:
    """This open journal, as others see it."""

    def __init__(self, journal: Path) -> None:
        self.id = secrets.token_hex(8)
        self.host = socket.gethostname()
        self.pid = os.getpid()
        self._directory = journal.with_name(f"{journal.name}.owners")
        self._lock: BaseFileLock | None = None

    def appear(self) -> None:
        """Show that this owner lives; needed before its first lease."""
        if self._lock is not None:
            return
        with explained(self._directory):
            lock = self._lock_of(self.id)
            lock.acquire()
            self._lock = lock
            for place in self._directory.glob("*.lock"):
                self.is_alive(place.stem)

    def is_alive(self, owner: str) -> bool:
        """Whether *owner*, on this host, lives; what a dead one left is removed."""
        if owner == self.id:
            return True
        from filelock import Timeout

        with explained(self._directory):
            try:
                with self._lock_of(owner).acquire(blocking=False):
                    self._place_of(owner).unlink(missing_ok=True)
            except Timeout:
                return True
            return False

    def vanish(self) -> None:
        """Let others take over; to be called when the leases are released."""
        if self._lock is None:
            return
        with explained(self._directory):
            # Removed while it is locked: nobody holds what has lost its name.
            self._place_of(self.id).unlink(missing_ok=True)
            self._lock.release()
        self._lock = None

    def _place_of(self, owner: str) -> Path:
        return self._directory / f"{owner}.lock"

    def _lock_of(self, owner: str) -> BaseFileLock:
        # Here, not above: commands that only read the journal do not need it.
        from filelock import FileLock

        self._directory.mkdir(mode=0o700, exist_ok=True)
        # Taken in the journal's thread, released in another.
        return FileLock(self._place_of(owner), mode=0o600, thread_local=False)
