"""TinyDet's backbones: sizes, alignment, names, and what is refused."""

import pytest
import torch
from torch import nn

from motedet.errors import RecipeError
from motedet.models.backbones.tinydet import (
    PLANS,
    InvertedBlock,
    Row,
    TinyDetBackbone,
    TinyDetBackboneSpec,
)
from motedet.priors.receptive_fields import network_receptive_fields


def _built(variant: str) -> TinyDetBackbone:
    return TinyDetBackboneSpec(variant="D" if variant == "D" else "BC").build().eval()


@pytest.mark.parametrize(
    ("variant", "channels", "strides", "parameters"),
    [
        ("D", (40, 112, 160, 160), (8, 16, 32, 64), 1_958_368),
        ("BC", (36, 60, 112, 160, 160), (4, 8, 16, 32, 64), 4_488_152),
    ],
)
def test_maps_and_parameters(
    variant: str, channels: tuple[int, ...], strides: tuple[int, ...], parameters: int
) -> None:
    backbone = _built(variant)
    assert (backbone.channels, backbone.strides) == (channels, strides)
    assert sum(p.numel() for p in backbone.parameters()) == parameters
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, 128, 64))
    expected = [(2, c, 128 // s, 64 // s) for c, s in zip(channels, strides, strict=True)]
    assert [tuple(m.shape) for m in maps] == expected


@pytest.mark.parametrize("size", [(1, 1), (20, 33), (63, 64), (97, 130)])
def test_any_size(size: tuple[int, int]) -> None:
    with torch.no_grad():
        maps = _built("D")(torch.randn(1, 3, *size))
    for stride, found in zip((8, 16, 32, 64), maps, strict=True):
        if min(size) >= 64:  # the stem rounds up, the blocks down
            assert tuple(found.shape[-2:]) == tuple((-(-s // 2)) // (stride // 2) for s in size)
        assert min(found.shape[-2:]) >= 1


def test_a_cell_lies_in_the_middle_of_the_finer_ones() -> None:
    """With all weights 1 a strided block sees as far to one side as to the other."""
    block = InvertedBlock(1, Row(3, 1, 1, stride=2))
    for conv in (block.conv1, block.conv2, block.conv3):
        nn.init.ones_(conv.weight)
    image = torch.ones(1, 1, 12, 12, requires_grad=True)
    seen = block.eval()(image)[0, 0, 3, 2]
    (gradient,) = torch.autograd.grad(seen, image)
    place = torch.arange(12.0)
    rows, columns = gradient[0, 0].sum(1), gradient[0, 0].sum(0)
    middle = torch.stack(((rows * place).sum() / rows.sum(), (columns * place).sum() / rows.sum()))
    torch.testing.assert_close(middle, torch.tensor([2 * 3 + 0.5, 2 * 2 + 0.5]))


def test_a_block_adds_its_input_only_where_it_fits() -> None:
    for row, adds in ((Row(3, 8, 4), True), (Row(3, 8, 5), False), (Row(3, 8, 4, stride=2), False)):
        block = InvertedBlock(4, row).eval()
        nn.init.zeros_(block.bn3.weight)
        image = torch.randn(1, 4, 6, 6)
        found = block(image)
        assert torch.equal(found, image if adds else torch.zeros_like(found))


@pytest.mark.parametrize("variant", PLANS)
def test_weights_start_by_the_fan_out(variant: str) -> None:
    conv = _built(variant).blocks[-1].get_submodule("conv3").get_parameter("weight")
    expected = torch.tensor((2 / conv.shape[0]) ** 0.5)
    torch.testing.assert_close(conv.std(), expected, rtol=0.05, atol=0)


def test_all_weights_learn() -> None:
    backbone = _built("D").train()
    maps = backbone(torch.randn(2, 3, 64, 64))
    torch.stack([m.square().mean() for m in maps]).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in backbone.parameters())


def test_receptive_fields_follow_the_blocks() -> None:
    fields = network_receptive_fields(_built("BC"), (4, 8, 16, 32, 64))
    # stem 3; block 1: +4; block 2: pooling +2, 3x3 +4; three 3x3 at stride 4: +24; and the pooling
    # with which block 6 begins, which has the same stride still
    assert fields[0] == 3 + 4 + 2 + 4 + 24 + 4
    assert list(fields) == sorted(fields)


def test_pretrained_weights_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"authors' drive.*mobilenetv3_bc\.pt.*--init FILE"):
        TinyDetBackboneSpec(variant="BC", pretrained=True).build()


def test_unknown_variant() -> None:
    with pytest.raises(ValueError, match="variant must be one of"):
        TinyDetBackboneSpec(variant="A")  # type: ignore[arg-type]
