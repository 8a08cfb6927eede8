"""Looking at the folders: what is new, what still grows, what is whole."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from uploader.clock import Clock
from uploader.daemon import afterwards
from uploader.daemon.arrivals import Arrivals, Stage, new_arrival
from uploader.daemon.folders import Found, has_writer, scan
from uploader.daemon.ripeness import Growth
from uploader.daemon.rules import Orders, Rule

Stamp = tuple[int, int, int]

WRITER_LOOK = 1.0
"""Seconds until a file that is whole but for its writer is looked at again."""


@dataclass(slots=True)
class Lookout:
    """What lies in the folders, from look to look."""

    orders: Orders
    arrivals: Arrivals
    clock: Clock
    default_backend: str
    growths: dict[Path, Growth] = field(default_factory=dict)
    settled: dict[Path, Stamp] = field(default_factory=dict)
    """Files that stay where they are although they were dealt with."""

    async def look(self) -> float | None:
        """Look at everything; the seconds until another look is worthwhile."""
        found = await asyncio.to_thread(lambda: list(scan(self.orders)))
        present = {each.path for each in found}
        for known in (self.growths, self.settled):
            for path in known.keys() - present:
                del known[path]
        for arrival in self.arrivals.within(Stage.GROWING):
            if arrival.path not in present:
                self.arrivals.drop(arrival)
        waits = [self._look_at(each) for each in found]
        return min((wait for wait in waits if wait is not None), default=None)

    @property
    def is_growing(self) -> bool:
        return bool(self.growths)

    def forget(self, path: Path) -> None:
        self.settled.pop(path, None)

    def service_of(self, rule: Rule) -> str:
        """The name of the backend that a rule's files go to."""
        if rule.backend is not None:
            return rule.backend
        if rule.to is not None:
            kind = rule.to.partition(":")[0]
            return kind if kind in ("goapi", "llmprovider") else "openai"
        return self.default_backend

    def _look_at(self, found: Found) -> float | None:
        path, rule = found.path, found.rule
        arrival = self.arrivals.at(path)
        if arrival is not None and arrival.stage is not Stage.GROWING:
            if not arrival.is_finished and arrival.stage is not Stage.DOUBTFUL:
                return None
            if arrival.finished_at is not None and path not in self.settled:
                # It stays: kept, or not to be moved.  Another version is news.
                was = arrival.fingerprint
                self.settled[path] = (was.size, was.mtime_ns, was.inode)
        stamp = (
            found.fingerprint.size,
            found.fingerprint.mtime_ns,
            found.fingerprint.inode,
        )
        if self.settled.get(path) == stamp or self._is_kept(found):
            self.settled[path] = stamp
            self.growths.pop(path, None)
            return None
        self.settled.pop(path, None)
        now = self.clock.wall()
        growth = self.growths.get(path)
        if growth is None:
            growth = self.growths[path] = Growth.seen(found.fingerprint, now=now)
        growth.look(found.fingerprint, now=now)
        wait = growth.ripe_in(base=self.orders.ways.quiet, now=now)
        if wait == 0 and has_writer(path):
            wait = WRITER_LOOK
        service = self.service_of(rule)
        arrival = new_arrival(path, rule, service, found.fingerprint, self.clock)
        if wait > 0:
            arrival.stage = Stage.GROWING
            known = self.arrivals.at(path)
            if known is not None:
                arrival.arrived_at = known.arrived_at
            self.arrivals.add(arrival)
            return wait
        del self.growths[path]
        self.arrivals.add(arrival)
        return None

    def _is_kept(self, found: Found) -> bool:
        """Its receipt says that this very file was uploaded, maybe by an earlier run."""
        if found.rule.afterwards != "keep" or found.path in self.growths:
            return False
        receipt = afterwards.receipt_of(found.rule, found.path, found.fingerprint)
        return receipt.exists()
