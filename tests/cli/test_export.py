"""`motedet export`, `motedet predict model.onnx` and `motedet info`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from motedet.checkpoints import save_weights
from motedet.cli.export import export, parse_size
from motedet.cli.info import info
from motedet.errors import DataError, RecipeError
from motedet.recipes import load_recipe
from raised_detectors import small
from small_detectors import small_specs


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small TTFNet of three classes."""
    recipe = load_recipe("cars_ttfnet_p2_r18").model_copy(update={"model": small_specs()["ttfnet"]})
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    state = small("ttfnet").state_dict()
    save_weights(path, state, recipe_json=recipe.model_dump_json(), classes=("a", "b", "c"))
    return path


def picture(path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def predicted(weights: Path, image: Path, output: Path) -> list[dict[str, object]]:
    words = ["predict", weights, image, "-o", output, "--score", "0", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "motedet", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, object]] = json.loads((output / "detections.json").read_text())
    return found


def test_a_file_predicts_what_the_weights_predict(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = picture(tmp_path / "a.png")
    model = tmp_path / "model.onnx"
    export(weights, model, size="64x96", check=[image], with_runner=True)
    assert "checked against PyTorch" in capsys.readouterr().out
    assert (tmp_path / "run_model.py").is_file()
    mine = predicted(model, image, tmp_path / "mine")
    theirs = predicted(weights, image, tmp_path / "theirs")
    assert len(mine) == len(theirs) > 20
    # The weights' own frame is 64 x 96 too, so that only rounding of the resized pixels differs.
    assert [r["category_id"] for r in mine[:5]] == [r["category_id"] for r in theirs[:5]]
    assert mine[0]["bbox"] == pytest.approx(theirs[0]["bbox"], abs=0.1)
    with pytest.raises(DataError, match="--force"):
        export(weights, model, size="64x96")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": "64", "dynamic": True}, "exclude"),
        ({}, "no common size"),
        ({"half": True, "int8": True}, "exclude"),
        ({"int8": True}, "--calibrate"),
        ({"size": "60"}, "multiples of 32"),
        ({"size": "big"}, "found big"),
    ],
)
def test_options_that_do_not_fit_are_named(
    weights: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises((DataError, RecipeError), match=message):
        export(weights, tmp_path / "x.onnx", **options)
    with pytest.raises(DataError, match=r"\.onnx"):
        export(weights, tmp_path / "x.bin")
    assert not list(tmp_path.iterdir())


def test_sizes() -> None:
    assert parse_size("640") == (640, 640)
    assert parse_size("512x640") == (512, 640)
    with pytest.raises(DataError, match="1x2x3"):
        parse_size("1x2x3")


def test_info_of_weights(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info(str(weights), size="64", as_json=True)
    content = json.loads(capsys.readouterr().out)
    assert content["size"] == [64, 64]
    assert content["parameters"] == sum(p.numel() for p in small("ttfnet").parameters())
    assert content["macs"] == sum(part["macs"] for part in content["parts"].values()) > 0
    assert [level["stride"] for level in content["levels"]] == [4]
    assert content["smallest_object"] is not None


def test_info_of_a_recipe_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    info("cars_fcos_p2_r18", size="90")
    text = capsys.readouterr().out
    assert "at 96 x 96" in text
    assert "24 x 24" in text
    assert "backbone" in text
    assert "smallest square" in text
