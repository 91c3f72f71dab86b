"""Metrics: the counters of the service, in the format of Prometheus; they contain nothing that clients sent."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_VIDEOS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("quickstep_requests", "Requests answered", ("route", "method", "status"))
        self.seconds = self._histogram("quickstep_request_seconds", "From a request's first byte to its answer", _SECONDS, ("route",))
        self.in_progress = Gauge("quickstep_requests_taken_in", "Requests being received, waiting or worked on", registry=self.registry)
        self.received = self._counter("quickstep_received_bytes", "Bytes of video received or downloaded")
        self.batches = self._histogram("quickstep_batch_videos", "Videos in one batch of the model", _VIDEOS)
        self.waited = self._histogram("quickstep_wait_seconds", "Time that a received video waits for a worker", _SECONDS)
        self.worked = self._histogram("quickstep_work_seconds", "Duration of one batch", _SECONDS, ("engine",))
        self.failures = self._counter("quickstep_failures", "Unusable videos, failed work, and clients that left", ("why",))
        for why in ("video", "work", "left"):  # so that the counters exist from the start
            self.failures.labels(why)

    def watch_queue(self, worker: str, length: Callable[[], int]) -> None:
        """Add a gauge of the jobs that wait for a worker."""
        gauge = Gauge(f"quickstep_{worker}_queue_length", f"Jobs waiting for the {worker} worker", registry=self.registry)
        gauge.set_function(length)

    def text(self) -> bytes:
        """Return all counters as Prometheus reads them."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
        return Histogram(name, about, labels, buckets=buckets, registry=self.registry)
