"""The second stage: layers, losses of sampled regions, detections, refined regions."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from motedet.geometry import DeltaCoder
from motedet.losses import L1Loss
from motedet.models.heads.roi import (
    BoxHeadSpec,
    RoIOutputs,
    refine_rois,
    roi_detections,
    roi_losses,
)
from motedet.models.postprocess import Suppression
from motedet.models.rois import Rois, SampledRois
from motedet.structures import BACKGROUND, PackedTargets, Targets

CODER = DeltaCoder()
NUM_CLASSES = 3


def _rois(rows: Sequence[Sequence[float]], image: Sequence[int] | None = None) -> Rois:
    boxes = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    return Rois(boxes, torch.tensor(image or [0] * len(boxes), dtype=torch.int64))


def _outputs(count: int, *, agnostic: bool = False) -> RoIOutputs:
    logits = torch.zeros(count, NUM_CLASSES + 1, requires_grad=True)
    deltas = torch.zeros(count, 4 if agnostic else 4 * NUM_CLASSES, requires_grad=True)
    return RoIOutputs(logits, deltas)


def _losses(outputs: RoIOutputs, rois: Rois, gt_index: Sequence[int]) -> dict[str, Tensor]:
    """With an object (10, 10, 20, 20) of class 1, and one (0, 0, 4, 4) of class 2."""
    boxes = torch.tensor([[10.0, 10, 20, 20], [0, 0, 4, 4]])
    packed = PackedTargets.pack([Targets.of(boxes, torch.tensor([1, 2]), (40, 40))])
    index = torch.tensor(gt_index, dtype=torch.int64)
    sampled = SampledRois(rois, index, torch.zeros(len(index), dtype=torch.bool))
    return roi_losses(outputs, sampled, packed, coder=CODER, box_loss=L1Loss())


def _backward(losses: dict[str, Tensor]) -> None:
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("count", [0, 5])
@pytest.mark.parametrize("agnostic", [False, True], ids=["per class", "agnostic"])
def test_shapes_and_names(count: int, agnostic: bool) -> None:
    spec = BoxHeadSpec(channels=6, class_agnostic=agnostic)
    head = spec.build(2 * 3 * 3, num_classes=NUM_CLASSES)
    outputs = head(torch.randn(count, 2, 3, 3).requires_grad_())
    width = 4 if agnostic else 4 * NUM_CLASSES
    assert outputs.logits.shape == (count, NUM_CLASSES + 1)
    assert outputs.deltas.shape == (count, width)
    _backward({"sum": outputs.logits.sum() + outputs.deltas.sum()})
    assert all(p.grad is not None for p in head.parameters())
    assert {n: tuple(v.shape) for n, v in head.state_dict().items() if "weight" in n} == {
        "shared_fcs.0.weight": (6, 18),
        "shared_fcs.1.weight": (6, 6),
        "fc_cls.weight": (NUM_CLASSES + 1, 6),
        "fc_reg.weight": (width, 6),
    }


def test_no_shared_layer() -> None:
    head = BoxHeadSpec(num_fcs=0).build(18, num_classes=NUM_CLASSES)
    assert head(torch.zeros(1, 2, 3, 3)).logits.shape == (1, NUM_CLASSES + 1)


@pytest.mark.parametrize("values", [{"channels": 0}, {"num_fcs": -1}])
def test_bad_numbers(values: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="channels must be at least 1 and num_fcs 0; got"):
        BoxHeadSpec(**values)  # type: ignore[arg-type]


def test_losses_without_regions() -> None:
    outputs = _outputs(0)
    losses = _losses(outputs, _rois([]), [])
    assert {name: value.item() for name, value in losses.items()} == {"loss_cls": 0, "loss_box": 0}
    _backward(losses)
    assert outputs.deltas.grad is not None


def test_losses_of_background_alone() -> None:
    outputs = _outputs(2)
    losses = _losses(outputs, _rois([[0, 0, 9, 9], [5, 5, 9, 9]]), [BACKGROUND] * 2)
    torch.testing.assert_close(losses["loss_cls"], torch.tensor(math.log(NUM_CLASSES + 1)))
    assert losses["loss_box"] == 0
    _backward(losses)
    assert outputs.logits.grad is not None
    assert (outputs.logits.grad[:, -1] < 0).all()  # towards the last class
    assert outputs.deltas.grad is not None
    assert not outputs.deltas.grad.any()


def test_box_loss_is_shared_by_all_sampled_regions() -> None:
    rois = _rois([[9, 10, 19, 20], [30, 30, 35, 35]])  # one tenth of a width off; background
    losses = _losses(_outputs(2), rois, [0, BACKGROUND])
    torch.testing.assert_close(losses["loss_box"], torch.tensor(0.1 / 2))


def test_boxes_of_the_class_learn() -> None:
    outputs = _outputs(2)
    _backward(_losses(outputs, _rois([[9, 9, 18, 18], [1, 1, 6, 6]]), [0, 1]))
    assert outputs.deltas.grad is not None
    columns = outputs.deltas.grad.reshape(2, NUM_CLASSES, 4).any(dim=2)
    assert columns.tolist() == [[False, True, False], [False, False, True]]


def test_boxes_for_all_classes() -> None:
    rois = _rois([[9, 9, 18, 18], [1, 1, 6, 6]])
    outputs = _outputs(2, agnostic=True)
    losses = _losses(outputs, rois, [0, 1])
    torch.testing.assert_close(losses["loss_box"], _losses(_outputs(2), rois, [0, 1])["loss_box"])
    _backward(losses)
    assert outputs.deltas.grad is not None
    assert outputs.deltas.grad.all()


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, NUM_CLASSES + 1), (3, 4 * NUM_CLASSES))
    leaves = [
        torch.randn(s, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes
    ]
    rois = _rois([[9, 9, 18, 18], [1, 1, 6, 6], [20, 20, 30, 30]])

    def total(logits: Tensor, deltas: Tensor) -> Tensor:
        losses = _losses(RoIOutputs(logits, deltas), rois, [0, 1, BACKGROUND])
        return torch.stack(list(losses.values())).sum()

    assert torch.autograd.gradcheck(total, leaves)


# Detections.


def _detect(rois: Rois, outputs: RoIOutputs) -> list[tuple[list[list[float]], list[int]]]:
    sizes, rule = [(40, 40), (12, 15)], Suppression(score_thresh=0.3)
    found = roi_detections(rois, outputs, sizes, coder=CODER, suppression=rule)
    return [(d.boxes.tolist(), d.labels.tolist()) for d in found]


def test_no_regions_no_detections() -> None:
    assert _detect(_rois([]), _outputs(0)) == [([], []), ([], [])]


def test_background_and_weak_classes_are_not_detected() -> None:
    logits = torch.tensor([[0.0, 0, 0, 9], [0, 0, 0, 0]])  # background; a quarter each
    assert _detect(_rois([[0, 0, 9, 9]] * 2), RoIOutputs(logits, torch.zeros(2, 12))) == [
        ([], []),
        ([], []),
    ]


def test_detections_use_the_boxes_of_their_class_and_lie_in_their_image() -> None:
    logits = torch.tensor([[0.0, 9, 9, 0], [9, 0, 0, 0]])  # two classes of one region; another
    deltas = torch.zeros(2, NUM_CLASSES, 4)
    deltas[0, 1, 0], deltas[0, 2, 1] = 0.5, 0.5  # half a side to the right; down
    outputs = RoIOutputs(logits, deltas.flatten(1))
    found = _detect(_rois([[10, 10, 20, 20], [10, 10, 20, 20]], [0, 1]), outputs)
    assert found == [
        ([[15, 10, 25, 20], [10, 15, 20, 25]], [1, 2]),
        ([[10, 10, 15, 12]], [0]),
    ]
    agnostic = RoIOutputs(logits, torch.tensor([[0.5, 0, 0, 0], [0, 0, 0, 0]]))
    found = _detect(_rois([[10, 10, 20, 20], [10, 10, 20, 20]], [0, 1]), agnostic)
    assert found[0] == ([[15, 10, 25, 20]] * 2, [1, 2])


# From one stage to the next.


def test_refined_regions_are_clipped_numbers() -> None:
    deltas = torch.tensor([[1.0, 0, 0, 0], [0, 0, math.log(2), 0]], requires_grad=True)
    rois = _rois([[10, 10, 20, 20], [10, 10, 20, 20]], [0, 1])
    refined = refine_rois(rois, deltas, [(40, 40), (12, 22)], coder=CODER)
    expected = torch.tensor([[20.0, 10, 30, 20], [5, 10, 22, 12]])
    torch.testing.assert_close(refined.boxes, expected)
    assert torch.equal(refined.image, rois.image)
    assert not refined.boxes.requires_grad


def test_no_regions_to_refine() -> None:
    refined = refine_rois(_rois([]), torch.zeros(0, 4), [(40, 40)], coder=CODER)
    assert refined.boxes.shape == (0, 4)
