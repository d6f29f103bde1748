"""RetinaNet's head: order and shape of what comes out."""

import torch

from motedet.models.heads.retina import RetinaHeadSpec


def test_outputs_are_level_after_level_and_anchor_major() -> None:
    head = RetinaHeadSpec(channels=8, num_convs=1).build(6, num_classes=3, per_cell=2)
    features = [torch.randn(2, 6, 4, 5), torch.randn(2, 6, 2, 3)]
    outputs = head(features)
    assert outputs.level_sizes == ((4, 5), (2, 3))
    assert outputs.logits.shape == (2, 2 * (20 + 6), 3)
    assert outputs.boxes.shape == (2, 2 * (20 + 6), 4)
    assert outputs.ctrness is None

    channels = head.retina_cls(head.cls_convs(features[1]))[1, :, 1, 2]  # [A * K], anchor-major
    torch.testing.assert_close(outputs.logits[1, -2:], channels.reshape(2, 3))


def test_no_tower() -> None:
    head = RetinaHeadSpec(channels=8, num_convs=0).build(6, num_classes=3, per_cell=1)
    assert head([torch.zeros(1, 6, 2, 2)]).logits.shape == (1, 4, 3)
