"""Search by text, example, label and SQL: moments are merged and ranked, and the result tells when nothing matches."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from library_sets import RefusingBackbone, draw, draw_some, index_videos
from numpy.typing import NDArray
from PIL import Image
from toys import Colours, Words, draw_colours

from quickstep.backbones import BackboneSpec
from quickstep.library import IndexConfig, Library, SearchConfig, search, write_sheet
from quickstep.library.match_threshold import FALSE_ALARMS, PHRASES, best_scores, example_threshold, gumbel_threshold, text_threshold
from quickstep.library.moment_search import read_example
from quickstep.library.moments import Moment, ScoredWindows, merge, select_best
from quickstep.library.table import Card, schema_of, to_vectors
from quickstep.library.windows import unit
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, train
from quickstep.types.errors import ConfigError, LibraryError, MediaError, QuickstepError, UnknownName
from quickstep.types.view import View


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos and a library of them, with labels and metadata."""
    folder = tmp_path_factory.mktemp("searching")
    draw_some(folder / "videos")
    manifest = draw_colours(folder / "learnt", each=8)
    model = train(manifest, TrainConfig(epochs=60), backbone=Colours(), cache=Cache(folder / "cache")).model
    (folder / "videos" / "known.csv").write_text("path,year\nlong.mp4,2001\nred.mp4,1990\nred2.mp4,2010\nblue.mp4,2020\ngreen.mp4,2021\n")
    config = IndexConfig(metadata=folder / "videos" / "known.csv")
    index_videos(folder / "library", [folder / "videos"], model=model, config=config, cache=Cache(folder / "cache"))
    return folder


def ask(folder: Path, words: str | None = None, **options: object) -> list[tuple[str, float, float]]:
    result = search(folder / "library", words, SearchConfig(**options), backbone=Words())  # type: ignore[arg-type]
    return [(Path(moment.path).stem, moment.start, moment.end) for moment in result.moments]


def test_text_finds_merged_moments_of_several_videos(folder: Path) -> None:
    assert set(ask(folder, "red")) == {("long", 0.0, 6.0), ("red", 0.0, 1.0), ("red2", 0.0, 5.0)}
    assert set(ask(folder, "blue")) == {("long", 6.0, 12.0), ("blue", 0.0, 3.0)}
    assert len(ask(folder, "red", top=2)) == 2


def test_a_query_without_a_match_returns_no_moments(folder: Path) -> None:
    result = search(folder / "library", "an elephant", backbone=Words())
    assert (result.good, result.moments) == (False, ())
    assert result.threshold is not None
    assert result.threshold.false_alarms == FALSE_ALARMS
    assert "'an elephant'" in result.sentences[0]
    unfiltered = search(folder / "library", "an elephant", SearchConfig(all=True), backbone=Words())
    assert (unfiltered.good, len(unfiltered.moments)) == (False, 5)
    assert unfiltered.best == result.best == unfiltered.moments[0].score


def test_sql_and_label_restrict_a_text_search(folder: Path) -> None:
    assert ask(folder, "red", where="year < 2000") == [("red", 0.0, 1.0)]
    assert ask(folder, "red", where="year > 2000 -- later") == ask(folder, "red", where="year > 2000")
    assert ask(folder, "blue", label="blue", where="start >= 6") == [("long", 6.0, 12.0)]
    assert ask(folder, "red", label="green") == []


def test_a_label_is_ranked_by_its_probability(folder: Path) -> None:
    assert {name for name, _, _ in ask(folder, label="green")} == {"long", "green"}
    result = search(folder / "library", None, SearchConfig(label="green", min_score=0.7, per_video=0))
    assert result.moments
    assert all(moment.score >= 0.7 and moment.names["green"] >= 0.7 for moment in result.moments)
    none = search(folder / "library", None, SearchConfig(label="green", min_score=1.0))
    assert (none.good, none.moments) == (False, ())
    with pytest.raises(UnknownName, match="'green'"):
        ask(folder, label="gren")


def test_an_example_finds_similar_moments_but_not_itself(folder: Path) -> None:
    result = ask(folder, like=f"{folder / 'videos' / 'red2.mp4'}")
    assert {name for name, _, _ in result} == {"long", "red"}
    in_long = ask(folder, like=f"{folder / 'videos' / 'long.mp4'}@0:12-0:17.5")
    assert in_long[0] == ("green", 0.0, 4.5)
    other = draw(folder / "elsewhere.mp4", ("blue", 2), seed=77)
    assert {name for name, _, _ in ask(folder, like=str(other))} == {"long", "blue"}


@pytest.mark.parametrize(
    ("like", "start", "end"),
    [
        ("a.mp4", 0.0, None),
        ("a.mp4@2-6", 2.0, 6.0),
        ("b@home.mp4@1:02.5-1:10", 62.5, 70.0),
        ("a.mp4@7-", 7.0, None),
        ("c@home.mp4", 0.0, None),
    ],
)
def test_an_example_with_a_span_is_parsed(like: str, start: float, end: float | None) -> None:
    segment = read_example(like)
    assert (segment.start, segment.end) == (start, end)


def test_a_file_whose_name_looks_like_a_span_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "x@1-2").write_bytes(b"")
    assert read_example(str(tmp_path / "x@1-2")).path == tmp_path / "x@1-2"


def test_wrong_queries_are_one_line_errors(folder: Path, tmp_path: Path) -> None:
    video = folder / "videos" / "long.mp4"
    mistakes: list[tuple[type[QuickstepError], str, str | None, dict[str, object]]] = [
        (QuickstepError, "empty", "  ", {}),
        (QuickstepError, "one thing", None, {}),
        (QuickstepError, "one thing", "red", {"like": str(video)}),
        (ConfigError, "No field named foo.*columns are path.*year", "red", {"where": "foo = 1"}),
        (ConfigError, "where", "red", {"where": "year = = 1"}),
        (ConfigError, "where", "red", {"where": "year"}),
        (MediaError, "18", None, {"like": f"{video}@3-40"}),
        (MediaError, "18", None, {"like": f"{video}@30-40"}),
        (ConfigError, "ends after its start", None, {"like": f"{video}@3-2"}),
        (ConfigError, "1:.:2", None, {"like": f"{video}@1:.:2-3"}),
        (MediaError, "no such file", None, {"like": "nowhere.mp4"}),
        (MediaError, "not a video", None, {"like": __file__}),
    ]
    for kind, match, words, options in mistakes:
        with pytest.raises(kind, match=match) as raised:
            ask(folder, words, **options)
        assert "\n" not in str(raised.value)
    for options in ({"top": 0}, {"per_video": -1}, {"min_score": 0.5}, {"label": "x", "min_score": 2.0}, {"where": " "}):
        with pytest.raises(ConfigError):
            SearchConfig(**options)  # type: ignore[arg-type]


def test_a_text_search_without_a_text_encoder_names_backbones_with_one(tmp_path: Path) -> None:
    library, _ = index_videos(tmp_path / "library", [draw(tmp_path / "red.mp4", ("red", 1))], backbone=Colours())
    with pytest.raises(UnknownName, match=r"text encoder.*clip-vit-b32"):
        search(library, "red", backbone=Colours())
    with pytest.raises(LibraryError, match="has a label"):
        search(library, None, SearchConfig(label="red"))


def test_equal_scores_are_ordered_by_path(tmp_path: Path) -> None:
    one = draw(tmp_path / "b.mp4", ("red", 2))
    (tmp_path / "a.mp4").write_bytes(one.read_bytes())
    (tmp_path / "c.mp4").write_bytes(one.read_bytes())
    library, _ = index_videos(tmp_path / "library", [tmp_path / "b.mp4", tmp_path / "c.mp4", tmp_path / "a.mp4"])
    for _ in range(3):
        result = search(library, "red", SearchConfig(top=2, all=True), backbone=Words())
        assert [Path(moment.path).name for moment in result.moments] == ["a.mp4", "b.mp4"]


def test_the_contact_sheet_contains_every_moment(folder: Path, tmp_path: Path) -> None:
    result = search(folder / "library", "red", SearchConfig(per_video=0), backbone=Words())
    sheet = Image.open(write_sheet(result.moments, tmp_path / "new" / "sheet.png", title="красное / 赤 / red", note=str(result.threshold)))
    colours = np.asarray(sheet.convert("RGB")).reshape(-1, 3).astype(int)
    reds = (np.abs(colours - (180, 40, 40)).max(axis=1) < 25).sum()
    assert reds > 0.8 * len(result.moments) * 224 * 168  # each thumbnail is 4 : 3 and as large as its cell
    write_sheet((), tmp_path / "empty.png")
    with pytest.raises(MediaError, match="cannot be written"):
        write_sheet(result.moments, folder / "videos" / "red.mp4" / "sheet.png")


# -- moments --------------------------------------------------------------------------------------------------------------


def scored(scores: Sequence[float], hop: float = 2.0, window: float = 4.0) -> ScoredWindows:
    starts = hop * np.arange(len(scores))
    return ScoredWindows("v", np.stack([starts, starts + window], axis=1), np.array(scores, dtype=np.float64))


def test_matching_neighbours_are_one_moment() -> None:
    result = merge(scored([0.1, 0.5, 0.9, 0.6, 0.1, 0.1, 0.7, 0.1]), threshold=0.5, median_score=0.1)
    good = [(moment.start, moment.end, moment.score, moment.best) for moment in result if moment.score >= 0.5]
    assert good == [(2.0, 10.0, 0.9, (4.0, 8.0)), (12.0, 16.0, 0.7, (12.0, 16.0))]


def test_high_neighbours_below_the_threshold_are_one_moment() -> None:
    result = merge(scored([0.1, 0.3, 0.4, 0.3, 0.1, 0.1]), threshold=0.5, median_score=0.1)
    assert (result[0].start, result[0].end) == (2.0, 10.0)


def test_windows_apart_in_time_are_not_merged() -> None:
    gaps = ScoredWindows("v", np.array([[0.0, 4.0], [10.0, 14.0]]), np.array([0.9, 0.9]))
    assert len(merge(gaps, threshold=0.5, median_score=0.0)) == 2


def test_moments_cover_most_of_a_video() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        video = scored(rng.random(rng.integers(1, 40)).tolist(), hop=float(rng.choice([1.0, 2.0, 4.0])))
        result = merge(video, threshold=float(rng.choice([0.3, 0.9])), median_score=0.5)
        seconds = np.arange(0.25, video.spans[-1, 1], 0.5)
        inside = [any(moment.start <= second < moment.end for moment in result) for second in seconds]
        assert np.mean(inside) > 0.7  # the rest is in windows that a moment covers by more than half
        assert result[0].score == video.scores.max()
        assert [moment.score for moment in result] == sorted((moment.score for moment in result), reverse=True)


def test_per_video_limits_the_moments_of_one_video() -> None:
    moments = [Moment("a", 10.0 * i, 10.0 * i + 4, 0.9 - 0.01 * i, (0.0, 4.0)) for i in range(5)]
    moments += [Moment("b", 0.0, 4.0, 0.5, (0.0, 4.0))]
    assert [moment.path for moment in select_best(moments, top=3, per_video=1)] == ["a", "b"]
    assert [moment.path for moment in select_best(moments, top=3, per_video=2)] == ["a", "a", "b"]
    assert [moment.path for moment in select_best(moments, top=3, per_video=0)] == ["a", "a", "a"]


# -- the match threshold ----------------------------------------------------------------------------------------------------------

WIDTH = 128


class Hashed(RefusingBackbone):
    """Gives random vectors for texts, with a direction that all share to different degrees."""

    name, width = "hashed", WIDTH

    def __init__(self, shared: float = 0.4) -> None:
        self.shared, self.identity = shared, {"name": "hashed", "shared": shared}

    def embed_text(self, words: Sequence[str]) -> NDArray[np.float32]:
        return np.array([self._one(sentence) for sentence in words], dtype=np.float32)

    def _one(self, sentence: str) -> NDArray[np.float64]:
        rng = np.random.default_rng(int(hashlib.sha256(sentence.encode()).hexdigest()[:12], 16))
        vector = rng.normal(size=WIDTH) / np.sqrt(WIDTH)
        vector[0] += self.shared * (1 + 0.2 * rng.normal())
        return vector


def write_library(folder: Path, vectors: NDArray[np.float32], *, per_video: int, shared: float) -> Library:
    """Write a library of given vectors."""
    view = View(frames=4, fps=2.0, windows=None, stride=2.0)
    card = Card(BackboneSpec("hashed"), {"name": "hashed", "shared": shared}, WIDTH, 4.0, 2.0, view, True, str(folder), "0")
    library = Library.create(folder, card)
    count = len(vectors)
    paths = [f"/v/{n // per_video:05d}.mp4" for n in range(count)]
    starts = 2.0 * (np.arange(count) % per_video)
    columns = {
        "vector": to_vectors(vectors),
        "path": paths,
        "digest": paths,
        "start": starts,
        "end": starts + 4,
        "duration": np.full(count, 2.0 * per_video + 2),
        "gone": np.zeros(count, bool),
        "thumbnail": [b""] * count,
    }
    schema = schema_of(card)
    library.commit(
        lambda table: table.add(pa.table({f.name: pa.array(columns.get(f.name, [None] * count), f.type) for f in schema}, schema=schema))
    )
    return library


def random_library(
    folder: Path, rng: np.random.Generator, *, videos: int, per_video: int, shared: float
) -> tuple[Library, NDArray[np.float32]]:
    vectors = 0.8 * rng.normal(size=(videos, 1, WIDTH)) + 0.6 * rng.normal(size=(videos, per_video, WIDTH))
    vectors = vectors / np.sqrt(WIDTH)
    vectors[..., 0] += shared
    flat = unit(vectors.reshape(-1, WIDTH).astype(np.float32))
    return write_library(folder, flat, per_video=per_video, shared=shared), flat


@pytest.mark.parametrize(("videos", "per_video", "shared"), [(4, 3, 0.0), (60, 10, 0.0), (60, 10, 0.4), (300, 20, 0.4)])
def test_the_share_of_false_alarms_is_the_stated_one_and_matches_are_found(
    tmp_path: Path, videos: int, per_video: int, shared: float
) -> None:
    false_alarms, hits = [], []
    for seed in range(3):
        library, vectors = random_library(
            tmp_path / str(seed), np.random.default_rng(seed), videos=videos, per_video=per_video, shared=shared
        )
        backbone = Hashed(shared)
        threshold = text_threshold(library, backbone, "NOT gone", Cache())
        assert threshold is not None
        queries = unit(backbone.embed_text([f"something else {seed} {number}" for number in range(600)]))
        false_alarms.append(np.mean(best_scores(library, queries, "NOT gone") > threshold.score))
        matching = unit(queries[:100] + vectors[np.random.default_rng(seed).integers(0, len(vectors), 100)])
        hits.append(np.mean(best_scores(library, matching, "NOT gone") > threshold.score))
    assert np.mean(false_alarms) == pytest.approx(FALSE_ALARMS, abs=0.03)
    assert np.mean(hits) > 0.95


def test_an_unrelated_example_rarely_exceeds_the_threshold(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    library, vectors = random_library(tmp_path / "library", rng, videos=60, per_video=10, shared=0.4)
    strange = rng.normal(size=(60, WIDTH)) / np.sqrt(WIDTH)
    strange[:, 0] += 0.4
    false_alarms, hits = 0, 0
    for number, example in enumerate(unit(strange.astype(np.float32))):
        threshold = example_threshold(library, example, "NOT gone", Cache(), digest="")
        assert threshold is not None
        false_alarms += best_scores(library, example[None], "NOT gone")[0] > threshold.score
        near = unit((vectors[number * 5] + 0.5 * example)[None])[0]
        threshold = example_threshold(library, near, "NOT gone", Cache(), digest="")
        assert threshold is not None
        hits += best_scores(library, near[None], "NOT gone")[0] > threshold.score
    assert false_alarms / 60 < 0.1
    assert hits / 60 > 0.95


def test_windows_of_the_querys_own_video_do_not_count(tmp_path: Path) -> None:
    library, vectors = random_library(tmp_path / "library", np.random.default_rng(3), videos=4, per_video=3, shared=0.0)
    own = [f"/v/{number // 3:05d}.mp4" for number in range(12)]
    similarity = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    others = np.where(np.arange(12)[:, None] // 3 == np.arange(12) // 3, -np.inf, similarity).max(axis=1)
    np.testing.assert_allclose(best_scores(library, vectors, "NOT gone"), 1.0, atol=1e-5)
    np.testing.assert_allclose(best_scores(library, vectors, "NOT gone", own_digests=own), others, atol=1e-5)


def test_the_threshold_is_a_score_that_one_in_twenty_new_queries_exceeds() -> None:
    """Of 19 unrelated queries and a new one, each is the best equally often: the new one exceeds their maximum once in 20 times."""
    best = np.concatenate([np.full(5, -100.0), np.arange(14.0)])  # the low tail keeps the extrapolation out of the way
    assert gumbel_threshold(best) == 13.0
    rng = np.random.default_rng(0)
    exceeded = [rng.gumbel(0, 1) > min(gumbel_threshold(rng.gumbel(0, 1, 99)) or np.inf, np.inf) for _ in range(4000)]
    assert np.mean(exceeded) == pytest.approx(FALSE_ALARMS, abs=0.02)


def test_matching_phrases_hardly_change_the_threshold() -> None:
    rng = np.random.default_rng(0)
    clean = rng.gumbel(0.2, 0.02, 272)
    dirty = np.where(rng.random(272) < 0.3, 0.5, clean)
    plain, moved = gumbel_threshold(clean), gumbel_threshold(dirty)
    assert plain is not None
    assert moved is not None
    assert plain == pytest.approx(np.quantile(clean, 0.95), abs=0.01)
    assert moved < plain + 0.05 < 0.5
    assert gumbel_threshold(clean[:5]) is None


def test_there_are_many_distinct_phrases() -> None:
    assert len(set(PHRASES)) == len(PHRASES) >= 250
    assert all(phrase == " ".join(phrase.split()) and phrase for phrase in PHRASES)


def test_a_changed_tokenizer_changes_the_threshold(tmp_path: Path) -> None:
    class OtherTokenizer(Hashed):
        """Gives the same vectors for frames and other ones for texts."""

        @property
        def text_identity(self) -> dict[str, object]:  # type: ignore[override]
            return {**self.identity, "tokenizer": "changed"}

        def embed_text(self, words: Sequence[str]) -> NDArray[np.float32]:
            return super().embed_text([f"{sentence} in other tokens" for sentence in words])

    library, _ = random_library(tmp_path / "library", np.random.default_rng(2), videos=20, per_video=4, shared=0.4)
    before = text_threshold(library, Hashed(0.4), "NOT gone", Cache())
    after = text_threshold(library, OtherTokenizer(0.4), "NOT gone", Cache())
    assert after == text_threshold(library, OtherTokenizer(0.4), "NOT gone", Cache(tmp_path / "empty-cache"))
    assert after != before


def test_the_threshold_is_remembered_until_the_library_changes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    library, vectors = random_library(tmp_path / "library", rng, videos=5, per_video=4, shared=0.0)

    class Once(Hashed):
        texts = 0

        def embed_text(self, words: Sequence[str]) -> NDArray[np.float32]:
            Once.texts += len(words)
            return super().embed_text(words)

    first = text_threshold(library, Once(0.0), "NOT gone", Cache())
    assert Once.texts == len(PHRASES)
    assert text_threshold(library, Once(0.0), "NOT gone", Cache()) == first
    library.commit(lambda table: table.delete("start > 0"))
    smaller = text_threshold(library, Once(0.0), "NOT gone", Cache())
    assert Once.texts == len(PHRASES)  # the vectors of the phrases are cached
    assert first is not None
    assert smaller is not None
    assert smaller.score < first.score  # the best score of fewer windows is lower
    assert len(vectors) == 20


def test_importing_the_package_imports_no_heavy_library() -> None:
    code = "import sys, quickstep.library, quickstep.library.config; print({'lancedb', 'pyarrow', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"


def test_a_missing_extra_names_the_pip_command() -> None:
    code = """
import sys
sys.modules['lancedb'] = None
import quickstep.library
try:
    quickstep.library.search
except Exception as error:
    print(type(error).__name__, error)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.startswith("MissingExtra")
    assert "pip install 'quickstep[search]'" in printed
