"""The match threshold: the score that queries without a match in this library rarely reach.

The best score of many windows is high by chance alone. How high depends on the library, on its size, and on the network.

For text, several hundred unrelated everyday phrases are searched, and the best score of each is kept. The threshold is the score that only
5 in 100 of them exceed. Some phrases do match something in the library, so the upper tail is bounded by an extrapolation from the
lower half with a Gumbel distribution (the law of the maximum of many values).

For an example, most windows are unrelated to it, and their scores have a bell-shaped distribution whose lower half contains no match. The
threshold is the score that the best of so many windows of that distribution rarely exceeds. The similarity of videos to their nearest
other video is a second bound, where the library has enough videos; each of the two bounds may cause half of the false alarms.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import Backbone
from quickstep.library.ann_index import DISTANCE, nearest
from quickstep.library.row_writer import grid_of
from quickstep.library.table import Library, sql_text, vectors_of
from quickstep.library.windows import Vectors, unit
from quickstep.models.text_features import sentence_vectors
from quickstep.storage.cache import Cache

DIGITS = 6  # of a score; scores that differ by less are equal, however they were computed
FALSE_ALARMS = 0.05  # share of queries without a match that exceed the threshold
MIN_QUERIES = 8  # unrelated queries; with fewer there is no estimate
SAMPLE = 4096  # windows that represent all
IDENTICAL = 0.999  # this score is a match in any library
MAX_EXAMPLES = 300  # videos used as unrelated examples
EXACT_WINDOWS = 200_000  # so many are all compared; with more the index is used
VERSION = 2  # of the estimate, in the key of the cache
# Quantiles of the standard Gumbel distribution: the distance of 1 - FALSE_ALARMS from the median, in units of (median - 10 % quantile).
_GUMBEL = [-math.log(-math.log(p)) for p in (0.1, 0.5, 1 - FALSE_ALARMS)]
_GUMBEL_REACH = (_GUMBEL[2] - _GUMBEL[1]) / (_GUMBEL[1] - _GUMBEL[0])

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """The lowest score that counts as a match, and what it was estimated from."""

    score: float
    basis: str  # in words
    false_alarms: float | None = None  # share of queries without a match that exceed it
    searches: int = 0  # unrelated queries that were made

    def is_match(self, score: float) -> bool:
        """Tell whether a score counts: above an estimated threshold, or equal to one that the user chose."""
        return score > self.score or (self.false_alarms is None and score >= self.score)

    def __str__(self) -> str:
        if self.false_alarms is None:
            return f"match threshold {self.score:.3f}: {self.basis}"
        rate = f"about {100 * self.false_alarms:.0f} in 100 queries without a match exceed it"
        return f"match threshold {self.score:.3f}: {rate} (from {self.searches} {self.basis})"


def text_threshold(library: Library, backbone: Backbone, where: str, cache: Cache) -> Threshold | None:
    """Estimate the threshold for text queries, among the windows for which `where` is true."""
    phrases = unit(sentence_vectors(backbone, PHRASES, cache=cache))
    key = {"kind": "words", "phrases": hashlib.sha256(phrases.tobytes()).hexdigest()}  # another tokenizer makes other vectors
    best = _remembered(library, where, cache, key, lambda: best_scores(library, phrases, where))
    score = gumbel_threshold(best)
    return None if score is None else Threshold(round(score, DIGITS), "unrelated phrases", FALSE_ALARMS, len(best))


def example_threshold(library: Library, example: Vectors, where: str, cache: Cache, *, digest: str) -> Threshold | None:
    """Estimate the threshold for an example (D,), among the windows for which `where` is true; windows of its own file do not count."""

    def measure() -> Floats:
        vectors, digests = _one_window_per_video(library, where)
        return best_scores(library, vectors, where, own_digests=digests)

    windows = sample(library, f"({where}) AND digest <> {sql_text(digest)}")
    if len(windows) < MIN_QUERIES:
        return None
    bell = bell_threshold(windows.astype(np.float64) @ example.astype(np.float64), library.count(where), FALSE_ALARMS / 2)
    neighbours = np.sort(_remembered(library, where, cache, {"kind": "examples"}, measure))
    score = min(bell, _upper_quantile(neighbours, FALSE_ALARMS / 2), IDENTICAL)
    return Threshold(round(score, DIGITS), "windows of other videos", FALSE_ALARMS, len(windows))


def gumbel_threshold(best: Floats, rate: float = FALSE_ALARMS) -> float | None:
    """Return the score that a share of `rate` of unrelated queries exceeds; None where there are too few queries."""
    if len(best) < MIN_QUERIES:
        return None
    ordered = np.sort(best)
    tenth, median = np.quantile(ordered, [0.1, 0.5])
    return min(_upper_quantile(ordered, rate), float(median + _GUMBEL_REACH * (median - tenth)))


def bell_threshold(scores: Floats, windows: int, rate: float) -> float:
    """Return the score that the best of so many windows exceeds with this probability, from the lower half of the scores."""
    from scipy import stats

    tenth, median = np.quantile(scores, [0.1, 0.5])
    spread = max(float(median - tenth), 1e-6) / -float(stats.norm.ppf(0.1))
    freedom = max(3, len(scores) // 4)  # two quantiles of few scores are uncertain: the tail is then that of Student's t
    return float(median + spread * stats.t.isf(rate / max(1, windows), freedom))


def _upper_quantile(ordered: Floats, rate: float) -> float:
    """Return the sorted value that a share of `rate` exceeds; infinity where there are too few values."""
    place = math.ceil((1 - rate) * (len(ordered) + 1))
    return float(ordered[place - 1]) if place <= len(ordered) else math.inf


def best_scores(library: Library, queries: Vectors, where: str, *, own_digests: Sequence[str] | None = None) -> Floats:
    """Find the best score of each query (Q, D) among the windows; windows of a query's own digest do not count."""
    best = np.full(len(queries), -np.inf)
    if len(queries) == 0:
        return best
    if library.count(where) > EXACT_WINDOWS:
        return np.array([_best_by_index(library, query, where, own_digests[i] if own_digests else None) for i, query in enumerate(queries)])
    own = np.array(own_digests) if own_digests is not None else None
    for batch in library.batches(["vector", "digest"], where):
        scores = vectors_of(batch).astype(np.float64) @ queries.astype(np.float64).T  # (n, Q)
        if own is not None:
            scores[np.array(batch["digest"].to_pylist())[:, None] == own[None, :]] = -np.inf
        best = np.maximum(best, scores.max(axis=0))
    return best


def median_score(library: Library, query: Vectors) -> float:
    """Return the query's median score over a sample of all windows: the score of an unrelated window."""
    windows = sample(library)
    return float(np.median(windows.astype(np.float64) @ query.astype(np.float64))) if len(windows) else 0.0


def sample(library: Library, where: str | None = None) -> Vectors:
    """Return vectors of windows, evenly taken from all the library; in a small library those for which `where` is true."""
    count = library.count()
    if where is not None and count <= EXACT_WINDOWS // 10:
        return vectors_of(library.rows(["vector"], where))
    rows = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)).tolist()
    if not rows:
        return np.empty((0, library.card.width), np.float32)
    return vectors_of(library.table.take_offsets(rows).select(["vector"]).to_arrow())


def _best_by_index(library: Library, query: Vectors, where: str, own_digest: str | None) -> float:
    if not query.any():
        return 0.0
    clause = where if own_digest is None else f"({where}) AND digest <> {sql_text(own_digest)}"
    match = nearest(library.table, query, limit=1, where=clause, columns=["start"])
    return 1.0 - float(match[DISTANCE][0].as_py()) if len(match) else -math.inf


def _one_window_per_video(library: Library, where: str) -> tuple[Vectors, list[str]]:
    """Return the middle window of some videos, evenly drawn, and their digests."""
    grid = grid_of(library)
    middle: dict[str, tuple[str, float]] = {}  # digest -> path, start
    for batch in library.batches(["path", "digest", "duration"], f"start = 0 AND ({where})"):
        for row in batch.to_pylist():
            spans = grid.spans(row["duration"])
            middle[row["digest"]] = (row["path"], float(spans[len(spans) // 2, 0]))
    digests = sorted(middle)
    count = min(len(digests), MAX_EXAMPLES)
    chosen = [digests[i] for i in np.unique(np.linspace(0, len(digests) - 1, count).astype(int))] if digests else []
    clause = " OR ".join(f"(path = {sql_text(middle[d][0])} AND start = {middle[d][1]!r})" for d in chosen)
    rows = library.rows(["vector", "digest"], clause or "false")
    return vectors_of(rows), rows["digest"].to_pylist()


def _remembered(library: Library, where: str, cache: Cache, key: Mapping[str, Any], measure: Callable[[], Floats]) -> Floats:
    """Return the best scores, from the cache as long as the library and what `key` names are unchanged."""
    state = {"library": library.uri, "created": library.card.created, "state": library.table.version, "where": where}
    key = {"version": VERSION, **state, **key}
    scores = cache.recall("cutoff", key)
    if scores is None:
        scores = [float(score) for score in measure() if math.isfinite(score)]
        cache.remember("cutoff", key, scores)
    return np.array(scores, dtype=np.float64)


# Everyday things that somebody might search for in videos. They are as different as possible, so that a library contains few of them;
# the threshold allows for those it contains.
_THINGS = """
an old typewriter; a pair of reading glasses; a brass doorknob; a paper map; a wooden ladder; a broken umbrella; a stack of coins;
a ball of wool; a fire extinguisher; a kitchen scale; a set of keys; a sewing machine; a grandfather clock; a rusty nail; a light bulb;
a roll of tape; a chess board; a deck of cards; a globe; a microscope; a stapler; a pocket watch; a candle holder; a mailbox;
a shopping trolley; a tea kettle; a toothbrush; a thermometer; a vacuum cleaner; a washing machine; a lawn mower; a wheelbarrow;
a garden hose; a hammer and nails; a power drill; a paint brush; a tin of paint; a bookshelf; a filing cabinet; a photocopier;
a telephone box; a traffic cone; a parking meter; a stop sign; a bus shelter; a crane; a cement mixer; a fork lift; a satellite dish;
a wind turbine; a solar panel; a power line; a water tower; a lighthouse; a church organ; a trumpet; a grand piano; a drum kit;
a violin; an accordion
"""
_FOOD = """
a bowl of noodle soup; a slice of bread with butter; a plate of pancakes; a birthday cake with candles; a glass of orange juice;
a cup of black coffee; a wheel of cheese; a basket of apples; a bunch of bananas; a pile of potatoes; a roast chicken; grilled fish;
a jar of honey; a box of chocolates; an ice cream cone; a salad with tomatoes; peeled garlic; chopped onions; boiling pasta;
kneading dough; frying an egg; pouring wine; washing dishes; slicing a lemon; stirring a pot; a fruit market; a butcher's counter;
sushi on a tray; a hot dog with mustard; popcorn
"""
_ANIMALS = """
a sleeping cat; a dog on a leash; a flock of sheep; a herd of cows; a horse in a stable; a goldfish in a bowl; a parrot in a cage;
a spider in its web; a bee on a flower; a snail on a leaf; a frog in a pond; a squirrel in a tree; a hedgehog; a fox in the snow;
a bear catching salmon; a lion in the grass; an elephant at a waterhole; a giraffe; a penguin colony; a whale's tail; a jellyfish;
a coral reef; a tortoise; a snake; a swarm of ants; a woodpecker; an owl at night; seagulls above a harbour; a hen with chicks; a donkey
"""
_PLACES = """
an empty car park; a supermarket aisle; a hospital corridor; a dentist's chair; a court room; a school classroom; a lecture hall;
a chemistry laboratory; a library reading room; a hotel lobby; an airport gate; a railway platform; a subway tunnel; a petrol station;
a motorway at night; a toll booth; a harbour with containers; a shipyard; a coal mine; a steel works; a saw mill; a printing press;
a server room; an office with cubicles; a meeting around a table; a hairdresser's; a laundrette; a flower shop; a toy shop;
a second-hand bookshop; a castle on a hill; a ruined abbey; a mosque; a pagoda; a log cabin; an igloo; a tent in a forest;
a cave with stalactites; a waterfall; a frozen lake; a sand dune; a volcano; a glacier; a rice terrace; a vineyard; a wheat field;
a tulip field; a bamboo forest; a swamp; a cliff by the sea
"""
_ACTIVITIES = """
signing a letter; reading a newspaper; typing on a keyboard; talking on the telephone; tying shoelaces; ironing a shirt; folding towels;
changing a light bulb; hanging a picture; mopping the floor; cleaning a window; making a bed; watering plants; raking leaves;
shovelling snow; chopping wood; painting a fence; laying bricks; welding metal; changing a tyre; refuelling a car; parking a lorry;
repairing a bicycle; paddling a canoe; sailing a boat; fishing from a pier; milking a cow; shearing a sheep; feeding pigeons;
brushing teeth; shaving; putting on lipstick; plaiting hair; knitting a scarf; carving wood; turning a pot; blowing glass;
drawing a portrait; playing chess; solving a puzzle; building a sandcastle; flying a kite; blowing soap bubbles; opening a present;
packing a suitcase; voting at a ballot box; giving a speech; interviewing a politician; reading the news; forecasting the weather
"""
_SCENES = """
heavy rain on a window; lightning; a rainbow; fog over a river; falling snow; a full moon; the northern lights; a starry sky; sunset;
clouds from an aeroplane; waves breaking; a campfire; a burning house; a flooded street; an avalanche; fireworks; an eclipse;
a text in large letters; a bar chart; a line of program code; a company logo; a black screen; a test card; a spinning globe;
a cartoon character; a video game; a map of Europe; a national flag; a close-up of an eye; a hand holding a pen; an X-ray picture;
cells under a microscope; a rocket launch; an astronaut; the surface of the moon; a crowd at a concert; an empty theatre;
a wedding ceremony; a funeral; a military parade; a traffic jam; a car crash; a police car; an ambulance; a fire engine; a tractor;
a tram; a steam train; a helicopter; a hot-air balloon; a submarine; a ferry
"""

PHRASES: tuple[str, ...] = tuple(
    " ".join(phrase.split()) for some in (_THINGS, _FOOD, _ANIMALS, _PLACES, _ACTIVITIES, _SCENES) for phrase in some.split(";")
)
