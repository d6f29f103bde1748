"""Reading recipes: from the zoo by name or from a file by path, with leaves set on the way."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from motedet.errors import RecipeError
from motedet.recipes.schema import Recipe

Tree = dict[str, Any]


def recipe_names() -> list[str]:
    """Names of the packaged recipes, sorted: their paths in the zoo without the suffix."""
    zoo = _zoo()
    return sorted(p.relative_to(zoo).with_suffix("").as_posix() for p in zoo.rglob("*.yaml"))


def load_recipe(name: str, settings: Sequence[str] = ()) -> Recipe:
    """Read a packaged recipe by name, or a YAML file by path.

    Args:
        name: a name that `recipe_names` lists, or a path ending in `.yaml` or `.yml`.
        settings: `key=value` pairs that replace leaves, as on the command line: the key is a path
            with dots (`train.optimizer.lr=0.01`), the value is YAML. Setting a `kind` drops the
            other keys of that part, because they belonged to the old kind.

    Raises:
        RecipeError: naming the recipe, the key, what was found and what was expected.
    """
    path = _find(name)
    tree = _read_yaml(path.read_text(encoding="utf-8"), source=str(path))
    if path.is_relative_to(_zoo()):
        tree["name"] = path.relative_to(_zoo()).with_suffix("").as_posix()
    tree.setdefault("name", path.stem)
    return validate_recipe(apply_settings(tree, settings), source=path.name)


def parse_recipe(text: str, *, source: str) -> Recipe:
    """Read a recipe from YAML or JSON text, as kept beside and inside every weights file.

    Raises:
        RecipeError: naming `source`, the key, what was found and what was expected.
    """
    return validate_recipe(_read_yaml(text, source=source), source=source)


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as complete YAML, every default written out."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def apply_settings(tree: Tree, settings: Iterable[str]) -> Tree:
    """A copy of the tree in which every `key=value` has been set.

    Raises:
        RecipeError: if a setting is not `key=value`, or a path leads through a leaf.
    """
    result: Tree = yaml.safe_load(yaml.safe_dump(tree))
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise RecipeError(f"--set needs key=value, such as train.epochs=3; got {setting!r}.")
        _set_leaf(result, key.strip().split("."), _read_value(text, setting))
    return result


def validate_recipe(tree: Tree, *, source: str) -> Recipe:
    """Turn a tree into a recipe.

    Raises:
        RecipeError: one line with the first problem, and how many more there are.
    """
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = problems[0]
        where = _path(tree, first["loc"]) or "the recipe"
        found = "" if first["type"] == "missing" else f"; found {_short(first['input'])}"
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        unknown = first["type"] in ("extra_forbidden", "unexpected_keyword_argument")
        message = "no such key" if unknown else first["msg"]
        raise RecipeError(f"{source}: {where}: {message}{found}{more}.") from None


def _zoo() -> Path:
    return Path(str(files("motedet.recipes"))) / "zoo"


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise RecipeError(
                f"{name}: no such recipe file; `motedet recipes` lists the packaged ones."
            )
        return path
    if name not in recipe_names():
        near = get_close_matches(name, recipe_names())
        guess = f"did you mean {' or '.join(near)}? " if near else ""
        raise RecipeError(
            f"no recipe named {name!r}; {guess}`motedet recipes` lists all (a file ends in .yaml)."
        )
    return _zoo() / f"{name}.yaml"


def _read_yaml(text: str, *, source: str) -> Tree:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict):
        raise RecipeError(f"{source}: a recipe is a mapping; found {_short(tree)}.")
    return tree


def _read_value(text: str, setting: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"--set {setting}: the value is not valid YAML.") from None


def _set_leaf(tree: Tree, path: Sequence[str], value: object) -> None:
    """Set one leaf in place; a new `kind` empties its mapping first."""
    node: Any = tree
    for depth, part in enumerate(path[:-1]):
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
        else:
            raise RecipeError(f"--set {'.'.join(path)}: {'.'.join(path[:depth])} has no keys.")
    if isinstance(node, list) and path[-1].isdigit() and int(path[-1]) < len(node):
        node[int(path[-1])] = value
        return
    if not isinstance(node, dict):
        raise RecipeError(f"--set {'.'.join(path)}: {'.'.join(path[:-1])} has no keys.")
    if path[-1] == "kind" and node.get("kind") != value:
        node.clear()
    node[path[-1]] = value


def _path(tree: object, location: Sequence[str | int]) -> str:
    """The keys of a problem's place, without the names of union members that pydantic puts in."""
    path: list[str] = []
    node: Any = tree
    for i, part in enumerate(location):
        if part in (range(len(node)) if isinstance(node, list) else node or ()):
            node = node[part]
        elif i + 1 < len(location):
            continue  # the name of a union member
        path.append(str(part))
    return ".".join(path)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
