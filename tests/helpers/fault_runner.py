"""The process behind `faults.Faults`: imports quickstep once, and forks for each command that it reads from stdin as JSON.

With the argument "light" it imports only what a command itself does not: for code that uses few modules.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pkgutil
import signal
import sys
import time
from typing import Any

from quickstep.types.errors import QuickstepError

# LanceDB starts threads when it is imported, and a fork would lose them.
PACKAGES = ("apps.commands", "training", "training.finetuning", "training.label_review", "inference", "models", "heads", "datasets")


def main() -> None:
    """Answer each line with the status of its command."""
    import quickstep.apps.cli

    for name in () if "light" in sys.argv[1:] else PACKAGES:
        package = importlib.import_module(f"quickstep.{name}")
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"quickstep.{name}.{module.name}")
    assert "lancedb" not in sys.modules
    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if child == 0:
            run(job, quickstep.apps.cli.main)
        print(json.dumps({"status": wait(child, job["patience"])}), flush=True)


def run(job: dict[str, Any], command: Any) -> None:
    """Run a command, as a process of its own group would."""
    os.setsid()
    os.chdir(job["folder"])
    os.environ.update(job["environment"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{job['out']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    status: Any = 0
    try:
        if job["words"][0] == "-c":
            sys.argv = job["words"]
            exec(job["words"][1], {"__name__": "__main__"})
        else:
            sys.argv = ["quickstep", *job["words"]]
            command(job["words"])
    except SystemExit as ended:
        status = ended.code
    except QuickstepError as error:  # of Python code; a command has printed it
        print(f"quickstep: {error}", file=sys.stderr)
        status = 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 70
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def wait(child: int, patience: float) -> int:
    """Return the status of a child, negative for a signal; one that hangs is killed and gets 124."""
    end = time.monotonic() + patience
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 124
        time.sleep(0.002)


if __name__ == "__main__":
    main()
