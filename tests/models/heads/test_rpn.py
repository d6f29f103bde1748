"""The proposal network: order of what comes out, losses on sampled priors, its best boxes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from motedet.assign import MaxIoU
from motedet.assign.sampling import Drawn, RandomSampler
from motedet.losses import GIoULoss
from motedet.models.dense import HeadOutputs
from motedet.models.heads.rpn import RPN, RPNSpec
from motedet.models.proposals import Proposals
from motedet.priors import Anchors, RoundedAnchors
from motedet.structures import PackedTargets, Size, Targets

SIZES: tuple[Size, ...] = ((4, 4), (2, 2))
SPEC = RPNSpec(
    channels=8,
    priors=Anchors(strides=(8, 16), ratios=(1.0,), scales=(1.0,), center_offset=0.5),
    sampler=RandomSampler(num=8, pos_fraction=0.5),
)
NUM_PRIORS = 20


def _rpn(**changes: Any) -> RPN:  # noqa: ANN401 - fields of the spec
    torch.manual_seed(0)
    return replace(SPEC, **changes).build(6)


def _outputs(images: int = 1) -> HeadOutputs:
    logits, deltas = torch.zeros(images, NUM_PRIORS, 1), torch.zeros(images, NUM_PRIORS, 4)
    return HeadOutputs(logits.requires_grad_(), deltas.requires_grad_(), None, SIZES)


def _targets(boxes: Sequence[Sequence[float]], *, seed: int = 0, size: Size = (32, 32)) -> Targets:
    table = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    record = Targets.of(table, torch.full((len(table),), 3), size)
    return replace(record, seed=seed)


def _backward(losses: dict[str, Tensor]) -> None:
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]


def _used(outputs: HeadOutputs) -> Tensor:
    """[B, P] bool, the priors whose objectness learns."""
    assert outputs.logits.grad is not None
    return outputs.logits.grad.squeeze(-1) != 0


def test_outputs_are_level_after_level_and_prior_major() -> None:
    rpn = _rpn(priors=Anchors(strides=(8, 16), scales=(1.0,)))
    features = [torch.randn(2, 6, 4, 5), torch.randn(2, 6, 2, 3)]
    outputs = rpn(features)
    assert outputs.level_sizes == ((4, 5), (2, 3))
    assert outputs.logits.shape == (2, 3 * 26, 1)
    assert outputs.boxes.shape == (2, 3 * 26, 4)
    last = rpn.rpn_reg(rpn.rpn_conv(features[1]).relu())[1, :, 1, 2]  # [3 * 4], prior-major
    torch.testing.assert_close(outputs.boxes[1, -3:], last.reshape(3, 4))


def test_names_are_the_published_ones() -> None:
    shapes = {n: tuple(v.shape) for n, v in _rpn().state_dict().items() if n.endswith("weight")}
    assert shapes == {
        "rpn_conv.weight": (8, 6, 3, 3),
        "rpn_cls.weight": (1, 8, 1, 1),
        "rpn_reg.weight": (4, 8, 1, 1),
    }


def test_no_objects() -> None:
    outputs = _outputs(images=2)
    losses = _rpn().losses(outputs, [_targets([]), _targets([], seed=1)])
    # 8 of background each, whose images count a positive one all the same
    torch.testing.assert_close(losses["loss_rpn_cls"], torch.tensor(8 / 9 * math.log(2)))
    assert losses["loss_rpn_box"] == 0
    _backward(losses)
    assert _used(outputs).sum(dim=1).tolist() == [8, 8]
    assert outputs.boxes.grad is not None
    assert not outputs.boxes.grad.any()


def test_losses_by_hand() -> None:
    # The prior of cell (1, 1) is (8, 8, 16, 16); the object is it, moved by half its width.
    outputs = _outputs()
    assigner = MaxIoU(pos_iou=0.3, neg_iou=0.1, min_pos_iou=0.3)
    losses = _rpn(assigner=assigner).losses(outputs, [_targets([[12, 8, 20, 16]])])
    # Cells (1, 1) and (1, 2) have IoU 1/3 with it: dx = 0.5 and -0.5. Six others are background.
    torch.testing.assert_close(losses["loss_rpn_cls"], torch.tensor(math.log(2)))
    torch.testing.assert_close(losses["loss_rpn_box"], torch.tensor(1.0 / 8))
    _backward(losses)
    assert outputs.logits.grad is not None
    assert (outputs.logits.grad[0, [5, 6], 0] < 0).all()


def test_deltas_relative_to_smaller_priors() -> None:
    boxes = [[9.0, 8, 17, 16]]
    values = [
        _rpn(target_prior_ratio=ratio).losses(_outputs(), [_targets(boxes)])["loss_rpn_box"]
        for ratio in (1.0, 0.9)
    ]
    dx = 1 / 8
    torch.testing.assert_close(values[0] * 8, torch.tensor(dx))
    torch.testing.assert_close(values[1] * 8, torch.tensor(dx / 0.9 - 2 * math.log(0.9)))


def test_losses_on_boxes_use_the_priors_as_they_are() -> None:
    boxes = [[8.0, 8, 16, 16]]
    rpn = _rpn(box_loss=GIoULoss(), target_prior_ratio=0.9)
    assert rpn.losses(_outputs(), [_targets(boxes)])["loss_rpn_box"] < 1e-6


def test_only_what_was_sampled_learns() -> None:
    rpn, outputs = _rpn(), _outputs()
    packed = PackedTargets.pack([_targets([[8, 8, 16, 16]])])
    grid = rpn.spec.priors(SIZES)
    match = rpn.spec.assigner(grid, packed)
    chosen = torch.zeros(2, 1, NUM_PRIORS, dtype=torch.bool)
    chosen[0, 0, 5] = chosen[1, 0, 10] = True
    _backward(rpn.sampled_losses(outputs, grid, match, packed, Drawn(chosen[0], chosen[1])))
    assert _used(outputs).nonzero().tolist() == [[0, 5], [0, 10]]


@pytest.mark.parametrize("border", [None, 0.0])
def test_priors_out_of_the_image_or_in_its_padding(border: float | None) -> None:
    outputs, rpn = _outputs(), _rpn(allowed_border=border, sampler=RandomSampler(num=99))
    _backward(rpn.losses(outputs, [_targets([], size=(32, 20))]))
    x1, _, x2, y2 = rpn.spec.priors(SIZES).boxes().unbind(1)
    # Cells that start in the image take part; with a border, priors that end before its edge.
    expected = x1 < 20 if border is None else (x2 < 20) & (y2 < 32)
    assert torch.equal(_used(outputs)[0], expected)


def test_the_draw_of_an_image_does_not_depend_on_the_batch() -> None:
    rpn = _rpn()
    features = [torch.randn(2, 6, *size) for size in SIZES]
    targets = [_targets([[8, 8, 16, 16]], seed=3), _targets([], seed=4)]
    there = rpn.losses(rpn(features), targets)
    back = rpn.losses(rpn([f.flip(0) for f in features]), targets[::-1])
    for name, value in there.items():
        torch.testing.assert_close(back[name], value)


@pytest.mark.parametrize("phase", ["train", "test"])
def test_best_boxes_are_decoded_and_clipped(phase: Any) -> None:  # noqa: ANN401 - a literal
    outputs = _outputs(images=2)
    with torch.no_grad():
        outputs.logits[:, 5] = 4.0  # (8, 8, 16, 16)
        outputs.boxes[0, 5] = torch.tensor([1.0, 0, 0, 0])
    rule = {f"{phase}_proposals": Proposals(max_per_image=1)}
    found = _rpn(**rule).proposals(outputs, [(32, 20), (12, 32)], phase=phase)
    assert [d.boxes.tolist() for d in found] == [[[16, 8, 20, 16]], [[8, 8, 16, 12]]]
    assert not found[0].boxes.requires_grad
    assert math.isclose(found[0].scores.item(), 1 / (1 + math.exp(-4)), rel_tol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"channels": 0}, "got 0, 1"),
        ({"target_prior_ratio": 0.0}, "got 256, 0"),
        ({"allowed_border": -1.0}, "allowed_border must be 0 or more, or null; got -1"),
    ],
)
def test_bad_numbers(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RPNSpec(**values)


# The sparsely connected form, of TinyDet.

SPARSE = RPNSpec(
    channels=245,
    sparse_groups=49,
    priors=RoundedAnchors(strides=(8, 16)),
    assigner=MaxIoU(pos_iou=0.5, neg_iou=0.3, min_pos_iou=0.3),
    allowed_border=0.5,
)


def test_sparse_names_and_shapes() -> None:
    shapes = {n: tuple(v.shape) for n, v in SPARSE.build(245).state_dict().items()}
    assert shapes == {
        "rpn_conv.0.weight": (245, 1, 3, 3),
        "rpn_conv.0.bias": (245,),
        "rpn_conv.1.weight": (245, 5, 1, 1),
        "rpn_conv.1.bias": (245,),
        "rpn_cls.weight": (3, 245, 1, 1),
        "rpn_cls.bias": (3,),
        "rpn_reg.weight": (12, 245, 1, 1),
        "rpn_reg.bias": (12,),
    }


@pytest.mark.parametrize("spec", [SPARSE, replace(SPARSE, sparse_groups=None)])
def test_weights_start_small(spec: RPNSpec) -> None:
    for name, value in spec.build(245).named_parameters():
        expected = 0.01 if name.endswith("weight") else 0.0
        torch.testing.assert_close(value.std(), torch.tensor(expected), rtol=0.1, atol=0)


@pytest.mark.parametrize("count", [0, 2])
def test_sparse_losses_and_proposals(count: int) -> None:
    rpn = replace(SPARSE, channels=12, sparse_groups=4).build(8)
    outputs = rpn([torch.randn(2, 8, 4, 4), torch.randn(2, 8, 2, 2)])
    boxes = [[8.0, 8, 26, 26], [20.0, 4, 32, 30]]
    losses = rpn.losses(outputs, [_targets(boxes[:count]), _targets([])])
    assert (losses["loss_rpn_box"] > 0) == (count > 0)
    _backward(losses)
    assert all(p.grad is not None for p in rpn.parameters())
    for found in rpn.proposals(outputs, [(32, 32), (20, 32)], phase="test"):
        assert 0 < len(found) <= 60
        assert bool((found.boxes >= 0).all())


def test_whole_pixel_anchors_up_to_the_image_border_learn() -> None:
    """TinyDet's rule in its own numbers: x1 >= 0 and x2 < width, with x2 the last pixel."""
    grid = SPARSE.priors([(4, 4), (2, 2)])
    boxes, border = grid.boxes(), SPARSE.allowed_border
    inside = (boxes >= 0).all(1) & (boxes <= 29).all(1)
    assert bool((boxes[inside] == 29).any())
    assert border is not None
    assert torch.equal(grid.within([(29, 29)], border)[0], inside)


@pytest.mark.parametrize("groups", [0, 4])
def test_bad_groups(groups: int) -> None:
    with pytest.raises(ValueError, match=f"sparse_groups must divide channels=245; got {groups}"):
        replace(SPARSE, sparse_groups=groups)
