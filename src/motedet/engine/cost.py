"""What a detector costs to run, part by part."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from motedet.models.detectors import Detector
from motedet.structures import Size

PARTS: Final = ("backbone", "neck", "rpn_head", "roi_head", "bbox_head")
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one part of a detector.

    Attributes:
        parameters: numbers that are learnt, frozen ones too.
        macs: multiply-adds in convolutions and linear layers, for one image.
    """

    parameters: int
    macs: int


def count_costs(detector: Detector, size: Size) -> dict[str, Cost]:
    """Parameters and multiply-adds by part, in the order in which the parts run.

    Args:
        detector: any; it is run once.
        size: (height, width) of the network input.
    """
    macs = count_macs(detector, size)
    parameters = dict.fromkeys(macs, 0)
    for name, parameter in detector.named_parameters():
        part = _part(name)
        parameters[part] = parameters.get(part, 0) + parameter.numel()
    return {part: Cost(parameters[part], macs.get(part, 0)) for part in parameters}


@torch.no_grad()
def count_macs(detector: Detector, size: Size) -> dict[str, int]:
    """Multiply-adds for one image by part.

    A convolution counts its multiply-adds, and one add for every output if it has a bias; a linear
    layer its multiply-adds. Norms, activations, pooling, resizing and everything about boxes do not
    count. In a two-stage detector the second stage counts for as many regions as it may be given at
    most, however many an image has.

    Args:
        detector: any; it is run once, in evaluation mode, and left as it was.
        size: (height, width) of the network input.
    """
    counts = {part: 0 for part in PARTS if hasattr(detector, part)}
    regions: list[int] = []
    handles = []
    for name, module in detector.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            hook = _counter(counts, _part(name), regions)
            handles.append(module.register_forward_hook(hook))
    training = detector.training
    parameter = next(detector.parameters())
    try:
        detector.eval()
        detector(torch.zeros(1, 3, *size, device=parameter.device, dtype=parameter.dtype))
    finally:
        detector.train(training)
        for handle in handles:
            handle.remove()
    if "roi_head" in counts:
        spec: Any = detector.spec
        most = spec.rpn.test_proposals.max_per_image
        seen = max(regions, default=0)
        # every region costs the same
        counts["roi_head"] = counts["roi_head"] * most // seen if seen else 0
    return counts


def _counter(
    counts: dict[str, int], part: str, regions: list[int]
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    """A hook that adds what a layer does to the count of its part."""

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            # of one output: the kernel over the channels of its group
            each = layer.weight[0].numel() + (layer.bias is not None)
            macs = output.numel() * each
        else:
            macs = output.numel() * inputs[0].shape[-1]
        if part == "roi_head":
            regions.append(len(output))
        counts[part] = counts.get(part, 0) + macs

    return count


def _part(name: str) -> str:
    """The part that a parameter or module belongs to."""
    first = name.split(".", maxsplit=1)[0]
    return first if first in PARTS else OTHER
