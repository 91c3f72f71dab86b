"""Service: the models of a service, its workers, limits and uploads."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from fastapi import Request

from quickstep.apps.server.access_log import AccessLog
from quickstep.apps.server.admission import Admission, Places
from quickstep.apps.server.batch_worker import BatchWorker
from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.server.error_responses import Problem, busy
from quickstep.apps.server.inference_tasks import BatchCache, PoseTask, SearchTask
from quickstep.apps.server.jobs import run_job
from quickstep.apps.server.metrics import Metrics
from quickstep.apps.server.shared_models import share_network
from quickstep.apps.server.tokens import open_tokens
from quickstep.apps.server.video_input import Span, UploadFolder, Video, VideoInput, check_video
from quickstep.backbones import reads_poses
from quickstep.inference.timelines import Timeline, timeline
from quickstep.models.classifier import Prediction
from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError
from quickstep.types.progress import StopSignal
from quickstep.types.registry import trust_typed
from quickstep.types.segment import Segment
from quickstep.types.signals import Poses

T = TypeVar("T")


@dataclass(frozen=True)
class Served:
    """What a service serves: models by name, and a library to search."""

    models: Mapping[str, AnyModel]
    library: str | None = None
    weights: str | None = None  # where the weights of the library's backbone are now, if they moved
    poses: PoseConfig = field(default_factory=lambda: PoseConfig(person="all"))
    cache: Cache = field(default_factory=Cache)


@dataclass(frozen=True)
class Received:
    """A video that was received, and the signal that ends the work on it."""

    video: Video
    request: Request
    stop: StopSignal


class Service:
    """The models, workers and limits behind the routes. When it is closed, nothing is left on disk.

    Reading a video, with all that is computed from it, is the job of one thread. Threads for timelines and poses are others than those
    for short requests. The networks are run by one thread for all.
    """

    def __init__(self, served: Served, config: ServeConfig, limits: Limits) -> None:
        if not served.models:
            raise ConfigError("model", "name at least one model to serve")
        self.served, self.config, self.limits = served, config, limits
        trust_typed(served.poses.estimator)
        self.metrics = Metrics()
        self.tokens = open_tokens(config.secret, config.tokens)
        self.access_log = AccessLog(config.access_log)
        self.admission = Admission(limits, self.metrics, self.tokens)
        self._pose_task = PoseTask(served.poses, self._cache())
        self.worker = BatchWorker("model", batch=limits.batch, metrics=self.metrics)
        self.readers = BatchWorker("short", threads=limits.decoders, metrics=self.metrics)
        self.long_readers = BatchWorker("long", threads=limits.long_jobs, metrics=self.metrics)
        self.pose_worker = BatchWorker("poses", metrics=self.metrics)
        self.search_worker = BatchWorker("search", metrics=self.metrics)
        self.models = {name: share_network(model, self.worker) for name, model in served.models.items()}
        self._search_task = None if served.library is None else self._open_library(served.library)
        self.uploads = UploadFolder()
        self.video_input = VideoInput(config, limits, self.admission.uploads, self.metrics, self.uploads)

    @property
    def waiting(self) -> int:
        """The number of jobs that wait."""
        return sum(map(len, self._job_workers))

    @property
    def _job_workers(self) -> tuple[BatchWorker, ...]:
        return self.readers, self.long_readers, self.pose_worker, self.search_worker

    def close(self) -> None:
        """Stop the threads and remove the uploads."""
        self.admission.stop()
        self.video_input.close()
        for worker in (*self._job_workers, self.worker):
            worker.close()
        self.uploads.close()

    def model_name(self, name: str | None) -> str:
        """Return the name of the requested model, by default the first one."""
        if name is None:
            return next(iter(self.served.models))
        if name not in self.served.models:
            raise Problem(404, f"there is no model {name!r}", f"use one of: {', '.join(self.served.models)}")
        return name

    def estimates_poses(self, name: str) -> bool:
        """Whether a model finds the poses of people before it classifies them."""
        return any(reads_poses(member.backbone) for member in self.served.models[name].members)

    # -- requests --------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def receive(self, request: Request, *, is_long: bool) -> AsyncIterator[Received]:
        """Receive the video of a request; then take a place in a queue, and let its time begin."""
        places: Places = self.admission.long if is_long else self.admission.short
        async with self.video_input.receive(request) as video:
            with places.take(), video.named_errors():
                yield Received(video, request, StopSignal(self.limits.timeout))

    async def predict(self, received: Received, name: str, span: Span) -> Prediction:
        """Classify a part of a video."""

        def work() -> Prediction:
            return self.models[name].predict([_segment(received, span)], cache=self._cache(), strict=True).predictions[0]

        return await self._run_checked(received, span, self.pose_worker if self.estimates_poses(name) else self.readers, work)

    async def timeline(self, received: Received, name: str) -> Timeline:
        """Build the timeline of a video."""

        def work() -> Timeline:
            return timeline(self.models[name], received.video.path, cache=self._cache())

        worker = self.pose_worker if self.estimates_poses(name) else self.long_readers
        return await self._run_checked(received, Span(whole=True), worker, work)

    async def poses(self, received: Received, span: Span) -> Poses:
        """Estimate the poses in a part of a video."""
        return await self._run_checked(received, span, self.pose_worker, partial(self._pose_task, _segment(received, span)))

    async def search(self, request: Request, query: Any) -> Any:
        """Search the library."""
        if self._search_task is None:
            raise Problem(404, "this service has no library", "start the service with --library LIBRARY")
        with self.admission.short.take():
            return await self._run(request, self.search_worker, partial(self._search_task, query), StopSignal(self.limits.timeout))

    async def _run_checked(self, received: Received, span: Span, worker: BatchWorker, work: Callable[[], T]) -> T:
        """Check a video against the limits and do the work; what is refused never waits behind long work."""
        check = partial(check_video, received.video.path, span, self.limits)
        if worker is self.readers:
            return await self._run(received.request, worker, lambda: (check(), work())[1], received.stop)
        await self._run(received.request, self.readers, check, received.stop)
        return await self._run(received.request, worker, work, received.stop)

    async def _run(self, request: Request, worker: BatchWorker, work: Callable[[], T], stop: StopSignal) -> T:
        late = busy(f"there is no answer after {self.limits.timeout:g} s", worker.delay)
        return await run_job(request, worker, work, stop, late)

    def _cache(self) -> Cache:
        return self.served.cache if self.config.keep_features else BatchCache(self.served.cache.folder)

    def _open_library(self, library: str) -> SearchTask:
        served = self.served
        return SearchTask(library, served.weights, served.cache, list(self.models.values()))


def _segment(received: Received, span: Span) -> Segment:
    return Segment(received.video.path, start=span.start, end=span.end)
