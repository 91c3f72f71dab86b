"""Service: the models with their engines, the desk, the gate; and how one request gets its answer or is let go. Knows no route."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from quickstep.apps.server.admission import Gate
from quickstep.apps.server.batch_worker import Engine, Kind
from quickstep.apps.server.config import Limits, ServeConfig
from quickstep.apps.server.error_responses import Problem, busy
from quickstep.apps.server.inference_tasks import Naming, Posing, Searching, Timing
from quickstep.apps.server.metrics import Metrics
from quickstep.apps.server.multipart import Left
from quickstep.apps.server.no_cache import Forgetful
from quickstep.apps.server.upload_folder import Desk
from quickstep.apps.server.video_input import Videos
from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, MediaError


@dataclass(frozen=True)
class Offer:
    """What is served: models by name, and a library to search."""

    models: Mapping[str, AnyModel]
    library: str | None = None
    weights: str | None = None  # where the weights of the library's backbone are now, if they moved
    poses: PoseConfig = field(default_factory=lambda: PoseConfig(person="all"))
    cache: Cache = field(default_factory=Cache)


class Service:
    """Everything behind the routes. Close it, and nothing is left on disk."""

    def __init__(self, offer: Offer, config: ServeConfig, limits: Limits) -> None:
        if not offer.models:
            raise ConfigError("model", "name at least one model to serve")
        self.offer, self.config, self.limits = offer, config, limits
        self.metrics = Metrics()
        self.gate = Gate(limits, self.metrics, config.secret)
        self.naming = {name: Kind(f"name:{name}", Naming(model, self._cache())) for name, model in offer.models.items()}
        self.timing = {name: Kind(f"time:{name}", Timing(model, self._cache()), together=False) for name, model in offer.models.items()}
        self.posing = Kind("poses", Posing(offer.poses, self._cache()), together=False)
        self.searching = None if offer.library is None else self._searcher(offer.library)
        self.desk = Desk()
        self.videos = Videos(config, limits, self.metrics, self.desk)
        self.engine = Engine("model", batch=limits.batch, metrics=self.metrics)
        self.poser = Engine("poses", batch=1, metrics=self.metrics)

    def close(self) -> None:
        """Stop the threads and remove the desk."""
        self.gate.close()
        self.videos.close()
        for engine in (self.engine, self.poser):
            engine.close()
        self.desk.close()

    def named(self, name: str | None) -> str:
        """The model that is meant."""
        if name is None:
            return next(iter(self.offer.models))
        if name not in self.offer.models:
            raise Problem(404, f"there is no model {name!r}", f"take one of: {', '.join(self.offer.models)}")
        return name

    async def done(self, request: Request, engine: Engine, kind: Kind, ask: Any) -> Any:
        """What the engine makes of it; let go when the client leaves or its patience ends."""
        future = engine.submit(kind, ask)
        answer = asyncio.wrap_future(future)
        left = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait({answer, left}, timeout=self.limits.timeout, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return self._checked(answer)
            if left.done():
                self.metrics.failures.labels("left").inc()
                raise Left
            raise busy(f"there is no answer after {self.limits.timeout:g} s", engine.delay)
        finally:
            left.cancel()
            answer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await left

    def _checked(self, answer: asyncio.Future[Any]) -> Any:
        if answer.cancelled():
            raise busy("the service is stopping", 5.0)
        error = answer.exception()
        if error is None and isinstance(answer.result(), Exception):
            error = answer.result()
        if error is not None:
            self.metrics.failures.labels("video" if isinstance(error, MediaError) else "work").inc()
            raise error
        return answer.result()

    def _cache(self) -> Cache:
        return self.offer.cache if self.config.keep_features else Forgetful(self.offer.cache.folder)

    def _searcher(self, library: str) -> Kind:
        offer = self.offer
        return Kind("search", Searching(library, offer.weights, offer.cache, list(offer.models.values())))


async def _left(request: Request) -> None:
    """Ends when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
