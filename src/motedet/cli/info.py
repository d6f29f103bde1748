"""`motedet info`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from motedet.cli.export import SizeText, parse_size

if TYPE_CHECKING:
    from motedet.models.detectors import Detector
    from motedet.recipes import Recipe

DEFAULT_SIZE = (512, 512)  # where the recipe names none


def info(
    source: Annotated[str, typer.Argument(help="A recipe, or a .safetensors file of ours.")],
    *,
    size: SizeText = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a detector costs, what it sees, and the smallest object that it can learn."""
    from motedet.engine.cost import count_costs
    from motedet.engine.smallest_object import smallest_with_positive

    recipe, detector = _detector(source)
    pixels = _padded(recipe, parse_size(size)) if size else _own_size(recipe)
    costs = {part: (c.parameters, c.macs) for part, c in count_costs(detector, pixels).items()}
    spec: Any = detector.spec  # every detector has one, of its own type
    grid = spec.priors([(-(-pixels[0] // s), -(-pixels[1] // s)) for s in spec.priors.strides])
    smallest = smallest_with_positive(recipe, grid, pixels)
    levels = _levels(detector, grid)
    content = {
        "name": recipe.name,
        "detector": recipe.model.kind,
        "size": list(pixels),
        "parameters": sum(c[0] for c in costs.values()),
        "macs": sum(c[1] for c in costs.values()),
        "parts": {part: {"parameters": p, "macs": m} for part, (p, m) in costs.items()},
        "levels": levels,
        "smallest_object": smallest,
    }
    if as_json:
        print(json.dumps(content, indent=1))
        return
    from rich.console import Console

    from motedet.report.info import LevelRow, costs_table, levels_table

    console = Console()
    print(f"{recipe.name} ({recipe.model.kind}) at {pixels[0]} x {pixels[1]}")
    console.print(costs_table(costs))
    rows = [
        LevelRow(
            stride=level["stride"],
            cells=tuple(level["cells"]),
            receptive_field=level["receptive_field"],
            priors=[tuple(p) for p in level["priors"]],
        )
        for level in levels
    ]
    console.print(levels_table(rows))
    side = "-" if smallest is None else f"{smallest} px"
    console.print(f"smallest square with a positive prior wherever it lies: {side}")


def _detector(source: str) -> "tuple[Recipe, Detector]":
    """The recipe and its detector, with weights if there are any."""
    from motedet.engine import load
    from motedet.engine.weights import build_untrained
    from motedet.recipes import load_recipe

    if source.endswith(".safetensors"):
        loaded = load(source, device="cpu")
        return loaded.recipe, loaded.detector
    recipe = load_recipe(source)
    classes = recipe.classes or recipe.data.dataset.classes or ("object",)
    return recipe, build_untrained(recipe, len(classes)).eval()


def _own_size(recipe: "Recipe") -> tuple[int, int]:
    """What the recipe's test transforms lead to, as far as they say."""
    from motedet.errors import RecipeError
    from motedet.export.preparation import Preparation

    try:
        known = Preparation.of(recipe.data.test_transforms).size()
    except RecipeError:
        known = None
    return known or DEFAULT_SIZE


def _padded(recipe: "Recipe", size: tuple[int, int]) -> tuple[int, int]:
    """The size after the recipe's padding."""
    divisors = [t.divisor for t in recipe.data.test_transforms if t.kind == "pad"]
    divisor = divisors[0] if divisors else 1
    return -(-size[0] // divisor) * divisor, -(-size[1] // divisor) * divisor


def _levels(detector: "Detector", grid: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a grid
    """Stride, cells, receptive field and priors of every level."""
    from motedet.priors import network_receptive_fields

    try:
        strides = [level.stride for level in grid.levels]
        fields: list[float | None] = list(network_receptive_fields(detector.backbone, strides))
    except ValueError:  # a backbone that is no chain of convolutions
        fields = [None] * len(grid.levels)
    return [
        {
            "stride": level.stride,
            "cells": [level.height, level.width],
            "receptive_field": field,
            "priors": [[x2 - x1, y2 - y1] for x1, y1, x2, y2 in level.base_boxes],
        }
        for level, field in zip(grid.levels, fields, strict=True)
    ]
