"""Gaussian Assignment's five whole models against the stored outputs of the published code."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from golden_detectors import unmatched
from golden_files import golden_path, load_npz
from golden_gaussian import (
    FOLDER,
    NUM_CLASSES,
    SPECS,
    Array,
    num_parameters,
    published_maps,
    published_shapes,
    published_spec,
    published_state,
)
from motedet.checkpoints import load_state, read_mmdet, rename_mmdet
from motedet.checkpoints.gaussian_assignment import rename_gaussian_assignment
from motedet.engine.weights import build_untrained
from motedet.models.dense import Detector, HeadOutputs
from motedet.recipes import load_recipe

MODELS = sorted(
    path.name.removesuffix("_manifest.json") for path in golden_path(FOLDER).glob("*_manifest.json")
)
MILLIONS = {  # of parameters, the unused ones of three heads included
    "ttfnet_dk53_ga": 51.46,
    "ttfnet_mitb1_ga": 13.76,
    "retinanet_s_ga": 51.46,
    "fcos_s_ga": 51.49,
    "atss_s_ga": 51.46,
}
RECIPES = {
    "ttfnet_dk53_ga": "ga/ttfnet_d53_aitod",
    "ttfnet_mitb1_ga": "ga/ttfnet_mitb1_aitod",
    "retinanet_s_ga": "ga/retinanet_s_aitod",
    "fcos_s_ga": "ga/fcos_s_aitod",
    "atss_s_ga": "ga/atss_s_aitod",
}
UNUSED = ("bbox_head.conv_cls.", "bbox_head.conv_reg.")


@dataclass(frozen=True)
class Run:
    """One model, what it computes and what it should."""

    model: str
    detector: Detector
    images: Tensor
    features: list[Tensor]
    outputs: HeadOutputs
    stored: Mapping[str, Array]


@pytest.fixture(params=MODELS, scope="module")
def run(request: pytest.FixtureRequest) -> Run:
    return _run(request.param)


@lru_cache(maxsize=1)
def _run(model: str) -> Run:
    images = torch.from_numpy(load_npz(FOLDER, "models_input.npz")["input"])
    detector = published_spec(model).build(NUM_CLASSES).eval()
    state = rename_gaussian_assignment(rename_mmdet(published_state(model)))
    load_state(detector, state, source=model)
    with torch.no_grad():
        features = detector.backbone(images)
        outputs = detector.bbox_head(detector.neck(features))
    return Run(model, detector, images, features, outputs, load_npz(FOLDER, f"{model}_model.npz"))


def test_there_are_cases() -> None:
    assert set(MODELS) == set(SPECS)


def test_parameters(run: Run) -> None:
    shapes = published_shapes(run.model)
    assert round(num_parameters(shapes) / 1e6, 2) == MILLIONS[run.model]
    used = {n: s for n, s in shapes.items() if not n.startswith(UNUSED)}
    assert sum(p.numel() for p in run.detector.parameters()) == num_parameters(used)


def test_features_match(run: Run) -> None:
    for level, feature in enumerate(run.features):
        large = min(feature.shape[-2:]) >= 8
        cells = feature[0, ::16, ::4, ::4] if large else feature[0, ::16]
        np.testing.assert_allclose(cells, run.stored[f"feat{level}_slice"], rtol=0, atol=1e-3)
        found = [feature.mean(), feature.std(correction=0)]
        np.testing.assert_allclose(found, run.stored[f"feat{level}_mean_std"], rtol=0, atol=1e-3)


def test_head_outputs_match(run: Run) -> None:
    maps = published_maps(run.model, run.outputs)
    assert len(maps) == sum(name.startswith("out") for name in run.stored)
    for i, found in enumerate(maps):
        np.testing.assert_allclose(found, run.stored[f"out{i}"], rtol=0, atol=1e-3)


def test_detections_match(run: Run) -> None:
    (found,) = run.detector.predict(run.images)
    dets, labels = run.stored["dets"], run.stored["labels"]
    assert len(found) == len(dets)
    missing = unmatched(
        found.boxes.numpy(),
        found.scores.numpy(),
        found.labels.numpy(),
        expected=(dets[:, :4], dets[:, 4], labels),
        pixels=1e-2,
        score=1e-3,
    )
    assert missing <= 0.01 * len(dets)


@pytest.mark.parametrize("model", MODELS)
def test_recipes_are_these_models_and_take_their_files(tmp_path: Path, model: str) -> None:
    """Every name and shape, read from a file; without values, which takes no time."""
    zero = torch.zeros(())
    state = {name: zero.expand(shape) for name, shape in published_shapes(model).items()}
    torch.save({"state_dict": state}, tmp_path / "epoch_24.pth")
    found = {n: v.to("meta") for n, v in read_mmdet(tmp_path / "epoch_24.pth").items()}
    recipe = load_recipe(RECIPES[model])
    assert recipe.model == published_spec(model)  # so that all that is shown above holds for it
    with torch.device("meta"):
        detector = build_untrained(recipe, NUM_CLASSES)
    load_state(detector, found, source=model)
