"""The code is as docs/architecture.md draws it: imports go to lower layers, never in circles; heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache

import pytest
from places import ROOT

import quickstep

PACKAGE = ROOT / "quickstep"

# The layers of docs/architecture.md: a package imports lower layers and itself, never a package of its own layer.
LAYERS = {
    "types": 1,
    "storage": 2,
    "heads": 3,
    "signals": 3,
    "backbones": 4,
    "datasets": 4,
    "models": 5,
    "evaluation": 6,
    "library": 6,
    "training": 7,
    "inference": 7,
    "apps": 8,
}

# Libraries that are slow to import or not always there, and the packages (or files) that may import them.
HEAVY = {
    "av": ("signals/video",),
    "torch": ("backbones", "heads", "signals/poses", "training/finetuning", "apps/doctor"),
    "cv2": ("signals/opencv",),
    "accelerate": ("training/finetuning",),
    "transformers": ("backbones", "signals/poses"),
    "openvino": ("backbones/engines",),
    "mediapipe": ("signals/poses",),
    "rtmlib": ("signals/poses",),
    "onnxruntime": ("signals/poses",),
    "lancedb": ("library",),
    "pyarrow": ("library",),
    "optuna": ("training/tuning",),
    "matplotlib": ("evaluation/rendering", "inference/timelines", "training/learning_curve", "training/tuning"),
    "cyclopts": ("apps/cli", "apps/commands"),
    "rich": ("apps/cli", "apps/terminal"),
    "streamlit": ("apps/web",),
    "streamlit_webrtc": ("apps/web",),
    "fastapi": ("apps/server",),
    "starlette": ("apps/server", "apps/web/launch", "apps/web/video_addresses"),
    "pydantic": ("apps/server",),
    "uvicorn": ("apps/server",),
    "python_multipart": ("apps/server",),
    "prometheus_client": ("apps/server",),
}
FRONT_DOORS = {"__init__", "__main__"}  # of the whole package: the public names, and `python -m quickstep`


@cache
def trees() -> dict[str, ast.Module]:
    """Every module ("signals/video/decoder"; a package is called as its folder), parsed once."""
    files = sorted(PACKAGE.rglob("*.py"))
    names = [path.relative_to(PACKAGE).with_suffix("").as_posix().removesuffix("/__init__") for path in files]
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in zip(names, files)}


@cache
def imports() -> dict[str, frozenset[str]]:
    """Return what each module imports at run time, anywhere in the file; imports for type checking do not count."""
    imported = {}
    for module, tree in trees().items():
        skipped = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
            for statement in node.body
            for inner in ast.walk(statement)
        }
        names: set[str] = set()
        for node in ast.walk(tree):
            if node in skipped:
                continue
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                assert node.level == 0, f"{module}: imports are written out in full"
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
        imported[module] = frozenset(names)
    return imported


@cache
def edges() -> frozenset[tuple[str, str]]:
    """Return the pairs (importing module, imported module) inside the package."""
    pairs = set()
    for module, names in imports().items():
        for name in names:
            parts = name.split(".")
            if parts[0] == "quickstep" and len(parts) > 1:
                places = ("/".join(parts[1:end]) for end in range(len(parts), 1, -1))
                pairs.add((module, next((place for place in places if place in trees()), "__init__")))
    return frozenset((a, b) for a, b in pairs if a != b and a not in FRONT_DOORS)


def package(module: str) -> str:
    return module.split("/")[0]


def circle(graph: dict[str, set[str]]) -> list[str]:
    """One circle of a graph, or nothing."""
    state: dict[str, str] = {}

    def visit(node: str, trail: tuple[str, ...]) -> list[str]:
        if state.get(node) == "open":
            return [*trail[trail.index(node) :], node]
        if node not in state:
            state[node] = "open"
            for below in sorted(graph.get(node, ())):
                if round_trip := visit(below, (*trail, node)):
                    return round_trip
            state[node] = "done"
        return []

    return next((trail for node in sorted(graph) if (trail := visit(node, ()))), [])


def test_there_are_these_twelve_packages() -> None:
    assert {package(module) for module in trees()} - FRONT_DOORS - {"."} == LAYERS.keys()


def test_the_architecture_page_lists_the_packages_and_their_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert {name: int(layer) for layer, name in re.findall(r"^\| (\d) \| `(\w+)/` \|", page, re.M)} == LAYERS


def test_imports_go_to_lower_layers_or_stay_in_the_package() -> None:
    wrong = sorted((a, b) for a, b in edges() if package(a) != package(b) and LAYERS[package(a)] <= LAYERS.get(package(b), 9))
    assert not wrong


def test_no_circles_between_files() -> None:
    graph: dict[str, set[str]] = {}
    for a, b in edges():
        graph.setdefault(a, set()).add(b)
    assert not circle(graph)


def test_no_circles_between_the_packages_inside_a_package() -> None:
    """signals/video, signals/flow ...; files that lie beside them count as one place each."""
    graph: dict[str, set[str]] = {}
    for a, b in edges():
        inner = ["/".join(module.split("/")[:2]) for module in (a, b)]
        if package(a) == package(b) and inner[0] != inner[1] and "/" in a and "/" in b:
            graph.setdefault(inner[0], set()).add(inner[1])
    assert not circle(graph)


@pytest.mark.parametrize("library", sorted(HEAVY))
def test_heavy_libraries_stay_where_they_belong(library: str) -> None:
    users = {module for module, names in imports().items() if any(name.split(".")[0] == library for name in names)}
    assert not {user for user in users if not any(user == owner or user.startswith(f"{owner}/") for owner in HEAVY[library])}


def test_no_module_is_imported_under_another_name() -> None:
    renamed = sorted(
        f"{module}: {alias.name} as {alias.asname}"
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "quickstep"
        for alias in node.names
        if alias.asname and f"{node.module}.{alias.name}".replace(".", "/").removeprefix("quickstep/") in trees()
    )
    assert not renamed


def test_the_package_and_the_command_line_start_light() -> None:
    heavy = "{'torch', 'cv2', 'av', 'transformers', 'sklearn', 'scipy', 'matplotlib', 'numpy'}"
    for module in ("quickstep", "quickstep.apps.cli"):
        code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
        printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
        assert printed == []


def test_every_public_name_is_there() -> None:
    for name in quickstep.__all__:
        assert getattr(quickstep, name) is not None
    assert not {module for module in trees() if "/" not in module} & set(quickstep.__all__), "a function under its module's name"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = quickstep.no_such_name  # type: ignore[attr-defined]
