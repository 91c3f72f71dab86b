"""Service: the models of a service, its workers, limits and uploads; and Admission, which decides which requests are accepted."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from quickstep.apps.server.batch_worker import BatchWorker, JobKind
from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.server.error_responses import Problem, busy
from quickstep.apps.server.inference_tasks import BatchCache, PoseTask, PredictTask, SearchTask, TimelineTask
from quickstep.apps.server.metrics import Metrics
from quickstep.apps.server.multipart import FORM_BYTES, ClientLeft, too_large
from quickstep.apps.server.video_input import UploadFolder, VideoInput
from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, MediaError

NO_TOKEN_NEEDED = ("/healthz",)  # answered also while the service stops
ANSWERED_WHILE_STOPPING = ("/metrics",)
WORK_ROUTES = ("/predict", "/timeline", "/poses", "/search")  # count towards the limit of requests in progress
_RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Served:
    """What a service serves: models by name, and a library to search."""

    models: Mapping[str, AnyModel]
    library: str | None = None
    weights: str | None = None  # where the weights of the library's backbone are now, if they moved
    poses: PoseConfig = field(default_factory=lambda: PoseConfig(person="all"))
    cache: Cache = field(default_factory=Cache)


class Service:
    """The models, workers and limits behind the routes. When it is closed, nothing is left on disk."""

    def __init__(self, served: Served, config: ServeConfig, limits: Limits) -> None:
        if not served.models:
            raise ConfigError("model", "name at least one model to serve")
        self.served, self.config, self.limits = served, config, limits
        self.metrics = Metrics()
        self.admission = Admission(limits, self.metrics, config.secret)
        models = served.models.items()
        self.predict_kinds = {name: JobKind(f"predict:{name}", PredictTask(model, self._cache())) for name, model in models}
        self.timeline_kinds = {
            name: JobKind(f"timeline:{name}", TimelineTask(model, self._cache()), together=False) for name, model in models
        }
        self.pose_kind = JobKind("poses", PoseTask(served.poses, self._cache()), together=False)
        self.search_kind = None if served.library is None else self._search_kind(served.library)
        self.uploads = UploadFolder()
        self.video_input = VideoInput(config, limits, self.metrics, self.uploads)
        self.worker = BatchWorker("model", batch=limits.batch, metrics=self.metrics)
        self.pose_worker = BatchWorker("poses", batch=1, metrics=self.metrics)

    def close(self) -> None:
        """Stop the threads and remove the uploads."""
        self.admission.stop()
        self.video_input.close()
        for worker in (self.worker, self.pose_worker):
            worker.close()
        self.uploads.close()

    def model_name(self, name: str | None) -> str:
        """Return the name of the requested model, by default the first one."""
        if name is None:
            return next(iter(self.served.models))
        if name not in self.served.models:
            raise Problem(404, f"there is no model {name!r}", f"use one of: {', '.join(self.served.models)}")
        return name

    async def run(self, request: Request, worker: BatchWorker, kind: JobKind, input: Any) -> Any:
        """Run a job and return its result; cancel it when the client leaves or the timeout ends."""
        future = worker.submit(kind, input)
        result = asyncio.wrap_future(future)
        client_left = asyncio.ensure_future(_wait_for_disconnect(request))
        try:
            await asyncio.wait({result, client_left}, timeout=self.limits.timeout, return_when=asyncio.FIRST_COMPLETED)
            if result.done():
                return self._checked(result)
            if client_left.done():
                self.metrics.failures.labels("left").inc()
                raise ClientLeft
            raise busy(f"there is no answer after {self.limits.timeout:g} s", worker.delay)
        finally:
            client_left.cancel()
            result.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await client_left

    def _checked(self, result: asyncio.Future[Any]) -> Any:
        """Return the result; raise and count its error."""
        if result.cancelled():
            raise busy("the service is stopping", _RETRY_SECONDS)
        error = result.exception()
        if error is None and isinstance(result.result(), Exception):
            error = result.result()
        if error is not None:
            self.metrics.failures.labels("video" if isinstance(error, MediaError) else "work").inc()
            raise error
        return result.result()

    def _cache(self) -> Cache:
        return self.served.cache if self.config.keep_features else BatchCache(self.served.cache.folder)

    def _search_kind(self, library: str) -> JobKind:
        served = self.served
        return JobKind("search", SearchTask(library, served.weights, served.cache, list(served.models.values())))


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Admission:
    """Decides which requests are accepted, before any of the body is read: while stopping, by token, number and size."""

    def __init__(self, limits: Limits, metrics: Metrics, secret: str | None) -> None:
        self.limits, self.metrics, self._secret = limits, metrics, secret
        self.in_progress = 0
        self.stopping: float | None = None  # the time at which the service began to stop

    def stop(self) -> None:
        """Accept no more requests; those in progress continue."""
        self.stopping = self.stopping or time.monotonic()

    def check(self, path: str, headers: dict[bytes, bytes]) -> None:
        """Refuse a request with a Problem, or return."""
        if path in NO_TOKEN_NEEDED:
            return
        if self.stopping is not None and path not in ANSWERED_WHILE_STOPPING:
            raise busy("the service is stopping", _RETRY_SECONDS)
        if self._secret is not None and not _has_token(headers.get(b"authorization", b""), self._secret):
            raise Problem(
                401,
                "the token is missing or wrong",
                "send the header Authorization: Bearer TOKEN with the token of this service",
                headers={"WWW-Authenticate": 'Bearer realm="quickstep"'},
            )
        if path in WORK_ROUTES:
            if self.in_progress >= self.limits.queue:
                raise busy(f"{self.in_progress} requests are in progress, which is the limit", _RETRY_SECONDS)
            stated = headers.get(b"content-length", b"")
            if stated.isdigit() and int(stated) > self.limits.max_bytes + FORM_BYTES:
                raise too_large(self.limits)


def _has_token(header: bytes, secret: str) -> bool:
    """Tell whether a header has exactly the token, in a time that does not depend on it."""
    scheme, _, token = header.partition(b" ")
    return hmac.compare_digest(token.strip(), secret.encode()) and scheme.lower() == b"bearer"
