"""What a process cost."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

Figures = dict[str, float]
"""What was measured, by name.  Seconds and bytes, as everywhere; README has the names."""


@dataclass(slots=True)
class Meter:
    """Reads this process, or the programs that it ran, since `start`."""

    children: bool = False
    _started_at: float = field(default_factory=time.perf_counter)
    _cpu: float = 0.0

    def start(self) -> None:
        """The imports and preparations are over: count from here."""
        self._started_at = time.perf_counter()
        self._cpu = self._spent()

    def read(self) -> Figures:
        spent = self._spent()
        return {
            "wall": time.perf_counter() - self._started_at,
            "cpu": spent - self._cpu,
            "process_cpu": spent,
            "rss": float(self._peak()),
        }

    def _spent(self) -> float:
        usage = resource.getrusage(self._who)
        return usage.ru_utime + usage.ru_stime

    def _peak(self) -> int:
        if self.children:
            return resource.getrusage(self._who).ru_maxrss * 1024
        # Not ru_maxrss: a child inherits there what its parent had at the fork.
        status = Path("/proc/self/status").read_text().splitlines()
        fields: Mapping[str, str] = dict(line.split(":", 1) for line in status)
        return int(fields["VmHWM"].split()[0]) * 1024

    @property
    def _who(self) -> int:
        return resource.RUSAGE_CHILDREN if self.children else resource.RUSAGE_SELF
