"""FCOS's head: its variants."""

import pytest
import torch

from motedet.models.heads.fcos import Distances, FCOSHeadSpec

FEATURES = [torch.randn(2, 6, s, s + 1) for s in (6, 3, 2)]


@pytest.mark.parametrize("distances", ["exp", "exp_stride", "relu_stride"])
def test_distances_are_not_negative(distances: Distances) -> None:
    spec = FCOSHeadSpec(channels=8, num_convs=1, groups=4, distances=distances)
    outputs = spec.build(6, num_classes=3, num_levels=3)(FEATURES)
    assert outputs.boxes.shape == (2, 42 + 12 + 6, 4)
    assert outputs.boxes.min() >= 0
    assert spec.in_strides == (distances != "exp")


def test_the_exponent_cannot_overflow() -> None:
    head = FCOSHeadSpec(channels=8, num_convs=0, norm="none").build(6, num_classes=3, num_levels=3)
    torch.nn.init.constant_(head.conv_reg.bias, 1e6)  # type: ignore[arg-type]
    outputs = head(FEATURES)
    assert torch.isfinite(outputs.boxes).all()


@pytest.mark.parametrize("ctrness_on", ["cls", "reg", "none"])
def test_ctrness_branch(ctrness_on: str) -> None:
    spec = FCOSHeadSpec(channels=8, num_convs=1, groups=4, ctrness_on=ctrness_on)  # type: ignore[arg-type]
    head = spec.build(6, num_classes=3, num_levels=3)
    outputs = head(FEATURES)
    if ctrness_on == "none":
        assert outputs.ctrness is None
        assert not any("centerness" in name for name in head.state_dict())
        return
    assert outputs.ctrness is not None
    assert outputs.ctrness.shape == (2, 60)
    before = outputs.ctrness.detach()
    other = head.reg_convs if ctrness_on == "cls" else head.cls_convs
    torch.nn.init.zeros_(other.get_submodule("0.conv").weight)  # type: ignore[arg-type]
    after = head(FEATURES).ctrness
    assert after is not None
    torch.testing.assert_close(after, before)


def test_every_level_has_its_scale() -> None:
    spec = FCOSHeadSpec(channels=8, num_convs=0, norm="none", distances="relu_stride")
    head = spec.build(6, num_classes=1, num_levels=3)
    before = head(FEATURES).boxes
    torch.nn.init.constant_(dict(head.named_parameters())["scales.1.scale"], 3.0)
    after = head(FEATURES).boxes
    torch.testing.assert_close(after[:, 42:54], 3 * before[:, 42:54])
    torch.testing.assert_close(after[:, :42], before[:, :42])


def test_groups_must_divide() -> None:
    with pytest.raises(ValueError, match="channels=24 is not a multiple of groups=32"):
        FCOSHeadSpec(channels=24)
