"""The recursive feature pyramid: sizes, names, steps, mixing."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motedet.errors import RecipeError
from motedet.models.backbones.detectors_resnet import DetectoRSResNet, DetectoRSResNetSpec
from motedet.models.backbones.timm_features import BackboneSpec
from motedet.models.necks.fpn import FPNSpec
from motedet.models.necks.rfp import ASPP, RFP, RFPSpec

BACKBONE = DetectoRSResNetSpec(name="resnet18", frozen_stages=1)
CHANNELS, STRIDES = (64, 128, 256, 512), (4, 8, 16, 32)


def _neck(**values: Any) -> RFP:  # noqa: ANN401
    spec = RFPSpec(out_channels=16, aspp_channels=4, backbone=BACKBONE, **values)
    return spec.build(CHANNELS, STRIDES)


def _features() -> list[Tensor]:
    images = torch.randn(1, 3, 64, 64)
    return [images, *(torch.randn(1, c, 64 // s, 64 // s) for c, s in _LEVELS)]


_LEVELS = tuple(zip(CHANNELS, STRIDES, strict=True))


def _second(neck: RFP, step: int = 0) -> DetectoRSResNet:
    module = neck.rfp_modules[step]
    assert isinstance(module, DetectoRSResNet)
    return module


def _plain(neck: RFP, features: list[Tensor]) -> list[Tensor]:
    """The pyramid of one step, by a plain FPN of the same weights."""
    fpn = FPNSpec(out_channels=16, extra="pool").build(CHANNELS, STRIDES)
    own = neck.state_dict()
    fpn.load_state_dict({n: own[n] for n in fpn.state_dict()})
    levels: list[Tensor] = fpn(features)
    return levels


def test_sizes_and_strides() -> None:
    neck = _neck().eval()
    with torch.no_grad():
        levels = neck(_features())
    sizes = [tuple(level.shape) for level in levels]
    assert sizes == [(1, 16, n, n) for n in (16, 8, 4, 2, 1)]
    assert neck.strides == (4, 8, 16, 32, 64)


def test_behind_its_backbone_on_an_odd_image() -> None:
    backbone = BACKBONE.build().eval()
    neck = RFPSpec(out_channels=16, aspp_channels=4, num_outs=4, backbone=BACKBONE)
    with torch.no_grad():
        levels = neck.build(backbone.channels, backbone.strides).eval()(
            backbone(torch.randn(2, 3, 50, 70))
        )
    assert [tuple(level.shape[-2:]) for level in levels] == [(13, 18), (7, 9), (4, 5), (2, 3)]


def test_names() -> None:
    neck = _neck()
    state = {n: tuple(v.shape) for n, v in neck.state_dict().items()}
    second = {n for n in state if n.startswith("rfp_modules.0.")}
    assert second == {f"rfp_modules.0.{n}" for n in BACKBONE.build(rfp_channels=16).state_dict()}
    assert state["rfp_modules.0.layer2.0.rfp_conv.weight"] == (128, 16, 1, 1)
    pyramid = {
        f"{part}.{level}.conv.{kind}"
        for part in ("lateral_convs", "fpn_convs")
        for level in range(4)
        for kind in ("weight", "bias")
    }
    own = {n: s for n, s in state.items() if n not in second | pyramid}
    assert pyramid < set(state)
    assert own == {
        "rfp_aspp.aspp.0.weight": (4, 16, 1, 1),
        "rfp_aspp.aspp.0.bias": (4,),
        "rfp_aspp.aspp.1.weight": (4, 16, 3, 3),
        "rfp_aspp.aspp.1.bias": (4,),
        "rfp_aspp.aspp.2.weight": (4, 16, 3, 3),
        "rfp_aspp.aspp.2.bias": (4,),
        "rfp_aspp.aspp.3.weight": (4, 16, 1, 1),
        "rfp_aspp.aspp.3.bias": (4,),
        "rfp_weight.weight": (1, 16, 1, 1),
        "rfp_weight.bias": (1,),
    }


def test_one_step_is_a_plain_pyramid() -> None:
    neck = _neck(steps=1).eval()
    features = _features()
    names = set(FPNSpec(out_channels=16, extra="pool").build(CHANNELS, STRIDES).state_dict())
    assert set(neck.state_dict()) == names
    for level, plain in zip(neck(features), _plain(neck, features[1:]), strict=True):
        assert torch.equal(level, plain)


def test_a_new_pyramid_is_half_of_each_step() -> None:
    neck = _neck().eval()
    features = _features()
    with torch.no_grad():
        once = _plain(neck, features[1:])
        # Nothing of the pyramid gets into a new second backbone.
        twice = _plain(neck, _second(neck)(features[0])[1:])
        for level, one, two in zip(neck(features), once, twice, strict=True):
            torch.testing.assert_close(level, (one + two) / 2)


def test_steps_by_definition() -> None:
    neck = _neck(steps=3).eval()
    for name, parameter in neck.named_parameters():
        if "rfp_conv" in name or "rfp_weight" in name:
            nn.init.normal_(parameter, std=0.3)
    features = _features()
    with torch.no_grad():
        expected = _plain(neck, features[1:])
        for step in range(2):
            seen = [neck.rfp_aspp(level) for level in expected]
            looked = _second(neck, step).refine(features[0], [expected[0], *seen[1:]])
            new = _plain(neck, looked)
            shares = [torch.sigmoid(neck.rfp_weight(level)) for level in new]
            expected = [a * n + (1 - a) * o for a, n, o in zip(shares, new, expected, strict=True)]
        for level, wanted in zip(neck(features), expected, strict=True):
            torch.testing.assert_close(level, wanted)


def test_views_of_the_aspp() -> None:
    aspp = ASPP(5, 2, (1, 3, 6, 1))
    x = torch.randn(2, 5, 9, 7)
    point, near, far, whole = aspp.aspp
    average = x.flatten(2).mean(dim=2)[..., None, None]
    views = []
    for conv, source, reach in ((point, x, 0), (near, x, 3), (far, x, 6), (whole, average, 0)):
        assert isinstance(conv, nn.Conv2d)
        nn.init.normal_(conv.bias)  # type: ignore[arg-type]
        view = F.conv2d(source, conv.weight, conv.bias, 1, reach, max(reach, 1))
        views.append(view.clamp(min=0).expand(2, 2, 9, 7))
    torch.testing.assert_close(aspp(x), torch.cat(views, dim=1))


def test_gradients_reach_every_part() -> None:
    backbone, neck = BACKBONE.build(), _neck()
    for name, parameter in neck.named_parameters():
        if "rfp_conv" in name:
            nn.init.normal_(parameter, std=0.1)
        if name.endswith("bn2.weight"):  # timm starts blocks as the identity
            nn.init.ones_(parameter)
    levels = neck(backbone(torch.randn(2, 3, 64, 64)))
    loss = torch.stack([level.square().mean() for level in levels]).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in [*backbone.named_parameters(), *neck.named_parameters()]:
        assert (parameter.grad is not None) is parameter.requires_grad, name
    for name in (
        "rfp_weight.weight",
        "rfp_aspp.aspp.1.weight",
        "rfp_modules.0.layer2.0.conv1.weight",
    ):
        grad = neck.get_parameter(name).grad
        assert grad is not None
        assert grad.abs().sum() > 0, name


def test_training_leaves_the_second_backbone_frozen() -> None:
    neck = _neck().train()
    assert not _second(neck).get_submodule("layer4.0.bn1").training
    assert not neck.get_parameter("rfp_modules.0.conv1.weight").requires_grad


def test_a_plain_backbone_is_told() -> None:
    backbone = BackboneSpec(name="resnet18").build().eval()
    with pytest.raises(RecipeError, match=r"got 4 tensors.*'detectors_resnet'"):
        _neck()(backbone(torch.zeros(1, 3, 64, 64)))


def test_pyramids_that_cannot_be() -> None:
    with pytest.raises(RecipeError, match=r"num_outs=3 is too few for 4"):
        _neck(num_outs=3)
    spec = RFPSpec(backbone=BACKBONE)
    with pytest.raises(RecipeError, match=r"'resnet18' has channels \(64, 128") as caught:
        spec.build((256, 512, 1024, 2048), STRIDES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"aspp_dilations": ()}, r"end with 1; got \(\)"),
        ({"aspp_dilations": (1, 3)}, r"end with 1; got \(1, 3\)"),
        ({"aspp_dilations": (0, 1)}, r"got \(0, 1\)"),
        ({"steps": 0}, "got 256, 5, 0, 64"),
        ({"aspp_channels": 0}, "got 256, 5, 2, 0"),
    ],
)
def test_bad_values(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RFPSpec(**values)
