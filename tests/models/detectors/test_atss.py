"""What is particular to ATSS: three losses, the box loss weighted by centre-ness."""

from dataclasses import replace

import torch

from motedet.losses import GIoULoss
from motedet.models.detectors import ATSSSpec
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
