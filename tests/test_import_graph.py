"""The house is a tower: imports point down, none runs in a circle, and one floor alone runs a model. Read from the source."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "interpreto"
GROUND = 0
FLOORS = {
    "inputs": 1,
    "models": 2,
    "judges": 3,
    "attributions": 3,
    "concepts": 3,
    "training": 3,
    "metrics": 4,
    "datasets": 5,
    "visualizations": 6,
    "cli": 7,
    "app": 7,
    "demo": 7,
}
LAZY = {"__init__.py", "concepts/__init__.py", "renderable.py", "registry.py", "_moved.py", "__main__.py"}
"""Laziness is their purpose."""
OWN_MODELS = {"concepts/inputs_to_concepts.py"}
"""Classes of ours that are models themselves, and call the one that they hold."""

UPWARD: set[tuple[str, str]] = set()
"""Imports that still point up; none may be added."""
CALLERS: set[str] = set()
"""Files outside of `models` that still call one; none may be added."""
LATE: set[str] = set()
"""Files that still import others of ours within functions; none may be added."""


@cache
def files() -> dict[str, ast.Module]:
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in sorted(ROOT.rglob("*.py"))}


def floor(name: str) -> int:
    """Return the floor of a file, or of a dotted name within the package."""
    return FLOORS.get(name.replace("/", ".").split(".")[0], GROUND)


def module_of(dotted: str) -> str | None:
    """Return the file of a dotted name of ours: a module, a package, or what holds a name."""
    parts = dotted.split(".")[1:]
    while parts:
        for found in ("/".join(parts) + ".py", "/".join(parts) + "/__init__.py"):
            if found in files():
                return found
        parts = parts[:-1]
    return None


def typing_only(tree: ast.Module) -> set[int]:
    """Return the nodes under ``if TYPE_CHECKING``."""
    guarded = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    return {id(inner) for node in guarded for inner in ast.walk(node)}


def imports(tree: ast.Module) -> list[tuple[ast.AST, str]]:
    """Return the imports of ours: the node, and what it imports."""
    found: list[tuple[ast.AST, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "interpreto":
            found += [(node, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(node, alias.name) for alias in node.names if alias.name.split(".")[0] == "interpreto"]
    return found


@cache
def graph() -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {}
    for name, tree in files().items():
        skipped = typing_only(tree)
        targets = {module_of(dotted) for node, dotted in imports(tree) if id(node) not in skipped}
        edges[name] = {target for target in targets if target is not None and target != name}
    return edges


def test_imports_point_down():
    found = {
        (name, target)
        for name, targets in graph().items()
        for target in targets
        if name not in LAZY and floor(target) > floor(name)
    }
    assert found == UPWARD


def test_attributions_and_concepts_stand_next_to_each_other():
    assert not [
        (name, target)
        for name, targets in graph().items()
        for target in targets
        if {name.split("/")[0], target.split("/")[0]} == {"attributions", "concepts"}
    ]


def test_no_circles():
    done: set[str] = set()
    circles: list[list[str]] = []

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            circles.append([*path[path.index(name) :], name])
            return
        if name in done:
            return
        for target in sorted(graph()[name]):
            if name not in LAZY:
                walk(target, [*path, name])
        done.add(name)

    for name in files():
        walk(name, [])
    assert not circles


def calls_a_model(node: ast.AST) -> bool:
    """Return True for ``model(…)``, ``self.model(…)``, ``x.model(…)``, and ``….generate(…)`` of them."""
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return called == "model" or called.endswith((".model", "model.generate", "model.forward"))


@pytest.mark.parametrize("call", ["model(x)", "self.model(**inputs)", "splitter.model(x)", "self.model.generate(ids)"])
def test_a_call_of_a_model_is_seen(call):
    assert calls_a_model(ast.parse(call, mode="eval").body)


def test_one_package_alone_runs_a_model():
    found = {
        name
        for name, tree in files().items()
        if not name.startswith("models/") and name not in OWN_MODELS
        for node in ast.walk(tree)
        if calls_a_model(node)
    }
    assert found == CALLERS


def test_one_file_alone_knows_nnsight():
    importing = {
        name
        for name, tree in files().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "nnsight" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "nnsight")
    }
    assert importing == {"models/nnsight.py"}


def test_nothing_of_ours_is_imported_within_a_function():
    found = set()
    for name, tree in files().items():
        inside = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for inner in ast.walk(node)
        }
        if name not in LAZY and any(id(node) in inside for node, _ in imports(tree)):
            found.add(name)
    assert found == LATE
