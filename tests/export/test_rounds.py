"""Loops in onnxruntime suppress as the functions of `motedet.geometry` do."""

from collections.abc import Callable
from typing import Final

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from motedet.export.onnx_file import OPSET
from motedet.export.operators import translations
from motedet.export.rounds import with_functions
from motedet.export.runtime import start
from motedet.export.suppression import OUT, soften, suppress_similar
from motedet.geometry import SoftNMS, similarity_nms, soft_nms

KEPT: Final = 12
NMS_IOU: Final = 0.3
NMS_NWD: Final = 0.7
NWD_CONSTANT: Final = 8.0
INPUTS: Final = ["boxes", "scores", "labels"]
RULES: Final = {
    "linear": SoftNMS(min_score=0.05),
    "gaussian": SoftNMS(method="gaussian", sigma=0.3, min_score=0.05),
}
Inputs = tuple[Tensor, Tensor, Tensor]
"""Boxes [B, N, 4], scores [B, N] and labels [B, N]."""
Run = Callable[[Inputs], dict[str, Tensor]]


class Suppressing(nn.Module):
    """All operators that become loops, in one file."""

    def forward(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> list[Tensor]:
        outputs = [suppress_similar(boxes, scores, NMS_NWD, NWD_CONSTANT, KEPT)]
        for rule in RULES.values():
            numbers = (NMS_IOU, KEPT, rule.method, rule.sigma, rule.min_score)
            outputs += soften(boxes, scores, labels, *numbers)
        return outputs


@pytest.fixture(scope="module")
def run() -> Run:
    """The outputs of onnxruntime, by name."""
    batch, count = torch.export.Dim("batch"), torch.export.Dim("count")
    example = (torch.rand(2, 5, 4), torch.rand(2, 5), torch.zeros(2, 5, dtype=torch.int64))
    shapes = ({0: batch, 1: count},) * 3
    names = ["similar", "linear", "linear_scores", "gaussian", "gaussian_scores"]
    written = torch.onnx.export(
        torch.export.export(Suppressing(), example, dynamic_shapes=shapes),
        dynamo=True,
        input_names=INPUTS,
        output_names=names,
        opset_version=OPSET,
        custom_translation_table=translations(),
        verbose=False,
    )
    assert written is not None
    session = start(with_functions(written.model_proto).SerializeToString())

    def outputs(inputs: Inputs) -> dict[str, Tensor]:
        arrays = [part.numpy() for part in inputs]
        found = session.run(names, dict(zip(INPUTS, arrays, strict=True)))
        return {name: torch.from_numpy(o) for name, o in zip(names, found, strict=True)}

    return outputs


def draw(seed: int, batch: int, count: int, *, ties: bool) -> Inputs:
    """Boxes, some of them equal or without area, scores, many of them equal with `ties`."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 30, (batch, count, 2), generator=generator) / 2
    sides = torch.randint(0, 14, (batch, count, 2), generator=generator).float()
    scores = torch.rand(batch, count, generator=generator)
    if ties:
        scores = (scores * 4).round() / 4
    scores = scores.where(torch.rand(scores.shape, generator=generator) > 0.3, OUT)
    labels = torch.randint(3, (batch, count), generator=generator)
    return torch.cat((corner, corner + sides), dim=2), scores, labels


def check(run: Run, inputs: Inputs) -> None:
    """Compare with the functions, image by image."""
    found = run(inputs)
    for image, parts in enumerate(zip(*inputs, strict=True)):
        index = (parts[1] > OUT).nonzero().flatten()
        boxes, scores, labels = (part[index] for part in parts)
        similar = similarity_nms(boxes, scores, NMS_NWD, nwd_constant=NWD_CONSTANT)
        mine = found["similar"][:, 0] == image
        assert found["similar"][mine, 1].tolist() == index[similar[:KEPT]].tolist()
        for name, rule in RULES.items():
            keep, lowered = soft_nms(
                boxes, scores, labels, rule=rule, iou_thresh=NMS_IOU, max_num=KEPT
            )
            mine = found[name][:, 0] == image
            values = found[f"{name}_scores"][mine]
            if name == "linear":  # the same arithmetic; exponentials may differ in the last bit
                assert torch.equal(values, lowered)
            torch.testing.assert_close(values, lowered)
            assert found[name][mine, 1].tolist() == index[keep].tolist()
    for name in ("similar", "linear", "gaussian"):
        assert found[name][:, 0].tolist() == sorted(found[name][:, 0].tolist())


@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 60), st.booleans())
@settings(deadline=None, max_examples=100)
def test_the_same_boxes_are_kept(
    run: Run,
    seed: int,
    batch: int,
    count: int,
    ties: bool,
) -> None:
    check(run, draw(seed, batch, count, ties=ties))


def test_no_candidates(run: Run) -> None:
    boxes, scores, labels = draw(0, 2, 5, ties=False)
    found = run((boxes, torch.full_like(scores, OUT), labels))
    assert [len(output) for output in found.values()] == [0] * 5


def test_one_image_of_two_is_empty(run: Run) -> None:
    boxes, scores, labels = draw(0, 2, 40, ties=False)
    scores[0] = OUT
    check(run, (boxes, scores, labels))
    assert set(run((boxes, scores, labels))["linear"][:, 0].tolist()) == {1}


def test_known_values(run: Run) -> None:
    boxes = torch.tensor([[[0.0, 0, 2, 2], [0, 0, 2, 1], [9, 9, 10, 10]]])
    inputs = (boxes, torch.tensor([[0.8, 0.6, 0.5]]), torch.zeros(1, 3, dtype=torch.int64))
    found = run(inputs)
    assert found["linear"].tolist() == [[0, 0], [0, 2], [0, 1]]
    assert found["linear_scores"].tolist() == pytest.approx([0.8, 0.5, 0.3])  # IoU 0.5
    expected = 0.6 * torch.tensor(-0.25 / 0.3).exp()
    assert found["gaussian_scores"].tolist() == pytest.approx([0.8, 0.5, float(expected)])
