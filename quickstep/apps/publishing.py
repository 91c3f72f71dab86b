"""Push a model with its card to a model hub, or only write what would be pushed.

Personal data is removed: the list of videos, their names, groups and frames, and the paths of this machine.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quickstep.backbones import BackboneSpec
from quickstep.backbones.checkpoints.checkpoint import PUBLISHED
from quickstep.evaluation import Report
from quickstep.evaluation.rendering.model_card import CardFacts, model_card
from quickstep.models.ensemble import AnyModel, Ensemble, load_model
from quickstep.models.model import Facts, Model
from quickstep.models.model_files import check_target
from quickstep.storage import hub
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import setting
from quickstep.types.errors import ConfigError, ModelError, WeightsError

WAYS_ON = "log in (hf auth login) and try again, or write the files with `dry_run=FOLDER`"
REPORT, CARD = "report.json", "README.md"
CHARTS = ("baselines.png", "confusion.png", "reliability.png", "risk-coverage.png", "roc.png", "pr.png")  # they show no frame of a video


@dataclass(frozen=True)
class PushConfig:
    """Where a model is pushed to, and who can see it."""

    to: str = field(metadata={"help": "its name on the hub: owner/name"})
    dry_run: Path | None = setting(None, "write the files into this folder, and push nothing")
    private: bool = setting(False, "only you can see it there")
    license: str | None = setting(None, "the licence of the model (default: that of the backbone's weights)")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w][\w.-]*/[\w][\w.-]*", self.to):
            raise ConfigError("to", f"a name on the hub is owner/name, not {self.to!r}")


@dataclass(frozen=True)
class Pushed:
    """The files that were written or pushed."""

    where: str  # the folder, or the page on the hub
    files: Mapping[str, int]  # name -> bytes
    notes: tuple[str, ...] = ()


def push(folder: str | Path, config: PushConfig, *, cache: Cache | None = None) -> Pushed:
    """Write a model with its card, without personal data, and push it unless this is a dry run."""
    model = load_model(folder, cache=cache)
    own = model.folder or Path(folder)
    upload = _Upload(config, _without_personal_data(model), _report(own), own)
    if config.dry_run is not None:
        if config.dry_run.resolve() == own.resolve():
            raise ConfigError("dry_run", f"{config.dry_run} is the model's own folder: name another one")
        return upload.write(check_target(config.dry_run))
    with tempfile.TemporaryDirectory(prefix="quickstep-push-") as place:
        written = upload.write(Path(place) / "model")
        try:
            with hub.explained(config.to, "main", "model", ways_on=WAYS_ON, effect="nothing was sent"):
                page = hub.upload_folder(Path(written.where), config.to, private=config.private, message="A model of quickstep")
        except WeightsError as error:
            raise ModelError(folder, f"was not pushed: {error}") from error
    return replace(written, where=page)


@dataclass(frozen=True, eq=False)
class _Upload:
    """Everything that is pushed."""

    config: PushConfig
    model: AnyModel
    report: Report | None
    own: Path  # the folder of the model and its charts

    def write(self, folder: Path) -> Pushed:
        """Write the model, its card and the charts that the card shows."""
        self.model.save(folder)
        about = CardFacts.of(self.model) if self.report is None else CardFacts.of_report(self.report)
        about = replace(about, model=replace(about.model, name=self.config.to))
        report = replace(self.report, model=about.model) if self.report else None
        (folder / CARD).write_text(model_card(about, report, license=self.config.license), encoding="utf-8", newline="\n")
        for name in CHARTS:
            if report and (self.own / name).is_file():
                shutil.copyfile(self.own / name, folder / name)
        files = {file.relative_to(folder).as_posix(): file.stat().st_size for file in sorted(folder.rglob("*")) if file.is_file()}
        notes = () if report else ("the model was never evaluated, so its card has no measurements: run `quickstep evaluate` first",)
        return Pushed(str(folder), files, notes)


def _report(own: Path) -> Report | None:
    """Return the model's report without names; None if the model was not evaluated."""
    file = own / REPORT
    if not file.is_file():
        return None
    report = Report.from_json(file.read_bytes(), where=file)
    number = {one.name: f"segment {place}" for place, one in enumerate(report.tested, start=1)}
    mistakes = tuple(
        replace(one, tested=replace(one.tested, path=number.get(one.tested.name, "a segment"), group=None, start=0.0, end=None), strip="")
        for one in report.mistakes
    )
    tested = tuple(
        replace(one, path=f"segment {place}", group=None, start=0.0, end=None) for place, one in enumerate(report.tested, start=1)
    )
    lines = tuple(line for line in report.proof.lines)
    proof = replace(report.proof, lines=lines, leaks=(f"{len(report.proof.leaks)} leaks",) if report.proof.leaks else ())
    settings = _without_paths(report.model.settings)
    return replace(
        report,
        tested=tested,
        mistakes=mistakes,
        proof=proof,
        failures=(),
        learning=None,
        model=replace(report.model, settings=settings),
    )


def _without_personal_data(model: AnyModel) -> AnyModel:
    """Return the model without paths of this machine and names of its videos."""
    facts = _without_names(model.facts)
    if isinstance(model, Ensemble):
        members = tuple(replace(_member_without_personal_data(member), folder=None) for member in model.members)
        return replace(model, members=members, manifest=None, facts=facts)
    return _member_without_personal_data(model)


def _member_without_personal_data(model: Model) -> Model:
    return replace(model, manifest=None, history=None, facts=_without_names(model.facts), spec=_portable(model))


def _without_names(facts: Facts) -> Facts:
    failures = (f"{len(facts.failures)} segments could not be used",) if facts.failures else ()
    return replace(facts, source=Path(facts.source).name, failures=failures, training=_without_paths(facts.training))


def _portable(model: Model) -> BackboneSpec:
    """Return how another machine opens the backbone: by its name on the hub, or from inside the folder."""
    spec = model.spec
    family, colon, _ = spec.name.partition(":")
    if spec.inside:
        return replace(spec, name=f"{family}:inside" if colon else family)
    local = [part for part in (spec.weights, spec.name.partition(":")[2]) if part and Path(part).expanduser().is_absolute()]
    if not local:
        return spec
    if spec.weights and spec.name in PUBLISHED:  # its weights' digests are in the record: others than these are refused
        return replace(spec, weights=None)
    raise ModelError(
        model.folder or "the model",
        f"its backbone's weights lie in {local[0]}, where nobody else finds them; train it on a checkpoint of the hub, or finetune it: "
        "then the network is part of the model",
    )


def _without_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with paths reduced to names."""
    return {name: Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value for name, value in settings.items()}
