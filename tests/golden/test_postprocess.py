"""Post-processing of fixed head outputs against RFLA's reference."""

from typing import Any

import numpy as np
import pytest
import torch

from golden_detectors import (
    golden_outputs,
    tiny_rfla_fcos,
    tiny_rfla_retinanet,
    unmatched,
)
from golden_files import load_json, load_npz

CASES: dict[str, Any] = {
    name: case
    for name, case in load_json("rfla", "postprocess.json").items()
    if case["head"] in ("retina", "fcos")
}


@pytest.mark.parametrize("name", CASES)
def test_detections_match(name: str) -> None:
    case = CASES[name]
    stored = load_npz("rfla", "postprocess.npz")
    generator = np.random.default_rng(case["seed"])
    arrays = {}
    for level, (h, w) in enumerate(case["sizes"]):
        for output, channels, scale, shift, kind in case["gen"]:
            values = generator.standard_normal((1, channels, h, w)) * scale + shift
            if "max" in kind:
                values = np.maximum(values, 0)
            arrays[f"{output}{level}"] = values.astype(np.float32)
    channels = {rule[0]: rule[1] for rule in case["gen"]}
    num_classes = channels["cls"] * 4 // channels["reg"]

    first = 2 ** round(np.log2(case["height"] / case["sizes"][0][0]))
    strides = [int(first * 2**level) for level in range(len(case["sizes"]))]
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


def test_there_are_cases() -> None:
    assert CASES
