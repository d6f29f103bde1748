"""Losses of both stages of two-stage detectors, values and gradients, against the references."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden_detectors import level_maps
from golden_files import load_json, load_npz
from golden_two_stage import tiny_rpn
from motedet.assign import MaxIoU
from motedet.assign.sampling import Drawn
from motedet.geometry import DeltaCoder, resize_boxes
from motedet.losses import L1Loss
from motedet.models.dense import HeadOutputs
from motedet.models.heads import RoIOutputs, RPNSpec
from motedet.models.heads.roi import roi_losses
from motedet.models.necks.fpn import flatten_levels
from motedet.models.rois import Rois, SampledRois
from motedet.priors import Anchors, PriorGrid
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets, Targets

Array = NDArray[Any]

RFLA: dict[str, Any] = {
    tag: case
    for tag, case in load_json("rfla", "losses.json").items()
    if case["kind"] == "rpn_rfla"
}
CLASSICAL: dict[str, Any] = {
    tag: case
    for tag, case in load_json("autoassign", "losses.json").items()
    if case.get("head") == "RPNHead"
}
SECOND: dict[str, Any] = {
    tag: case
    for tag, case in load_json("autoassign", "losses.json").items()
    if tag.startswith("bbox_head")
}


def test_there_are_cases() -> None:
    assert RFLA
    assert CLASSICAL
    assert SECOND


def _part(arrays: dict[str, Array], tag: str) -> dict[str, Array]:
    return {k.removeprefix(f"{tag}/"): v for k, v in arrays.items() if k.startswith(f"{tag}/")}


def _rpn_outputs(logits: Sequence[Tensor], deltas: Sequence[Tensor]) -> HeadOutputs:
    sizes = tuple((m.shape[-2], m.shape[-1]) for m in logits)
    return HeadOutputs(flatten_levels(logits, 1), flatten_levels(deltas, 4), None, sizes)


def _packed(boxes: Sequence[Array], size: tuple[int, int], spec: RPNSpec) -> PackedTargets:
    targets = [
        Targets.of(torch.from_numpy(b), torch.zeros(len(b), dtype=torch.int64), size) for b in boxes
    ]
    border = spec.allowed_border
    return PackedTargets.pack(targets, limit_to_padding=True, allowed_border=border)


def _mask(num_priors: int, index: Sequence[Array]) -> Tensor:
    """[B, P] bool from the priors of each image."""
    mask = torch.zeros(len(index), num_priors, dtype=torch.bool)
    for row, mine in zip(mask, index, strict=True):
        row[torch.from_numpy(mine.astype(np.int64))] = True
    return mask


def _backward(losses: dict[str, Tensor]) -> None:
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]


# Losses of the proposal network.


def _rfla_maps(case: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    """The generated head outputs: README of the golden folder, `losses.json`."""
    generator = np.random.default_rng(case["seed"])
    maps: tuple[list[Tensor], list[Tensor]] = ([], [])
    for h, w in case["sizes"]:
        for kind, channels, scale, shift in ((0, 3, 1.0, -2.0), (1, 12, 0.3, 0.0)):
            values = generator.standard_normal((case["batch"], channels, h, w)) * scale + shift
            maps[kind].append(torch.from_numpy(values.astype(np.float32)).requires_grad_())
    return maps


@dataclass(frozen=True)
class Scene:
    """One case of RFLA's proposal network."""

    spec: RPNSpec
    stored: dict[str, Array]
    grid: PriorGrid
    packed: PackedTargets
    match: Assignment

    def per_image(self, name: str) -> list[Array]:
        """The stored arrays of each image."""
        return [self.stored[f"{name}{b}"] for b in range(self.packed.num_images)]


@lru_cache(maxsize=1)
def _scene(tag: str) -> Scene:
    case = RFLA[tag]
    stored = _part(load_npz("rfla", "losses.npz"), tag)
    first = case["height"] // case["sizes"][0][0]
    strides = [first * 2**level for level in range(len(case["sizes"]))]
    spec = tiny_rpn(strides, cascade="cascade" in tag)
    assert case["allowed_border"] == (-1 if spec.allowed_border is None else spec.allowed_border)
    grid = spec.priors([(h, w) for h, w in case["sizes"]])
    boxes = [stored[f"gt{b}"] for b in range(case["batch"])]
    packed = _packed(boxes, (case["height"], case["width"]), spec)
    return Scene(spec, stored, grid, packed, spec.assigner(grid, packed))


@pytest.mark.parametrize("tag", RFLA)
def test_rfla_assignments(tag: str) -> None:
    scene = _scene(tag)
    starts = [0, *np.cumsum([len(b) for b in scene.per_image("gt")])]
    for row, expected, start in zip(
        scene.match.gt_index.numpy(), scene.per_image("gt_inds"), starts[:-1], strict=True
    ):
        found = np.where(row >= 0, row - start + 1, row)
        found[row == BACKGROUND] = 0
        found[row == IGNORED] = -1
        # -9 marks what the border rule leaves out: it takes no part, as the ignored ones
        np.testing.assert_array_equal(found, np.where(expected == -9, -1, expected))


@pytest.mark.parametrize("tag", RFLA)
def test_rfla_targets(tag: str) -> None:
    scene = _scene(tag)
    for name, index, goals in (
        ("all", "all_pos_inds", "all_pos_deltas"),
        ("sampled", "sampled_pos", "sampled_pos_targets"),
    ):
        for image, prior in enumerate(scene.per_image(index)):
            if len(prior) == 0:
                continue
            chosen = torch.from_numpy(prior.astype(np.int64))
            gt_index = scene.match.gt_index[image, chosen]
            assert (gt_index >= 0).all(), name
            priors = resize_boxes(scene.grid.boxes_at(chosen), scene.spec.target_prior_ratio)
            found = scene.spec.coder.encode(priors, scene.packed.boxes[gt_index])
            expected = scene.stored[f"{goals}{image}"]
            np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("tag", RFLA)
def test_rfla_losses_and_gradients(tag: str) -> None:
    scene = _scene(tag)
    logits, deltas = _rfla_maps(RFLA[tag])
    count = scene.grid.num_priors
    sample = Drawn(
        positive=_mask(count, scene.per_image("sampled_pos")),
        negative=_mask(count, scene.per_image("sampled_neg")),
    )
    losses = scene.spec.build(8).sampled_losses(
        _rpn_outputs(logits, deltas), scene.grid, scene.match, scene.packed, sample
    )
    for ours, theirs in (("loss_rpn_cls", "loss_cls"), ("loss_rpn_box", "loss_bbox")):
        expected = scene.stored[theirs].astype(np.float64).sum()  # over levels
        np.testing.assert_allclose(losses[ours].item(), expected, rtol=1e-5)
    _backward(losses)
    norms = [[_norm(level) for level in maps] for maps in (logits, deltas)]
    np.testing.assert_allclose(norms, scene.stored["grad_l2"], rtol=1e-4, atol=1e-9)


def _norm(level: Tensor) -> float:
    return 0.0 if level.grad is None else float(level.grad.double().norm())


@pytest.mark.parametrize("tag", CLASSICAL)
def test_classical_rpn_losses_and_gradients(tag: str) -> None:
    case = CLASSICAL[tag]
    stored = _part(load_npz("autoassign", "losses.npz"), tag)
    border = case["allowed_border"]
    spec = RPNSpec(
        channels=8,
        priors=Anchors(strides=tuple(case["strides"]), scales=tuple(map(float, case["scales"]))),
        assigner=MaxIoU(pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.3),
        allowed_border=None if border < 0 else border,
    )
    maps = {"cls": level_maps(stored, "cls"), "reg": level_maps(stored, "reg")}
    for level in (*maps["cls"], *maps["reg"]):
        level.requires_grad_()
    outputs = _rpn_outputs(maps["cls"], maps["reg"])
    grid = spec.priors(outputs.level_sizes)
    width, height = case["image_wh"]
    count = len(maps["cls"][0])
    packed = _packed([stored[f"gt{b}/bboxes"] for b in range(count)], (height, width), spec)

    kept = torch.ones(count, grid.num_priors, dtype=torch.bool)
    if spec.allowed_border is not None:
        kept = grid.within(packed.image_sizes, spec.allowed_border)
    rows = [mine.nonzero().flatten().numpy() for mine in kept]  # samples count what is kept
    match = spec.assigner(grid, packed)
    assert match.ignored[~kept].all()
    pos, neg = (
        _mask(grid.num_priors, [rows[b][stored[f"img{b}/{name}"]] for b in range(count)])
        for name in ("sampled_pos", "sampled_neg")
    )
    assert match.positive[pos].all()
    assert (match.gt_index[neg] == BACKGROUND).all()

    losses = spec.build(8).sampled_losses(outputs, grid, match, packed, Drawn(pos, neg))
    for ours, theirs in (("loss_rpn_cls", "loss_rpn_cls"), ("loss_rpn_box", "loss_rpn_bbox")):
        np.testing.assert_allclose(losses[ours].item(), case["losses"][theirs], rtol=1e-5)
    _backward(losses)
    for name, levels in maps.items():
        for i, level in enumerate(levels):
            if (key := f"grad_{name}{i}") in stored:
                assert level.grad is not None
                _check_gradient(level.grad, stored[key])


def _check_gradient(found: Tensor, expected: Array) -> None:
    limit = 1e-6 + 1e-4 * np.abs(expected).max()
    assert np.abs(found.numpy() - expected).max() <= limit


# Losses of the second stage.


@pytest.mark.parametrize("tag", SECOND)
def test_roi_losses_and_gradients(tag: str) -> None:
    """The reference has padding rows of weight 0, which count in the divisor of the boxes only."""
    case = SECOND[tag]
    stored = _part(load_npz("autoassign", "losses.npz"), tag)
    real = torch.from_numpy(stored["label_weights"] > 0)  # [S + padding]
    leaves = [
        torch.from_numpy(stored[name]).requires_grad_() for name in ("cls_score", "bbox_pred")
    ]
    labels = torch.from_numpy(stored["labels"])[real]  # [S]
    positive = torch.from_numpy(stored["bbox_weights"])[real].sum(dim=1) > 0  # [S]

    coder = DeltaCoder(std=(0.1, 0.1, 0.2, 0.2))
    boxes = torch.tensor([[20.0, 30.0, 60.0, 50.0]]).expand(len(labels), -1)  # [S, 4]
    goal = torch.from_numpy(stored["bbox_targets"])[real][positive]  # [G, 4]
    packed = PackedTargets.pack(
        [Targets.of(coder.decode(boxes[positive], goal), labels[positive], (800, 800))]
    )
    gt_index = torch.full_like(labels, BACKGROUND)
    gt_index[positive] = torch.arange(int(positive.sum()))
    image = torch.zeros_like(labels)
    sampled = SampledRois(Rois(boxes, image), gt_index, torch.zeros_like(positive))

    outputs = RoIOutputs(*(leaf[real] for leaf in leaves))
    losses = roi_losses(outputs, sampled, packed, coder=coder, box_loss=L1Loss())
    losses["loss_box"] = losses["loss_box"] * (len(labels) / len(real))
    for ours, theirs in (("loss_cls", "loss_cls"), ("loss_box", "loss_bbox")):
        np.testing.assert_allclose(losses[ours].item(), case["losses"][theirs], rtol=1e-5)
    _backward(losses)
    for leaf, name in zip(leaves, ("cls_score", "bbox_pred"), strict=True):
        assert leaf.grad is not None
        _check_gradient(leaf.grad, stored[f"grad_{name}"])
