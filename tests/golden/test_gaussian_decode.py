"""Detections of Gaussian Assignment's five models from fixed outputs, as published."""

import numpy as np
import pytest
import torch

from golden_files import load_npz
from golden_gaussian import FOLDER, SPECS, Array, golden_outputs, small_detector

STORED: dict[str, Array] = load_npz(FOLDER, "decode.npz")
CASES = [key.removesuffix("/dets") for key in STORED if key.endswith("/dets")]


@pytest.mark.parametrize("case", CASES)
def test_detections_match(case: str) -> None:
    scene, model = case.split("/")
    maps = [STORED[f"{case}/out{i}"] for i in range(3) if f"{case}/out{i}" in STORED]
    outputs = golden_outputs(model, [torch.from_numpy(array) for array in maps])
    height, width = STORED[f"{scene}/img_shape_hw"].tolist()
    (found,) = small_detector(model).detections(outputs, [(height, width)])

    expected = STORED[f"{case}/dets"]
    np.testing.assert_array_equal(found.labels.numpy(), STORED[f"{case}/labels"])
    boxes = found.boxes.numpy() / STORED[f"{scene}/scale"]
    np.testing.assert_allclose(boxes, expected[:, :4], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.scores.numpy(), expected[:, 4], rtol=0, atol=1e-4)


def test_there_are_cases() -> None:
    assert {case.split("/")[1] for case in CASES} == set(SPECS)
