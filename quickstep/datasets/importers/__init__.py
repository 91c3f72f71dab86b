"""Import public datasets and other people's lists as a Manifest, merge manifests, and export them. Nothing is downloaded."""

from quickstep.datasets.importers.import_result import ClassCount, ImportResult
from quickstep.datasets.importers.kinetics import KineticsConfig, import_kinetics
from quickstep.datasets.importers.lets_dance import LetsDanceConfig, import_lets_dance
from quickstep.datasets.importers.manifest_merge import MergeConfig, Merged, merge
from quickstep.datasets.importers.mmaction_lists import ExportConfig, MmactionConfig, export_list, import_mmaction

__all__ = [
    "ClassCount",
    "ExportConfig",
    "ImportResult",
    "KineticsConfig",
    "LetsDanceConfig",
    "MergeConfig",
    "Merged",
    "MmactionConfig",
    "export_list",
    "import_kinetics",
    "import_lets_dance",
    "import_mmaction",
    "merge",
]
