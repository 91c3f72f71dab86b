"""ClassPrompts: labels and their sentences from a list, a file or a shipped label set; anything else gets a clear error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quickstep.datasets.class_prompts import ENSEMBLE, LABEL_SETS, ClassPrompts, check_templates, read_class_prompts
from quickstep.datasets.label_matching import as_words, label_key
from quickstep.datasets.readers.list_files import read_class_list
from quickstep.types.errors import ConfigError, ManifestError, QuickstepError


def test_labels_of_a_list_get_sentences() -> None:
    assert read_class_prompts("windmill, head_spin,BabyCrawling") == ClassPrompts(
        ("windmill", "head_spin", "BabyCrawling"), (("a video of windmill",), ("a video of head spin",), ("a video of baby crawling",))
    )
    assert read_class_prompts("windmill,halo").with_templates(["{}"]).sentences == (("windmill",), ("halo",))


def test_several_templates_give_several_sentences() -> None:
    prompts = read_class_prompts("halo,flare", templates=["{}", "a dancer doing a {}"])
    assert prompts.by_label == {"halo": ("halo", "a dancer doing a halo"), "flare": ("flare", "a dancer doing a flare")}
    assert check_templates(["ensemble", ENSEMBLE[0]]) == ENSEMBLE


def test_a_file_can_describe_its_labels(tmp_path: Path) -> None:
    file = tmp_path / "moves.txt"
    file.write_text(
        "\ufeff# a comment\r\n\r\nwindmill: The dancer rolls over the back. The legs make a V; they never touch.\r\n\r\nhead spin\r\n",
        encoding="utf-8",
    )
    prompts = read_class_prompts(file, templates=["{} on stage"])
    assert prompts.labels == ("windmill", "head spin")
    assert prompts.sentences[0] == ("The dancer rolls over the back.", "The legs make a V", "they never touch.")
    assert prompts.sentences[1] == ("head spin on stage",)
    assert read_class_prompts(str(file), templates=["{} on stage"]) == prompts
    assert prompts.with_templates(["{}"]).sentences == (prompts.sentences[0], ("head spin",))


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        ('id,name\n0,abseiling\n1,"catching, throwing"\n2,air drumming\n', ("abseiling", "catching, throwing", "air drumming")),
        ("1 ApplyEyeMakeup\n2 ApplyLipstick\n", ("ApplyEyeMakeup", "ApplyLipstick")),
        ("index;label\n1;halo\n0;windmill: legs in a V\n", ("windmill", "halo")),  # the number says where a class is
        ("label\nhalo\nwindmill\n", ("halo", "windmill")),
        ("6 step\nhalo\n", ("6 step", "halo")),  # not every line has a number, so these are names
    ],
)
def test_published_class_lists_are_read(tmp_path: Path, content: str, labels: tuple[str, ...]) -> None:
    file = tmp_path / "classes.csv"
    file.write_text(content)
    assert read_class_prompts(file).labels == labels
    if ":" not in content:
        assert sorted(read_class_list(file).values()) == sorted(labels)


def test_labels_of_ucf101_and_kinetics_have_no_numbers(shared_data: Path) -> None:
    annotations = shared_data / "annotations"
    names = (annotations / "label_map_ucf101.txt").read_text().split()
    assert read_class_prompts(annotations / "ucf101_splits" / "classInd.txt").labels == tuple(names)
    dances = read_class_prompts(annotations / "kinetics700_dance_like_classes.csv").labels
    assert set(dances) <= set((annotations / "label_map_k700.txt").read_text().splitlines())


def test_descriptions_match_labels_in_any_spelling(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("Head-Spin: turning on the head\n")
    prompts = read_class_prompts(["head_spin", "halo"], prompts=tmp_path / "words.txt")
    assert prompts.by_label == {"head_spin": ("turning on the head",), "halo": ("a video of halo",)}
    (tmp_path / "words.txt").write_text("flare: legs in the air\n")
    with pytest.raises(ConfigError, match=r"flare.*head_spin, halo"):
        read_class_prompts(["head_spin", "halo"], prompts=tmp_path / "words.txt")


@pytest.mark.parametrize(("name", "count"), [("kinetics400", 400), ("ucf101", 101), ("hmdb51", 51), ("dance19", 19)])
def test_shipped_label_sets_are_complete(name: str, count: int, shared_data: Path) -> None:
    prompts = read_class_prompts(name)
    assert len(prompts.labels) == count
    assert len({label_key(label) for label in prompts.labels}) == count
    listed = shared_data / "annotations" / f"label_map_{name.replace('kinetics', 'k')}.txt"
    if listed.exists():
        assert list(prompts.labels) == listed.read_text().splitlines()


def test_every_shipped_label_set_is_listed() -> None:
    import quickstep

    shipped = {file.stem for file in (Path(quickstep.__file__).parent / "datasets" / "labels").glob("*.txt")}
    assert shipped == set(LABEL_SETS)


@pytest.mark.parametrize(
    ("label", "words"),
    [("ApplyEyeMakeup", "apply eye makeup"), ("brush_hair", "brush hair"), ("NTU", "NTU"), ("Halo", "Halo"), ("TVWatching", "TV watching")],
)
def test_labels_are_written_as_words(label: str, words: str) -> None:
    assert as_words(label) == words


@pytest.mark.parametrize("other", ["Head spin", "head_spin", " HEAD  SPIN", "head-spin", "HeadSpin"])
def test_two_spellings_of_one_label_are_refused(other: str) -> None:
    assert label_key(other) == "head spin"
    with pytest.raises(ConfigError, match="spellings of one label"):
        read_class_prompts(["head spin", "halo", other])


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ("", "name at least two"),
        (" , ,", "no labels in"),
        ([], "no labels"),
        (["halo"], "'halo' is the only label"),
        ("halo", "neither a file nor a label set"),
        ("kinetics-400", "neither a file nor a label set"),
        ("halo,HALO", "spellings of one label"),
        (["halo", " "], "without a name"),
    ],
)
def test_anything_but_a_list_of_labels_is_refused(labels: str | list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_class_prompts(labels)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no labels in"),
        (b"name,id\nhalo,0\nwindmill,1\n", "windmill,1"),
        (b"\n \n\n", "no labels in"),
        (b"halo\n", "only label"),
        (b"halo\nflare:\n", "moves.txt, line 2: expected `label`"),
        (b"halo\n: legs\n", "moves.txt, line 2: expected `label`"),
        (b"halo\nfl\xffre\n", "moves.txt, line 2: is not UTF-8"),
        (b"halo\nHalo\nflare\n", "spellings of one label"),
        (b"halo\n" + b"x" * 5000, "moves.txt, line 2: expected `label`"),
    ],
)
def test_a_file_that_is_not_a_list_of_labels_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "moves.txt").write_bytes(content)
    with pytest.raises(QuickstepError, match=problem):
        read_class_prompts(str(tmp_path / "moves.txt"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"moves\.txt: does not exist"):
        read_class_prompts(str(tmp_path / "moves.txt"))


@pytest.mark.parametrize("template", ["no place", "{} and {}", ""])
def test_a_template_needs_exactly_one_place_for_the_label(template: str) -> None:
    with pytest.raises(ConfigError, match="template") as caught:
        check_templates([template])
    assert caught.value.field == "template"


@given(st.lists(st.text(min_size=1, max_size=20), min_size=2, max_size=8))
def test_any_labels_get_sentences_or_a_config_error(labels: list[str]) -> None:
    try:
        prompts = read_class_prompts(labels)
    except ConfigError:
        return
    assert len({label_key(label) for label in prompts.labels}) == len(labels)
    assert all(as_words(label) in sentence for label, (sentence,) in zip(prompts.labels, prompts.sentences))
