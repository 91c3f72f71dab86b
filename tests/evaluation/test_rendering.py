"""The page, the markdown, the charts and the card of a report: complete, escaped, self-contained and readable by their readers."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import made_up
import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from quickstep.evaluation.rendering import markdown, model_card, page, write_report
from quickstep.evaluation.rendering.charts import learning_charts, line_charts, shorten, ticks
from quickstep.evaluation.rendering.svg_charts import heat_map
from quickstep.evaluation.report import Report
from quickstep.types.confidence_intervals import percent
from quickstep.types.errors import ModelError

VOID = {"meta", "img", "br", "hr", "link", "input", "line", "rect", "circle", "polyline"}
NASTY = "a<b>&\"c'</script>|`*_$x$ 旋风 e\u0301.mp4"


class Reader(HTMLParser):
    """Read a page as a browser does: check that tags are balanced, collect texts and addresses."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "xlink:href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("p", "li", "tr", "td", "th") and self.open[-1] != tag:
            raise AssertionError(f"</{tag}> closes <{self.open[-1]}>")
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def report() -> Report:
    return made_up.report()


@pytest.fixture(scope="module")
def nasty() -> Report:
    """Return a report in which every free text is hostile."""
    labels = (NASTY, "x" * 300, "", "<img src=x onerror=alert(1)>", "한국어 레이블")
    return made_up.report(made_up.segments(labels=labels, name=NASTY), labels=labels, name=f"<model {NASTY}>")


def test_the_page_is_complete_and_self_contained(report: Report) -> None:
    html = page(report)
    reader = Reader(html)
    assert reader.open == []
    assert all(address.startswith("data:image/jpeg;base64,") for address in reader.addresses)
    assert not re.search(r"https?://(?!www\.w3\.org)", html)
    assert "script" not in reader.tags
    assert "@import" not in html
    assert "url(" not in html
    assert "prefers-color-scheme" in html
    assert "@media print" in html
    assert 'name="viewport"' in html
    assert len(html) < 400_000


def test_the_page_contains_everything(report: Report) -> None:
    text = " ".join(Reader(page(report)).text.replace("\N{NO-BREAK SPACE}", " ").split())
    assert report.headline in text
    for verdict in report.verdicts:
        assert verdict.text in text
    for label in report.labels:
        assert label in text
    for mistake in report.mistakes:
        assert (
            f"predicted {mistake.tested.predicted} with {percent(mistake.tested.confidence)} confidence; label {mistake.tested.label}"
            in text
        )
    for line in report.proof.lines:
        assert line in text
    for word in ("One middle frame", "File metadata alone", "Majority class", "best epoch: 22", "38 of 40 epochs", "popping (3)"):
        assert word in text
    for word in ("is cut off: no frame can be read", "AURC", "ECE", "adamw", "torch", "41.2 s", "Apache-2.0"):
        assert word in text


def test_free_text_never_becomes_markup(nasty: Report, report: Report) -> None:
    reader = Reader(page(nasty))
    assert "script" not in reader.tags
    assert "b" in reader.tags
    assert reader.tags.count("img") == sum(bool(mistake.strip) for mistake in nasty.mistakes)
    assert reader.open == []
    assert NASTY in reader.text
    assert "<img src=x onerror=alert(1)>" in reader.text


@pytest.mark.parametrize("classes", [2, 9, 16, 60])
def test_pages_of_few_and_of_many_classes(classes: int) -> None:
    labels = tuple(f"move {index}" for index in range(classes))
    tested = made_up.segments(max(6, 2 * classes), labels=labels)
    html = page(made_up.report(tested, labels=labels))
    assert Reader(html).open == []


def test_a_page_of_one_segment_and_nothing_wrong() -> None:
    one = made_up.segments(1, skill=50.0, groups=0)
    report = replace(made_up.report(one), mistakes=(), learning=None, failures=(), left_out={}, baselines=())
    text = Reader(page(report)).text
    assert "1 of 1 test video correct" in text
    assert "every tested video was classified correctly" in text
    markdown(report)


def test_markdown_cannot_be_broken(nasty: Report) -> None:
    text = markdown(nasty)
    assert not re.search(r"(?<!\\)<img", text)
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


def test_markdown_has_the_headline_and_the_verdicts(report: Report) -> None:
    text = markdown(report).replace("\\", "")
    assert text.startswith(f"# {report.headline}")
    assert all(verdict.text in text for verdict in report.verdicts)


def test_charts_are_drawn_whatever_the_names(nasty: Report, tmp_path: Path) -> None:
    written = write_report(nasty, tmp_path)
    assert written == tmp_path / "report.html"
    names = {path.name for path in tmp_path.iterdir()}
    pictures = {"baselines.png", "confusion.png", "reliability.png", "risk-coverage.png", "roc.png", "pr.png", "learning.png"}
    assert names == {"report.html", "report.json", "report.md"} | pictures
    for picture in pictures:
        pixels = np.asarray(Image.open(tmp_path / picture).convert("L"))
        assert pixels.shape[0] > 400
        assert pixels.std() > 5  # the chart is not empty
    assert Report.load(tmp_path) == nasty


def test_a_folder_that_cannot_be_written_is_an_error(report: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        write_report(report, tmp_path / "file")


@pytest.mark.parametrize("which", ["report", "nasty"])
def test_the_card_is_read_by_the_hubs_own_reader(which: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(which)
    card = ModelCard(model_card(report))
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["accuracy"].metric_value == pytest.approx(report.figures.accuracy.value, abs=1e-6)
    assert results["f1"].metric_value == pytest.approx(report.figures.macro_f1.value, abs=1e-6)
    assert {"balanced_accuracy", "log_loss", "expected_calibration_error", "aurc", "roc_auc", "average_precision"} <= results.keys()
    assert results["accuracy"].task_type == "video-classification"
    assert results["accuracy"].dataset_name == "DANCES"
    assert results["accuracy"].dataset_split == "test"
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "quickstep"


def test_the_card_leaves_nothing_blank(report: Report) -> None:
    card = model_card(report)
    plain = card.replace("\\", "")
    assert report.headline in plain
    for word in ("[specify", "TODO", "More Information Needed", "None", "nan"):
        assert word not in card
    for verdict in report.verdicts:
        assert verdict.level == "good" or verdict.text in plain
    for word in ("Balanced accuracy", "Apache-2.0", "class weights", "windmill", "fingerprint", "Licence", "Limits"):
        assert word in plain


def test_other_licences_are_named(report: Report) -> None:
    for license, short, name in (
        ("MIT", "mit", None),
        ("", "other", "not stated"),
        ("unknown", "other", "unknown"),
        ("DINOv3 licence", "other", "DINOv3 licence"),
    ):
        data = ModelCard(model_card(replace(report, model=replace(report.model, license=license)))).data.to_dict()
        assert data["license"] == short
        assert data.get("license_name") == name


def test_long_labels_are_cut_by_their_width() -> None:
    assert shorten("windmill") == "windmill"
    assert shorten("x" * 30) == "x" * 19 + "…"
    assert shorten("旋" * 30) == "旋" * 9 + "…"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 40), (0, 0.083), (1, 2), (0, 2.7), (1, 100_000), (0, 0)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    values = ticks(low, high)
    assert 1 <= len(values) <= 7
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values)


def test_a_heat_map_shows_every_count() -> None:
    drawn = str(heat_map([[3, 1], [0, 5]], ["a", "b"], shares=False, title="t"))
    assert re.findall(r">(\d+)</text>", drawn) == ["3", "1", "5"]
    assert re.findall(r">(\d+)</text>", str(heat_map([[3, 1], [0, 5]], ["a", "b"], shares=True, title="t"))) == ["75", "25", "100"]


def test_page_and_files_draw_the_same_charts(report: Report, tmp_path: Path) -> None:
    charts = line_charts(report)
    write_report(report, tmp_path)
    for name in charts:
        assert (tmp_path / f"{name}.png").is_file()
    text = Reader(page(report)).text
    for chart in [*charts.values(), *learning_charts(report.learning)]:
        assert chart.axes.x in text
        assert all(line.name in text for line in chart.lines)


def test_of_many_classes_the_curves_with_the_smallest_areas_are_named() -> None:
    labels = tuple(f"move {index}" for index in range(12))
    chart = line_charts(made_up.report(made_up.segments(96, labels=labels, skill=1.0), labels=labels))["roc"]
    named = [line for line in chart.lines if line.name]
    assert len(named) == 8
    assert [float(line.name[-4:]) for line in named] == sorted(float(line.name[-4:]) for line in named)


def test_percentages_do_not_round_to_certainty() -> None:
    assert [percent(value) for value in (0, 1e-6, 0.004, 0.5, 0.996, 0.9999999, 1)] == [
        "0 %",
        "0.1 %",
        "0.4 %",
        "50 %",
        "99.6 %",
        "99.9 %",
        "100 %",
    ]
