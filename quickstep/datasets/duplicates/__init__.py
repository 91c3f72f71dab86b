"""Find copies and near-duplicates of videos and of pose sequences."""
