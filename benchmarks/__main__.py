"""python -m benchmarks: every table, one after the other; python -m benchmarks.NAME: one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if "main()" in path.read_text() and path.stem != "__main__")
    sys.exit(max(subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode for name in names))
