"""What is particular to ATSS: three losses, the box loss weighted by centre-ness."""

from dataclasses import replace

import pytest
import torch
from pydantic import TypeAdapter

from motedet.assign import GaussianAssigner
from motedet.losses import GIoULoss
from motedet.models.dense import HeadOutputs
from motedet.models.detectors import ATSSSpec
from motedet.models.heads import ATSSHeadSpec, SlimHeadSpec
from motedet.structures import Targets
from small_detectors import scene, small_specs


def _spec() -> ATSSSpec:
    spec = small_specs()["atss"]
    assert isinstance(spec, ATSSSpec)
    return spec


def test_three_losses() -> None:
    images, targets = scene()
    detector = _spec().build(2).eval()
    losses = detector.loss(images, targets)
    assert set(losses) == {"loss_cls", "loss_box", "loss_ctr"}
    detector.spec = replace(_spec(), box_loss=GIoULoss(weight=1.0))
    single = detector.loss(images, targets)
    torch.testing.assert_close(losses["loss_box"], 2 * single["loss_box"])


def test_scores_are_class_times_ctrness() -> None:
    torch.manual_seed(0)
    detector = _spec().build(2).eval()
    torch.nn.init.zeros_(detector.bbox_head.get_parameter("atss_cls.bias"))
    images, _ = scene()
    (seen, _) = detector.predict(images)
    assert 0.2 < seen.scores.max() < 0.4  # 0.5 of each


def test_padded_distances_have_a_centre_outside_of_a_tiny_object() -> None:
    """The anchor of cell (6, 7) is centred at (24, 28), to the left of the object."""
    image = Targets.of(torch.tensor([[25.0, 27, 28, 30]]), torch.tensor([0]), (64, 64))
    spec = small_specs()["atss_gaussian"]
    assert isinstance(spec, ATSSSpec)
    ctrness = torch.zeros(1, 256, requires_grad=True)
    outputs = HeadOutputs(torch.zeros(1, 256, 2), torch.zeros(1, 256, 4), ctrness, ((16, 16),))
    targets = []
    for source in ("distances", "padded_distances"):
        losses = replace(spec, ctrness_from=source).build(2).losses(outputs, [image])
        (gradient,) = torch.autograd.grad(losses["loss_ctr"], ctrness)
        targets.append(0.5 - gradient[0, 7 * 16 + 6].item())
    assert targets == pytest.approx([0.0, (2 / 5 * 2 / 3) ** 0.5], abs=1e-6)


def test_the_gaussian_assigner_needs_one_level() -> None:
    with pytest.raises(ValueError, match="got priors with 5 levels and 1 per cell"):
        ATSSSpec(assigner=GaussianAssigner())


def test_head_without_a_kind_is_its_own() -> None:
    adapter = TypeAdapter(ATSSSpec)
    old = adapter.validate_python({"kind": "atss", "head": {"channels": 64}})
    assert old.head == ATSSHeadSpec(channels=64)
    head = {"kind": "slim", "boxes": "deltas"}
    slim = adapter.validate_python({"kind": "atss", "head": head})
    assert slim.head == SlimHeadSpec(boxes="deltas")
    assert adapter.validate_python(adapter.dump_python(slim)) == slim
    with pytest.raises(ValueError, match=r"needs head\.boxes 'deltas'; got 'relu_stride'"):
        ATSSSpec(head=SlimHeadSpec())
