"""Retrieval metrics: each compared with a value computed by hand or by a few plain lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library_sets import draw_some, index_videos
from toys import Words

from quickstep.library import SearchConfig, evaluate_retrieval, search
from quickstep.library.retrieval_metrics import QueryMetrics, rank_metrics, read_queries, summarize
from quickstep.types.errors import LibraryError, ManifestError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("retrieval")
    draw_some(folder / "videos")
    (folder / "list.csv").write_text(
        "path,label\nvideos/long.mp4,medley\nvideos/red.mp4,red\nvideos/red2.mp4,red\nvideos/blue.mp4,blue\nvideos/green.mp4,green\n"
    )
    index_videos(folder / "library", [folder / "list.csv"])
    return folder


def written(folder: Path, text: str) -> Path:
    path = folder / "queries.csv"
    path.write_text(text)
    return path


def test_the_metrics_are_those_of_the_ranking_of_search(folder: Path) -> None:
    queries = written(
        folder,
        "query,path,start,end\nred,videos/red2.mp4,,\nred,videos/long.mp4,0,5\nblue,videos/long.mp4,7,8\ngreen,videos/red.mp4,,\n",
    )
    measured = evaluate_retrieval(folder / "library", queries, backbone=Words())
    right = {
        "red": lambda m: m.path.endswith("red2.mp4") or (m.path.endswith("long.mp4") and m.start < 5),
        "blue": lambda m: m.path.endswith("long.mp4") and m.start < 8 and m.end > 7,
        "green": lambda m: m.path.endswith("/red.mp4"),
    }
    assert [query.query for query in measured.queries] == ["red", "blue", "green"]
    for query in measured.queries:
        result = search(folder / "library", query.query, SearchConfig(top=100, per_video=0, all=True), backbone=Words())
        hits = [n for n, moment in enumerate(result.moments, start=1) if right[query.query](moment)]
        assert query.rank == hits[0]
        assert query.right == len(hits)
        assert query.precision == pytest.approx(sum((k + 1) / rank for k, rank in enumerate(hits)) / len(hits))
    ranks = [query.rank for query in measured.queries]
    assert measured.recall["R@1"].value == pytest.approx(np.mean([rank == 1 for rank in ranks]))
    assert measured.median_rank is not None
    assert measured.median_rank.value == np.median(ranks)
    assert any("only 3 queries" in note for note in measured.notes)
    json.dumps(measured.to_json(), allow_nan=False)


def test_queries_can_be_examples_and_answers_labels(folder: Path) -> None:
    queries = written(folder, "query;like;label\nred;;red\n;videos/red2.mp4;red\n")
    measured = evaluate_retrieval(folder / "library", queries, backbone=Words())
    by_words, by_example = measured.queries
    assert by_words.right == 2
    assert by_example.right == 1  # its own video is not searched
    assert by_words.rank in (1, 2)


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=30), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_metrics_of_any_rankings_equal_those_computed_by_hand(rankings: list[list[bool]]) -> None:
    measured = summarize([rank_metrics(str(n), ranking) for n, ranking in enumerate(rankings)])
    first = [ranking.index(True) + 1 if any(ranking) else None for ranking in rankings]
    for depth in (1, 5, 10):
        interval = measured.recall[f"R@{depth}"]
        assert interval.value == pytest.approx(sum(rank is not None and rank <= depth for rank in first) / len(first))
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
    precisions = []
    for ranking in rankings:
        hits, total = 0, 0.0
        for place, right in enumerate(ranking, start=1):
            if right:
                hits += 1
                total += hits / place
        precisions.append(total / hits if hits else 0.0)
    assert measured.mean_precision is not None
    assert measured.mean_precision.value == pytest.approx(np.mean(precisions))
    assert (measured.median_rank is None) == (not np.isfinite(np.median([np.inf if rank is None else rank for rank in first])))


def test_intervals_contain_the_truth_as_often_as_stated() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(100):
        metrics = [QueryMetrics(str(n), 1 if hit else 20, 1, 1.0 if hit else 0.05) for n, hit in enumerate(rng.random(60) < 0.7)]
        interval = summarize(metrics, seed=seed).recall["R@1"]
        covered += interval.low <= 0.7 <= interval.high
    assert covered >= 90


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("words,path\nred,videos/red.mp4\n", "first line needs a column"),
        ("query,path\n", "no queries"),
        ("query,path\nred,videos/nowhere.mp4\n", "line 2: .*nowhere.mp4 is not in the library"),
        ("query,path,start\nred,videos/red.mp4,soon\n", "line 2: start and end are seconds"),
        ("query,path,start,end\nred,videos/red.mp4,3,2\n", "line 2: a span"),
        ("query,like,path\nred,videos/red.mp4,videos/red.mp4\n", "line 2: .*query"),
        ("query,path,label\nred,,\n", "line 2: .*answer"),
        ("query,label\nred,purple\n", "line 2: .*'purple'"),
        ("", "first line needs a column"),
    ],
)
def test_a_wrong_csv_is_refused(folder: Path, text: str, match: str) -> None:
    with pytest.raises(ManifestError, match=match):
        evaluate_retrieval(folder / "library", written(folder, text), backbone=Words())


def test_labels_need_a_library_with_labels(tmp_path: Path) -> None:
    videos = draw_some(tmp_path / "videos")
    library, _ = index_videos(tmp_path / "library", [videos["red"]])
    with pytest.raises(LibraryError, match="no labels"):
        evaluate_retrieval(library, written(tmp_path, "query,label\nred,red\n"), backbone=Words())


def test_a_csv_of_any_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "queries.csv"
    path.write_bytes('\ufeffQuery;Path;Start;End\r\n"a; b";x.mp4;1;2\r\n\r\n'.encode())
    (query,) = read_queries(path)
    assert (query.text, query.spans[0].start, query.spans[0].end) == ("a; b", 1.0, 2.0)
