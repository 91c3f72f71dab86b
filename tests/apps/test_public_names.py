"""The public names of the package: a literal list, so that none disappears unnoticed; names of version 0.1 still work."""

from __future__ import annotations

import subprocess
import sys

import pytest

import quickstep

PUBLIC = """
Augment BackboneSpec Cache CacheError Capabilities ConfigError CurveConfig Ensemble EnsembleConfig Failure Features FinetuneConfig Flow
FlowConfig Frames IndexConfig Journal KinematicsConfig Library LibraryError Manifest ManifestError MediaError MissingExtra Model
ModelError Poses Prediction Predictions PushConfig QuickstepError Report SearchConfig Segment Skeleton Span SplitConfig Timeline
TimelineConfig TrainConfig TuneConfig UnknownName View WeightsError ZeroShotConfig __version__ add_class check compare cross_validate
draw_flow duplicates ensemble evaluate evaluate_retrieval evaluate_timeline export_list export_tags extract finetune import_kinetics
import_lets_dance import_mmaction import_model index kinematics learning_curve load_model merge open_backbone predict probe push
read_class_prompts read_flow read_frames read_manifest read_poses read_skeleton retrain search split suspects timeline train trust tune
write_manifest write_poses write_report write_timeline zero_shot
"""

RENAMED = {
    "FuseConfig": "EnsembleConfig",
    "Store": "Cache",
    "StoreError": "CacheError",
    "collect_kinetics": "import_kinetics",
    "collect_lets_dance": "import_lets_dance",
    "collect_mmaction": "import_mmaction",
    "fuse": "ensemble",
    "read_wording": "read_class_prompts",
    "scan": "check",
}


def test_the_public_names_are_these() -> None:
    assert sorted(quickstep.__all__) == sorted(PUBLIC.split())


def test_every_public_name_can_be_imported() -> None:
    for name in PUBLIC.split():
        assert getattr(quickstep, name) is not None


@pytest.mark.parametrize("old", RENAMED)
def test_an_old_name_works_and_warns_with_the_new_one(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"quickstep.{RENAMED[old]}"):
        value = getattr(quickstep, old)
    assert value is getattr(quickstep, RENAMED[old])


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, quickstep; print([name for name in ('numpy', 'torch', 'cyclopts') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
