"""Read damaged videos of every container, and say which crash, hang or cost too much: `make fuzz SEEDS=0-1000`.

A seed always makes the same file, so a range can be divided and resumed. Each file is read in a process with 1 GB of memory beyond what
the program takes. What ends without a result or an error of one line, or takes more than 10 s + 10 times its duration, is printed and kept.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "helpers"))

import numpy as np
from videos import RECIPES, writable, write_numbered

from quickstep.signals.video import VideoReader
from quickstep.signals.video.limits import DecodingLimits
from quickstep.types.errors import QuickstepError
from quickstep.types.view import View

MEMORY = 2**30
SPARE_SECONDS, SECONDS_A_SECOND = 10.0, 10.0
NAMES = tuple(
    name.encode()
    for name in ["stts", "stsz", "stco", "ctts", "elst", "mdhd", "mvhd", "tkhd", "trun", "tfdt", "stsd", "avcC", "idx1", "strh", "avih"]
)
CLAIMS = (0, 1, 0x7F, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**40, 2**63 - 1)
Bytes = bytearray
Damage = Callable[[random.Random, Bytes, Bytes], Bytes]


def flip(rng: random.Random, content: Bytes, _other: Bytes) -> Bytes:
    """Change single bits."""
    for _ in range(rng.choice((1, 3, 10, 100))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def claim(rng: random.Random, content: Bytes, _other: Bytes) -> Bytes:
    """Write a number that claims much, near the name of a box if there is one."""
    places = [at for name in NAMES if (at := content.find(name)) >= 0]
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.choice(places) + 4 * rng.randrange(-1, 8) if places and rng.random() < 0.8 else rng.randrange(min(len(content), 4096))
        size = rng.choice((1, 2, 4, 8))
        value = rng.choice(CLAIMS) & (2 ** (8 * size) - 1)
        content[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))
    return content


def cut(rng: random.Random, content: Bytes, _other: Bytes) -> Bytes:
    """Cut off the end, or take a piece out."""
    start = rng.randrange(1, len(content))
    return content[:start] if rng.random() < 0.5 else content[:start] + content[min(len(content), start + rng.randrange(1, 5000)) :]


def splice(rng: random.Random, content: Bytes, other: Bytes) -> Bytes:
    """Go on with a piece of another file."""
    return content[: rng.randrange(1, len(content))] + other[rng.randrange(len(other)) :]


def structure(rng: random.Random, content: Bytes, _other: Bytes) -> Bytes:
    """Repeat, move or swap pieces that begin with the name of a box, else blocks."""
    places = sorted(at - 4 for name in NAMES if (at := content.find(name)) >= 4) or sorted(rng.sample(range(len(content)), 4))
    first, last = min(places), rng.choice(places) + rng.choice((8, 64, 512))
    piece = content[first:last]
    return content[:last] + piece * rng.choice((1, 2, 50)) + content[rng.choice((last, first)) :]


DAMAGES: tuple[Damage, ...] = (flip, claim, cut, splice, structure)


def sources(folder: Path) -> list[Path]:
    """Write one small video of each recipe that this build of FFmpeg can write."""
    paths = []
    for recipe in RECIPES:
        path = folder / f"{recipe.name}{recipe.suffix}"
        if not path.exists() and writable(recipe):
            write_numbered(path, recipe, count=24)
        if path.exists():
            paths.append(path)
    return paths


def damaged(seed: int, paths: list[Path]) -> tuple[str, bytes]:
    """Return the name and the content of the file of a seed."""
    rng = random.Random(seed)
    path = paths[seed % len(paths)]
    content, other = Bytes(path.read_bytes()), Bytes(rng.choice(paths).read_bytes())
    damage = rng.choice(DAMAGES)
    return f"{seed}-{damage.__name__}-{path.name}", bytes(damage(rng, content, other))


def read(path: Path) -> dict[str, object]:
    """Read every fifth of a second of a video; return what came of it."""
    began, duration = time.process_time(), 0.0
    try:
        with VideoReader(path) as video:
            duration = video.info.duration
            for _ in video.windows(np.arange(0, duration, 0.2)[:, None], view=View(frames=1, size=32)):
                pass
        result = "read"
    except QuickstepError as error:
        result = "refused" if "\n" not in str(error) else "an error of several lines"
    except BaseException:
        result = traceback.format_exc()
    used = time.process_time() - began
    if used > SPARE_SECONDS + SECONDS_A_SECOND * duration:
        result = f"took {used:.0f} s of processor time for {duration:.1f} s"
    return {"result": result, "seconds": used}


def work(start: int, stop: int, folder: Path) -> None:
    """Read the files of some seeds in this process, which has little memory; print a line before and after each."""
    paths = sources(folder)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    with tempfile.TemporaryDirectory() as temporary, DecodingLimits(isolate="never").active():
        for seed in range(start, stop):
            name, content = damaged(seed, paths)
            path = Path(temporary) / name
            path.write_bytes(content)
            print(json.dumps({"seed": seed, "name": name}), flush=True)
            print(json.dumps(read(path)), flush=True)
            path.unlink()


def run(start: int, stop: int, folder: Path, kept: Path) -> Counter[str]:
    """Read the files of a range; after a crash go on with the next seed. Return how often each result came."""
    counts: Counter[str] = Counter()
    while start < stop:
        command = [sys.executable, __file__, "--work", "--seeds", f"{start}-{stop}", "--folder", str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
            assert process.stdout is not None
            last: dict[str, object] = {}
            for line in process.stdout:
                answer = json.loads(line)
                if "seed" in answer:
                    last, start = answer, answer["seed"] + 1
                    continue
                good = answer["result"] in ("read", "refused")
                counts[answer["result"] if good else "bad"] += 1
                if not good:
                    _keep(last, str(answer["result"]), folder, kept)
                last = {}
        if last:
            counts["crashed"] += 1
            _keep(last, f"the process ended with {process.returncode}", folder, kept)
        elif process.returncode:
            raise SystemExit(f"the process that reads ended with {process.returncode}")
    return counts


def _keep(which: dict[str, object], why: str, folder: Path, kept: Path) -> None:
    kept.mkdir(parents=True, exist_ok=True)
    name, content = damaged(int(str(which["seed"])), sources(folder))
    (kept / name).write_bytes(content)
    print(f"{kept / name}: {why}", flush=True)


def main() -> int:
    """Read a range of seeds; exit 1 if one was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0-1000", help="START-STOP")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "quickstep-fuzz")
    parser.add_argument("--kept", type=Path, default=Path("fuzz-found"))
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    start, stop = (int(number) for number in options.seeds.split("-"))
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.work:
        work(start, stop, options.folder)
        return 0
    sources(options.folder)
    counts = run(start, stop, options.folder, options.kept)
    print(f"seeds {options.seeds}: {sum(counts.values())} files, " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    return 1 if counts["bad"] or counts["crashed"] else 0


if __name__ == "__main__":
    sys.exit(main())
