"""A service on loopback in a thread of the test, models that answer at once or when they are let, and hostile files."""

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

from quickstep.apps.server import Limits, Offer, ServeConfig
from quickstep.apps.server.prediction_service import Service
from quickstep.apps.server.uvicorn_server import Server, address_of, listen
from quickstep.models.model import Model
from quickstep.training.zero_shot import ZeroShotConfig, zero_shot
from quickstep.types.signals import Features, Frames

PATIENCE = 20.0  # seconds for what should take a moment

HEAD = b"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 5000\r\n\r\n"
PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'


class Held(Words):
    """Looks when it is let, and remembers what it was shown together."""

    def __init__(self, *, open: bool = False) -> None:
        super().__init__("held")
        self.may, self.looking = threading.Event(), threading.Event()
        self.shown: list[int] = []  # windows of each call
        if open:
            self.may.set()

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        self.looking.set()
        assert self.may.wait(PATIENCE)
        self.shown.append(len(batch))
        return super().embed(batch)


def named_by(backbone: Words) -> Model:
    """A model that names colours."""
    return zero_shot(ZeroShotConfig(labels="red,green,blue"), backbone=backbone)


@dataclass(frozen=True)
class Live:
    """A service that runs."""

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
        """What /metrics says, read by Prometheus' own parser."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        samples = [s for family in families for s in family.samples if s.name == name and labels.items() <= s.labels.items()]
        return sum(sample.value for sample in samples)

    @property
    def on_the_desk(self) -> list[Path]:
        """The videos that are on disk now."""
        return [path for path in self.service.desk.folder.iterdir() if path.name != ".lock"]

    def connection(self) -> socket.socket:
        """A bare connection."""
        host, port = self.address.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout=PATIENCE)


@contextlib.contextmanager
def running(offer: Offer | Model, config: ServeConfig | None = None, limits: Limits | None = None, *, wait: float = 60.0) -> Iterator[Live]:
    """A service on any free port; nothing is left on its desk when it ends."""
    offer = offer if isinstance(offer, Offer) else Offer({"colours": offer})
    limits = replace(limits or Limits(), grace=1.0)
    listener, up = listen("127.0.0.1", 0), threading.Event()
    service = Service(offer, config or ServeConfig(), limits)
    server = Server(service, up.set)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        assert up.wait(wait)
        yield Live(address_of(listener), service)
    finally:
        service.gate.close()
        thread.join(wait)
        folder = service.desk.folder
        service.close()
        listener.close()
    assert not thread.is_alive()
    assert not folder.exists()


def until(true: Any, seconds: float = PATIENCE) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def check_problem(answer: httpx.Response, *statuses: int) -> dict[str, str]:
    """An error as every error is: of the right status, with what is wrong and what to do, and nothing of the server's own."""
    assert answer.status_code in statuses, (answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/json"
    said: dict[str, str] = json.loads(answer.content)
    assert said.keys() == {"error", "what_to_do"}
    assert all(isinstance(text, str) and text.strip() and "\n" not in text for text in said.values())
    assert "quickstep-serve-" not in answer.text
    assert "Traceback" not in answer.text
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) >= 1
    return said
