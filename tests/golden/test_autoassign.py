"""AutoAssign against the stored values of its reference: pairs, losses, gradients, whole models."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden_autoassign import (
    autoassign_model,
    set_center_prior,
    tiny_autoassign,
    tiny_rfla_autoassign,
)
from golden_detectors import golden_outputs, level_maps
from golden_files import golden_path, load_json, load_npz
from motedet.assign.center_prior import center_weights, forced_pairs, inside_pairs
from motedet.checkpoints import load_state
from motedet.models.dense import HeadOutputs
from motedet.models.detectors import AutoAssign, AutoAssignSpec
from motedet.models.necks.fpn import flatten_levels
from motedet.structures import PackedTargets, Pairs, Targets

Array = NDArray[Any]
NAMES = ("cls", "reg", "ctr")
CASES: dict[str, Any] = {
    tag: case
    for tag, case in load_json("autoassign", "losses.json").items()
    if case.get("head") == "AutoAssignHead"
}
RFLA: dict[str, Any] = {
    tag: case
    for tag, case in load_json("rfla", "losses.json").items()
    if case["kind"] == "autoassign_rfla"
}
MODELS = [
    path.relative_to(golden_path()).parts
    for path in sorted(golden_path().glob("autoassign/models/*.json"))
    if "bbox_head.center_prior.mean"
    in load_json(*path.relative_to(golden_path()).parts)["state_dict"]
]


def test_there_are_cases() -> None:
    assert CASES
    assert RFLA
    assert MODELS


def _stored(folder: str, tag: str) -> dict[str, Array]:
    arrays = load_npz(folder, "losses.npz")
    return {k.removeprefix(f"{tag}/"): v for k, v in arrays.items() if k.startswith(f"{tag}/")}


def _outputs(maps: Mapping[str, Sequence[Tensor]]) -> HeadOutputs:
    return HeadOutputs(
        logits=flatten_levels(maps["cls"], maps["cls"][0].shape[1]),
        boxes=flatten_levels(maps["reg"], 4),
        ctrness=flatten_levels(maps["ctr"], 1).squeeze(-1),
        level_sizes=tuple((m.shape[-2], m.shape[-1]) for m in maps["cls"]),
    )


def _targets(boxes: Array, labels: Array, size: tuple[int, int]) -> Targets:
    return Targets.of(
        torch.from_numpy(boxes.astype(np.float32).reshape(-1, 4)),
        torch.from_numpy(labels.astype(np.int64).reshape(-1)),
        size,
    )


def _batch(case: Mapping[str, Any], mine: Mapping[str, Array]) -> list[Targets]:
    width, height = case["image_wh"]
    boxes = sorted(k for k in mine if k.endswith("/bboxes"))
    return [_targets(mine[k], mine[k.replace("bboxes", "labels")], (height, width)) for k in boxes]


def _close(found: Tensor | None, wanted: Array, name: str) -> None:
    assert found is not None, name
    limit = 1e-6 + 1e-4 * np.abs(wanted).max(initial=0)
    assert np.abs(found.numpy() - wanted).max(initial=0) <= limit, name


@pytest.mark.parametrize("tag", CASES)
def test_losses_and_gradients(tag: str) -> None:
    case, mine = CASES[tag], _stored("autoassign", tag)
    maps = {name: level_maps(mine, name) for name in NAMES}
    for level in (m for kind in maps.values() for m in kind):
        level.requires_grad_()
    detector = tiny_autoassign(case).build(case["num_classes"])
    prior = {name: torch.from_numpy(mine[f"center_prior_{name}"]) for name in ("mean", "sigma")}
    set_center_prior(detector, **prior)
    losses = detector.losses(_outputs(maps), _batch(case, mine))
    assert set(losses) == set(case["losses"])
    for name, value in losses.items():
        np.testing.assert_allclose(value.item(), mine[f"loss/{name}"], rtol=1e-5, err_msg=name)

    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    for name, levels in maps.items():
        for i, level in enumerate(levels):
            _close(level.grad, mine[f"grad_{name}{i}"], f"{name}{i}")
    center = detector.bbox_head.center_prior
    for name, parameter in center.named_parameters():
        _close(parameter.grad, mine[f"grad_center_prior_{name}"], name)


@pytest.mark.parametrize("tag", CASES)
def test_pairs_and_their_center_priors(tag: str) -> None:
    case, mine = CASES[tag], _stored("autoassign", tag)
    spec = tiny_autoassign(case)
    grid = spec.priors([tuple(size) for size in case["featmap_hw"]])
    mean, sigma = (torch.from_numpy(mine[f"center_prior_{n}"]) for n in ("mean", "sigma"))
    for i, targets in enumerate(_batch(case, mine)):
        packed = PackedTargets.pack([targets])
        pairs = inside_pairs(grid, packed)
        before = np.unpackbits(mine[f"gt{i}/inside_before"], axis=0)[: grid.num_priors]
        np.testing.assert_array_equal(_sorted(pairs), np.argwhere(before))
        if spec.force_topk is not None:
            pairs = forced_pairs(grid, packed, pairs, mean, sigma, topk=spec.force_topk)
        expected = mine[f"gt{i}/center_idx"].reshape(-1, 2)  # by point, then by object
        np.testing.assert_array_equal(_sorted(pairs), expected)
        prior, gt = torch.from_numpy(expected.astype(np.int64)).unbind(1)
        weight = center_weights(grid, packed, Pairs(prior, gt), mean, sigma)
        np.testing.assert_allclose(weight.numpy(), mine[f"gt{i}/center_w"], rtol=1e-5, atol=1e-7)


def _sorted(pairs: Pairs) -> Array:
    """[E, 2] by point, then by object."""
    rows: Array = np.unique(torch.stack((pairs.prior, pairs.gt), dim=1).numpy(), axis=0)
    assert len(rows) == len(pairs)
    return rows


def _rfla_maps(case: Mapping[str, Any]) -> dict[str, list[Tensor]]:
    """The generated head outputs: README of the golden folder, `losses.json`."""
    generator = np.random.default_rng(case["seed"])
    maps: dict[str, list[Tensor]] = {name: [] for name in NAMES}
    rules = (("cls", 8, 1.0, -2.0), ("reg", 4, 10.0, 12.0), ("ctr", 1, 1.0, 0.0))
    for h, w in case["sizes"]:
        for name, channels, scale, shift in rules:
            values = generator.standard_normal((case["batch"], channels, h, w)) * scale + shift
            if name == "reg":
                values = np.maximum(values, 0)
            maps[name].append(torch.from_numpy(values.astype(np.float32)).requires_grad_())
    return maps


@pytest.mark.parametrize("tag", RFLA)
def test_the_slip_of_rfla_is_reproduced(tag: str) -> None:
    case, mine = RFLA[tag], _stored("rfla", tag)
    size = (case["height"], case["width"])
    maps = _rfla_maps(case)
    targets = [_targets(mine[f"gt{i}"], mine[f"gt_labels{i}"], size) for i in range(case["batch"])]
    strides = [case["height"] // h for h, _ in case["sizes"]]
    spec = tiny_rfla_autoassign(strides)

    packed = PackedTargets.pack(targets)
    grid = spec.priors([tuple(size) for size in case["sizes"]])
    assert spec.bag is not None
    match = spec.bag(grid, packed)
    for i in range(case["batch"]):
        first = sum(len(t.boxes) for t in targets[:i])
        number = match.gt_index[i].where(~match.positive[i], match.gt_index[i] - first)
        np.testing.assert_array_equal(number.numpy(), mine[f"inds_minus_1_{i}"])

    detector = spec.build(8)
    set_center_prior(
        detector, torch.from_numpy(mine["prior_mean"]), torch.from_numpy(mine["prior_sigma"])
    )
    losses = detector.losses(_outputs(maps), targets)
    for name, value in losses.items():
        np.testing.assert_allclose(value.item(), mine[name], rtol=1e-5, err_msg=name)
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    norms = [[_norm(level) for level in maps[name]] for name in NAMES]
    np.testing.assert_allclose(norms, mine["grad_l2"], rtol=1e-4, atol=1e-9)


def _norm(level: Tensor) -> float:
    return 0.0 if level.grad is None else float(level.grad.double().norm())


@dataclass(frozen=True)
class Run:
    """One whole model, what it computes and what it should."""

    spec: AutoAssignSpec
    num_classes: int
    detector: AutoAssign
    images: Tensor
    features: list[Tensor]
    levels: list[Tensor]
    outputs: HeadOutputs
    stored: dict[str, Any]
    json: dict[str, Any]


@lru_cache(maxsize=1)
def _run(parts: tuple[str, ...]) -> Run:
    json = load_json(*parts)
    stored = load_npz(*parts[:-1], parts[-1].replace(".json", ".npz"))
    spec, num_classes, state = autoassign_model(json)
    detector = spec.build(num_classes).eval()
    load_state(detector, state, source=parts[-1])
    images = torch.from_numpy(stored["input"])
    with torch.no_grad():
        features = detector.backbone(images)
        levels = detector.neck(features)
        outputs = detector.bbox_head(levels)
    return Run(spec, num_classes, detector, images, features, levels, outputs, stored, json)


@pytest.fixture(params=MODELS, ids="-".join, scope="module")
def run(request: pytest.FixtureRequest) -> Run:
    return _run(request.param)


def test_state_dict_has_the_published_names_and_shapes(run: Run) -> None:
    own = {name: list(value.shape) for name, value in run.detector.state_dict().items()}
    assert own == run.json["state_dict"]


def test_features_match(run: Run) -> None:
    compared = 0
    for name, maps in (("backbone", run.features), ("neck", run.levels)):
        for level, found in enumerate(maps):
            if (key := f"{name}{level}_stat") in run.stored:
                expected = run.stored[key]
                flat = found.contiguous().flatten().double().numpy()
                places = np.linspace(0, len(flat) - 1, 64).astype(int)
                mine = np.concatenate([[flat.mean(), flat.std()], flat[places]])
                limit = 1e-4 * np.abs(expected).max()
                np.testing.assert_allclose(mine, expected, rtol=0, atol=limit)
                compared += 1
    assert compared


def test_head_outputs_match(run: Run) -> None:
    expected = golden_outputs(run.stored, run.num_classes)
    assert run.outputs.level_sizes == expected.level_sizes
    grid = run.spec.priors(expected.level_sizes)
    for found, stored in zip(run.outputs[:3], expected[:3], strict=True):
        assert found is not None
        assert stored is not None
        for start, end in itertools.pairwise([*grid.level_starts, grid.num_priors]):
            level, wanted = found[:, start:end], stored[:, start:end]
            assert (level - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_detections_match(run: Run) -> None:
    (found,) = run.detector.predict(run.images)
    for name in ("det", "detscaled"):
        w, h = run.json[f"{name}_scale_factor_wh"]
        np.testing.assert_array_equal(found.labels.numpy(), run.stored[f"{name}_labels"])
        scores = run.stored[f"{name}_scores"]
        np.testing.assert_allclose(found.scores.numpy(), scores, rtol=0, atol=1e-4)
        boxes = found.boxes.numpy() / np.asarray([w, h, w, h], np.float32)
        np.testing.assert_allclose(boxes, run.stored[f"{name}_bboxes"], rtol=0, atol=0.01)
