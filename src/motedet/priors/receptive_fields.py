"""Receptive fields as priors (Xu et al. 2022, RFLA, arXiv 2208.08738, section 3.1).

What a cell of a feature map sees is a box around it: the theoretical receptive field (TRF), of
which a fraction, the effective receptive field (ERF), matters. Its side depends on the level only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import torch
from torch import nn

from motedet.priors.anchors import boxes_around
from motedet.priors.grid import BaseBox, Level, PriorGrid
from motedet.structures import Size

R50_REFERENCE: Final = (35, 91, 267, 427, 555, 811)
"""TRF of P2 to P7 in the released code, in pixels. The extra levels count one 3x3 convolution at
stride 64 and 128, although it reads maps of stride 32 and 64; the strict values are 491 and 619."""

SIDE_BRANCHES: Final = frozenset({"downsample", "shortcut", "skip", "identity"})
"""Names of modules beside the convolutions of a residual block, in timm and torchvision. (Where a
module of such a name stands among blocks, as in ConvNeXt, it is on the main path.)"""


@dataclass(frozen=True, kw_only=True)
class ReceptiveFields:
    """One box per cell and aspect ratio: what the cell sees.

    Attributes:
        strides: pixels per cell, finest level first.
        start_level: pyramid level of the first stride in `R50_REFERENCE`.
        fraction: ERF side over TRF side.
        ratios: height over width, at equal area; RFLA's anchor heads use (0.5, 1.0, 2.0).
        offset: place of the point in the cell, in strides: 0.5 in RFLA's FCOS, 0.0 in its anchor
            heads.
        source: `r50_reference` takes the published constants; `network` takes `trf`, computed from
            the network itself by `network_receptive_fields`.
        trf: TRF side per level in pixels, with `source="network"`.
    """

    kind: Literal["receptive_fields"] = "receptive_fields"
    strides: tuple[int, ...] = (4, 8, 16, 32, 64)
    start_level: Literal["p2", "p3"] = "p2"
    fraction: float = 0.5
    ratios: tuple[float, ...] = (1.0,)
    offset: float = 0.5
    source: Literal["r50_reference", "network"] = "r50_reference"
    trf: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Reject fields without area, and too few of them."""
        sizes = {"strides": self.strides, "ratios": self.ratios, "fraction": (self.fraction,)}
        for name, values in sizes.items():
            if not values or min(values) <= 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")
        if self.source == "r50_reference" and self.trf is not None:
            raise ValueError(f"trf is for source='network' only; got {self.trf}.")
        known = self._known()
        if known is not None and (len(known) < len(self.strides) or min(known) <= 0):
            raise ValueError(f"{len(self.strides)} strides need as many fields; got {known}.")

    @property
    def per_cell(self) -> int:
        """A, the number of priors in a cell."""
        return len(self.ratios)

    def __call__(self, level_sizes: Sequence[Size]) -> PriorGrid:
        """The grid for feature maps of the given sizes.

        Args:
            level_sizes: (height, width) in cells, one per stride.

        Raises:
            ValueError: if there are more or fewer levels than strides, or `trf` is still unknown.
        """
        return _grid(self, tuple(level_sizes))

    def base_boxes(self, level: int) -> tuple[BaseBox, ...]:
        """The boxes of cell (0, 0), in float32 and in the published order of operations.

        Args:
            level: position in `strides`.

        Raises:
            ValueError: if `source` is the network and its fields are not known yet.
        """
        known = self._known()
        if known is None:
            raise ValueError(
                "source='network' needs trf; set it to network_receptive_fields(backbone, strides)."
            )
        side = known[level] * self.fraction
        heights = torch.tensor(self.ratios).sqrt()  # [A]
        sides = torch.stack((side * (1 / heights), side * heights), dim=1)  # [A, 2]
        return boxes_around(self.offset * self.strides[level], sides)

    def _known(self) -> tuple[float, ...] | None:
        if self.source == "network":
            return self.trf
        return R50_REFERENCE[{"p2": 0, "p3": 1}[self.start_level] :]


def theoretical_receptive_fields(
    steps: Sequence[tuple[int, int]], strides: Sequence[int]
) -> tuple[int, ...]:
    """TRF side at each stride of a chain of convolutions and poolings.

    A layer of kernel k widens the field by (k - 1) times the stride of its input. The field at a
    stride is taken after the last layer of that stride. Strides beyond the chain's own are reached
    by one 3x3 convolution of stride 2 each, as extra levels of a feature pyramid are.

    Args:
        steps: (kernel, stride) of each layer, first layer first.
        strides: at which the field is wanted, in pixels.

    Returns:
        One side in pixels per stride.

    Raises:
        ValueError: if the chain never has one of the strides.
    """
    field, jump = 1, 1
    fields: dict[int, int] = {}
    for kernel, stride in steps:
        field += (kernel - 1) * jump
        jump *= stride
        fields[jump] = field
    while fields and jump < max(strides):
        field += 2 * jump
        jump *= 2
        fields[jump] = field
    missing = [stride for stride in strides if stride not in fields]
    if missing:
        raise ValueError(f"the chain has strides {sorted(fields)}, not {missing}.")
    return tuple(fields[stride] for stride in strides)


def convolution_chain(network: nn.Module) -> tuple[tuple[int, int], ...]:
    """Kernel and stride of every convolution and pooling on the main path of a backbone.

    Modules count in the order in which they were registered, which in timm's and torchvision's
    backbones is the order in which they run; side branches (`SIDE_BRANCHES`) do not count, neither
    do pooled summaries of the whole map. Backbones with parallel resolutions (HRNet) are no chain.

    Args:
        network: a backbone without its classifier.

    Returns:
        (kernel, stride) per layer; a dilated kernel counts with its whole extent.
    """
    return tuple(_steps(network))


def network_receptive_fields(network: nn.Module, strides: Sequence[int]) -> tuple[float, ...]:
    """TRF side of a backbone at each stride, for `ReceptiveFields(source="network", trf=...)`.

    Args:
        network: a backbone without its classifier.
        strides: in pixels, finest first; those beyond the backbone's are extra pyramid levels.

    Returns:
        One side in pixels per stride.

    Raises:
        ValueError: if the backbone never has one of the strides.
    """
    fields = theoretical_receptive_fields(convolution_chain(network), strides)
    return tuple(float(field) for field in fields)


def _steps(module: nn.Module) -> Iterator[tuple[int, int]]:
    """(kernel, stride) of the layers below `module`, in order of registration."""
    if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        dilation = getattr(module, "dilation", 1)
        kernel = (_larger(module.kernel_size) - 1) * _larger(dilation) + 1
        yield kernel, _larger(module.stride)
        return  # what a convolution is made of (offsets, switches) does not see further
    children = dict(module.named_children())
    in_block = any(isinstance(child, nn.Conv2d) for child in children.values())
    for name, child in children.items():
        if not (in_block and name in SIDE_BRANCHES):
            yield from _steps(child)


def _larger(extent: object) -> int:
    """The larger of two extents, or the only one."""
    if isinstance(extent, int):
        return extent
    if isinstance(extent, tuple) and extent:
        return max(int(e) for e in extent)
    raise ValueError(f"a kernel extent must be an int or a tuple; got {extent!r}.")


@lru_cache(maxsize=32)
def _grid(fields: ReceptiveFields, level_sizes: tuple[Size, ...]) -> PriorGrid:
    """The grid; the same object for equal sizes, so that its tensors are made once."""
    if len(level_sizes) != len(fields.strides):
        raise ValueError(f"strides {fields.strides} do not fit {len(level_sizes)} feature maps.")
    return PriorGrid(
        tuple(
            Level(stride, height, width, fields.offset * stride, fields.base_boxes(level))
            for level, (stride, (height, width)) in enumerate(
                zip(fields.strides, level_sizes, strict=True)
            )
        )
    )
