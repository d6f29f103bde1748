"""`motedet predict`: by windows of an exported file, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from motedet.checkpoints import save_weights
from motedet.cli.export import export
from motedet.cli.predict import predict
from motedet.engine import memory
from motedet.errors import DataError, MotedetError
from motedet.recipes import load_recipe
from raised_detectors import small
from small_detectors import small_specs


@pytest.fixture(autouse=True)
def _own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of the tests goes on as it was."""
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small TTFNet of three classes, on images at twice their size."""
    recipe = load_recipe("cars_ttfnet_p2_r18").model_copy(update={"model": small_specs()["ttfnet"]})
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    state = small("ttfnet").state_dict()
    save_weights(path, state, recipe_json=recipe.model_dump_json(), classes=("a", "b", "c"))
    return path


@pytest.fixture(scope="module")
def exported(weights: Path) -> Path:
    """Its file for windows of 48 px."""
    path = weights.parent / "small.onnx"
    export(weights, path, size="96")
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def predicted(
    model: Path, image: Path, output: Path, options: dict[str, Any]
) -> list[dict[str, Any]]:
    predict(model, [str(image)], output, device="cpu", score_thresh=0.0, draw=False, **options)
    found: list[dict[str, Any]] = json.loads((output / "detections.json").read_text())
    return found


def test_windows_of_an_exported_file_are_those_of_the_weights(
    weights: Path, exported: Path, image: Path, tmp_path: Path
) -> None:
    windows: dict[str, Any] = {"tile": 48, "overlap": 12, "merge": "nms"}
    mine = predicted(exported, image, tmp_path / "mine", windows | {"formats": ["coco"]})
    theirs = predicted(weights, image, tmp_path / "theirs", windows | {"batch_size": 2})
    assert abs(len(mine) - len(theirs)) < 0.1 * len(theirs)  # rounding of the resized pixels
    assert len(theirs) > 50
    assert [r["category_id"] for r in mine[:5]] == [r["category_id"] for r in theirs[:5]]
    for one, other in zip(mine[:5], theirs[:5], strict=True):
        assert one["bbox"] == pytest.approx(other["bbox"], abs=0.1)
    assert not (tmp_path / "mine" / "detections.csv").exists()
    assert (tmp_path / "theirs" / "labels" / "a.txt").is_file()


def test_windows_that_do_not_fit_the_file_are_an_error(
    exported: Path, image: Path, tmp_path: Path
) -> None:
    with pytest.raises(MotedetError, match=r"100 x 100 pixels .* export it with --dynamic"):
        predicted(exported, image, tmp_path / "out", {"tile": 50, "overlap": 10})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scales": "1.0,1.5"}, "looks at each image, or window, once"),
        ({"flips": ["horizontal"]}, "looks at each image, or window, once"),
        ({"precision": "bf16"}, "that it was exported in; found --precision bf16"),
        ({"tile": 64, "overlap": 64}, "--overlap must be less than --tile 64; found 64"),
    ],
)
def test_what_an_exported_file_does_not_do_is_refused(
    exported: Path, image: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        predicted(exported, image, tmp_path / "out", options)


def test_an_exported_file_has_no_gpu(exported: Path, image: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="runs on the CPU; found --device cuda"):
        predict(exported, [str(image)], tmp_path / "out", device="cuda")


def test_bf16_finds_about_the_same(
    weights: Path, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    plain = predicted(weights, image, tmp_path / "plain", {})
    rounded = predicted(weights, image, tmp_path / "rounded", {"precision": "bf16"})
    assert plain != rounded
    assert rounded[0]["score"] == pytest.approx(plain[0]["score"], abs=0.05)
