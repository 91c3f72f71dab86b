"""Run the benchmarks: all with `python -m benchmarks`, one with `python -m benchmarks NAME [options]`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run the benchmark that is named, or all; return the worst exit status."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if "main()" in path.read_text() and path.stem[0] != "_")
    if arguments and arguments[0] not in names:
        print(f"unknown benchmark {arguments[0]!r}; choose from: {', '.join(names)}", file=sys.stderr)
        return 2
    chosen, options = (arguments[:1], arguments[1:]) if arguments else (names, [])
    return max(subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *options]).returncode for name in chosen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
