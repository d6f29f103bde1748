"""Recipes: the only place where names become objects."""

from motedet.recipes.load import dump_recipe, load_recipe, parse_recipe, recipe_names
from motedet.recipes.schema import (
    DataSpec,
    OptimizerSpec,
    Recipe,
    ScheduleSpec,
    TrainSpec,
    ViewsSpec,
)

__all__ = [
    "DataSpec",
    "OptimizerSpec",
    "Recipe",
    "ScheduleSpec",
    "TrainSpec",
    "ViewsSpec",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_names",
]
