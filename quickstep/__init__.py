"""quickstep names the moves in video, in the words of whoever uses it.

>>> import quickstep
>>> trained = quickstep.train(quickstep.read_manifest("DANCES"), quickstep.TrainConfig(backbone="motion"))  # doctest: +SKIP
>>> trained.model.predict(["new.mp4"])  # doctest: +SKIP
"""

from importlib import import_module
from typing import Any
from warnings import warn

# Each public name and the module that has it; a module is imported when one of its names is first used, so that
# `import quickstep` stays quick.
_HOMES = {
    "Augment": "training.augmentation.augment",
    "Cache": "storage.cache",
    "CacheError": "types.errors",
    "ConfigError": "types.errors",
    "CurveConfig": "training.learning_curve",
    "Ensemble": "models.ensemble",
    "Failure": "types.segment",
    "Features": "types.signals",
    "FinetuneConfig": "training.finetuning",
    "Flow": "types.signals",
    "FlowConfig": "signals.flow",
    "Frames": "types.signals",
    "FuseConfig": "training.ensemble",
    "IndexConfig": "library",
    "Journal": "training.label_review",
    "Library": "library",
    "LibraryError": "types.errors",
    "Manifest": "datasets.manifest",
    "ManifestError": "types.errors",
    "MediaError": "types.errors",
    "MissingExtra": "types.errors",
    "Model": "models.model",
    "ModelError": "types.errors",
    "Poses": "types.signals",
    "Prediction": "models.model",
    "Predictions": "models.model",
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
    "evaluate": "evaluation",
    "evaluate_retrieval": "library",
    "evaluate_timeline": "inference.timelines",
    "export_list": "datasets.importers",
    "export_tags": "library",
    "extract": "models.feature_extraction",
    "finetune": "training.finetuning",
    "fuse": "training.ensemble",
    "import_kinetics": "datasets.importers",
    "import_lets_dance": "datasets.importers",
    "import_mmaction": "datasets.importers",
    "import_model": "models.third_party_import",
    "index": "library",
    "learning_curve": "training.learning_curve",
    "load_model": "models.ensemble",
    "merge": "datasets.importers",
    "open_backbone": "backbones",
    "predict": "inference.predict",
    "probe": "signals.video",
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
    "tune": "training.tuning",
    "write_manifest": "datasets.manifest",
    "write_poses": "signals.poses.formats",
    "write_report": "evaluation.rendering",
    "write_timeline": "inference.timelines",
    "zero_shot": "training.zero_shot",
}

# Public names of version 0.1 and what they are called now; they work until the next release.
_RENAMED = {
    "collect_kinetics": "import_kinetics",
    "collect_lets_dance": "import_lets_dance",
    "collect_mmaction": "import_mmaction",
    "read_wording": "read_class_prompts",
    "scan": "check",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _RENAMED:
        warn(f"quickstep.{name} is called quickstep.{_RENAMED[name]} now", DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    if name not in _HOMES:
        raise AttributeError(f"module 'quickstep' has no attribute {name!r}")
    return getattr(import_module(f"quickstep.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
