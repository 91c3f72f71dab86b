"""Public sets and other people's lists -> one manifest: found, named in one's own labels, merged without doubles. Downloads nothing.

labels          whose class is which label, however it is spelt
results         what was collected, and what was not
kinetics        lists of Kinetics and a folder of downloaded files
lets_dance      the folders of Let's Dance, videos or frames
frames          numbered pictures -> videos
annotations     MMAction2's lists, read and written
merging         several manifests as one, each footage once
"""

from quickstep.datasets.importers.import_result import Collected, Tally
from quickstep.datasets.importers.kinetics import KineticsConfig, collect_kinetics
from quickstep.datasets.importers.lets_dance import LetsDanceConfig, collect_lets_dance
from quickstep.datasets.importers.merging import MergeConfig, Merged, merge
from quickstep.datasets.importers.mmaction_lists import ExportConfig, MmactionConfig, collect_mmaction, export_list

__all__ = [
    "Collected",
    "ExportConfig",
    "KineticsConfig",
    "LetsDanceConfig",
    "MergeConfig",
    "Merged",
    "MmactionConfig",
    "Tally",
    "collect_kinetics",
    "collect_lets_dance",
    "collect_mmaction",
    "export_list",
    "merge",
]
