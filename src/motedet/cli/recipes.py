"""`motedet recipes`."""

from typing import Annotated

import typer


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
            detector=f"{recipe.model.kind}-{recipe.model.backbone.name.replace('resnet', 'r')}",
            assigner=recipe.model.assigner.kind,
            dataset=recipe.data.dataset.kind,
            published_ap=recipe.published["AP"] / 100 if "AP" in recipe.published else None,
        )
        for recipe in loaded
    ]
    Console().print(recipes_table(rows))
