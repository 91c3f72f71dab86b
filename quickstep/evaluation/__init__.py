"""Evaluation: how good a model is, which baselines it beats, whether the test set is clean, and the report of all that.

Names are imported on first use, so that importing one of them does not import the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickstep.evaluation.comparison import Comparison, compare
    from quickstep.evaluation.evaluator import evaluate
    from quickstep.evaluation.report import Report

__all__ = ["Comparison", "Report", "compare", "evaluate"]

_MODULES = {"Comparison": "comparison", "Report": "report", "compare": "comparison", "evaluate": "evaluator"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
