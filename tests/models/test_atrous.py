"""Standardised and switchable atrous convolutions of DetectoRS."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motedet.models.atrous import ConvAWS2d, SAConv2d


def _shaken(conv: SAConv2d) -> SAConv2d:
    """With values in every parameter, so that no part is without effect."""
    for parameter in conv.parameters():
        nn.init.normal_(parameter, std=0.2)
    nn.init.uniform_(conv.weight_gamma, 0.5, 1.5)
    nn.init.uniform_(conv.weight_beta, -0.2, 0.2)
    return conv


def test_names_and_shapes_of_the_standardised_convolution() -> None:
    shapes = {n: tuple(v.shape) for n, v in ConvAWS2d(4, 6, 3).state_dict().items()}
    expected = {
        "weight": (6, 4, 3, 3),
        "weight_gamma": (6, 1, 1, 1),
        "weight_beta": (6, 1, 1, 1),
    }
    assert shapes == expected
    assert [n for n, _ in ConvAWS2d(4, 6, 3).named_parameters()] == ["weight"]


def test_filters_by_hand() -> None:
    conv = ConvAWS2d(2, 1, 1)
    conv.load_state_dict(
        {
            "weight": torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1),
            "weight_gamma": torch.full((1, 1, 1, 1), 2.0),
            "weight_beta": torch.full((1, 1, 1, 1), 0.5),
        }
    )
    # mean 2, unbiased variance 2: (1 - 2) / sqrt(2.00001) * 2 + 0.5
    expected = torch.tensor([0.5 - 2 / 2.00001**0.5, 0.5 + 2 / 2.00001**0.5])
    torch.testing.assert_close(conv.standardised_weight().flatten(), expected)


def test_new_filters_have_mean_0_and_variance_1() -> None:
    conv = ConvAWS2d(64, 5, 3)
    nn.init.normal_(conv.weight, mean=0.3, std=2.0)
    filters = conv.standardised_weight().flatten(1)
    torch.testing.assert_close(filters.mean(dim=1), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(filters.var(dim=1), torch.ones(5), atol=1e-4, rtol=0)


@pytest.mark.parametrize("groups", [1, 2])
def test_plain_weights_give_the_plain_convolution(groups: int) -> None:
    plain = nn.Conv2d(4, 6, 3, 2, 1, groups=groups, bias=False)
    conv = ConvAWS2d(4, 6, 3, stride=2, padding=1, groups=groups)
    conv.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 7, 9)
    torch.testing.assert_close(conv(x), plain(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("use_deform", [False, True])
def test_plain_weights_turn_a_trained_switch_back(use_deform: bool) -> None:
    plain = nn.Conv2d(4, 6, 3, 2, 1, bias=False)
    conv = _shaken(SAConv2d(4, 6, stride=2, use_deform=use_deform))
    conv.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 7, 9)
    torch.testing.assert_close(conv(x), plain(x), atol=1e-5, rtol=0)


def test_a_copy_completes_plain_weights_too() -> None:
    plain = nn.Conv2d(4, 6, 3, bias=False)
    conv = copy.deepcopy(ConvAWS2d(4, 6, 3))
    conv.load_state_dict(plain.state_dict())
    torch.testing.assert_close(conv.standardised_weight(), plain.weight, atol=1e-6, rtol=0)


def test_own_weights_are_taken_as_they_are() -> None:
    given, conv = _shaken(SAConv2d(4, 6)), SAConv2d(4, 6)
    conv.load_state_dict(given.state_dict())
    for name, value in conv.state_dict().items():
        assert torch.equal(value, given.state_dict()[name]), name


def test_incomplete_own_weights_are_told() -> None:
    state = SAConv2d(4, 6).state_dict()
    del state["weight_gamma"], state["switch.bias"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"weight_gamma".*"switch.bias"'):
        SAConv2d(4, 6).load_state_dict(state)


def test_weights_of_another_shape_are_told() -> None:
    with pytest.raises(RuntimeError, match=r"size mismatch for weight"):
        ConvAWS2d(4, 6, 3).load_state_dict({"weight": torch.zeros(6, 5, 3, 3)})


def test_names_and_shapes_of_the_switchable_convolution() -> None:
    shapes = {n: tuple(v.shape) for n, v in SAConv2d(4, 6).state_dict().items()}
    rigid = {
        "weight": (6, 4, 3, 3),
        "weight_gamma": (6, 1, 1, 1),
        "weight_beta": (6, 1, 1, 1),
        "weight_diff": (6, 4, 3, 3),
        "switch.weight": (1, 4, 1, 1),
        "switch.bias": (1,),
        "pre_context.weight": (4, 4, 1, 1),
        "pre_context.bias": (4,),
        "post_context.weight": (6, 6, 1, 1),
        "post_context.bias": (6,),
    }
    offsets = {f"offset_{b}.{n}": s for b in "sl" for n, s in _OFFSET.items()}
    assert shapes == rigid | offsets
    assert set(SAConv2d(4, 6, use_deform=False).state_dict()) == set(rigid)


_OFFSET = {"weight": (18, 4, 3, 3), "bias": (18,)}


@pytest.mark.parametrize("use_deform", [False, True])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2)])
def test_starts_as_the_standardised_convolution(
    use_deform: bool, stride: int, dilation: int
) -> None:
    conv = SAConv2d(4, 6, stride=stride, dilation=dilation, use_deform=use_deform)
    x = torch.randn(2, 4, 9, 8)
    weight = conv.standardised_weight()
    expected = F.conv2d(x, weight, None, stride, dilation, dilation)
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)


def test_every_part_has_its_place() -> None:
    conv = _shaken(SAConv2d(4, 6, stride=2, use_deform=False))
    x = torch.randn(2, 4, 9, 8)
    torch.testing.assert_close(conv(x), _by_definition(conv, x), atol=1e-5, rtol=1e-5)


def _by_definition(conv: SAConv2d, x: Tensor) -> Tensor:
    """The rigid convolution, cell by cell where it matters."""
    x = x + conv.pre_context(F.adaptive_avg_pool2d(x, 1))
    rows = [abs(r) if r < 9 else 16 - r for r in range(-2, 11)]  # mirrored without the edge
    columns = [abs(c) if c < 8 else 14 - c for c in range(-2, 10)]
    padded = x[:, :, rows][..., columns]
    near = torch.stack(
        [padded[..., i : i + 9, j : j + 8] for i in range(5) for j in range(5)]
    ).mean(dim=0)
    switch = conv.switch(near)
    weight = conv.standardised_weight()
    small = F.conv2d(x, weight, None, 2, 1, 1)
    large = F.conv2d(x, weight + conv.weight_diff, None, 2, 3, 3)
    mixed = large + switch * (small - large)
    result: Tensor = mixed + conv.post_context(F.adaptive_avg_pool2d(mixed, 1))
    return result


@pytest.mark.parametrize(("branch", "switch", "reach"), [("s", 1.0, 1), ("l", 0.0, 3)])
def test_offsets_move_the_samples(branch: str, switch: float, reach: int) -> None:
    conv = SAConv2d(3, 5)
    nn.init.constant_(conv.switch.bias, switch)  # type: ignore[arg-type]
    bias = conv.get_submodule(f"offset_{branch}").bias
    assert isinstance(bias, nn.Parameter)
    bias.data[0::2], bias.data[1::2] = 1.0, -2.0  # (y, x) of each tap
    x = torch.randn(1, 3, 12, 12)
    moved = F.pad(x, (2, 0, 0, 1))[..., 1:, :12]  # moved[y, x] = x[y + 1, x - 2]
    expected = F.conv2d(moved, conv.standardised_weight(), None, 1, reach, reach)
    inner = (..., slice(reach, -reach - 1), slice(reach + 2, -reach))  # borders see padding
    torch.testing.assert_close(conv(x)[inner], expected[inner], atol=1e-5, rtol=1e-5)


def test_gradients_reach_every_part() -> None:
    conv = _shaken(SAConv2d(4, 6))
    conv(torch.randn(2, 4, 6, 6)).square().sum().backward()
    for name, parameter in conv.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_new_switch_can_learn() -> None:
    conv = SAConv2d(4, 6)
    conv(torch.randn(2, 4, 6, 6)).square().sum().backward()
    grad = conv.switch.weight.grad
    assert grad is not None
    assert grad.abs().sum() > 0


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (3, 3)])
@pytest.mark.parametrize("use_deform", [False, True])
def test_small_maps(size: tuple[int, int], use_deform: bool) -> None:
    conv = _shaken(SAConv2d(4, 6, stride=2, use_deform=use_deform))
    answer = conv(torch.ones(1, 4, *size))
    assert answer.shape == (1, 6, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert answer.isfinite().all()


def test_constant_small_map_is_seen_as_constant() -> None:
    conv = SAConv2d(4, 6, use_deform=False)
    nn.init.ones_(conv.switch.weight)
    nn.init.zeros_(conv.switch.bias)  # type: ignore[arg-type]
    nn.init.constant_(conv.pre_context.bias, 0.25)  # type: ignore[arg-type]
    x = torch.zeros(1, 4, 2, 2)  # 0.25 everywhere, four channels: the switch is 1
    expected = F.conv2d(x + 0.25, conv.standardised_weight(), None, 1, 1)
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("use_deform", [False, True])
def test_half_precision(use_deform: bool) -> None:
    conv = _shaken(SAConv2d(4, 6, use_deform=use_deform))
    x = torch.randn(2, 4, 6, 6)
    with torch.autocast("cpu", torch.bfloat16):
        rough = conv(x)
    rough.float().square().sum().backward()
    exact = conv(x)
    assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()
    assert conv.weight.grad is not None
    whole = conv.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert whole.dtype == torch.bfloat16
