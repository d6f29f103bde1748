"""The feature pyramid: sizes, names, extra levels."""

import pytest
import torch
from torch import Tensor, nn

from motedet.errors import RecipeError
from motedet.models.necks.fpn import Extra, FPNSpec, flatten_levels

CHANNELS, STRIDES = (4, 6, 8), (8, 16, 32)


def _features(height: int = 20, width: int = 13) -> list[Tensor]:
    """Maps whose sizes halve upwards, as strided convolutions make them."""
    maps = []
    for channels in CHANNELS:
        maps.append(torch.randn(2, channels, height, width))
        height, width = -(-height // 2), -(-width // 2)
    return maps


@pytest.mark.parametrize("extra", ["pool", "on_input", "on_lateral", "on_output"])
def test_sizes_of_odd_maps(extra: Extra) -> None:
    neck = FPNSpec(out_channels=5, num_outs=5, extra=extra).build(CHANNELS, STRIDES)
    sizes = [tuple(level.shape) for level in neck(_features())]
    assert sizes == [(2, 5, 20, 13), (2, 5, 10, 7), (2, 5, 5, 4), (2, 5, 3, 2), (2, 5, 2, 1)]
    assert neck.strides == (8, 16, 32, 64, 128)


def test_start_level_skips_fine_features() -> None:
    spec = FPNSpec(out_channels=5, start_level=1, num_outs=2, extra="none")
    neck = spec.build(CHANNELS, STRIDES)
    assert neck.strides == (16, 32)
    assert [tuple(m.shape[-2:]) for m in neck(_features())] == [(10, 7), (5, 4)]


def test_names() -> None:
    neck = FPNSpec(out_channels=5, num_outs=4).build(CHANNELS, STRIDES)
    shapes = {n: tuple(v.shape) for n, v in neck.state_dict().items() if n.endswith("weight")}
    assert shapes == {
        "lateral_convs.0.conv.weight": (5, 4, 1, 1),
        "lateral_convs.1.conv.weight": (5, 6, 1, 1),
        "lateral_convs.2.conv.weight": (5, 8, 1, 1),
        "fpn_convs.0.conv.weight": (5, 5, 3, 3),
        "fpn_convs.1.conv.weight": (5, 5, 3, 3),
        "fpn_convs.2.conv.weight": (5, 5, 3, 3),
        "fpn_convs.3.conv.weight": (5, 5, 3, 3),
    }


def test_top_down_path_reaches_the_finest_level() -> None:
    neck = FPNSpec(out_channels=5, num_outs=3, extra="none").build(CHANNELS, STRIDES)
    features = _features()
    before = neck(features)
    features[2] = features[2] + 1.0
    after = neck(features)
    assert all((a != b).any() for a, b in zip(after, before, strict=True))


@pytest.mark.parametrize(
    ("extra", "source"), [("on_input", "input"), ("on_lateral", "lateral"), ("on_output", "output")]
)
def test_what_the_first_extra_level_reads(extra: Extra, source: str) -> None:
    neck = FPNSpec(out_channels=5, num_outs=4, extra=extra).build(CHANNELS, STRIDES)
    features = _features()
    lateral = neck.lateral_convs[2].get_submodule("conv")(features[2])
    output = neck.fpn_convs[2].get_submodule("conv")(lateral)
    read = {"input": features[2], "lateral": lateral, "output": output}[source]
    expected = neck.fpn_convs[3].get_submodule("conv")(read)
    torch.testing.assert_close(neck(features)[3], expected)


def test_relu_comes_before_the_second_extra_level_only() -> None:
    torch.manual_seed(0)
    plain = FPNSpec(out_channels=5, num_outs=5).build(CHANNELS, STRIDES)
    rectified = FPNSpec(out_channels=5, num_outs=5, relu_before_extra=True)
    twin = rectified.build(CHANNELS, STRIDES)
    twin.load_state_dict(plain.state_dict())
    features = _features()
    first, second = plain(features), twin(features)
    torch.testing.assert_close(first[3], second[3])
    conv = plain.fpn_convs[4].get_submodule("conv")
    torch.testing.assert_close(second[4], conv(first[3].relu()))


@pytest.mark.parametrize(
    ("num_outs", "extra"), [(2, "on_output"), (4, "none")], ids=["too few", "no extra"]
)
def test_levels_that_cannot_be(num_outs: int, extra: Extra) -> None:
    with pytest.raises(RecipeError, match=f"num_outs={num_outs}"):
        FPNSpec(num_outs=num_outs, extra=extra).build(CHANNELS, STRIDES)


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="out_channels=0"):
        FPNSpec(out_channels=0)


def test_flatten_levels_order() -> None:
    fine = torch.arange(2 * 4 * 2 * 3.0).reshape(2, 4, 2, 3)
    coarse = -torch.arange(2 * 4.0).reshape(2, 4, 1, 1)
    flat = flatten_levels([fine, coarse], 2)  # two priors per cell
    assert flat.shape == (2, 14, 2)
    torch.testing.assert_close(flat[1, 2 * 4 + 1], fine[1, 2:4, 1, 1])  # cell (1, 1), prior 1
    torch.testing.assert_close(flat[0, 13], coarse[0, 2:4, 0, 0])


def test_flatten_levels_raises_half_precision_only() -> None:
    for given, expected in (
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert flatten_levels([torch.zeros(1, 2, 1, 1, dtype=given)], 2).dtype == expected


def test_caffe2_init_follows_the_fan_in() -> None:
    """Uniform with variance 1 / fan_in, also in the extra levels."""
    neck = FPNSpec(out_channels=64, num_outs=3, extra="on_input", init="caffe2").build((256,), (8,))
    for conv in neck.modules():
        if isinstance(conv, nn.Conv2d):
            fan_in = conv.weight[0].numel()
            assert conv.weight.abs().max() <= (3 / fan_in) ** 0.5
            torch.testing.assert_close(
                conv.weight.var(), torch.tensor(1 / fan_in), rtol=0.1, atol=0
            )
            assert conv.bias is not None
            assert not conv.bias.any()
