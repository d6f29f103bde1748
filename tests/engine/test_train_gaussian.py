"""A training step of TTFNet on images as crowded, or as empty, as those of AI-TOD."""

import math

import pytest
import torch

from motedet.models.backbones import BackboneSpec
from motedet.models.detectors import TTFNetSpec
from motedet.models.heads import SlimHeadSpec
from motedet.models.necks import UpsamplingNeckSpec
from motedet.structures import Targets

NUM_CLASSES = 8
SPEC = TTFNetSpec(
    backbone=BackboneSpec(name="resnet18", out_stages=(1, 2)),
    neck=UpsamplingNeckSpec(widths=(16,), conv="plain"),
    head=SlimHeadSpec(cls_channels=16, box_channels=16),
)


def tiny_objects(count: int, side: int) -> Targets:
    """Squares of 2 to 24 px anywhere in a square image, over its border too."""
    center, half = side * torch.rand(count, 2), 1 + 11 * torch.rand(count, 1)
    boxes = torch.cat((center - half, center + half), dim=1)
    return Targets.of(boxes, torch.randint(NUM_CLASSES, (count,)), (side, side))


@pytest.mark.parametrize(
    ("side", "counts"),
    [(800, (1500, 0)), (128, (1, 0)), (128, (0, 0))],
    ids=["crowded and empty", "one object", "no object"],
)
def test_a_step_is_finite(side: int, counts: tuple[int, ...]) -> None:
    detector = SPEC.build(NUM_CLASSES).train()
    images = torch.randn(len(counts), 3, side, side)
    losses = detector.loss(images, [tiny_objects(count, side) for count in counts])
    total = torch.stack(list(losses.values())).sum()
    total.backward()  # type: ignore[no-untyped-call]

    assert math.isfinite(total.item())
    assert losses["loss_cls"] > 0
    assert bool(losses["loss_box"] > 0) == any(counts)
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
