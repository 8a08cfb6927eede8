"""Time as a parameter: every wait and every deadline takes a `Clock`."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Two readings and a wait; tests bring one that obeys them."""

    def wall(self) -> float:
        """Seconds since the epoch, as the machine believes."""
        ...

    def elapsed(self) -> float:
        """Seconds on a clock that never jumps and goes on during suspend."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The clocks of this machine."""

    def wall(self) -> float:
        return time.time()

    def elapsed(self) -> float:
        return _elapsed()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


if hasattr(time, "CLOCK_BOOTTIME"):

    def _elapsed() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

elif hasattr(time, "CLOCK_MONOTONIC"):
    # On macOS this clock counts suspend; time.monotonic() does not.
    def _elapsed() -> float:
        return time.clock_gettime(time.CLOCK_MONOTONIC)

else:
    _elapsed = time.monotonic
