"""quickstep names the moves in video, in the words of whoever uses it.

>>> import quickstep
>>> trained = quickstep.train(quickstep.read_manifest("DANCES"), quickstep.TrainConfig(backbone="motion"))  # doctest: +SKIP
>>> trained.model.predict(["new.mp4"])  # doctest: +SKIP
"""

from importlib import import_module
from typing import Any

# Each public name and the module that has it; a module is imported when one of its names is first used, so that
# `import quickstep` stays quick.
_HOMES = {
    "Augment": "augment",
    "ConfigError": "errors",
    "CurveConfig": "shots",
    "Ensemble": "ensemble",
    "Failure": "segment",
    "Features": "signals",
    "FinetuneConfig": "finetuning",
    "Flow": "signals",
    "FlowConfig": "flow",
    "Frames": "signals",
    "FuseConfig": "fusing",
    "IndexConfig": "library",
    "Journal": "reviewing",
    "Library": "library",
    "LibraryError": "errors",
    "Manifest": "manifest",
    "ManifestError": "errors",
    "MediaError": "errors",
    "MissingExtra": "errors",
    "Model": "model",
    "ModelError": "errors",
    "Poses": "signals",
    "Prediction": "model",
    "Predictions": "model",
    "QuickstepError": "errors",
    "Report": "evaluation",
    "SearchConfig": "library",
    "Segment": "segment",
    "Skeleton": "skeleton",
    "Span": "timelines",
    "SplitConfig": "splits",
    "Store": "store",
    "StoreError": "errors",
    "Timeline": "timelines",
    "TimelineConfig": "timelines",
    "TrainConfig": "training",
    "TuneConfig": "tuning",
    "UnknownName": "errors",
    "View": "view",
    "WeightsError": "errors",
    "ZeroShotConfig": "zeroshot",
    "add_class": "growing",
    "collect_kinetics": "collecting",
    "collect_lets_dance": "collecting",
    "collect_mmaction": "collecting",
    "compare": "evaluation",
    "draw_flow": "flow.drawing",
    "duplicates": "library",
    "evaluate": "evaluation",
    "evaluate_retrieval": "library",
    "evaluate_timeline": "timelines",
    "export_list": "collecting",
    "export_tags": "library",
    "extract": "features",
    "finetune": "finetuning",
    "fuse": "fusing",
    "import_model": "importing",
    "index": "library",
    "learning_curve": "shots",
    "load_model": "ensemble",
    "merge": "collecting",
    "open_backbone": "backbones",
    "predict": "prediction",
    "probe": "media",
    "read_flow": "flow.reading",
    "read_frames": "media",
    "read_manifest": "manifest",
    "read_poses": "poses.files",
    "read_skeleton": "skeleton",
    "read_wording": "wording",
    "retrain": "reviewing",
    "scan": "audit",
    "search": "library",
    "split": "splits",
    "suspects": "reviewing",
    "timeline": "timelines",
    "train": "training",
    "tune": "tuning",
    "write_manifest": "manifest",
    "write_poses": "poses.files",
    "write_report": "reporting",
    "write_timeline": "timelines",
    "zero_shot": "zeroshot",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'quickstep' has no attribute {name!r}")
    return getattr(import_module(f"quickstep.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
