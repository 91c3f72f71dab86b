"""quickstep recognizes moves in video, with your own labels.

>>> import quickstep
>>> trained = quickstep.train("DANCES", quickstep.TrainConfig(backbone="flow-hist"))  # doctest: +SKIP
>>> trained.model.predict(["new.mp4"])  # doctest: +SKIP
"""

import sys

# `python -m quickstep` puts the current directory on sys.path. A file `cyclopts.py` that lies there is not ours, and must not run: the
# directory is taken off before anything else is imported. Only in that start is `sys.argv[0]` "-m" while this file runs.
if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    del sys.path[0]

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Each public name and its module, which is imported when the name is first used: `import quickstep` stays fast.
_MODULES = {
    "Augment": "training.augmentation.augment",
    "BackboneSpec": "backbones",
    "Cache": "storage.cache",
    "CacheError": "types.errors",
    "Capabilities": "backbones",
    "ConfigError": "types.errors",
    "CurveConfig": "training.learning_curve",
    "Ensemble": "models.ensemble",
    "EnsembleConfig": "training.ensemble",
    "Failure": "types.segment",
    "Features": "types.signals",
    "FinetuneConfig": "training.finetuning",
    "Flow": "types.signals",
    "FlowConfig": "signals.flow",
    "Frames": "types.signals",
    "IndexConfig": "library",
    "Journal": "training.label_review",
    "KinematicsConfig": "signals.poses.kinematics",
    "Library": "library",
    "LibraryError": "types.errors",
    "Manifest": "datasets.manifest",
    "ManifestError": "types.errors",
    "MediaError": "types.errors",
    "MissingExtra": "types.errors",
    "Model": "models.model",
    "ModelError": "types.errors",
    "Poses": "types.signals",
    "Prediction": "models.classifier",
    "Predictions": "models.classifier",
    "PushConfig": "apps.publishing",
    "QuickstepError": "types.errors",
    "Report": "evaluation",
    "SearchConfig": "library",
    "Segment": "types.segment",
    "Skeleton": "types.skeleton",
    "Span": "inference.timelines",
    "SplitConfig": "datasets.splits",
    "Timeline": "inference.timelines",
    "TimelineConfig": "inference.timelines",
    "TrainConfig": "training.train",
    "TuneConfig": "training.tuning",
    "UnknownName": "types.errors",
    "View": "types.view",
    "WeightsError": "types.errors",
    "ZeroShotConfig": "training.zero_shot",
    "add_class": "training.add_class",
    "check": "datasets.audit",
    "compare": "evaluation",
    "draw_flow": "signals.flow.drawing",
    "duplicates": "library",
    "ensemble": "training.ensemble",
    "cross_validate": "training.cross_validation",
    "evaluate": "evaluation",
    "evaluate_retrieval": "library",
    "evaluate_timeline": "inference.timelines",
    "export_list": "datasets.importers",
    "export_tags": "library",
    "extract": "models.feature_extraction",
    "finetune": "training.finetuning",
    "import_kinetics": "datasets.importers",
    "import_lets_dance": "datasets.importers",
    "import_mmaction": "datasets.importers",
    "import_model": "models.third_party_import",
    "index": "library",
    "kinematics": "signals.poses.kinematics",
    "learning_curve": "training.learning_curve",
    "load_model": "models.ensemble",
    "merge": "datasets.importers",
    "open_backbone": "backbones",
    "predict": "inference.predict",
    "probe": "signals.video",
    "push": "apps.publishing",
    "read_class_prompts": "datasets.class_prompts",
    "read_flow": "signals.flow.reader",
    "read_frames": "signals.video",
    "read_manifest": "datasets.manifest",
    "read_poses": "signals.poses.formats",
    "read_skeleton": "types.skeleton",
    "retrain": "training.label_review",
    "search": "library",
    "split": "datasets.splits",
    "suspects": "training.label_review",
    "timeline": "inference.timelines",
    "train": "training.train",
    "trust": "types.registry",
    "tune": "training.tuning",
    "write_manifest": "datasets.manifest",
    "write_poses": "signals.poses.formats",
    "write_report": "evaluation.rendering",
    "write_timeline": "inference.timelines",
    "zero_shot": "training.zero_shot",
}

# Names of version 0.1 and what they are called now; they work for one more release.
_RENAMED = {
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

__all__ = ["__version__", *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        import warnings

        warnings.warn(f"quickstep.{name} is now quickstep.{_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _MODULES:
        raise AttributeError(f"module 'quickstep' has no attribute {name!r}")
    return getattr(import_module(f"quickstep.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
