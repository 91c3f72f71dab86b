"""Output for programs: what each command prints as JSON fits its schema in docs/schemas, and csv files have the documented columns."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from command_line import call
from jsonschema import Draft202012Validator
from places import FIXTURES, ROOT

from quickstep.apps.cli import COMMANDS
from quickstep.apps.terminal import MACHINE_OUTPUT_VERSION
from quickstep.datasets.synthetic import DemoConfig, draw_dancers
from quickstep.evaluation.report import Report
from quickstep.types.progress import ProgressUpdate

SCHEMAS = ROOT / "docs" / "schemas"
PAGE = (ROOT / "docs" / "machine-output.md").read_text()
WITHOUT_JSON = {"app", "demo"}
VIDEO, OTHER_VIDEO, POSES = "videos/halo-dancer-01-01.mp4", "videos/toprock-dancer-07-01.mp4", "poses/halo-dancer-01-01.npz"
MODEL = "models/motion-linear"
OUTPUTS = {  # schema -> the commands that print it
    "check": ["check videos.csv"],
    "split": ["split videos.csv -o splits.csv"],
    "export-list": ["export-list videos.csv -o lists"],
    "import-dataset-merge": ["import-dataset merge videos.csv -o merged.csv"],
    "import-dataset": ["import-dataset mmaction lists/train.txt --classes lists/classes.txt -o listed.csv"],
    "train": ["train videos.csv -o trained --backbone flow-hist", "train poses.csv -o from-poses --backbone joints"],
    "evaluate": [f"evaluate {MODEL} -o report", "evaluate trained"],
    "predict": [
        f"predict {MODEL} {VIDEO} missing.mp4",
        f"predict {MODEL} {VIDEO} --windows 2 --top 1",
        f"predict models/joints-linear {POSES} --person all",
    ],
    "predict-file": [f"predict {MODEL} {VIDEO} missing.mp4 -o predictions.jsonl"],
    "timeline": [f"timeline {MODEL} {VIDEO} -o spans.json --truth truth.csv", f"timeline models/joints-linear {POSES} --person all"],
    "compare": [f"compare {MODEL} trained"],
    "learning-curve": ["learning-curve videos.csv --backbone flow-hist --shots 1,2 --repeats 2 -o curve"],
    "pose": [f"pose {POSES} -o poses.npz"],
    "kinematics": [f"kinematics {POSES} -o numbers.csv"],
    "flow": [f"flow {VIDEO} -o flow.png --size 64"],
    "push": [f"push {MODEL} --to owner/name --dry-run pushed"],
    "zero-shot": ["zero-shot -o prompted --labels halo,toprock --backbone clip-vit-b32 --weights clip"],
    "add-class": ["add-class models/motion-prototypes swipe swipes -o extended"],
    "ensemble": [f"ensemble {MODEL} trained -o combined"],
    "preview-augment": ["preview-augment videos.csv -o samples.png --rows 2 --columns 2"],
    "recipes": ["recipes", "recipes balanced"],
    "cache": ["cache"],
    "doctor": ["doctor"],
    "token": ["token studio --tokens tokens.toml"],
}
LIBRARY_OUTPUTS = {
    "index": [f"index library {VIDEO} {OTHER_VIDEO} --backbone flow-hist --window 1 --model {MODEL}", "index library missing.mp4"],
    "search": [f"search library --like {VIDEO}", "search library --label halo"],
    "duplicates": ["duplicates library"],
    "evaluate-retrieval": ["evaluate-retrieval library queries.csv"],
    "export-tags": ["export-tags library", "export-tags library --format json"],
    "export-tags-file": ["export-tags library -o tags.json"],
}
SLOW_OUTPUTS = {
    "finetune": ["finetune videos.csv -o finetuned --weights clip --epochs 1 --frames 2"],
    "tune": ["tune videos.csv -o study --trials 2 --backbones flow-hist --heads linear"],
}
ELSEWHERE = {
    "predict-line",
    "timeline-file",
    "progress",
    "serve",
    "import-model",
    "access-log-line",
}  # in the tests below, or printed by a long run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    shutil.copytree(FIXTURES / "v0.1", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("library"))
    draw_dancers(folder / "swipes", DemoConfig(moves=("swipe",), videos=3, dancers=3, seconds=1, width=96, height=72))
    (folder / "swipes" / "dancers.csv").unlink()
    (folder / "queries.csv").write_text(f"like,label\n{VIDEO},halo\n")
    (folder / "truth.csv").write_text("start,end,label\n0,1,halo\n")
    return folder


@pytest.fixture(autouse=True)
def in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in the folder of the fixtures, and share a cache."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("QUICKSTEP_CACHE", str(folder / "cache"))


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text()))


def assert_fits(name: str, content: Any) -> None:
    problems = [f"{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in validator(name).iter_errors(content)]
    assert not problems, f"{name}: {problems}"


def print_and_check(capsys: pytest.CaptureFixture[str], outputs: dict[str, list[str]], name: str) -> None:
    for command in outputs[name]:
        words = command.split()
        status, printed, messages = call(capsys, *words, "--json")
        assert status == 0 or "missing.mp4" in words, messages
        assert len(printed.splitlines()) == 1
        assert_fits(name, json.loads(printed))


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_output_of_a_command_fits_its_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_and_check(capsys, OUTPUTS, name)


@pytest.mark.parametrize("name", LIBRARY_OUTPUTS)
def test_the_output_of_a_command_on_libraries_fits_its_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lancedb")
    print_and_check(capsys, LIBRARY_OUTPUTS, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_OUTPUTS)
def test_the_output_of_a_slow_command_fits_its_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_and_check(capsys, SLOW_OUTPUTS, name)


def test_files_that_commands_write_fit_their_schemas(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines, spans, table = tmp_path / "lines.jsonl", tmp_path / "spans.json", tmp_path / "spans.csv"
    assert call(capsys, "predict", MODEL, VIDEO, "missing.mp4", "-o", lines)[0] == 0
    printed = call(capsys, "predict", MODEL, VIDEO, "missing.mp4", "--format", "jsonl")[1]
    records = [json.loads(line) for line in (*lines.read_text().splitlines(), *printed.splitlines())]
    assert len(records) == 4
    for record in records:
        assert_fits("predict-line", record)
    assert call(capsys, "timeline", MODEL, VIDEO, "-o", spans, "-o", table)[0] == 0
    assert_fits("timeline-file", json.loads(spans.read_text()))
    assert_fits("evaluate", json.loads(Report.load(FIXTURES / "v0.1" / MODEL).to_json()))  # of 0.1, under the names of today


def test_progress_fits_its_schema() -> None:
    assert_fits("progress", json.loads(ProgressUpdate("features", 1, 2).to_line()))


@pytest.mark.parametrize(
    "command",
    [
        f"predict {MODEL} {VIDEO} --format csv",
        f"predict {MODEL} {VIDEO} -o table.csv",
        f"predict {MODEL} {VIDEO} --top 2 --format csv",
        f"timeline {MODEL} {VIDEO} -o table.csv",
        f"kinematics {POSES} -o table.csv",
    ],
)
def test_columns_of_csv_are_those_in_the_docs(command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    status, printed, messages = call(capsys, *command.replace("table.csv", str(target)).split())
    assert status == 0, messages
    columns = next(csv.reader((target.read_text() if target.exists() else printed).splitlines()))
    row = next(line for line in PAGE.split("## Csv")[1].splitlines() if line.startswith(f"| `{command.split()[0]}`"))
    for column in columns:
        base = "score:LABEL" if column.startswith("score:") else column.replace("_2", "_1")
        assert f"`{base}`" in row or command.startswith("kinematics"), column
    if "confidence" in columns:
        text = target.read_text() if target.exists() else printed
        assert {line["confidence"] for line in csv.DictReader(text.splitlines())} <= {"sure", "not sure", "uncalibrated"}


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_a_schema_is_valid_and_linked_from_the_docs(path: Path) -> None:
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert f"(schemas/{path.name})" in PAGE
    assert path.stem in {*OUTPUTS, *LIBRARY_OUTPUTS, *SLOW_OUTPUTS, *ELSEWHERE}


def test_every_command_with_json_has_a_schema() -> None:
    assert {path.stem for path in SCHEMAS.glob("*.json")} >= COMMANDS.keys() - WITHOUT_JSON


def test_a_key_that_the_schema_lacks_fails() -> None:
    finding = {"what": "python", "state": "good", "details": "3.11", "advice": ""}
    assert validator("doctor").is_valid([finding])
    assert not validator("doctor").is_valid([finding | {"new": 1}])
    assert not validator("doctor").is_valid([{"what": "python"}])


def test_doctor_prints_the_version_of_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    findings = {finding["what"]: finding for finding in json.loads(call(capsys, "doctor", "--json")[1])}
    assert findings["machine output"]["details"] == f"version {MACHINE_OUTPUT_VERSION}"
    assert f"is version {MACHINE_OUTPUT_VERSION}" in PAGE


def test_mistakes_end_with_status_1_and_print_nothing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        ["predict", "nowhere", VIDEO],
        ["predict", MODEL, "--no-such-option"],
        ["predict", MODEL, "missing.mp4", "--format", "xml"],
    ):
        status, printed, messages = call(capsys, *words)
        assert (status, printed) == (1, "")
        assert messages
