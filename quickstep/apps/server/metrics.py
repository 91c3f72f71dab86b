"""Metrics: what the service counts about itself, as Prometheus reads it; never anything of what was sent."""

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
        self.taken_in = Gauge("quickstep_requests_taken_in", "Requests being received, waiting or worked on", registry=self.registry)
        self.received = self._counter("quickstep_received_bytes", "Bytes of video received or fetched")
        self.batches = self._histogram("quickstep_batch_videos", "Videos the model looked at together", _VIDEOS)
        self.waited = self._histogram("quickstep_wait_seconds", "From a video being ready to the engine's taking it up", _SECONDS)
        self.worked = self._histogram("quickstep_work_seconds", "One batch, from beginning to end", _SECONDS, ("engine",))
        self.failures = self._counter("quickstep_failures", "Videos that could not be used, and work that went wrong", ("why",))
        for why in ("video", "work", "left"):  # so that they can be watched from the first moment on
            self.failures.labels(why)

    def watch_queue(self, engine: str, length: Callable[[], int]) -> None:
        """Show how many wait before an engine."""
        gauge = Gauge(f"quickstep_{engine}_queue_length", f"Waiting for the engine of {engine}", registry=self.registry)
        gauge.set_function(length)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)

    def _counter(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
        return Histogram(name, about, labels, buckets=buckets, registry=self.registry)
