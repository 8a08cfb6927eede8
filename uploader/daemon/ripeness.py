"""When a file is whole: it stopped growing, or a rename brought it.

Plain decisions: every look is told the time, in seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from uploader.model import MIB, Fingerprint

PER_SECOND: Final = 64 * MIB
"""For each so many bytes a file has to be quiet for one second more."""

MOST: Final = 120.0
"""No file is waited for longer than this after its last change."""

PAUSES: Final = 3.0
"""A writer that paused in the middle may pause again, and somewhat longer."""


def quiet_needed(size: int, *, base: float, longest_pause: float) -> float:
    """Seconds without a change after which a file of *size* counts as whole."""
    return min(max(base + size / PER_SECOND, PAUSES * longest_pause), MOST)


def came_whole(fingerprint: Fingerprint) -> bool:
    """Whether the last thing that happened to it was no writing.

    A write moves both times to the same moment; a rename moves the change time alone.
    """
    return fingerprint.size > 0 and fingerprint.ctime_ns > fingerprint.mtime_ns


@dataclass(slots=True)
class Growth:
    """One file that may still be on its way into the folder."""

    fingerprint: Fingerprint
    changed_at: float
    """When it was seen to change, or says that it did."""
    longest_pause: float = 0.0
    grew: bool = field(default=False)

    @classmethod
    def seen(cls, fingerprint: Fingerprint, *, now: float) -> Growth:
        """A first look.  What was at rest before we came need not wait again.

        The change time cannot be set by a program; one that lies in the future is of
        a clock that is not ours, and does not count.
        """
        changed_at = max(fingerprint.ctime_ns, fingerprint.mtime_ns) / 1e9
        if not 0 < changed_at <= now:
            changed_at = now
        return cls(fingerprint, changed_at)

    def look(self, fingerprint: Fingerprint, *, now: float) -> None:
        """Look again."""
        if fingerprint == self.fingerprint:
            return
        known, self.fingerprint = self.fingerprint, fingerprint
        if (known.size, known.mtime_ns) != (fingerprint.size, fingerprint.mtime_ns):
            self.grew = True
            self.longest_pause = max(self.longest_pause, now - self.changed_at)
        self.changed_at = now

    def ripe_in(self, *, base: float, now: float) -> float:
        """Seconds until it may be taken if nothing happens; 0: now."""
        if not self.grew and came_whole(self.fingerprint):
            return 0.0
        needed = quiet_needed(
            self.fingerprint.size, base=base, longest_pause=self.longest_pause
        )
        return max(0.0, self.changed_at + needed - now)
