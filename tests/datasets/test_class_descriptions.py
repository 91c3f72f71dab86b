"""Labels in words: from a list, a file or a shipped set; what is no list of labels gets one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstep.datasets.class_descriptions import ENSEMBLE, LABEL_SETS, Wording, check_templates, read_wording, same, spoken
from quickstep.types.errors import ConfigError, ManifestError, QuickstepError


def test_a_list_becomes_sentences() -> None:
    assert read_wording("windmill, head_spin,BabyCrawling") == Wording(
        ("windmill", "head_spin", "BabyCrawling"), (("a video of windmill",), ("a video of head spin",), ("a video of baby crawling",))
    )
    assert read_wording("windmill,halo").put_into(["{}"]).sentences == (("windmill",), ("halo",))


def test_templates_make_an_ensemble() -> None:
    wording = read_wording("halo,flare", templates=["{}", "a dancer doing a {}"])
    assert wording.by_label == {"halo": ("halo", "a dancer doing a halo"), "flare": ("flare", "a dancer doing a flare")}
    assert check_templates(["ensemble", ENSEMBLE[0]]) == ENSEMBLE


def test_a_file_may_describe_its_labels(tmp_path: Path) -> None:
    file = tmp_path / "moves.txt"
    file.write_text(
        "\ufeff# on the floor\r\n\r\nwindmill: The dancer rolls over the back. The legs make a V; they never touch.\r\n\r\nhead spin\r\n",
        encoding="utf-8",
    )
    wording = read_wording(file, templates=["{} on stage"])
    assert wording.labels == ("windmill", "head spin")
    assert wording.sentences[0] == ("The dancer rolls over the back.", "The legs make a V", "they never touch.")
    assert wording.sentences[1] == ("head spin on stage",)
    assert read_wording(str(file), templates=["{} on stage"]) == wording
    assert wording.put_into(["{}"]).sentences == (wording.sentences[0], ("head spin",))


def test_descriptions_find_their_labels_whatever_the_spelling(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Head-Spin: turning on the head\n")
    wording = read_wording(["head_spin", "halo"], words=tmp_path / "words.txt")
    assert wording.by_label == {"head_spin": ("turning on the head",), "halo": ("a video of halo",)}
    (tmp_path / "words.txt").write_text("flare: legs in the air\n")
    with pytest.raises(ConfigError, match="'flare', which is none of the labels: head_spin, halo"):
        read_wording(["head_spin", "halo"], words=tmp_path / "words.txt")


@pytest.mark.parametrize(("name", "count"), [("kinetics400", 400), ("ucf101", 101), ("hmdb51", 51), ("dance19", 19)])
def test_the_shipped_sets_are_whole(name: str, count: int, shared_data: Path) -> None:
    wording = read_wording(name)
    assert len(wording.labels) == count
    assert len({same(label) for label in wording.labels}) == count
    listed = shared_data / "annotations" / f"label_map_{name.replace('kinetics', 'k')}.txt"
    if listed.exists():
        assert list(wording.labels) == listed.read_text().splitlines()


def test_sets_are_those_that_ship() -> None:
    import quickstep

    shipped = {file.stem for file in (Path(quickstep.__file__).parent / "datasets" / "labels").glob("*.txt")}
    assert shipped == set(LABEL_SETS)


@pytest.mark.parametrize(
    ("label", "said"),
    [("ApplyEyeMakeup", "apply eye makeup"), ("brush_hair", "brush hair"), ("NTU", "NTU"), ("Halo", "Halo"), ("TVWatching", "TV watching")],
)
def test_labels_are_spoken(label: str, said: str) -> None:
    assert spoken(label) == said


@pytest.mark.parametrize("other", ["Head spin", "head_spin", " HEAD  SPIN", "head-spin", "HeadSpin"])
def test_spellings_of_one_label_are_the_same(other: str) -> None:
    assert same(other) == "head spin"
    with pytest.raises(ConfigError, match="one label written twice"):
        read_wording(["head spin", "halo", other])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("", "there are none; name at least two"),
        (" , ,", "there are none in"),
        ([], "there are none"),
        (["halo"], "'halo' is the only one"),
        ("halo", "neither a file nor a set"),
        ("kinetics-400", "neither a file nor a set"),
        ("halo,HALO", "one label written twice"),
        (["halo", " "], "without a name"),
    ],
)
def test_what_is_no_list_is_refused(labels: str | list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_wording(labels)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "there are none in"),
        (b"\n \n\n", "there are none in"),
        (b"halo\n", "only one"),
        (b"halo\nflare:\n", "moves.txt, line 2: is no `label`"),
        (b"halo\n: legs\n", "moves.txt, line 2: is no `label`"),
        (b"halo\nfl\xffre\n", "moves.txt, line 2: is not UTF-8"),
        (b"halo\nHalo\nflare\n", "one label written twice"),
        (b"halo\n" + b"x" * 5000, "moves.txt, line 2: is no `label`"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "moves.txt").write_bytes(content)
    with pytest.raises(QuickstepError, match=said):
        read_wording(str(tmp_path / "moves.txt"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"moves\.txt: does not exist"):
        read_wording(str(tmp_path / "moves.txt"))


@pytest.mark.parametrize("template", ["no place", "{} and {}", ""])
def test_a_template_has_one_place(template: str) -> None:
    with pytest.raises(ConfigError, match="--template"):
        check_templates([template])


@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=8))
def test_any_labels_make_sentences_or_one_line(labels: list[str]) -> None:
    try:
        wording = read_wording(labels)
    except ConfigError:
        return
    assert len({same(label) for label in wording.labels}) == len(labels)
    assert all(spoken(label) in sentence for label, (sentence,) in zip(wording.labels, wording.sentences))
