"""The shape of the code: packages that a newcomer can survey, and imports that point one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

MODULES = 15
LINES = 400
PARAMETERS = 8
FOREIGN = {
    "tilbench_decoders/modeling_alibi.py": "Transformers calls these with its own arguments",
    "tilbench_lm_eval/model.py": "lm-eval passes a model's arguments by name",
}
"""Modules whose signatures are another library's → why."""


def sources(root: Path) -> Iterator[Path]:
    for top in ("core", "plugins", "leaderboard"):
        yield from sorted((root / top).rglob("*.py"))


def test_no_folder_has_too_many_modules(root: Path) -> None:
    counts = {
        folder: sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        for top in ("core", "plugins", "leaderboard")
        for folder in (root / top).rglob("*")
        if folder.is_dir() and folder.name != "cli"  # one file per command
    }
    assert {str(folder): count for folder, count in counts.items() if count > MODULES} == {}


def test_no_module_is_too_long(root: Path) -> None:
    lengths = {path: path.read_text("utf-8").count("\n") for path in sources(root)}
    assert {str(path): lines for path, lines in lengths.items() if lines > LINES} == {}


def test_no_function_has_too_many_parameters(root: Path) -> None:
    found = [
        f"{path}:{node.lineno} {node.name}"
        for path in sources(root)
        if "/".join(path.parts[-2:]) not in FOREIGN
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if parameters(node) > PARAMETERS and not is_command(node)
    ]
    assert found == []


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    names = [each.arg for each in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    names += [each.arg for each in (function.args.vararg, function.args.kwarg) if each is not None]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any("command" in ast.unparse(each) for each in function.decorator_list)


@pytest.fixture(scope="module")
def imports(root: Path) -> list[tuple[str, str]]:
    """Every import inside the core and the plugins, those for type checkers included: importer, imported."""
    plugins = sorted(path.parent.name for path in (root / "plugins").glob("*/__init__.py"))
    graph = grimp.build_graph("tilbench", *plugins, cache_dir=None)
    return [(each, other) for each in graph.modules for other in graph.find_modules_directly_imported_by(each)]


def test_no_packages_import_each_other(imports: list[tuple[str, str]], root: Path) -> None:
    files = [(top, path) for top in ("core", "plugins") for path in (root / top).rglob("__init__.py")]
    packages = {".".join(path.parent.relative_to(root / top).parts) for top, path in files}
    for package in sorted(packages):
        siblings: dict[str, set[str]] = {}
        for importer, imported in imports:
            here, there = (member(package, name) for name in (importer, imported))
            if here and there and here != there:
                siblings.setdefault(here, set()).add(there)
        try:
            TopologicalSorter(siblings).prepare()
        except CycleError as error:
            pytest.fail(f"packages import each other: {' → '.join(error.args[1])}")


def member(package: str, module: str) -> str:
    """Return the direct member of `package` that `module` is or lies in; empty where it lies elsewhere."""
    if not module.startswith(f"{package}."):
        return ""
    name = module.removeprefix(f"{package}.").partition(".")[0]
    return f"{package}.{name}"
