"""What is measured, for Prometheus.  No file name is a label."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from uploader.clock import Clock
from uploader.daemon.arrivals import Arrival, Arrivals, Stage
from uploader.events import BackingOff, Event, PartSent, UploadEvent, UploadRestarted

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
LABELS: Final = ("rule", "service")


class Metrics:
    """Counters of this process, and an observer of the engine's events."""

    def __init__(
        self, arrivals: Arrivals, clock: Clock, paused: Callable[[], dict[str, bool]]
    ) -> None:
        self._arrivals = arrivals
        self._registry = registry = CollectorRegistry()

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(f"uploader_{name}", what, labels, registry=registry)

        self._bytes = counter("sent_bytes", "Bytes of parts sent.", *LABELS)
        self._parts = counter("sent_parts", "Parts sent.", *LABELS)
        self._retries = counter("retries", "Requests tried again.", *LABELS, "reason")
        self._throttled = counter("throttled", "Answers 429.", *LABELS)
        self._restarts = counter("restarts", "Uploads begun anew.", *LABELS)
        self._files = counter("files", "Files that ended.", *LABELS, "outcome")
        self.notifications = counter("notifications", "Notifications.", "outcome")
        self.scans = counter("scans", "Looks at all folders.")
        self.reloads = counter("reloads", "Rules read again.", "outcome")
        registry.register(_Now(arrivals, clock, paused))
        ProcessCollector(registry=registry)

    def __call__(self, event: Event) -> None:
        if not isinstance(event, UploadEvent):
            return
        arrival = self._arrivals.at(event.path)
        if arrival is None:
            return
        labels = (arrival.rule_name, arrival.service)
        match event:
            case PartSent():
                self._bytes.labels(*labels).inc(event.size)
                self._parts.labels(*labels).inc()
            case BackingOff():
                self._retries.labels(*labels, event.cause).inc()
                if event.cause == "throttled":
                    self._throttled.labels(*labels).inc()
            case UploadRestarted():
                self._restarts.labels(*labels).inc()
            case _:
                pass

    def ended(self, arrival: Arrival, outcome: str) -> None:
        self._files.labels(arrival.rule_name, arrival.service, outcome).inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Now(Collector):
    """What is true at the moment of asking."""

    def __init__(
        self, arrivals: Arrivals, clock: Clock, paused: Callable[[], dict[str, bool]]
    ) -> None:
        self._arrivals = arrivals
        self._clock = clock
        self._paused = paused

    def collect(self) -> Iterator[Metric]:
        files = GaugeMetricFamily(
            "uploader_queue_files", "Files by stage.", labels=(*LABELS, "stage")
        )
        waiting = GaugeMetricFamily(
            "uploader_queue_bytes", "Bytes that are not sent yet.", labels=LABELS
        )
        flying = GaugeMetricFamily(
            "uploader_parts_in_flight", "Parts under way.", labels=LABELS
        )
        deadline = GaugeMetricFamily(
            "uploader_deadline_seconds",
            "Until the next open upload expires.",
            labels=LABELS,
        )
        counts: Counts[tuple[str, str, str]] = Counts()
        left: Counts[tuple[str, str]] = Counts()
        parts: Counts[tuple[str, str]] = Counts()
        nearest: dict[tuple[str, str], float] = {}
        now = self._clock.wall()
        for arrival in self._arrivals:
            if arrival.is_finished:
                continue
            labels = (arrival.rule_name, arrival.service)
            counts[*labels, arrival.stage.value] += 1
            left[labels] += arrival.size - arrival.sent
            parts[labels] += len(arrival.moving)
            if arrival.stage is Stage.SENDING and arrival.expires_at is not None:
                seconds = arrival.expires_at - now
                nearest[labels] = min(seconds, nearest.get(labels, seconds))
        for stage, count in counts.items():
            files.add_metric(stage, count)
        for family, values in ((waiting, left), (flying, parts)):
            for labels, count in values.items():
                family.add_metric(labels, count)
        for labels, seconds in nearest.items():
            deadline.add_metric(labels, seconds)
        paused = GaugeMetricFamily(
            "uploader_service_paused", "1 while nothing goes there.", labels=["service"]
        )
        for service, is_paused in self._paused().items():
            paused.add_metric([service], float(is_paused))
        yield from (files, waiting, flying, deadline, paused)
