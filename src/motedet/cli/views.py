"""Test-time augmentation on the command line, for the verbs that predict."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from motedet.engine import LoadedDetector

Scales = Annotated[
    str | None,
    typer.Option("--scales", help="Sizes to look at, such as 1.0,1.5; by default the recipe's."),
]
Flips = Annotated[
    list[str],
    typer.Option(
        "--flip",
        help="horizontal or vertical: look at the mirror image too; may be repeated. "
        "Default: the recipe's.",
    ),
]


def with_views(
    loaded: "LoadedDetector", *, scales: str | None, flips: list[str]
) -> "LoadedDetector":
    """The detector with the views of the command line in place of its recipe's.

    Args:
        loaded: what `load` returned.
        scales: numbers with commas; None leaves the recipe's.
        flips: mirror images besides the view as it is; empty leaves the recipe's.

    Raises:
        RecipeError: naming what is not a scale or a flip.
    """
    from dataclasses import replace

    from motedet.recipes.load import apply_settings, validate_recipe

    settings = [f"test_time.scales=[{scales}]"] if scales is not None else []
    if flips:
        settings.append(f"test_time.flips=[none, {', '.join(flips)}]")
    if not settings:
        return loaded
    tree = apply_settings(loaded.recipe.model_dump(mode="json"), settings)
    return replace(loaded, recipe=validate_recipe(tree, source="--scales and --flip"))
