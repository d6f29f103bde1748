"""TinyDet's pyramid: sizes, names, sparse connections, shuffling."""

import pytest
import torch
from torch import Tensor, nn

from motedet.errors import RecipeError
from motedet.models.necks.tiny_fpn import TinyFPN, TinyFPNSpec, sparse_conv

CHANNELS, STRIDES = (4, 6, 8), (8, 16, 32)


def _features(*sizes: tuple[int, int]) -> list[Tensor]:
    return [torch.randn(2, c, h, w) for c, (h, w) in zip(CHANNELS, sizes, strict=True)]


def _neck(*, shuffle: bool = False) -> TinyFPN:
    spec = TinyFPNSpec(out_channels=6, groups=(3, 2, 1), shuffle=shuffle)
    return spec.build(CHANNELS, STRIDES)


@pytest.mark.parametrize(
    "sizes",
    [((16, 8), (8, 4), (4, 2)), ((11, 9), (5, 4), (2, 2)), ((1, 1), (1, 1), (1, 1))],
    ids=["multiples", "rounded down", "single cells"],
)
def test_sizes(sizes: tuple[tuple[int, int], ...]) -> None:
    neck = _neck()
    assert [tuple(m.shape) for m in neck(_features(*sizes))] == [(2, 6, *size) for size in sizes]
    assert neck.strides == STRIDES


def test_names() -> None:
    shapes = {n: tuple(v.shape) for n, v in _neck().state_dict().items() if n.endswith("weight")}
    assert shapes == {
        "lateral_convs.0.conv.weight": (6, 4, 1, 1),
        "lateral_convs.1.conv.weight": (6, 6, 1, 1),
        "lateral_convs.2.conv.weight": (6, 8, 1, 1),
        "fpn_convs.0.0.weight": (6, 1, 3, 3),
        "fpn_convs.0.1.weight": (6, 2, 1, 1),
        "fpn_convs.1.0.weight": (6, 1, 3, 3),
        "fpn_convs.1.1.weight": (6, 3, 1, 1),
        "fpn_convs.2.0.weight": (6, 1, 3, 3),
        "fpn_convs.2.1.weight": (6, 6, 1, 1),
    }


def test_coarse_levels_reach_finer_ones_as_running_sums() -> None:
    neck, features = _neck(), _features((8, 8), (4, 4), (2, 2))
    laterals = [conv(f) for conv, f in zip(neck.lateral_convs, features, strict=True)]
    up = nn.Upsample(scale_factor=2)
    expected = laterals[0] + up(laterals[1] + up(laterals[2]))
    torch.testing.assert_close(neck(features)[0], neck.fpn_convs[0](expected))


def test_shuffling_interleaves_the_groups() -> None:
    plain, shuffled = _neck(), _neck(shuffle=True)
    shuffled.load_state_dict(plain.state_dict())
    features = _features((4, 4), (2, 2), (1, 1))
    order = torch.tensor([0, 2, 4, 1, 3, 5])  # channel j * 3 + i comes from i * 2 + j
    for before, after in zip(plain(features), shuffled(features), strict=True):
        torch.testing.assert_close(after, before[:, order])


def test_sparse_conv_connects_only_its_groups() -> None:
    conv = sparse_conv(6, 6, groups=3, init=nn.init.xavier_uniform_)
    image = torch.zeros(1, 6, 5, 5)
    before = conv(image)
    image[0, 3, 2, 2] = 1
    changed = (conv(image) != before)[0].flatten(1).any(1)
    assert changed.tolist() == [False, False, True, True, False, False]
    assert all(not p.any() for n, p in conv.named_parameters() if n.endswith("bias"))


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"divide out_channels=245; got \(49, 4\)"):
        TinyFPNSpec(groups=(49, 4))
    with pytest.raises(ValueError, match=r"positive; got 245 and \(\)"):
        TinyFPNSpec(groups=())
    with pytest.raises(RecipeError, match="4 numbers, but the backbone gives 3"):
        TinyFPNSpec().build(CHANNELS, STRIDES)
