"""What `predict` imports when the features are cached: neither torch nor scipy, which take longer to import than the prediction."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from places import FIXTURES, ROOT

from quickstep.models.ensemble import load_model
from quickstep.storage.cache import Cache

FILES = FIXTURES / "v0.1"
VIDEO, POSES = min((FILES / "videos").glob("*.mp4")), min((FILES / "poses").glob("*.npz"))
INPUTS = {"motion-linear": VIDEO, "joints-linear": POSES, "motion-numbers-forest": POSES}  # model -> what it classifies
SCRIPT = """
import sys
from quickstep.apps.cli import main
for model, path in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        main(["predict", model, path, "--quiet"])
    except SystemExit as end:
        assert not end.code, end
print(sorted({"torch", "scipy", "transformers", "sklearn", "huggingface_hub", "matplotlib"} & set(sys.modules)))
"""


def test_cached_predictions_import_neither_torch_nor_scipy(tmp_path: Path) -> None:
    for name, path in INPUTS.items():
        load_model(FILES / "models" / name).predict(path, cache=Cache(tmp_path))
    arguments = [argument for name, path in INPUTS.items() for argument in (str(FILES / "models" / name), str(path))]
    environment = {**os.environ, "QUICKSTEP_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"
