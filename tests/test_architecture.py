"""The house stays as it is drawn: imports go down, never in circles, heavy libraries stay in their rooms, names are public on purpose."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import quickstep

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "quickstep"

# The floors of docs/architecture.md: a module may import what lies below it, or beside it on its own floor.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors", "segment", "signals", "view", "skeleton", "anatomy", "table", "progress", "settings", "records", "intervals"),
    (
        "media",
        "manifest",
        "sources",
        "footage",
        "likeness",
        "collecting",
        "allotment",
        "augment",
        "mirrors",
        "splits",
        "audit",
        "checks",
        "shortcuts",
        "store",
        "sealed",
        "wording",
        "hub",
        "locating",
        "poses",
        "pose_checks",
    ),
    ("flow",),
    ("backbones", "heads"),
    ("features", "shown", "texts", "people"),
    ("calibration", "ensemble", "foreign", "model"),
    (
        "training",
        "finetuning",
        "importing",
        "fusing",
        "prediction",
        "answers",
        "timelines",
        "evaluation",
        "zeroshot",
        "shots",
        "growing",
        "live",
        "reviewing",
        "weighing",
    ),
    ("reporting", "tuning", "demo", "doctor", "library", "publishing", "recipes"),
    ("app", "cli", "commands", "server", "terminal", "__main__"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}

# Libraries that are slow to import or not always there: each only in the rooms that are about it.
ROOMS_OF = {
    "av": {"media"},
    "torch": {"backbones", "finetuning", "heads", "poses", "doctor"},
    "cv2": {"augment", "backbones", "demo", "doctor", "flow", "likeness", "live", "poses"},
    "accelerate": {"finetuning"},
    "transformers": {"backbones", "poses"},
    "openvino": {"backbones"},
    "mediapipe": {"poses"},
    "rtmlib": {"poses"},
    "onnxruntime": {"poses"},
    "lancedb": {"library"},
    "optuna": {"tuning"},
    "pyarrow": {"library"},
    "matplotlib": {"reporting"},
    "cyclopts": {"cli", "commands"},
    "streamlit": {"app"},
    "streamlit_webrtc": {"app"},
    "rich": {"cli", "terminal"},
    "fastapi": {"server"},
    "starlette": {"server"},
    "pydantic": {"server"},
    "uvicorn": {"server"},
    "python_multipart": {"server"},
    "prometheus_client": {"server"},
}


def modules() -> dict[str, Path]:
    return {path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__"): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """Every module that a file imports at run time, wherever in the file; what is only for type checking does not count."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are written out in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(module: str) -> str:
    return module.split("/")[0]


def edges() -> set[tuple[str, str]]:
    """(importing module, imported module) inside the package."""
    known = modules()
    found = set()
    for module, path in known.items():
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "quickstep" or len(parts) == 1:
                continue
            target = next(t for k in range(len(parts), 0, -1) if (t := "/".join(parts[1:k])) in known or k == 1)
            found.add((module, target))
    return {(a, b) for a, b in found if b and a != b}


def test_every_module_has_a_floor() -> None:
    assert {room(module) for module in modules()} - {"__init__", "."} <= FLOOR.keys()


def test_imports_go_downward_only() -> None:
    upward = sorted((a, b) for a, b in edges() if a != "__init__" and FLOOR[room(a)] < FLOOR[room(b)])
    assert not upward


def test_backbones_and_heads_meet_only_in_the_model() -> None:
    assert not [(a, b) for a, b in edges() if {room(a), room(b)} == {"backbones", "heads"}]


def test_no_circles() -> None:
    graph: dict[str, set[str]] = {}
    for a, b in edges():
        if a != "__init__":
            graph.setdefault(a, set()).add(b)
    state: dict[str, str] = {}

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert state.get(module) != "open", f"a circle: {' -> '.join((*trail, module))}"
        if module not in state:
            state[module] = "open"
            for below in sorted(graph.get(module, ())):
                visit(below, (*trail, module))
            state[module] = "done"

    for module in sorted(graph):
        visit(module, ())


@pytest.mark.parametrize("library", sorted(ROOMS_OF))
def test_heavy_libraries_stay_in_their_rooms(library: str) -> None:
    users = {room(module) for module, path in modules().items() if any(name.split(".")[0] == library for name in imports(path))}
    assert users <= ROOMS_OF[library]


def test_the_package_and_the_command_line_start_light() -> None:
    heavy = "{'torch', 'cv2', 'av', 'transformers', 'sklearn', 'scipy', 'matplotlib', 'numpy'}"
    for module, allowed in (("quickstep", set()), ("quickstep.cli", set())):
        code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert set(printed) == allowed


def test_the_public_names_are_these() -> None:
    assert sorted(quickstep.__all__) == quickstep.__all__
    assert set(quickstep.__all__) == set(dir(quickstep)) & set(quickstep.__all__)
    for name in quickstep.__all__:
        assert getattr(quickstep, name) is not None
    modules_here = {module for module in modules() if "/" not in module}
    assert not modules_here & set(quickstep.__all__), "a function must not stand under its module's name"


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = quickstep.no_such_name  # type: ignore[attr-defined]
