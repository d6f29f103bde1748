"""The up-sampling neck: deformable convolution, sizes, names, doubling and shortcuts."""

from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor, nn

from motedet.errors import RecipeError
from motedet.models.necks import PlainNeck, UpsamplingNeckSpec
from motedet.models.necks.upsample import DeformConv2d, UpsamplingNeck

CHANNELS, STRIDES = (4, 6, 8, 10), (4, 8, 16, 32)
Conv = Literal["deformable", "plain"]


def _neck(conv: Conv = "deformable", widths: tuple[int, ...] = (9, 7, 5)) -> UpsamplingNeck:
    return UpsamplingNeckSpec(widths=widths, conv=conv).build(CHANNELS, STRIDES)


def _features(height: int = 64, width: int = 96) -> list[Tensor]:
    """Maps of an image, as strided convolutions make them."""
    maps = []
    for channels, stride in zip(CHANNELS, STRIDES, strict=True):
        maps.append(torch.randn(2, channels, -(-height // stride), -(-width // stride)))
    return maps


def _moved(neck: nn.Module) -> None:
    """Give the offsets something to do."""
    for name, parameter in neck.named_parameters():
        if "conv_offset" in name:
            nn.init.normal_(parameter, std=0.1)


def test_kind_in_a_recipe() -> None:
    adapter: TypeAdapter[object] = TypeAdapter(PlainNeck)
    found = adapter.validate_python({"kind": "upsample", "widths": [32, 16], "conv": "plain"})
    assert found == UpsamplingNeckSpec(widths=(32, 16), conv="plain")


def test_zero_offsets_are_a_plain_convolution() -> None:
    conv = DeformConv2d(3, 4)
    x = torch.randn(2, 3, 5, 6)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, padding=1))


def test_offsets_are_y_before_x() -> None:
    """All taps one cell further right look at a map that is shifted left."""
    conv = DeformConv2d(3, 4)
    x = torch.randn(1, 3, 5, 6)
    with torch.no_grad():
        assert conv.conv_offset.bias is not None
        conv.conv_offset.bias[1::2] = 1.0
    shifted = F.pad(x, (1, 0))[..., 2:]  # one less, and zeros outside as ever
    expected = F.conv2d(shifted, conv.weight, padding=(1, 1))
    torch.testing.assert_close(conv(x)[..., 1:4], expected[..., 1:4])


def test_each_tap_has_its_own_offset() -> None:
    """Only the last tap moves, half a cell down: it sees the mean of two cells."""
    conv = DeformConv2d(1, 1)
    x = torch.arange(30.0).reshape(1, 1, 5, 6)
    with torch.no_grad():
        assert conv.conv_offset.bias is not None
        conv.conv_offset.bias[16] = 0.5  # y of tap 8, at (+1, +1)
        conv.weight.zero_()
        conv.weight[0, 0, 2, 2] = 1.0
    # at row 1, column 2: rows 2 and 3 of column 3
    assert conv(x)[0, 0, 1, 2].item() == pytest.approx((x[0, 0, 2, 3] + x[0, 0, 3, 3]).item() / 2)


def test_deformable_gradient() -> None:
    conv = DeformConv2d(2, 2).double()
    with torch.no_grad():
        conv.conv_offset.weight.normal_(std=0.01)
        assert conv.conv_offset.bias is not None
        conv.conv_offset.bias.uniform_(0.2, 0.4)  # bilinear weights bend at whole numbers
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    weights = [p.detach().requires_grad_() for p in conv.parameters()]
    names = [n for n, _ in conv.named_parameters()]

    def call(x: Tensor, *values: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(
            conv, dict(zip(names, values, strict=True)), (x,)
        )
        return result

    assert torch.autograd.gradcheck(call, (x, *weights))


@pytest.mark.parametrize("conv", ["deformable", "plain"])
@pytest.mark.parametrize("size", [(64, 96), (70, 33), (32, 32)], ids=str)
def test_result_has_the_size_of_the_finest_map(conv: Conv, size: tuple[int, int]) -> None:
    neck = _neck(conv).eval()
    features = _features(*size)
    (level,) = neck(features)
    assert level.shape == (2, 5, *features[0].shape[-2:])
    assert neck.strides == (4,)


def test_fewer_doublings_end_at_a_coarser_stride() -> None:
    spec = UpsamplingNeckSpec(widths=(9, 7), conv="plain")
    neck = spec.build(CHANNELS, STRIDES).eval()
    features = _features()
    (level,) = neck(features)
    assert spec.out_channels == 7
    assert neck.strides == (8,)
    assert level.shape == (2, 7, 8, 12)


@pytest.mark.parametrize("conv", ["deformable", "plain"])
def test_names(conv: Conv) -> None:
    shapes = {n: tuple(v.shape) for n, v in _neck(conv).state_dict().items()}
    offsets = {n for n in shapes if "conv_offset" in n}
    assert offsets == (
        {f"deconv_layers.{i}.0.conv_offset.{k}" for i in range(3) for k in ("weight", "bias")}
        if conv == "deformable"
        else set()
    )
    assert {n: s for n, s in shapes.items() if n.endswith("weight") and n not in offsets} == {
        "deconv_layers.0.0.weight": (9, 10, 3, 3),
        "deconv_layers.0.1.weight": (9,),
        "deconv_layers.1.0.weight": (7, 9, 3, 3),
        "deconv_layers.1.1.weight": (7,),
        "deconv_layers.2.0.weight": (5, 7, 3, 3),
        "deconv_layers.2.1.weight": (5,),
        "shortcut_layers.0.layers.0.weight": (9, 8, 3, 3),
        "shortcut_layers.1.layers.0.weight": (7, 6, 3, 3),
        "shortcut_layers.1.layers.2.weight": (7, 7, 3, 3),
        "shortcut_layers.2.layers.0.weight": (5, 4, 3, 3),
        "shortcut_layers.2.layers.2.weight": (5, 5, 3, 3),
        "shortcut_layers.2.layers.4.weight": (5, 5, 3, 3),
    }


def test_published_size() -> None:
    spec = UpsamplingNeckSpec()
    neck = spec.build((128, 256, 512, 1024), STRIDES)
    assert sum(p.numel() for p in neck.parameters()) == 10_468_022
    assert spec.out_channels == 128


def test_steps_by_definition() -> None:
    neck = _neck("plain").train()
    twin = _neck("plain")
    twin.load_state_dict(neck.state_dict())
    state = twin.state_dict()
    features = _features()
    x = features[3]
    for i in range(3):
        x = F.conv2d(x, state[f"deconv_layers.{i}.0.weight"], padding=1)
        mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
        x = ((x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()).relu()
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        shortcut = features[2 - i]
        for j in range(i + 1):
            name = f"shortcut_layers.{i}.layers.{2 * j}"
            shortcut = shortcut.relu() if j else shortcut
            shortcut = F.conv2d(shortcut, state[f"{name}.weight"], state[f"{name}.bias"], padding=1)
        x = x + shortcut
    torch.testing.assert_close(neck(features)[0], x, rtol=1e-4, atol=1e-4)


def test_a_new_deformable_neck_is_the_plain_one() -> None:
    moving, plain = _neck().eval(), _neck("plain").eval()
    state = {n: v for n, v in moving.state_dict().items() if "conv_offset" not in n}
    plain.load_state_dict(state)
    features = _features()
    torch.testing.assert_close(moving(features)[0], plain(features)[0], rtol=1e-4, atol=1e-5)
    _moved(moving)
    assert not torch.allclose(moving(features)[0], plain(features)[0], atol=1e-3)


def test_inputs_are_left_as_they_were() -> None:
    features = _features()
    before = [f.clone() for f in features]
    _neck()(features)
    assert all(torch.equal(a, b) for a, b in zip(features, before, strict=True))


def test_gradients_reach_every_part() -> None:
    neck = _neck().train()
    _moved(neck)
    neck(_features())[0].square().mean().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("conv", ["deformable", "plain"])
def test_half_precision(conv: Conv) -> None:
    neck = _neck(conv).train()
    _moved(neck)
    features = _features()
    exact = neck(features)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = neck(features)[0]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.1, atol=0.1)
    found.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in neck.parameters())


@pytest.mark.parametrize(
    ("channels", "strides"),
    [((8, 10), (16, 32)), ((6, 8, 10), (8, 16, 32)), ((4, 6, 8, 10), (4, 8, 16, 64))],
    ids=["two", "three", "no doubling"],
)
def test_too_few_maps(channels: tuple[int, ...], strides: tuple[int, ...]) -> None:
    with pytest.raises(RecipeError, match=r"doubles the coarsest .* 3 times") as caught:
        UpsamplingNeckSpec().build(channels, strides)
    assert str(strides) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("widths", [(), (8, 0)], ids=["none", "zero"])
def test_bad_values(widths: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match="one or more positive numbers; got"):
        UpsamplingNeckSpec(widths=widths)
