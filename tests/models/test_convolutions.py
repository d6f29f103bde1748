"""1x1 convolutions: the same numbers, names and shapes as PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motedet.models.convolutions import SMALL, Pointwise


def _image(channels: int, side: int) -> Tensor:
    image = torch.randn(1, channels, side, side)
    return image.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("side", [1, 7, 72], ids=["one cell", "few", "more than SMALL values"])
@pytest.mark.parametrize(("groups", "bias"), [(1, True), (1, False), (4, True)])
def test_the_same_as_pytorch(side: int, groups: int, bias: bool) -> None:
    conv = Pointwise(8, 12, groups=groups, bias=bias)
    image = _image(8, side)
    assert (image.numel() > SMALL) == (side == 72)
    expected = F.conv2d(image, conv.weight, conv.bias, groups=groups)
    torch.testing.assert_close(conv(image), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("groups", [1, 4])
def test_gradients(groups: int) -> None:
    conv = Pointwise(8, 12, groups=groups).double()
    image = torch.randn(2, 8, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, image)


def test_names_and_shapes_are_those_of_a_convolution() -> None:
    ours, theirs = Pointwise(8, 12, groups=4), nn.Conv2d(8, 12, 1, groups=4)
    theirs.load_state_dict(ours.state_dict())
    assert isinstance(ours, nn.Conv2d)
    assert (ours.kernel_size, ours.dilation) == ((1, 1), (1, 1))


def test_nothing_is_dilated_in_an_exported_graph() -> None:
    program = torch.export.export(Pointwise(8, 12, groups=4), (_image(8, 72),))
    (call,) = [node for node in program.graph.nodes if "conv2d" in str(node.target)]
    assert 2 not in torch.utils._pytree.tree_leaves(call.args[3:])
