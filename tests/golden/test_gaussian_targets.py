"""Gaussian Assignment: kernels, maps and targets equal those of the published code."""

import re

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from golden_files import load_npz
from motedet.assign import GaussianAssigner, GaussianMaps
from motedet.assign.gaussian_kernels import gaussian_values
from motedet.priors import Anchors, AnyPriors, Points, PriorGrid
from motedet.structures import Assignment, PackedTargets, Targets

TARGETS = load_npz("gaussian_assignment", "targets.npz")
KERNELS = load_npz("gaussian_assignment", "components.npz")
STRIDE = 4
NUM_CLASSES = 8

# The parameter sets that keys such as `rand50/ttf/heatmap` name.
MAP_RULES = {
    "ttf": GaussianAssigner(),
    "mit": GaussianAssigner(alpha=0.54, inclusive=False),
    "a1b054r64": GaussianAssigner(beta=0.54, max_side=64.0),
    "a054r48noW": GaussianAssigner(alpha=0.54, max_side=48.0, pos_thresh=0.01, weighted=False),
    "sqrt_r32": GaussianAssigner(max_side=32.0, area="sqrt"),
}
ANCHORS = Anchors(strides=(STRIDE,), ratios=(1.0,), scales=(3.0,))
HEAD_RULES: dict[str, tuple[GaussianAssigner, AnyPriors]] = {
    "fcos": (GaussianAssigner(pos_thresh=0.01), Points(strides=(STRIDE,))),
    "retinanet_s_ga": (GaussianAssigner(), ANCHORS),
    "atss_s_ga": (GaussianAssigner(), ANCHORS),
}


def entries(array: str) -> list[tuple[str, str]]:
    """(case, parameter set) of the keys that end in `array`."""
    found = [key.split("/") for key in TARGETS if key.endswith(f"/{array}")]
    return [(case, name) for case, name, _ in found]


def scene(case: str, priors: AnyPriors) -> tuple[PriorGrid, PackedTargets]:
    height, width = TARGETS[f"{case}/size_hw"].tolist()
    boxes = torch.from_numpy(TARGETS[f"{case}/gt_boxes"])
    labels = torch.from_numpy(TARGETS[f"{case}/gt_labels"])
    targets = PackedTargets.pack(
        [Targets.of(boxes, labels, (height, width))], limit_to_padding=isinstance(priors, Anchors)
    )
    return priors([(height // STRIDE, width // STRIDE)]), targets


def labels_of(match: Assignment, targets: PackedTargets, unset: int) -> NDArray[np.int64]:
    """[P] the class that each cell learns."""
    labels = torch.cat((targets.labels, torch.tensor([unset])))
    return labels[match.gt_index[0]].numpy()  # the background, -1, is the last


def boxes_of(match: Assignment, targets: PackedTargets) -> NDArray[np.float32]:
    """[P, 4] the box that each cell learns, -1 where there is none."""
    boxes = torch.cat((targets.boxes, torch.full((1, 4), -1.0)))
    return boxes[match.gt_index[0]].numpy()


@pytest.mark.parametrize("key", [key for key in KERNELS if key.startswith("kernel/")])
def test_kernel(key: str) -> None:
    found = re.fullmatch(r"kernel/h(\d+)_w(\d+)", key)
    assert found is not None
    high, wide = int(found[1]), int(found[2])
    rows, columns = torch.arange(-high, high + 1), torch.arange(-wide, wide + 1)
    offset = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # [h, w, 2]
    values = gaussian_values(offset, torch.tensor([float(wide), float(high)]))
    np.testing.assert_allclose(values, KERNELS[key], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("case", "name"), entries("heatmap"))
def test_maps(case: str, name: str) -> None:
    grid, targets = scene(case, Points(strides=(STRIDE,), offset=0.0))
    maps: GaussianMaps = MAP_RULES[name].maps(grid, targets, NUM_CLASSES)
    size = (grid.levels[0].height, grid.levels[0].width)
    expected = {
        part: TARGETS[f"{case}/{name}/{part}"]
        for part in ("heatmap", "box_target", "reg_weight", "labels", "pos_map")
    }
    unset, shift = (0, 1) if name == "mit" else (NUM_CLASSES, 0)
    labels = labels_of(maps.match, targets, unset - shift) + shift
    np.testing.assert_array_equal(labels.reshape(size), expected["labels"])
    np.testing.assert_array_equal(maps.match.positive.view(size), expected["pos_map"] > 0)
    boxes = boxes_of(maps.match, targets).T.reshape(4, *size)
    np.testing.assert_allclose(boxes, expected["box_target"], rtol=0, atol=1e-5)
    heatmap = maps.heatmap[0].T.reshape(NUM_CLASSES, *size)
    np.testing.assert_allclose(heatmap, expected["heatmap"], rtol=0, atol=1e-5)
    weight = maps.box_weight.view(1, *size)
    np.testing.assert_allclose(weight, expected["reg_weight"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("case", "name"), entries("bbox_targets"))
def test_head_targets(case: str, name: str) -> None:
    rule, priors = HEAD_RULES[name]
    grid, targets = scene(case, priors)
    match = rule(grid, targets)
    prefix = f"{case}/{name}"
    np.testing.assert_array_equal(
        labels_of(match, targets, NUM_CLASSES), TARGETS[f"{prefix}/labels"]
    )
    boxes = boxes_of(match, targets)
    np.testing.assert_allclose(boxes, TARGETS[f"{prefix}/bbox_targets"], rtol=0, atol=1e-5)
    if f"{prefix}/label_weights" in TARGETS:
        np.testing.assert_array_equal(~match.ignored[0], TARGETS[f"{prefix}/label_weights"])
        positive = match.positive[0].numpy()
        np.testing.assert_array_equal(positive, TARGETS[f"{prefix}/bbox_weights"][:, 0])
        counts = [max(int(positive.sum()), 1), max(int((~positive).sum()), 1)]
        assert counts == TARGETS[f"{prefix}/num_pos_neg"].tolist()


@pytest.mark.parametrize("key", [key for key in TARGETS if key.endswith("/anchors")])
def test_anchors(key: str) -> None:
    grid, _ = scene(key.split("/", maxsplit=1)[0], ANCHORS)
    expected = TARGETS[key]
    step = -(-grid.num_priors // len(expected))
    np.testing.assert_allclose(grid.boxes()[::step], expected, rtol=0, atol=1e-5)
