"""A service on loopback in a thread of the test, and models that answer at once or when the test allows it."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from toys import Words

from quickstep.apps.server import Limits, ServeConfig, Served
from quickstep.apps.server.service import Service
from quickstep.apps.server.uvicorn_server import Server, address_of, listen
from quickstep.models.model import Model
from quickstep.training.zero_shot import ZeroShotConfig, zero_shot
from quickstep.types.signals import Features, Frames

PATIENCE = 20.0  # seconds for what should take a moment

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 5000\r\n\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'


class PausedBackbone(Words):
    """Waits in `embed` until the test sets `resume`, and records the size of each batch."""

    def __init__(self) -> None:
        super().__init__("paused")
        self.resume, self.started = threading.Event(), threading.Event()
        self.batches: list[int] = []  # windows of each call

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        self.started.set()
        assert self.resume.wait(PATIENCE)
        self.batches.append(len(batch))
        return super().embed(batch)


def colour_model(backbone: Words) -> Model:
    """Make a model that classifies colours."""
    return zero_shot(ZeroShotConfig(labels="red,green,blue"), backbone=backbone)


@dataclass(frozen=True)
class RunningService:
    """A service that is running."""

    address: str
    service: Service

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.address, timeout=PATIENCE, trust_env=False, **options)

    def post(self, route: str, video: Path, name: str | None = None, **options: Any) -> httpx.Response:
        with self.client() as client, video.open("rb") as file:
            return client.post(route, files={"file": (name or video.name, file)}, **options)

    def get(self, route: str, **options: Any) -> httpx.Response:
        with self.client() as client:
            return client.get(route, **options)

    def metric(self, name: str, **labels: str) -> float:
        """Return a value of /metrics, read by Prometheus' own parser."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        samples = [s for family in families for s in family.samples if s.name == name and labels.items() <= s.labels.items()]
        return sum(sample.value for sample in samples)

    @property
    def uploads(self) -> list[Path]:
        """The videos that are on disk now."""
        return [path for path in self.service.uploads.path.iterdir() if path.name != ".lock"]

    def connection(self) -> socket.socket:
        """Open a bare connection."""
        host, port = self.address.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=PATIENCE)


@contextlib.contextmanager
def running(
    served: Served | Model, config: ServeConfig | None = None, limits: Limits | None = None, *, wait: float = 60.0
) -> Iterator[RunningService]:
    """Run a service on a free port; when it ends, check that it leaves no upload."""
    served = served if isinstance(served, Served) else Served({"colours": served})
    limits = replace(limits or Limits(), grace=1.0)
    listener, is_up = listen("127.0.0.1", 0), threading.Event()
    service = Service(served, config or ServeConfig(), limits)
    server = Server(service, is_up.set)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert is_up.wait(wait)
        yield RunningService(address_of(listener, secure=service.config.tls_cert is not None), service)
    finally:
        service.admission.stop()
        thread.join(wait)
        folder = service.uploads.path
        service.close()
        listener.close()
    assert not thread.is_alive()
    assert not folder.exists()


def wait_until(is_true: Any, seconds: float = PATIENCE) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.01)


def check_error(answer: httpx.Response, *statuses: int) -> dict[str, str]:
    """Check the status and the form of an error response, and that it contains nothing internal; return its body."""
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/json"
    body: dict[str, str] = json.loads(answer.content)
    assert body.keys() == {"error", "what_to_do"}
    assert all(isinstance(text, str) and text.strip() and "\n" not in text for text in body.values())
    assert "quickstep-serve-" not in answer.text
    assert "Traceback" not in answer.text
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) >= 1
    return body
