"""Public sets and other people's lists -> one manifest: found, named in one's own labels, merged without doubles. Downloads nothing.

labels          whose class is which label, however it is spelt
results         what was collected, and what was not
kinetics        lists of Kinetics and a folder of downloaded files
lets_dance      the folders of Let's Dance, videos or frames
frames          numbered pictures -> videos
annotations     MMAction2's lists, read and written
merging         several manifests as one, each footage once
"""

from quickstep.datasets.importers.import_result import ClassCount, ImportResult
from quickstep.datasets.importers.kinetics import KineticsConfig, import_kinetics
from quickstep.datasets.importers.lets_dance import LetsDanceConfig, import_lets_dance
from quickstep.datasets.importers.merging import MergeConfig, Merged, merge
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
