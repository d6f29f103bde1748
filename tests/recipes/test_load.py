from pathlib import Path

import pytest

from motedet.assign import FCOSAssigner
from motedet.data import Tiles, TrainTiles
from motedet.data.cut_objects import VisibleShare
from motedet.errors import RecipeError
from motedet.geometry.merge import PlainMerge
from motedet.recipes import (
    Recipe,
    TrainSpec,
    dump_recipe,
    load_recipe,
    parse_recipe,
    recipe_names,
)


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


def test_unknown_names_bring_up_the_near_ones() -> None:
    with pytest.raises(RecipeError, match=r"did you mean sirst_fcos_p2_r18 or .*motedet recipes"):
        load_recipe("sirst_fcos_p2_r50")
    with pytest.raises(RecipeError, match=r"'no_such_recipe'; `motedet recipes` lists all"):
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


BY_STEPS = ["train.epochs=null", "train.steps=160000"]


def test_training_by_steps_has_no_epochs() -> None:
    train = load_recipe("demo", BY_STEPS).train
    assert (train.epochs, train.steps) == (None, 160_000)
    assert train.num_steps(1402) == 160_000
    assert train.num_epochs(1402) == 115  # the last one is cut at 172 of its 1402 steps
    assert TrainSpec.model_validate({"steps": 3}).epochs is None


def test_training_by_epochs_is_the_default() -> None:
    train = TrainSpec()
    assert (train.num_steps(10), train.num_epochs(10)) == (120, 12)


def test_training_by_steps_reads_back_equal() -> None:
    recipe = load_recipe("demo", BY_STEPS)
    assert parse_recipe(dump_recipe(recipe), source="dump") == recipe
    assert parse_recipe(recipe.model_dump_json(), source="json") == recipe


def test_rates_by_name_are_read() -> None:
    recipe = load_recipe(
        "demo",
        [
            "train.optimizer.lr_factors={bbox_head: 10.0, neck: 10}",
            "train.optimizer.no_decay=[norm]",
            "data.oversample_thresh=0.06",
        ],
    )
    assert recipe.train.optimizer.lr_factors == {"bbox_head": 10.0, "neck": 10.0}
    assert recipe.train.optimizer.no_decay == ("norm",)
    assert recipe.data.oversample_thresh == 0.06


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.steps=10"], r"either epochs or steps.*epochs=16 and steps=10; set the other"),
        (["train.epochs=null"], r"either epochs or steps.*epochs=None and steps=None"),
        (["train.loss_scale=512"], r"loss_scale=512 belongs to precision 16-mixed.*bf16-mixed"),
        (["data.oversample_thresh=0"], r"data\.oversample_thresh: .*found 0"),
        (["train.optimizer.lr_factors.neck=0"], r"lr_factors\.neck: .*found 0"),
        (["train.optimizer.no_decay=['']"], r"no_decay\.0: "),
    ],
)
def test_settings_that_contradict_say_so(settings: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe("demo", settings)
    assert "\n" not in str(caught.value)


TILES = [
    "data.tiles={size: [512, 640], overlap: 50, empty: 0.2, "
    "objects: {kind: visible, min_visible: 0.5, partial: drop}}",
    "test_tiles={size: 256, merge: {kind: nms, class_agnostic: true}}",
]


def test_tiles_are_read() -> None:
    assert load_recipe("demo").data.tiles is None
    assert load_recipe("demo").test_tiles is None
    recipe = load_recipe("demo", TILES)
    rule = VisibleShare(min_visible=0.5, partial="drop")
    assert recipe.data.tiles == TrainTiles(size=(512, 640), overlap=50, empty=0.2, objects=rule)
    assert recipe.test_tiles == Tiles(size=256, merge=PlainMerge(class_agnostic=True))
    assert parse_recipe(dump_recipe(recipe), source="dump") == recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.tiles={size: 64, overlap: 64}", r"data\.tiles: .*overlap must be .*less than"),
        ("data.tiles={empty: 2}", r"data\.tiles: .*empty must be a share"),
        ("data.tiles={objects: {kind: half}}", r"data\.tiles\.objects: .*'half'"),
        ("data.tiles={side: 64}", r"data\.tiles\.side: "),
        ("test_tiles={max_per_image: 0}", r"test_tiles: .*at least 1; got 0"),
    ],
)
def test_bad_tiles_say_where(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe("demo", [setting])
    assert "\n" not in str(caught.value)
