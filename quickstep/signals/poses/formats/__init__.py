"""Pose files of other tools, and our own.

reader         recognizes the format of a file by its content, reads it, and writes our own
json_formats   AlphaPose, OpenPose, COCO, MMPose
reader         .npy and .npz
pyskl          annotation pickles of PySKL and MMAction2, read by `safe_pickle`, which runs no code
text_files     `X_train.txt` with `Y_train.txt`
raw_poses      the content of a file, and its conversion to Poses
"""

from quickstep.signals.poses.formats.raw_poses import PoseFile
from quickstep.signals.poses.formats.reader import (
    digest_of,
    is_pose_file,
    is_pose_name,
    read_annotations,
    read_file,
    read_poses,
    sequence_path,
    split_sequence,
    write_poses,
)

__all__ = [
    "READING_VERSION",
    "PoseFile",
    "digest_of",
    "is_pose_file",
    "is_pose_name",
    "read_annotations",
    "read_file",
    "read_poses",
    "sequence_path",
    "split_sequence",
    "write_poses",
]

# A part of every cache key: raise it whenever the same file gives other poses than before.
READING_VERSION = 1
