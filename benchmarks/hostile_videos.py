"""What small videos cost that claim to be long, large or many: this version beside an older one, each in a process with little memory.

    python -m benchmarks hostile_videos [--old CHECKOUT] [--memory-gb 4] [--seconds 60]

Every tenth of a second of what a file claims is read, as a timeline reads it. A version that ends at the limits of memory or time is
called so: without them one of these files takes all the memory of a machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ("signals.video", "types.errors", "types.view")
MODULES_OF_0_1 = ("media", "errors", "view")
READ = """
import json, resource, sys
from importlib import import_module
import numpy as np
video, errors, view = (import_module(f"quickstep.{name}") for name in sys.argv[2:])
def cost():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
cpu, memory = cost()
answer = {}
try:
    answer["claims"] = video.probe(sys.argv[1]).duration
    times = np.arange(0, answer["claims"], 0.1)
    with video.VideoReader(sys.argv[1]) as reader:
        for frames in reader.windows(times[:, None], view=view.View(frames=1, size=32)):
            pass
except errors.MediaError as error:
    answer["error"] = str(error)
after = cost()
print(json.dumps({**answer, "cpu": after[0] - cpu, "megabytes": after[1] - memory}))
"""


def measure(checkout: Path, video: Path, memory: int, seconds: int) -> str:
    """Return what reading a video costs, in words."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))

    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-c", READ, str(video), *(MODULES if checkout == ROOT else MODULES_OF_0_1)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, preexec_fn=limit)
    if done.returncode < 0:
        return f"killed after {seconds} s of processor time"
    if done.returncode:
        return f"{done.stderr.strip().splitlines()[-1].split(':')[0]} with {memory / 2**30:g} GB"
    answer = json.loads(done.stdout)
    found = "refused" if "error" in answer else f"{answer['claims']:,.1f} s"
    return f"{found}, {answer['cpu']:.2f} s of processor time, {answer['megabytes']:.0f} MB"


def main() -> None:
    """Write the videos, read each with both versions and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path, help="a checkout of an older version")
    parser.add_argument("--memory-gb", type=float, default=4.0)
    parser.add_argument("--seconds", type=int, default=60)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests/helpers"))
    from costly_videos import write_costly

    checkouts = {"now": ROOT} | ({"before": options.old} if options.old else {})
    with tempfile.TemporaryDirectory() as folder:
        for name, video in write_costly(Path(folder)).items():
            for version, checkout in checkouts.items():
                cost = measure(checkout, video, int(options.memory_gb * 2**30), options.seconds)
                print(f"{name:10} {video.stat().st_size:7,} bytes  {version:7} {cost}", flush=True)


if __name__ == "__main__":
    main()
