"""Post-processing of fixed head outputs, and proposals, against RFLA's reference."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from golden_detectors import (
    golden_outputs,
    receptive_fields,
    tiny_rfla_fcos,
    tiny_rfla_retinanet,
    unmatched,
)
from golden_files import load_json, load_npz
from motedet.geometry import DeltaCoder
from motedet.models.proposals import Proposals

ALL_CASES: dict[str, Any] = load_json("rfla", "postprocess.json")
CASES = {name: case for name, case in ALL_CASES.items() if case["head"] in ("retina", "fcos")}
RPN_CASES = {name: case for name, case in ALL_CASES.items() if case["head"] == "rpn"}


@pytest.mark.parametrize("name", CASES)
def test_detections_match(name: str) -> None:
    case = CASES[name]
    stored = load_npz("rfla", "postprocess.npz")
    arrays, strides = made_outputs(case), case_strides(case)
    channels = {rule[0]: rule[1] for rule in case["gen"]}
    num_classes = channels["cls"] * 4 // channels["reg"]
    fcos = case["head"] == "fcos"
    spec = tiny_rfla_fcos(strides, distances="exp") if fcos else tiny_rfla_retinanet(strides)
    detector = spec.build(num_classes)
    height, width = case["img_shape"]
    with torch.no_grad():
        (found,) = detector.detections(golden_outputs(arrays, num_classes), [(height, width)])

    boxes = found.boxes.numpy()
    if case["rescale"]:
        boxes = boxes / np.asarray(case["scale_factor"], np.float32)
    dets, labels = stored[f"{name}/dets"], stored[f"{name}/labels"]
    assert abs(len(found) - len(dets)) <= 0.005 * len(dets)
    missing = unmatched(
        boxes,
        found.scores.numpy(),
        found.labels.numpy(),
        expected=(dets[:, :4], dets[:, 4], labels),
        pixels=1e-3,
        score=1e-5,
    )
    assert missing <= 0.005 * len(dets)


@pytest.mark.parametrize("name", RPN_CASES)
def test_proposals_match(name: str) -> None:
    case = RPN_CASES[name]
    outputs = golden_outputs(made_outputs(case), 1)
    grid = receptive_fields(case_strides(case), anchors=True)(outputs.level_sizes)
    rule = Proposals(pre_nms=3000, max_per_image=3000, nms_iou=0.7)
    height, width = case["img_shape"]

    def boxes_of(image: Tensor, prior: Tensor) -> Tensor:
        return DeltaCoder().decode(grid.boxes_at(prior), outputs.boxes[image, prior])

    logits = outputs.logits.squeeze(-1)
    (found,) = rule(logits, boxes_of, grid.level_starts, [(height, width)])

    dets = load_npz("rfla", "postprocess.npz")[f"{name}/dets"]
    assert abs(len(found) - len(dets)) <= 0.005 * len(dets)
    no_class = np.zeros(len(found), int)
    missing = unmatched(
        found.boxes.numpy(),
        found.scores.numpy(),
        no_class,
        expected=(dets[:, :4], dets[:, 4], np.zeros(len(dets), int)),
        pixels=1e-3,
        score=1e-5,
    )
    assert missing <= 0.005 * len(dets)


def made_outputs(case: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """The head outputs of a case, by the rule of the README."""
    generator = np.random.default_rng(case["seed"])
    arrays = {}
    for level, (h, w) in enumerate(case["sizes"]):
        for output, channels, scale, shift, kind in case["gen"]:
            values = generator.standard_normal((1, channels, h, w)) * scale + shift
            if "max" in kind:
                values = np.maximum(values, 0)
            arrays[f"{output}{level}"] = values.astype(np.float32)
    return arrays


def case_strides(case: Mapping[str, Any]) -> list[int]:
    """The strides of a case: powers of two from the first level on."""
    first = 2 ** round(np.log2(case["height"] / case["sizes"][0][0]))
    return [int(first * 2**level) for level in range(len(case["sizes"]))]


def test_there_are_cases() -> None:
    assert CASES
    assert RPN_CASES
