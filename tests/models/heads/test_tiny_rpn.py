"""TinyDet's proposal network: names, priors, losses, proposals."""

from typing import cast

import pytest
import torch

from motedet.models.heads.tiny_rpn import TinyRPN, TinyRPNSpec
from motedet.priors import AnyPriors
from motedet.priors.rounded_anchors import RoundedAnchors
from motedet.structures import Targets

PRIORS = cast("AnyPriors", RoundedAnchors(strides=(8, 16)))
SPEC = TinyRPNSpec(channels=12, groups=4, priors=PRIORS)


def _rpn() -> TinyRPN:
    return SPEC.build(8)


def _targets(count: int) -> Targets:
    boxes = torch.tensor([[8.0, 8, 26, 26], [20.0, 4, 32, 30]])[:count]
    return Targets.of(boxes, torch.zeros(count, dtype=torch.int64), (32, 32))


def test_names_and_shapes() -> None:
    shapes = {n: tuple(v.shape) for n, v in TinyRPNSpec().build(245).state_dict().items()}
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


def test_weights_start_small() -> None:
    for name, value in TinyRPNSpec().build(245).named_parameters():
        expected = 0.01 if name.endswith("weight") else 0.0
        torch.testing.assert_close(value.std(), torch.tensor(expected), rtol=0.1, atol=0)


@pytest.mark.parametrize("count", [0, 2])
def test_losses_and_proposals(count: int) -> None:
    rpn = _rpn()
    outputs = rpn([torch.randn(2, 8, 4, 4), torch.randn(2, 8, 2, 2)])
    assert outputs.logits.shape == (2, 60, 1)
    assert outputs.boxes.shape == (2, 60, 4)
    losses = rpn.losses(outputs, [_targets(count), _targets(0)])
    total = losses["loss_rpn_cls"] + losses["loss_rpn_box"]
    assert total.isfinite()
    total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in rpn.parameters())
    assert (losses["loss_rpn_box"] > 0) == (count > 0)
    for found in rpn.proposals(outputs, [(32, 32), (20, 32)], phase="test"):
        assert 0 < len(found) <= 60
        assert bool((found.boxes >= 0).all())


def test_anchors_up_to_the_image_border_learn() -> None:
    """The published rule in its own numbers: x1 >= 0 and x2 < width, with x2 the last pixel."""
    boxes = PRIORS([(4, 4), (2, 2)]).boxes()
    inside = (boxes >= 0).all(1) & (boxes <= 29).all(1)
    assert bool((boxes[inside] == 29).any())
    border = SPEC.allowed_border
    assert border is not None
    assert torch.equal(PRIORS([(4, 4), (2, 2)]).within([(29, 29)], border)[0], inside)


def test_bad_groups() -> None:
    with pytest.raises(ValueError, match="divide channels=245; got 4 groups"):
        TinyRPNSpec(groups=4)
    with pytest.raises(ValueError, match="allowed_border must be 0 or more"):
        TinyRPNSpec(allowed_border=-1)
