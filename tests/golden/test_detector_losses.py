"""Losses of whole heads, values and gradients, against those of the references."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden_detectors import (
    level_maps,
    tiny_detector_spec,
    tiny_rfla_fcos,
    tiny_rfla_retinanet,
)
from golden_files import load_json, load_npz
from motedet.assign import PredictionAware
from motedet.models.dense import HeadOutputs, prior_labels
from motedet.models.necks.fpn import flatten_levels
from motedet.structures import PackedTargets, Targets

Array = NDArray[Any]
OURS = {"loss_cls": "loss_cls", "loss_bbox": "loss_box", "loss_centerness": "loss_ctr"}
HEADS = ("FCOSHead", "ATSSHead", "RetinaHead")
CLASSICAL: dict[str, Any] = {
    tag: case
    for tag, case in load_json("autoassign", "losses.json").items()
    if case.get("head") in HEADS
}
RFLA: dict[str, Any] = {
    tag: case
    for tag, case in load_json("rfla", "losses.json").items()
    if case["kind"] in ("fcos_rfla", "retina_rfla")
}


def _outputs(maps: Mapping[str, Sequence[Tensor]], num_classes: int) -> HeadOutputs:
    ctrness = maps["ctr"]
    return HeadOutputs(
        logits=flatten_levels(maps["cls"], num_classes),
        boxes=flatten_levels(maps["reg"], 4),
        ctrness=flatten_levels(ctrness, 1).squeeze(-1) if ctrness else None,
        level_sizes=tuple((m.shape[-2], m.shape[-1]) for m in maps["cls"]),
    )


def _targets(boxes: Array, labels: Array, size: tuple[int, int]) -> Targets:
    return Targets.of(
        torch.from_numpy(boxes.astype(np.float32).reshape(-1, 4)),
        torch.from_numpy(labels.astype(np.int64).reshape(-1)),
        size,
    )


@pytest.mark.parametrize("tag", CLASSICAL)
def test_classical_losses_and_gradients(tag: str) -> None:
    case = CLASSICAL[tag]
    stored = load_npz("autoassign", "losses.npz")
    mine = {k.removeprefix(f"{tag}/"): v for k, v in stored.items() if k.startswith(f"{tag}/")}
    maps = {name: level_maps(mine, name) for name in ("cls", "reg", "ctr")}
    for level in (m for kind in maps.values() for m in kind):
        level.requires_grad_()
    width, height = case["image_wh"]
    count = len(maps["cls"][0])
    targets = [
        _targets(mine[f"gt{i}/bboxes"], mine[f"gt{i}/labels"], (height, width))
        for i in range(count)
    ]
    detector = tiny_detector_spec(case).build(case["num_classes"])
    losses = detector.losses(_outputs(maps, case["num_classes"]), targets)
    assert set(losses) == {OURS[name] for name in case["losses"]}
    for name, value in case["losses"].items():
        np.testing.assert_allclose(losses[OURS[name]].item(), value, rtol=1e-5, err_msg=name)

    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    for name, levels in maps.items():
        for i, level in enumerate(levels):
            if (key := f"grad_{name}{i}") in mine:
                assert level.grad is not None
                limit = 1e-6 + 1e-4 * np.abs(mine[key]).max()
                assert np.abs(level.grad.numpy() - mine[key]).max() <= limit, key


def _rfla_maps(case: Mapping[str, Any], num_classes: int) -> dict[str, list[Tensor]]:
    """The generated head outputs: README of the golden folder, `losses.json`."""
    fcos = case["kind"] == "fcos_rfla"
    rules = (
        [("cls", num_classes, 1.0, -3.0), ("reg", 4, 1.5, 1.0), ("ctr", 1, 1.0, 0.0)]
        if fcos
        else [("cls", 3 * num_classes, 1.0, -3.0), ("reg", 12, 0.3, 0.0)]
    )
    generator = np.random.default_rng(case["seed"])
    maps: dict[str, list[Tensor]] = {"cls": [], "reg": [], "ctr": []}
    for h, w in case["sizes"]:
        for name, channels, scale, shift in rules:
            values = generator.standard_normal((case["batch"], channels, h, w)) * scale + shift
            if fcos and name == "reg":
                values = np.maximum(values, 0)
            maps[name].append(torch.from_numpy(values.astype(np.float32)).requires_grad_())
    return maps


def _rfla_strides(case: Mapping[str, Any]) -> list[int]:
    if "strides" in case:
        return list(case["strides"])
    first = 2 ** round(np.log2(case["height"] / case["sizes"][0][0]))
    return [int(first * 2**level) for level in range(len(case["sizes"]))]


@pytest.mark.parametrize("tag", RFLA)
def test_rfla_losses_and_gradients(tag: str) -> None:
    case = RFLA[tag]
    stored = load_npz("rfla", "losses.npz")
    mine = {k.removeprefix(f"{tag}/"): v for k, v in stored.items() if k.startswith(f"{tag}/")}
    num_classes = int(mine["labels"].max())  # the background's label
    maps = _rfla_maps(case, num_classes)
    outputs = _outputs(maps, num_classes)
    sizes = case.get("img_and_pad_shapes", [(case["height"], case["width"])] * case["batch"])
    empty: Array = np.zeros(0, np.float32)
    targets = [
        _targets(mine.get(f"gt{i}", empty), mine.get(f"gt_labels{i}", empty), (h, w))
        for i, (h, w) in enumerate(sizes)
    ]
    strides = _rfla_strides(case)
    fcos = case["kind"] == "fcos_rfla"
    spec = tiny_rfla_fcos(strides) if fcos else tiny_rfla_retinanet(strides)

    packed = PackedTargets.pack(targets, limit_to_padding=not fcos)
    grid = spec.priors(outputs.level_sizes)
    assigner = spec.assigner
    assert not isinstance(assigner, PredictionAware)
    match = assigner(grid, packed)
    labels = prior_labels(match, packed)
    labels[labels < 0] = num_classes
    if fcos:  # stored level by level, image by image
        bounds = [*grid.level_starts, grid.num_priors]
        pieces = [labels[:, a:b].flatten() for a, b in itertools.pairwise(bounds)]
        np.testing.assert_array_equal(torch.cat(pieces).numpy(), mine["labels"])
    else:
        np.testing.assert_array_equal(match.ignored.numpy(), mine["label_weights"] == 0)
        np.testing.assert_array_equal(labels.numpy(), mine["labels"])

    losses = spec.build(num_classes).losses(outputs, targets)
    for name, key in OURS.items():
        if name in mine:
            expected = float(np.sum(mine[name]))  # over levels, where they are apart
            np.testing.assert_allclose(losses[key].item(), expected, rtol=1e-5, err_msg=name)

    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    kinds = [levels for levels in maps.values() if levels]
    norms = [[_norm(level) for level in levels] for levels in kinds]
    np.testing.assert_allclose(norms, mine["grad_l2"], rtol=1e-4, atol=1e-9)


def _norm(level: Tensor) -> float:
    return 0.0 if level.grad is None else float(level.grad.double().norm())


def test_there_are_cases() -> None:
    assert CLASSICAL
    assert RFLA
