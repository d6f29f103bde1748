"""Whole two-stage models, and the pooling of regions, against the outputs of their references."""

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden_detectors import golden_outputs, level_maps, unmatched
from golden_files import golden_path, load_json, load_npz
from golden_two_stage import TwoStageCase, two_stage_case
from motedet.checkpoints import load_state
from motedet.models.dense import HeadOutputs
from motedet.models.detectors import CascadeRCNN, FasterRCNN
from motedet.models.heads import RoIOutputs
from motedet.models.rois import RoIAlign, Rois
from motedet.structures import Detections

Array = NDArray[Any]


def _arrays(parts: tuple[str, ...]) -> dict[str, Array]:
    return load_npz(*parts[:-1], parts[-1].replace(".json", ".npz"))


def _models() -> list[tuple[str, ...]]:
    root = golden_path()
    found = [*root.glob("autoassign/models/*.json"), *root.glob("rfla/model_*.json")]
    parts = [p.relative_to(root).parts for p in sorted(found)]
    return [p for p in parts if "rpn_head.rpn_cls.weight" in load_json(*p)["state_dict"]]


MODELS = _models()


def _with(*names: str) -> list[tuple[str, ...]]:
    """The models of which one of these arrays is stored."""
    return [p for p in MODELS if not _arrays(p).keys().isdisjoint(names)]


def test_there_are_cases() -> None:
    assert MODELS
    assert _with("proposals")
    assert _with("stage0_cls")


# Pooling.


def test_roi_levels_and_features() -> None:
    arrays = load_npz("autoassign", "ops.npz")
    stored = {k.removeprefix("roi/"): v for k, v in arrays.items() if k.startswith("roi/")}
    pool = RoIAlign()
    levels = pool.levels(torch.from_numpy(stored["rois"])[:, 1:], pool.num_levels)
    np.testing.assert_array_equal(levels.numpy(), stored["levels"])

    features = level_maps(stored, "feat")
    strides = [4 * 2**i for i in range(len(features))]
    found = pool(features, strides, _rois(stored["align_rois"]))
    np.testing.assert_allclose(found.numpy(), stored["align_out"], rtol=0, atol=1e-5)


def _rois(table: Array) -> Rois:
    """From [R, 5], image and box, or [R, 4], all in the first image."""
    values = torch.from_numpy(table)
    if values.shape[1] == 4:
        return Rois(values, torch.zeros(len(values), dtype=torch.int64))
    return Rois(values[:, 1:], values[:, 0].long())


# Whole models.


@dataclass(frozen=True)
class Run:
    """One model, what it computes and what it should."""

    case: TwoStageCase
    detector: FasterRCNN | CascadeRCNN
    images: Tensor
    features: list[Tensor]
    levels: list[Tensor]
    rpn: HeadOutputs
    stored: dict[str, Array]
    json: dict[str, Any]

    @property
    def rfla(self) -> bool:
        """Whether the README of the rfla folder gives the tolerances."""
        return "test_cfg" in self.json

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Of the one image."""
        return [(self.images.shape[2], self.images.shape[3])]

    def close(self, found: Tensor, expected: Array) -> None:
        """Within the tolerance of raw outputs."""
        limit = (2e-4 if self.rfla else 1e-4) * np.abs(expected).max()
        assert np.abs(found.numpy() - expected).max() <= limit


@lru_cache(maxsize=1)
def _run(parts: tuple[str, ...]) -> Run:
    json, stored = load_json(*parts), _arrays(parts)
    case = two_stage_case(json)
    detector = case.spec.build(case.num_classes).eval()
    load_state(detector, case.state, source=parts[-1])
    if "input" in stored:
        images = torch.from_numpy(stored["input"])
    else:
        rule = json["input"]
        noise = np.random.default_rng(rule["rng_seed"]).standard_normal(rule["shape"])
        images = torch.from_numpy(noise.astype(np.float32))
    with torch.no_grad():
        features = detector.backbone(images)
        levels = detector.neck(features)
        rpn = detector.rpn_head(levels)
    return Run(case, detector, images, features, levels, rpn, stored, json)


@pytest.fixture(params=MODELS, ids="-".join, scope="module")
def run(request: pytest.FixtureRequest) -> Run:
    return _run(request.param)


def test_state_dict_has_the_published_names_and_shapes(run: Run) -> None:
    own = {name: list(value.shape) for name, value in run.detector.state_dict().items()}
    assert own == run.json["state_dict"]


def test_features_match(run: Run) -> None:
    for name, maps in (("backbone", run.features), ("neck", run.levels)):
        for level, found in enumerate(maps):
            if (key := f"{name}{level}_stat") in run.stored:
                run.close(_statistics(found), run.stored[key])
    if "fpn_abs_mean" in run.stored:
        means = [float(m.abs().mean()) for m in run.levels]
        np.testing.assert_allclose(means, run.stored["fpn_abs_mean"], rtol=2e-4)


def _statistics(values: Tensor) -> Tensor:
    flat = values.contiguous().flatten().double().numpy()
    places = np.linspace(0, len(flat) - 1, 64).astype(int)
    return torch.from_numpy(np.concatenate([[flat.mean(), flat.std()], flat[places]]))


@pytest.mark.parametrize("run", _with("cls0", "rpn_cls0"), ids="-".join, indirect=True)
def test_rpn_outputs_match(run: Run) -> None:
    prefix = "rpn_" if "rpn_cls0" in run.stored else ""
    maps = {n.removeprefix(prefix): v for n, v in run.stored.items() if n.startswith(prefix)}
    expected = golden_outputs(maps, 1)
    assert run.rpn.level_sizes == expected.level_sizes
    grid = run.detector.spec.rpn.priors(run.rpn.level_sizes)
    bounds = [*grid.level_starts, grid.num_priors]
    for start, end in itertools.pairwise(bounds):
        run.close(run.rpn.logits[:, start:end], expected.logits[:, start:end].numpy())
        run.close(run.rpn.boxes[:, start:end], expected.boxes[:, start:end].numpy())


@pytest.mark.parametrize("run", _with("proposals"), ids="-".join, indirect=True)
def test_proposals_match(run: Run) -> None:
    (found,) = run.detector.rpn_head.proposals(run.rpn, run.sizes, phase="test")
    expected = run.stored["proposals"]
    none = np.zeros(len(expected), np.int64)
    _check_detections(run, replace(found, labels=torch.zeros_like(found.labels)), (expected, none))


def _check_detections(run: Run, found: Detections, expected: tuple[Array, Array]) -> None:
    """Found boxes against ([D, 5] boxes and scores, [D] labels), as each README has it."""
    table, labels = expected
    missing = unmatched(
        found.boxes.numpy(),
        found.scores.numpy(),
        found.labels.numpy(),
        expected=(table[:, :4], table[:, 4], labels),
        pixels=0.05 if run.rfla else 0.01,
        score=1e-4,
    )
    if run.rfla:
        assert abs(len(found) - len(table)) <= 0.005 * len(table)
        assert missing <= 0.01 * len(table)
        return
    # Equal labels and scores in order; two boxes whose scores tie within 1e-4 may change places.
    np.testing.assert_array_equal(found.labels.numpy(), labels)
    np.testing.assert_allclose(found.scores.numpy(), table[:, 4], rtol=0, atol=1e-4)
    assert missing == 0


def test_regions_match(run: Run) -> None:
    """Levels, pooled features, class logits and deltas of given regions, stage by stage."""
    stored, detector = run.stored, run.detector
    if isinstance(detector, CascadeRCNN):
        with torch.no_grad():
            seen = detector.refine(run.levels, _rois(stored["rois"]), run.sizes)
        assert len(seen) == sum(name.endswith("_cls") for name in stored)
        for i, (rois, outputs) in enumerate(seen):
            run.close(rois.boxes, stored[f"stage{i}_rois"][:, 1:])
            run.close(outputs.logits, stored[f"stage{i}_cls"])
            run.close(outputs.deltas, stored[f"stage{i}_reg"])
        return
    names = ("roi_cls", "roi_reg") if run.rfla else ("cls_score32", "bbox_pred32")
    rois = _rois(stored["rois" if run.rfla else "rois32"])
    pool, strides = detector.spec.pool, detector.spec.rpn.priors.strides
    with torch.no_grad():
        pooled = pool(run.levels, strides, rois)
        outputs = detector.second_stage(run.levels, rois)
    if run.rfla:
        levels = pool.levels(rois.boxes, pool.num_levels)
        np.testing.assert_array_equal(levels.numpy(), stored["roi_levels"])
        run.close(pooled.abs().mean(dim=(1, 2, 3)), stored["roi_feat_abs_mean"])
    else:
        run.close(_statistics(pooled), stored["roi_feat32_stat"])
    run.close(outputs.logits, stored[names[0]])
    run.close(outputs.deltas, stored[names[1]])


def test_detections_match(run: Run) -> None:
    stored, detector = run.stored, run.detector
    if run.rfla:  # from the given regions
        rois = _rois(stored["rois"])
        with torch.no_grad():
            if isinstance(detector, CascadeRCNN):
                seen = detector.refine(run.levels, rois, run.sizes)
                rois, last = seen[-1]
                logits = torch.stack([outputs.logits for _, outputs in seen]).mean(dim=0)
                outputs = RoIOutputs(logits, last.deltas)
            else:
                outputs = detector.second_stage(run.levels, rois)
        (found,) = detector.detections(rois, outputs, run.sizes)
        _check_detections(run, found, (stored["dets"], stored["labels"]))
        return
    (found,) = detector.predict(run.images)
    for name in ("det", "detscaled"):
        w, h = run.json[f"{name}_scale_factor_wh"]
        scaled = replace(found, boxes=found.boxes / torch.tensor([w, h, w, h]))
        table = np.c_[stored[f"{name}_bboxes"], stored[f"{name}_scores"]]
        _check_detections(run, scaled, (table, stored[f"{name}_labels"]))
