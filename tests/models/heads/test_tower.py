"""Blocks of the towers: names, shapes, initial values."""

import torch

from motedet.models.heads.tower import predictor, scales, tower


def test_names() -> None:
    with_norm = tower(8, 8, depth=1, bias=False, groups=4)
    assert set(with_norm.state_dict()) == {"0.conv.weight", "0.gn.weight", "0.gn.bias"}
    without = tower(8, 8, depth=2, bias=True, groups=0)
    assert {n for n in without.state_dict() if n.startswith("1")} == {
        "1.conv.weight",
        "1.conv.bias",
    }


def test_tower_widths() -> None:
    x = tower(3, 8, depth=2, bias=True, groups=0)(torch.randn(1, 3, 5, 7))
    assert x.shape == (1, 8, 5, 7)
    assert x.min() >= 0


def test_predictor_starts_at_its_probability() -> None:
    conv = predictor(8, 3, prob=0.01)
    assert conv.bias is not None
    torch.testing.assert_close(conv.bias.sigmoid(), torch.full((3,), 0.01))
    conv = predictor(8, 4)
    assert conv.bias is not None
    assert conv.bias.abs().sum() == 0
    assert 0.005 < conv.weight.std() < 0.02


def test_scales() -> None:
    factors = scales(2)
    assert {n: v.tolist() for n, v in factors.state_dict().items()} == {
        "0.scale": 1.0,
        "1.scale": 1.0,
    }
