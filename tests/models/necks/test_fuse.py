"""The fuse neck: sizes, names, definition."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor

from motedet.models.necks import FuseNeckSpec, PlainNeck
from motedet.models.necks.fuse import FuseNeck

CHANNELS, STRIDES = (4, 6, 8), (4, 8, 16)


def _neck() -> FuseNeck:
    return FuseNeckSpec(out_channels=5).build(CHANNELS, STRIDES)


def _features(height: int = 12, width: int = 9) -> list[Tensor]:
    maps = []
    for channels in CHANNELS:
        maps.append(torch.randn(2, channels, height, width))
        height, width = -(-height // 2), -(-width // 2)
    return maps


def test_kind_in_a_recipe() -> None:
    adapter: TypeAdapter[object] = TypeAdapter(PlainNeck)
    assert adapter.validate_python({"kind": "fuse", "out_channels": 64}) == FuseNeckSpec(
        out_channels=64
    )


@pytest.mark.parametrize("size", [(12, 9), (8, 8), (1, 1)], ids=str)
def test_result_has_the_size_of_the_finest_map(size: tuple[int, int]) -> None:
    neck = _neck().eval()
    (level,) = neck(_features(*size))
    assert level.shape == (2, 5, *size)
    assert neck.strides == (4,)


def test_names() -> None:
    shapes = {n: tuple(v.shape) for n, v in _neck().state_dict().items() if n.endswith("weight")}
    assert shapes == {
        "convs.0.conv.weight": (5, 4, 1, 1),
        "convs.0.bn.weight": (5,),
        "convs.1.conv.weight": (5, 6, 1, 1),
        "convs.1.bn.weight": (5,),
        "convs.2.conv.weight": (5, 8, 1, 1),
        "convs.2.bn.weight": (5,),
        "fusion_conv.conv.weight": (5, 15, 1, 1),
        "fusion_conv.bn.weight": (5,),
    }


def test_published_size() -> None:
    neck = FuseNeckSpec().build((64, 128, 320, 512), (4, 8, 16, 32))
    assert sum(p.numel() for p in neck.parameters()) == 197_888


def test_by_definition() -> None:
    neck = _neck().eval()
    state = neck.state_dict()
    features = _features()
    levels = []
    for i, feature in enumerate(features):
        x = F.conv2d(feature, state[f"convs.{i}.conv.weight"]) / (1 + 1e-5) ** 0.5
        levels.append(F.interpolate(x.relu(), size=(12, 9), mode="bilinear"))
    mixed = F.conv2d(torch.cat(levels, dim=1), state["fusion_conv.conv.weight"])
    expected = (mixed / (1 + 1e-5) ** 0.5).relu()
    torch.testing.assert_close(neck(features)[0], expected, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_part() -> None:
    neck = _neck().train()
    neck(_features())[0].square().mean().backward()
    for name, parameter in neck.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="1 or more; got 0"):
        FuseNeckSpec(out_channels=0)
