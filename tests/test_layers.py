"""Who may import whom: no circles, no private names of another package, nothing that is not installed."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "vinr_engine": ROOT / "vinr_engine",
    "vinr_engine.export": ROOT / "export",
    "vinr_engine.kernels": ROOT / "kernels",
}
# Imports that go up, from the first to the second, each with its reason.
ALLOWED = {
    ("vinr_engine", "vinr_engine.video"): "vinr_engine.upscale, loaded on its first use",
}


def _modules() -> dict[str, Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


MODULES = _modules()


def _imports(name: str) -> set[tuple[str, str]]:
    """(module, name taken from it or "") of every import, wherever it stands; a submodule counts as a module."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            inner = {alias.name: f"{module}.{alias.name}" for alias in node.names}
            found |= {(m, "") if m in MODULES else (module, taken) for taken, m in inner.items()}
    return found


IMPORTS = {name: _imports(name) for name in MODULES}


def _package(module: str) -> str:
    """The top-level subpackage that a module is of, or the module itself beside them."""
    return ".".join(module.split(".")[:2])


def _circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected groups of more than one (Tarjan)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in edges.get(node, ()):
            if other not in order:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], order[other])
        if low[node] == order[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for node in list(edges):
        if node not in order:
            visit(node)
    return groups


def _without_allowed(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    return {a: {b for b in others if (a, b) not in ALLOWED} for a, others in edges.items()}


def test_no_circle_between_modules():
    edges = {name: {module for module, _ in found if module in MODULES} - {name} for name, found in IMPORTS.items()}
    for name, others in edges.items():
        # a package is loaded before its modules: what its __init__ takes from them is no circle
        others -= {name.rsplit(".", n)[0] for n in range(1, name.count(".") + 1)}
    assert _circles(_without_allowed(edges)) == []


def test_no_circle_between_packages():
    edges: dict[str, set[str]] = {}
    for name, found in IMPORTS.items():
        others = {_package(module) for module, _ in found if module in MODULES} - {_package(name)}
        edges.setdefault(_package(name), set()).update(others)
    assert _circles(_without_allowed(edges)) == []


def test_no_private_name_of_another_package():
    wrong = []
    for name, found in IMPORTS.items():
        for module, taken in found:
            if module.split(".")[0] != "vinr_engine" or _package(module) == _package(name):
                continue
            parts = [*module.split(".")[2:], taken]
            if any(part.startswith("_") and not part.startswith("__") for part in parts):
                wrong.append((_package(name), module))
    assert wrong == []


def test_nothing_outside_the_package():
    assert [
        (name, module)
        for name, found in IMPORTS.items()
        for module, _ in found
        if module.split(".")[0] in ("benchmarks", "tests")
    ] == []
