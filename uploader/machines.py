"""One machine for each service that an `Uploader` talks to, opened when it is needed."""

from __future__ import annotations

import asyncio
from typing import Final

from uploader.backend import Backend
from uploader.backends import open_backend
from uploader.climb import Climb
from uploader.clock import Clock
from uploader.config import Settings
from uploader.errors import UsageError
from uploader.events import Observer
from uploader.pacing import Allowance, Pace
from uploader.quiet import Quiet
from uploader.record import Journal
from uploader.retry import Retry
from uploader.run import Machine
from uploader.scheduler import Scheduler, Slots

try:
    import resource
except ImportError:  # Windows knows no such limit.
    resource = None  # type: ignore[assignment]

RESERVED: Final = 64
"""Descriptors for sources, journal and everything else."""


class Machines:
    """They share journal, slots and clock; pace and connections are a service's own."""

    def __init__(
        self,
        settings: Settings,
        *,
        journal: Journal,
        scheduler: Scheduler,
        clock: Clock,
        observe: Observer,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.scheduler = scheduler
        self.clock = clock
        self.observe = observe
        self.allowance = Allowance(settings.limit_rate)
        self._machines: dict[str, Machine] = {}
        self._opening = asyncio.Lock()

    async def add(self, name: str, backend: Backend) -> Machine:
        """A machine for *backend*, under the name of its kind."""
        pace = Pace(
            climb=Climb(_most(self.settings.parallel)),
            remembered_rate=await self.journal.rate(backend.service),
        )
        machine = self._machines[name] = Machine(
            settings=self.settings,
            backend=backend,
            journal=self.journal,
            scheduler=self.scheduler,
            slots=Slots(pace.climb.limit),
            retry=Retry(
                self.settings.retry,
                pace,
                self.clock,
                quiet=Quiet(self.journal, backend.service, self.clock),
            ),
            clock=self.clock,
            observe=self.observe,
            allowance=self.allowance,
        )
        return machine

    async def named(self, name: str) -> Machine:
        """The machine of a backend by its name.  Raises `UsageError`."""
        # One at a time: whoever is second finds what the first one opened.
        async with self._opening:
            if name in self._machines:
                return self._machines[name]
            return await self.add(name, open_backend(self.settings, name))

    async def of(self, service: str) -> Machine:
        """The machine of a service as the journal names it.

        Raises `UsageError` when the settings lead to another account or address.
        """
        # The name of the backend is the first word of a service.
        machine = await self.named(service.split()[0])
        if machine.backend.service != service:
            raise UsageError(
                f"it belongs to {service}, not {machine.backend.service}",
                hint="run it with that service's --base-url, organisation and project",
            )
        return machine

    async def reaches(self, service: str) -> bool:
        """Whether the settings lead to *service*."""
        try:
            await self.of(service)
        except UsageError:
            return False
        return True

    async def aclose(self) -> None:
        """Keep the rates that were reached, and close the connections."""
        try:
            for machine in self._machines.values():
                await _remember_rate(machine)
        finally:
            for machine in self._machines.values():
                await machine.backend.aclose()


async def _remember_rate(machine: Machine) -> None:
    rate = machine.retry.pace.rate.value(now=machine.clock.elapsed())
    if rate:
        await machine.journal.remember_rate(
            machine.backend.service, rate, now=machine.clock.wall()
        )


def _most(parallel: int) -> int:
    """What the user allows, and this process has descriptors for."""
    if resource is None:
        return parallel
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if descriptors == resource.RLIM_INFINITY:
        return parallel
    # A connection and, while it sends, a second descriptor of it.
    return max(1, min(parallel, (descriptors - RESERVED) // 2))
