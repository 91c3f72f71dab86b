"""Kill every command many times, at moments that a seed decides; `make kill-test` does, and resumes where it was stopped.

    python tests/kill_test.py [--kills 100] [--seed 1] [--only NAME ...] [--state FILE]

Each finished kill is a line of the state file. A kill whose outcome is wrong is printed, counted and repeated by the next run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "helpers")]

from kill_scenarios import SCENARIOS, Killer, stage  # noqa: E402 - the path is set above


def main() -> None:
    """Kill, print, and fail if an outcome was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="of each command")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--state", type=Path, default=Path("kill-test.jsonl"))
    options = parser.parse_args()
    lines = options.state.read_text().splitlines() if options.state.exists() else []
    done = {(entry["seed"], entry["command"], entry["number"]) for line in lines if (entry := parse(line))}
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="kill-test-") as name:
        folder = Path(name)
        staged = stage(folder / "stage")
        for command in options.only:
            missing = [number for number in range(options.kills) if (options.seed, command, number) not in done]
            print(f"{command}: {options.kills - len(missing)} done, {len(missing)} to do (seed {options.seed})", flush=True)
            wrong += kill(command, missing, staged, folder / "work", options) if missing else 0
    print(f"{wrong} wrong outcomes")
    sys.exit(1 if wrong else 0)


def parse(line: str) -> dict[str, object] | None:
    """Return a line of the state file; None for one that was cut off."""
    try:
        entry: dict[str, object] = json.loads(line)
    except ValueError:
        return None
    return entry


def kill(command: str, numbers: list[int], staged: Path, work: Path, options: argparse.Namespace) -> int:
    """Kill one command with each of these numbers; return how many outcomes were wrong."""
    wrong = 0
    with contextlib.closing(Killer(command, staged, work)) as killer, options.state.open("a") as state:
        for number in numbers:
            try:
                one = killer.random_kill(options.seed, number)
            except AssertionError as error:
                wrong += 1
                print(f"WRONG: {command}, number {number}: {error}", flush=True)
                continue
            entry = {"seed": options.seed, "command": command, "number": number, "at": one.at, "how": one.how, "call": one.call}
            state.write(f"{json.dumps(entry)}\n")
            state.flush()
    return wrong


if __name__ == "__main__":
    main()
