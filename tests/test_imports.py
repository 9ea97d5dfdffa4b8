"""The borders between the packages: which may import which, at the top and inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

ORDER = (
    ("train", "__main__"),
    ("ui",),
    ("jobs",),
    ("sampling",),
    ("forecast",),
    ("hub",),
    ("runs",),
    ("training",),
    ("audit",),
    ("data",),
    ("families",),
    ("config",),
    (
        "errors",
        "redaction",
        "network",
        "digests",
        "randomness",
        "step_budget",
        "imports",
        "quantities",
        "paths",
        "rundir",
    ),
)
"""Packages and modules of memshield from top to bottom; each may import what stands below it."""

UI_TAKES = {"config", "jobs", "hub", "runs", "forecast", *ORDER[-1]}
UI_TAKES_BESIDE = {
    "audit.choose": "rules by which a report's numbers are judged",
    "audit.plots": "a report's charts: the page shows those of report.html",
    "audit.report": "the report's types",
    "audit.progress_file": "how far an audit is, as the run directory tells it",
    "audit.statements": "the two statements of an audit, for the page as for report.html",
    "audit.report_view": "a report as data to show, for the page as for report.html",
    "audit.watch_findings": "what the watch of a run has found, as the report has it",
    "audit.watch_record": "the record of a run's watch, which the report's charts take",
    "data.columns": "the columns of a dataset, and their usual names",
    "data.duplicate_pairs": "reads the pairs of duplicates that a run has written",
    "data.images": "decodes a person's own pictures for the page",
    "data.scan": "what training notes of a picture, for the tray as for training",
    "data.source": "opens a person's own folder",
    "families.facts": "names and facts of models, as types",
    "families.kinds": "the families, as tables",
    "sampling.record": "the record of sampled pictures, as types",
    "sampling.request": "the request for sampled pictures, and the command line that a job runs",
}
"""What `ui` imports from further down, and why it is not worth a layer in between."""

HEAVY = {"torch", "torchvision", "diffusers", "transformers", "accelerate", "peft"}


class Import(NamedTuple):
    """An import of a name.

    Attributes:
        name: dotted.
        at_once: whether it runs when the module is imported; else it stands in a function, or is
            for the type checker.
    """

    name: str
    at_once: bool


def imports_of(tree: ast.AST, at_once: bool = True) -> Iterator[Import]:
    """Every import below a node."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_once) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            yield from (Import(f"{node.module}.{alias.name}", at_once) for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ):
            yield from imports_of(node, False)
        else:
            yield from imports_of(node, at_once)


def modules(root: Path = ROOT) -> dict[str, set[Import]]:
    """What every module of memshield imports; its own imports by the module that they reach."""
    paths = {}
    for path in sorted((root / "memshield").rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found = {}
    for module, path in paths.items():
        reached = set()
        for name, at_once in imports_of(ast.parse(path.read_text(encoding="utf-8"))):
            if name.split(".")[0] == "memshield" and name not in paths:
                name = parent_of(name)
                assert name in paths, f"{module} imports {name}, which is no module"
            reached.add(Import(name, at_once))
        found[module] = {one for one in reached if one.name != module}
    return found


def own(imports: Iterable[Import]) -> set[str]:
    """Those of memshield."""
    return {one.name for one in imports if one.name.split(".")[0] == "memshield"}


def package_of(module: str) -> str:
    """The package, or the module at the top level, that a module belongs to; "" for memshield."""
    return module.partition(".")[2].partition(".")[0]


def parent_of(module: str) -> str:
    """The package that a module or a package stands in."""
    return module.rpartition(".")[0]


def level_of(module: str) -> int:
    """Height in the order: 0 is at the bottom, and memshield itself, a version, below it."""
    levels = {name: level for level, names in enumerate(reversed(ORDER)) for name in names}
    return levels.get(package_of(module), -1)


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of nodes that reach each other."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting += graph.get(node, ())
        reach[start] = seen
    groups = {
        frozenset(other for other in reach[node] if node in reach.get(other, ()))
        for node in graph
        if node in reach[node]
    }
    return sorted(map(sorted, groups))


def against_the_order(found: Mapping[str, set[Import]]) -> list[str]:
    """Imports from the same level or a higher one, of another package."""
    return [
        f"{module} imports {name}"
        for module, imports in found.items()
        for name in sorted(own(imports))
        if package_of(name) != package_of(module) and level_of(name) >= max(1, level_of(module))
    ]


def packages(found: Mapping[str, set[Import]]) -> dict[str, set[str]]:
    """Which innermost package imports from which; a module beside packages stands for itself."""
    innermost = {parent_of(module) for module in found}
    innermost -= {parent_of(package) for package in innermost}

    def place(module: str) -> str:
        return parent if (parent := parent_of(module)) in innermost else module

    graph: dict[str, set[str]] = {}
    for module, imports in found.items():
        graph.setdefault(place(module), set()).update(map(place, own(imports)))
    return {name: others - {name} for name, others in graph.items()}


@pytest.fixture(scope="module")
def found() -> dict[str, set[Import]]:
    return modules()


def test_every_package_has_its_place(found: dict[str, set[Import]]) -> None:
    there = {package_of(module) for module in found} - {""}
    assert there == {name for names in ORDER for name in names}


def test_imports_point_down(found: dict[str, set[Import]]) -> None:
    assert against_the_order(found) == []


def test_no_circle_of_modules(found: dict[str, set[Import]]) -> None:
    assert circles({module: own(imports) for module, imports in found.items()}) == []


def test_no_circle_of_packages(found: dict[str, set[Import]]) -> None:
    assert circles(packages(found)) == []


def test_what_the_page_takes(found: dict[str, set[Import]]) -> None:
    taken = {
        name.removeprefix("memshield.")
        for module, imports in found.items()
        if package_of(module) == "ui"
        for name in own(imports)
        if package_of(name) not in {"ui", "", *UI_TAKES}
    }
    assert taken == set(UI_TAKES_BESIDE)


@pytest.mark.parametrize(
    ("package", "heavy"), [("ui", HEAVY), ("jobs", {*HEAVY, "gradio", "datasets"})]
)
def test_importing_it_imports_nothing_heavy(
    package: str, heavy: set[str], found: dict[str, set[Import]]
) -> None:
    at_once = {
        module: {one.name for one in imports if one.at_once} for module, imports in found.items()
    }
    for start in (module for module in found if package_of(module) == package):
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            module = waiting.pop()
            if module in seen:
                continue
            seen.add(module)
            # Importing a module imports the packages that it stands in.
            waiting += [name for name in at_once[module] if name in at_once]
            waiting += [parent] if (parent := parent_of(module)) in at_once else []
            taken = {name.split(".")[0] for name in at_once[module]} & heavy
            assert not taken, f"{start} imports {', '.join(taken)} through {module}"


# The test itself


def test_imports_are_found_wherever_they_stand() -> None:
    text = """
import a.b
from c import d, e
if TYPE_CHECKING:
    from f import g
def h():
    def i():
        import j
class K:
    import l
try:
    import m
except ImportError:
    pass
"""
    seen = set(imports_of(ast.parse(text)))
    assert {one.name for one in seen if one.at_once} == {"a.b", "c.d", "c.e", "l", "m"}
    assert {one.name for one in seen if not one.at_once} == {"f.g", "j"}


def test_circles_are_found() -> None:
    graph = {"a": ["b"], "b": ["c"], "c": ["a", "d"], "d": [], "e": ["e"], "f": ["a"]}
    assert circles(graph) == [["a", "b", "c"], ["e"]]


def test_imports_against_the_order_are_found() -> None:
    down = {"memshield.runs.a": {Import("memshield.audit.b", True)}}
    up = {"memshield.audit.b": {Import("memshield.runs.a", False)}}
    beside = {"memshield.errors": {Import("memshield.network", True)}}
    assert against_the_order({**down, **beside}) == []
    assert against_the_order(up) == ["memshield.audit.b imports memshield.runs.a"]
    ground = {"memshield.errors": {Import("memshield.config.file", True)}}
    assert against_the_order(ground) == ["memshield.errors imports memshield.config.file"]


def test_circles_of_packages_are_found() -> None:
    into = {"memshield.hub.card": {Import("memshield.hub.catalog.license", True)}}
    out = {"memshield.hub.catalog.access": {Import("memshield.hub.card", True)}}
    inside = {"memshield.hub.catalog.license": {Import("memshield.hub.catalog.access", True)}}
    assert circles(packages({**into, **inside})) == []
    assert circles(packages({**into, **out})) == [["memshield.hub.card", "memshield.hub.catalog"]]
