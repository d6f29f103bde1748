"""Files that are written run in onnxruntime, and find what PyTorch finds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from motedet.errors import RecipeError
from motedet.export import ExportError
from motedet.export.comparison import Comparison, compare
from motedet.export.onnx_file import ExportOptions, export_onnx
from motedet.export.preparation import Preparation
from motedet.export.runtime import start
from motedet.models.backbones import DetectoRSResNetSpec, MiTSpec
from motedet.models.detectors import AnyDetector, Detector
from motedet.models.necks import RFPSpec, UpsamplingNeckSpec
from motedet.priors import Anchors
from motedet.recipes import Recipe, load_recipe
from motedet.structures import Size
from raised_detectors import raised, small
from small_detectors import small_specs

CLASSES = ("a", "b", "c")


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("cars_fcos_p2_r18")


def exported(recipe: Recipe, detector: Detector | str, path: Path, size: Size | None) -> Comparison:
    if isinstance(detector, str):
        detector = small(detector)
    options = ExportOptions(size=size)
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    return export_onnx(detector, recipe, CLASSES, path, options=options, images=[image])


@pytest.fixture(scope="module")
def fcos(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    path = tmp_path_factory.mktemp("onnx") / "fcos.onnx"
    return path, exported(recipe, "fcos", path, (64, 96))


def test_it_agrees_with_pytorch(fcos: tuple[Path, Comparison]) -> None:
    _, found = fcos
    assert found.detections > 100
    assert found.images == 3
    assert found.missing == 0
    assert found.box < 0.01
    assert found.score < 1e-4


@pytest.mark.parametrize("batch", [1, 3])
def test_any_batch(fcos: tuple[Path, Comparison], batch: int) -> None:
    inputs = {
        "images": np.random.default_rng(0).integers(0, 256, (batch, 3, 64, 96), dtype=np.uint8),
        "sizes": np.array([[64, 96]] * batch),
    }
    image, boxes, scores, labels = start(fcos[0]).run(None, inputs)
    assert sorted(set(image.tolist())) == list(range(batch))
    assert image.tolist() == sorted(image.tolist())
    for number in range(batch):
        mine = scores[image == number]
        assert len(mine) == 100
        assert (np.diff(mine) <= 0).all()
    assert boxes.dtype == np.float32
    assert labels.dtype == np.int64
    assert (boxes >= 0).all()
    assert (boxes <= (96, 64, 96, 64)).all()


def test_the_file_says_what_it_needs(fcos: tuple[Path, Comparison], recipe: Recipe) -> None:
    notes = json.loads(start(fcos[0]).get_modelmeta().custom_metadata_map["motedet"])
    assert notes["classes"] == list(CLASSES)
    assert notes["size"] == [64, 96]
    assert notes["preparation"] == {"resizing": [{"kind": "scale", "factor": 2.0}], "divisor": 32}
    assert Recipe.model_validate(notes["recipe"]) == recipe


def test_another_detector_is_told_apart(fcos: tuple[Path, Comparison], recipe: Recipe) -> None:
    preparation = Preparation.of(recipe.data.test_transforms)
    other = small("fcos", bias=-1.2)
    found = compare(fcos[0].read_bytes(), other, preparation, size=(64, 96))
    with pytest.raises(ExportError, match="No file was written"):
        found.check("float32")


def test_a_size_that_padding_would_change_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="64x96"):
        exported(recipe, "fcos", tmp_path / "x.onnx", (64, 90))
    assert not list(tmp_path.iterdir())


def test_int8_needs_images() -> None:
    with pytest.raises(ValueError, match="calibration"):
        ExportOptions(size=(64, 64), precision="int8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["retinanet", "retinanet_rfla", "fcos_rfla", "atss", "autoassign", "ttfnet"]
)
def test_dense_detectors(recipe: Recipe, tmp_path: Path, name: str) -> None:
    found = exported(recipe, name, tmp_path / "x.onnx", (64, 96))
    assert found.detections > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["faster_rcnn", "cascade_rcnn"])
def test_two_stage_detectors(recipe: Recipe, tmp_path: Path, name: str) -> None:
    found = exported(recipe, name, tmp_path / "x.onnx", (64, 96))
    assert found.detections > 50


def other_families() -> dict[str, AnyDetector]:
    """Backbones, necks and rules that `small_specs` has not."""
    specs: dict[str, Any] = small_specs()
    ttfnet, cascade = specs["ttfnet"], specs["cascade_rcnn"]
    backbone = DetectoRSResNetSpec(name="resnet18", sac_stages=(4,))
    rpn = replace(cascade.rpn, priors=Anchors(strides=(4, 8, 16, 32), scales=(2.0,)))
    return {
        "deformable": replace(ttfnet, neck=UpsamplingNeckSpec(widths=(32, 32))),
        "mit": replace(ttfnet, backbone=MiTSpec(size="b0")),
        "tinydet": specs["tinydet"],  # soft-NMS too
        "detectors": replace(
            cascade,
            backbone=backbone,
            neck=RFPSpec(out_channels=32, num_outs=4, aspp_channels=8, backbone=backbone),
            rpn=rpn,
            stages=cascade.stages[:1],
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(other_families()))
def test_other_families(recipe: Recipe, tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    detector = raised(other_families()[name])
    for key, parameter in detector.named_parameters():
        if any(part in key for part in ("offset", "switch", "context", "diff", "rfp_")):
            nn.init.normal_(parameter, std=0.02)  # all 0 at first, and without effect
    found = exported(recipe, detector, tmp_path / "x.onnx", (64, 96))
    assert found.detections > 50


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcos", "ttfnet"])
def test_any_size(recipe: Recipe, tmp_path: Path, name: str) -> None:
    found = exported(recipe, name, tmp_path / "x.onnx", None)
    assert found.detections > 100
