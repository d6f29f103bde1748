"""The direction of imports (house rule): down the list of layers, never up, never sideways."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src" / "motedet"

LAYERS = [  # highest first; units on one line must not import one another
    {"cli"},
    {"engine", "export", "report"},
    {"recipes"},
    {"checkpoints", "data", "metrics", "models"},
    {"assign", "losses"},
    {"priors"},
    {"geometry"},
    {"structures"},
    {"errors", "files", "release"},
]
RANK = {unit: rank for rank, units in enumerate(LAYERS) for unit in units}


def used_units(path: Path) -> set[str]:
    """The names after `motedet.` in every import of the file."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            whole = node.module == "motedet"
            names += [f"motedet.{n.name}" for n in node.names] if whole else [node.module]
        elif isinstance(node, ast.Import):
            names += [n.name for n in node.names]
    units = {n.split(".")[1] for n in names if n.startswith("motedet.")}
    return units - {"__version__"}


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_imports_only_from_lower_layers(path: Path) -> None:
    unit = path.relative_to(SRC).parts[0].removesuffix(".py")
    if unit in {"__init__", "__main__"}:
        return
    assert unit in RANK, f"{unit} is on no layer"
    for used in used_units(path):
        assert used == unit or RANK[used] > RANK[unit], f"{unit} must not import {used}"
