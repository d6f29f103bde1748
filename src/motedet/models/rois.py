"""Regions of interest: pooling their features, and choosing which of them learn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import Discriminator, Tag
from torch import Tensor
from torchvision.ops import roi_align

from motedet.assign.ohem import OHEMSampler
from motedet.assign.proposals import BestOverlap
from motedet.assign.sampling import RandomSampler
from motedet.models.kinds import kind_or
from motedet.structures import IGNORED, Detections, PackedTargets

AnySampler = Annotated[
    Annotated[RandomSampler, Tag("random")] | Annotated[OHEMSampler, Tag("ohem")],
    Discriminator(kind_or("random")),
]


class Rois(NamedTuple):
    """Regions of a whole batch, image by image.

    Attributes:
        boxes: [R, 4] xyxy in pixels.
        image: [R] int64.
    """

    boxes: Tensor
    image: Tensor

    @classmethod
    def of(cls, found: Sequence[Detections]) -> "Rois":
        """The boxes of B images as one list."""
        counts = torch.tensor([len(d) for d in found])  # [B]
        image = torch.arange(len(found)).repeat_interleave(counts)  # [R]
        return cls(torch.cat([d.boxes for d in found]), image.to(found[0].boxes.device))


class SampledRois(NamedTuple):
    """The regions from which a stage learns.

    Attributes:
        rois: S regions, image by image.
        gt_index: [S] int64, the object of each (a row of the packed targets) or BACKGROUND.
        is_object: [S] bool, the regions that are themselves objects, put among the proposals.
    """

    rois: Rois
    gt_index: Tensor
    is_object: Tensor


@dataclass(frozen=True, kw_only=True)
class RoIAlign:
    """Features inside of regions by bilinear interpolation (He et al. 2017, arXiv:1703.06870).

    Attributes:
        output_size: S, cells per side of the result.
        sampling_ratio: points per cell and side; 0 takes one per feature cell that it covers.
        finest_scale: regions with a side (root of the area) below twice this many pixels are read
            from the finest level, below four times from the next, and so on (Lin et al. 2017, eq.
            1: 56 px put 224 px on the third). All tiny objects are read from the finest level.
        num_levels: the finest so many of the pyramid are read.
    """

    kind: Literal["roi_align"] = "roi_align"
    output_size: int = 7
    sampling_ratio: int = 0
    finest_scale: float = 56.0
    num_levels: int = 4

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.output_size, self.num_levels) < 1 or self.sampling_ratio < 0:
            raise ValueError(f"output_size, num_levels or sampling_ratio is too small: {self}.")
        if self.finest_scale <= 0:
            raise ValueError(f"finest_scale must be positive; got {self.finest_scale}.")

    def values(self, channels: int) -> int:
        """How many values a region has, of features with `channels`."""
        return channels * self.output_size**2

    def __call__(self, features: Sequence[Tensor], strides: Sequence[int], rois: Rois) -> Tensor:
        """The features of every region.

        Args:
            features: one [B, C, h, w] per level, finest first.
            strides: of the levels, in pixels.
            rois: R regions.

        Returns:
            [R, C, S, S] in float32 or better.
        """
        used = features[: self.num_levels]
        precise = torch.promote_types(used[0].dtype, torch.float32)
        level = self.levels(rois.boxes, len(used))  # [R]
        table = torch.cat((rois.image[:, None].to(rois.boxes), rois.boxes), dim=1)  # [R, 5]
        shape = (len(table), used[0].shape[1], self.output_size, self.output_size)
        pooled = used[0].new_empty(shape, dtype=precise)  # [R, C, S, S]
        for i, (feature, stride) in enumerate(zip(used, strides[: len(used)], strict=True)):
            rows = (level == i).nonzero().flatten()
            if len(rows) == 0 and i:
                continue
            part: Tensor = roi_align(
                feature.to(precise),
                table[rows].to(precise),
                self.output_size,
                spatial_scale=1 / stride,
                sampling_ratio=self.sampling_ratio or -1,
                aligned=True,
            )
            if len(rows) == len(pooled):  # tiny objects: all are read from one level
                return part
            pooled.index_copy_(0, rows, part)
        return pooled

    def levels(self, boxes: Tensor, num_levels: int) -> Tensor:
        """[R] int64, the level from which each of boxes [R, 4] is read (Lin et al. 2017, eq. 1)."""
        return level_of(boxes, finest_scale=self.finest_scale, num_levels=num_levels)


def level_of(boxes: Tensor, *, finest_scale: float, num_levels: int) -> Tensor:
    """The level from which each region is read (Lin et al. 2017, eq. 1).

    Args:
        boxes: [R, 4] xyxy in pixels.
        finest_scale: the finest level has the sides (roots of areas) below twice this many pixels.
        num_levels: of the pyramid.

    Returns:
        [R] int64; inverted boxes are read from the finest level.
    """
    sides = boxes[:, 2:] - boxes[:, :2]  # [R, 2]
    scale = sides.prod(dim=1).clamp(min=0).sqrt()  # [R]
    level = (scale / finest_scale + 1e-6).log2().floor()
    return level.clamp(0, num_levels - 1).long()


def sample_rois(
    proposals: Rois,
    targets: PackedTargets,
    *,
    match: BestOverlap,
    sampler: AnySampler,
    seeds: Sequence[int],
    salt: int,
    outputs: Callable[[Rois], tuple[Tensor, Tensor]],
) -> SampledRois:
    """Match proposals with objects, put the objects themselves in front, and choose some.

    Objects without area are left out: nothing could be pooled from them.

    Args:
        proposals: R boxes.
        targets: G objects of B images.
        match: which object a proposal answers for.
        sampler: how many are chosen.
        seeds: one per image.
        salt: tells the stages apart.
        outputs: class logits [N, K + 1], background last, and deltas of N regions; asked for where
            the sampler looks at losses.
    """
    count = len(targets.boxes)
    rows = torch.arange(count, device=proposals.image.device)  # [G]
    real = (targets.boxes[:, 2:] > targets.boxes[:, :2]).all(dim=1)  # [G]
    rows = rows.where(real, IGNORED)
    gt_index = torch.cat((rows, match(proposals.boxes, proposals.image, targets)))  # [G + R]
    boxes = torch.cat((targets.boxes.to(proposals.boxes), proposals.boxes))  # [G + R, 4]
    image, order = torch.cat((targets.image_index, proposals.image)).sort(stable=True)
    gt_index, boxes = gt_index[order], boxes[order]

    counts = image.bincount(minlength=targets.num_images)  # [B]
    place = torch.arange(len(image), device=image.device) - (counts.cumsum(0) - counts)[image]
    table = gt_index.new_full((targets.num_images, max(int(counts.max()), 1)), IGNORED)  # [B, N]
    table[image, place] = gt_index
    if isinstance(sampler, OHEMSampler):
        losses = torch.zeros_like(table, dtype=torch.float32)  # [B, N]
        losses[image, place] = _class_losses(outputs, Rois(boxes, image), gt_index, targets)
        sample = sampler(table, losses)
    else:
        sample = sampler(table, seeds, salt=salt)
    chosen = (sample.positive | sample.negative)[image, place].nonzero().flatten()  # [S]
    return SampledRois(Rois(boxes[chosen], image[chosen]), gt_index[chosen], order[chosen] < count)


@torch.no_grad()
def _class_losses(
    outputs: Callable[[Rois], tuple[Tensor, Tensor]],
    rois: Rois,
    gt_index: Tensor,
    targets: PackedTargets,
) -> Tensor:
    """[N] the cross entropy of N regions with the classes of the objects `gt_index` [N]."""
    logits, _ = outputs(rois)  # [N, K + 1]
    labels = F.pad(targets.labels, (0, 1), value=logits.shape[1] - 1)  # [G + 1]
    labels = labels[gt_index.clamp(min=-1)]  # -1 is the last one, the background
    return F.cross_entropy(logits.float(), labels, reduction="none")
