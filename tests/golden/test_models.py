"""Whole models against the stored outputs of their references."""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden_detectors import ModelCase, golden_outputs, model_case, unmatched
from golden_files import golden_path, load_json, load_npz
from motedet.checkpoints import load_state
from motedet.models.dense import Detector, HeadOutputs
from motedet.models.detectors import FCOSSpec


@dataclass(frozen=True)
class Run:
    """One model, what it computes and what it should."""

    case: ModelCase
    detector: Detector
    images: Tensor
    features: list[Tensor]
    levels: list[Tensor]
    outputs: HeadOutputs
    stored: dict[str, Any]
    json: dict[str, Any]


def _files() -> list[tuple[str, ...]]:
    root = golden_path()
    found = [*root.glob("autoassign/models/*.json"), *root.glob("rfla/model_*.json")]
    return [p.relative_to(root).parts for p in sorted(found) if _is_dense(p)]


def _is_dense(path: Path) -> bool:
    names = load_json(*path.relative_to(golden_path()).parts)["state_dict"]
    heads = (
        "bbox_head.retina_cls.weight",
        "bbox_head.atss_cls.weight",
        "bbox_head.conv_cls.weight",
    )
    return any(h in names for h in heads) and "bbox_head.center_prior.mean" not in names


FILES = _files()


@lru_cache(maxsize=1)
def _run(parts: tuple[str, ...]) -> Run:
    json = load_json(*parts)
    stored = load_npz(*parts[:-1], parts[-1].replace(".json", ".npz"))
    case = model_case(json)
    assert case is not None
    detector = case.spec.build(case.num_classes).eval()
    load_state(detector, case.state, source=parts[-1])
    images = torch.from_numpy(stored["input"]) if "input" in stored else _images(json["input"])
    with torch.no_grad():
        features = detector.backbone(images)
        levels = detector.neck(features)
        outputs = detector.bbox_head(levels)
    return Run(case, detector, images, features, levels, outputs, stored, json)


def _images(rule: dict[str, Any]) -> Tensor:
    noise = np.random.default_rng(rule["rng_seed"]).standard_normal(rule["shape"])
    return torch.from_numpy(noise.astype(np.float32))


def _tolerance(run: Run) -> float:
    return 2e-4 if "test_cfg" in run.json else 1e-4


@pytest.fixture(params=FILES, ids="-".join, scope="module")
def run(request: pytest.FixtureRequest) -> Run:
    return _run(request.param)


def test_there_are_cases() -> None:
    assert FILES


def test_state_dict_has_the_published_names_and_shapes(run: Run) -> None:
    own = {name: list(value.shape) for name, value in run.detector.state_dict().items()}
    assert own == run.json["state_dict"]


def test_features_match(run: Run) -> None:
    for name, maps in (("backbone", run.features), ("neck", run.levels)):
        for level, found in enumerate(maps):
            if (key := f"{name}{level}_stat") in run.stored:
                expected = run.stored[key]
                np.testing.assert_allclose(
                    _statistics(found), expected, rtol=0, atol=1e-4 * np.abs(expected).max()
                )
    if "fpn_abs_mean" in run.stored:
        means = [float(m.abs().mean()) for m in run.levels]
        np.testing.assert_allclose(means, run.stored["fpn_abs_mean"], rtol=2e-4)


def _statistics(values: Tensor) -> np.ndarray[Any, Any]:
    flat = values.contiguous().flatten().double().numpy()
    places = np.linspace(0, len(flat) - 1, 64).astype(int)
    return np.concatenate([[flat.mean(), flat.std()], flat[places]])


def test_head_outputs_match(run: Run) -> None:
    expected = golden_outputs(run.stored, run.case.num_classes)
    assert run.outputs.level_sizes == expected.level_sizes
    spec = run.case.spec
    grid = spec.priors(expected.level_sizes)
    boxes = run.outputs.boxes
    if isinstance(spec, FCOSSpec) and spec.head.in_strides:
        boxes = boxes * grid.strides(boxes.device)[:, None]
    bounds = [*grid.level_starts, grid.num_priors]
    pairs = [(run.outputs.logits, expected.logits), (boxes, expected.boxes)]
    if expected.ctrness is not None:
        assert run.outputs.ctrness is not None
        pairs.append((run.outputs.ctrness, expected.ctrness))
    for found, stored in pairs:
        for start, end in itertools.pairwise(bounds):
            level, wanted = found[:, start:end], stored[:, start:end]
            limit = _tolerance(run) * wanted.abs().max()
            assert (level - wanted).abs().max() <= limit


def test_detections_match(run: Run) -> None:
    (found,) = run.detector.predict(run.images)
    boxes, scores, labels = found.boxes.numpy(), found.scores.numpy(), found.labels.numpy()
    if "dets" in run.stored:
        dets = run.stored["dets"]
        expected = dets[:, :4], dets[:, 4], run.stored["labels"]
        assert abs(len(found) - len(dets)) <= 0.005 * len(dets)
        missing = unmatched(boxes, scores, labels, expected=expected, pixels=0.05, score=1e-4)
        assert missing <= 0.01 * len(dets)
        return
    for name in ("det", "detscaled"):
        w, h = run.json[f"{name}_scale_factor_wh"]
        np.testing.assert_array_equal(labels, run.stored[f"{name}_labels"])
        np.testing.assert_allclose(scores, run.stored[f"{name}_scores"], rtol=0, atol=1e-4)
        scale = np.asarray([w, h, w, h], np.float32)
        np.testing.assert_allclose(boxes / scale, run.stored[f"{name}_bboxes"], rtol=0, atol=0.01)
