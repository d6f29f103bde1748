"""`motedet recipes`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from motedet.recipes import Recipe


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one as complete YAML.")] = None,
) -> None:
    """List the packaged recipes with their published AP, or print one."""
    from motedet.recipes import dump_recipe, load_recipe, recipe_names

    if name is not None:
        print(dump_recipe(load_recipe(name)), end="")
        return
    from rich.console import Console

    from motedet.report.tables import RecipeRow, recipes_table

    loaded = [load_recipe(name) for name in recipe_names()]
    rows = [
        RecipeRow(
            name=recipe.name,
            detector=_detector(recipe),
            assigner=recipe.model.assigner.kind,
            dataset=recipe.data.dataset.kind,
            published=published / 100 if published is not None else None,
        )
        for recipe in loaded
        for published in (recipe.published.get(recipe.protocol.headline),)
    ]
    Console().print(recipes_table(rows))


def _detector(recipe: "Recipe") -> str:
    """Such as `fcos`; DetectoRS and TinyDet, R-CNNs by their parts, under their own names."""
    model = recipe.model
    own = {"detectors_resnet": "detectors", "tinydet": "tinydet"}
    return own.get(model.backbone.kind, model.kind.removesuffix("_rcnn"))
