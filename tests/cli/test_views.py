"""Views on the command line, and what becomes of them."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from motedet.checkpoints import save_weights
from motedet.cli.views import with_views
from motedet.engine import LoadedDetector
from motedet.engine.weights import build_untrained
from motedet.errors import RecipeError
from motedet.recipes import Recipe, ViewsSpec, load_recipe


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    tiny = ["model.neck.out_channels=16", "model.head.channels=16", "model.head.groups=4"]
    return load_recipe("demo", [*tiny, "test_time.max_per_image=50"])


@pytest.fixture(scope="module")
def loaded(recipe: Recipe) -> LoadedDetector:
    return LoadedDetector(build_untrained(recipe, 2).eval(), recipe, ("a", "b"))


def test_nothing_said_leaves_the_recipe(loaded: LoadedDetector) -> None:
    assert with_views(loaded, scales=None, flips=[]) is loaded


def test_scales_and_flips_replace_those_of_the_recipe(loaded: LoadedDetector) -> None:
    views = with_views(loaded, scales="1.0,1.5", flips=["horizontal"]).recipe.test_time
    assert views == ViewsSpec(scales=(1.0, 1.5), flips=("none", "horizontal"), max_per_image=50)
    views = with_views(loaded, scales="2", flips=[]).recipe.test_time
    assert views == ViewsSpec(scales=(2.0,), max_per_image=50)
    assert loaded.recipe.test_time == ViewsSpec(max_per_image=50)


@pytest.mark.parametrize(
    ("scales", "flips", "message"),
    [
        ("", [], r"test_time\.scales"),
        ("1,-2", [], r"test_time\.scales\.1.*found -2"),
        ("big", [], r"test_time\.scales\.0.*found 'big'"),
        ("1]", [], "not valid YAML"),
        (None, ["diagonal"], r"test_time\.flips\.1.*found 'diagonal'"),
    ],
)
def test_bad_words_are_named(
    loaded: LoadedDetector, scales: str | None, flips: list[str], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        with_views(loaded, scales=scales, flips=flips)


def test_predict_takes_them(recipe: Recipe, loaded: LoadedDetector, tmp_path: Path) -> None:
    weights, picture = tmp_path / "random.safetensors", tmp_path / "a.png"
    state = loaded.detector.state_dict()
    save_weights(weights, state, recipe_json=recipe.model_dump_json(), classes=("a", "b"))
    Image.new("RGB", (40, 30)).save(picture)
    words = ["predict", weights, picture, "-o", tmp_path / "out", "--score", "0", "--no-draw"]
    words += ["--scales", "1,1.5", "--flip", "vertical"]
    done = subprocess.run(
        [sys.executable, "-m", "motedet", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "detections.json").is_file()
