"""What Gaussian Assignment's models are made of: convolution, losses, centre-ness, one by one."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from golden_files import load_npz
from golden_gaussian import FOLDER, Array
from motedet.geometry import box_centers, encode_ltrb
from motedet.losses import GIoULoss, HeatmapFocalLoss
from motedet.models.dense import centerness, ctrness_sides
from motedet.models.necks.upsample import DeformConv2d

COMPONENTS: dict[str, Array] = load_npz(FOLDER, "components.npz")


def _stored(key: str) -> Tensor:
    return torch.from_numpy(COMPONENTS[key])


THRESHOLDS = [match[1] for key in COMPONENTS if (match := re.fullmatch("ctfocal/thr(.+)", key))]


@pytest.mark.parametrize("thresh", THRESHOLDS)
def test_heatmap_focal_loss(thresh: str) -> None:
    loss = HeatmapFocalLoss(thresh=float(thresh))
    logits, heat = _stored("ctfocal/pred").logit(), _stored("ctfocal/gt")
    found = loss(logits, heat).sum() / loss.num_pos(heat)
    np.testing.assert_allclose(found.item(), COMPONENTS[f"ctfocal/thr{thresh}"], rtol=1e-5)


def test_heatmap_focal_loss_without_heat() -> None:
    logits = _stored("ctfocal/pred").logit()
    found = HeatmapFocalLoss()(logits, torch.zeros_like(logits)).sum()
    np.testing.assert_allclose(found.item(), COMPONENTS["ctfocal/no_pos"], rtol=1e-5)


def test_giou_of_boxes_a_pixel_larger() -> None:
    weight = _stored("giou1/weight")
    per_box = GIoULoss(plus_one=True)(_stored("giou1/pred"), _stored("giou1/target"))
    total = (weight * per_box).sum()
    divisors = {"default_avg": (weight > 0).sum() + 1e-6, "avg_sumw": weight.sum() + 1e-4}
    for name, divisor in divisors.items():
        found = (total / divisor).item()
        np.testing.assert_allclose(found, COMPONENTS[f"giou1/loss_{name}"], rtol=1e-5)


def test_ctrness_of_padded_distances() -> None:
    gt_boxes = _stored("atss_centerness/gts")
    ltrb = encode_ltrb(box_centers(_stored("atss_centerness/anchors")), gt_boxes)
    found = centerness(ctrness_sides("padded_distances", ltrb, gt_boxes))
    np.testing.assert_allclose(
        found.numpy(), COMPONENTS["atss_centerness/value"], rtol=0, atol=1e-5
    )


def test_ctrness_of_corners() -> None:
    gt_boxes = _stored("fcos_centerness/targets")
    found = centerness(ctrness_sides("corners", torch.zeros_like(gt_boxes), gt_boxes))
    np.testing.assert_allclose(
        found.numpy(), COMPONENTS["fcos_centerness/value"], rtol=0, atol=1e-5
    )


def test_deformable_convolution() -> None:
    conv = DeformConv2d(6, 5)
    conv.load_state_dict({name: _stored(f"dcn/{name}") for name in conv.state_dict()})
    with torch.no_grad():
        found = conv(_stored("dcn/x"))
    torch.testing.assert_close(found, _stored("dcn/y"), rtol=0, atol=1e-4)
    up = F.interpolate(found.relu(), size=(18, 22), mode="bilinear", align_corners=True)
    torch.testing.assert_close(up, _stored("dcn/y_relu_up"), rtol=0, atol=1e-4)


def test_there_are_cases() -> None:
    assert THRESHOLDS
