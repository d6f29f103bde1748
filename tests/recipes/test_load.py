from pathlib import Path

import pytest

from motedet.assign import FCOSAssigner
from motedet.errors import RecipeError
from motedet.recipes import Recipe, dump_recipe, load_recipe, parse_recipe, recipe_names


def test_names_are_paths_in_the_zoo() -> None:
    names = recipe_names()
    assert "demo" in names
    assert "rfla/fcos_r50_p2_aitod" in names
    assert names == sorted(names)


def test_a_dumped_recipe_reads_back_equal() -> None:
    recipe = load_recipe("demo")
    assert parse_recipe(dump_recipe(recipe), source="dump") == recipe
    assert parse_recipe(recipe.model_dump_json(), source="json") == recipe


def test_settings_replace_leaves() -> None:
    recipe = load_recipe("demo", ["train.epochs=3", "train.optimizer.lr=1e-2"])
    assert recipe.train.epochs == 3
    assert recipe.train.optimizer.lr == 0.01


def test_a_new_kind_drops_the_keys_of_the_old_one() -> None:
    recipe = load_recipe("demo", ["model.assigner.kind=fcos", "model.assigner.center_radius=2.5"])
    assert recipe.model.assigner == FCOSAssigner(center_radius=2.5)


def test_items_of_lists_can_be_set() -> None:
    recipe = load_recipe("demo", ["data.train_transforms.1.prob=0.0"])
    assert recipe.model_dump()["data"]["train_transforms"][1]["prob"] == 0.0


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.epochs", "key=value"),
        ("train.epochs=none", r"train\.epochs: .*found 'none'"),
        ("train.epoch=3", r"train\.epoch: "),
        ("model.assigner.kind=best", r"model\.assigner.*found"),
        ("model.assigner.topc=3", r"topc"),
        ("train.epochs.x=3", "has no keys"),
        ("train.epochs=[", "not valid YAML"),
    ],
)
def test_bad_settings_say_where_and_what(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe("demo", [setting])
    assert "\n" not in str(caught.value)


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"demo.*rfla/"):
        load_recipe("no_such_recipe")


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(dump_recipe(load_recipe("demo")).replace("name: demo", "name: mine"))
    recipe = load_recipe(str(path))
    assert isinstance(recipe, Recipe)
    assert recipe.name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not valid YAML"), ("- 1", "mapping"), ("name: x", "Field required")],
)
def test_broken_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(str(path))
    assert "\n" not in str(caught.value)
