"""The region proposal network of Faster R-CNN (Ren et al. 2015, arXiv:1506.01497)."""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from motedet.assign import MaxIoU, PlainAssigner
from motedet.assign.sampling import Drawn, RandomSampler
from motedet.geometry import DeltaCoder, resize_boxes
from motedet.losses import AnyBoxLoss, AnyDeltaLoss, BCELoss, L1Loss, SmoothL1Loss
from motedet.models.dense import HeadOutputs, global_mean
from motedet.models.necks.fpn import flatten_levels
from motedet.models.necks.tiny_fpn import sparse_conv
from motedet.models.proposals import Proposals
from motedet.priors import Anchors, AnyPriors, PriorGrid
from motedet.structures import Assignment, Detections, PackedTargets, Size, Targets

SALT: Final = 0  # tells the draws of the RPN from those of the stages after it
INITIAL_STD: Final = 0.01  # of the weights of all convolutions, as published


class RPN(nn.Module):
    """Objectness and deltas of every prior; its losses on sampled priors; its best boxes."""

    def __init__(self, spec: "RPNSpec", in_channels: int) -> None:
        super().__init__()
        self.spec = spec
        per_cell = spec.priors.per_cell
        self.rpn_conv = _shared_conv(spec, in_channels)
        self.rpn_cls = _conv(spec.channels, per_cell, 1)
        self.rpn_reg = _conv(spec.channels, 4 * per_cell, 1)

    def forward(self, features: Sequence[Tensor]) -> HeadOutputs:
        """Objectness logits [B, P, 1] and deltas [B, P, 4], from one [B, C, h, w] per level."""
        logits, deltas = [], []
        for feature in features:
            shared = self.rpn_conv(feature).relu_()  # [B, C, h, w]
            logits.append(self.rpn_cls(shared))  # [B, A, h, w]
            deltas.append(self.rpn_reg(shared))  # [B, 4 * A, h, w]
        sizes = tuple((f.shape[-2], f.shape[-1]) for f in features)
        return HeadOutputs(flatten_levels(logits, 1), flatten_levels(deltas, 4), None, sizes)

    def losses(self, outputs: HeadOutputs, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """`loss_rpn_cls` and `loss_rpn_box` of given raw outputs, on sampled priors.

        Args:
            outputs: P predictions for B images.
            targets: B records.
        """
        spec = self.spec
        grid = spec.priors(outputs.level_sizes)
        packed = PackedTargets.pack(
            targets, limit_to_padding=True, allowed_border=spec.allowed_border
        )
        match = spec.assigner(grid, packed)
        sample = spec.sampler(match.gt_index, [t.seed for t in targets], salt=SALT)
        return self.sampled_losses(outputs, grid, match, packed, sample)

    def sampled_losses(
        self,
        outputs: HeadOutputs,
        grid: PriorGrid,
        match: Assignment,
        targets: PackedTargets,
        sample: Drawn,
    ) -> dict[str, Tensor]:
        """Both losses, divided by the sampled priors of the batch.

        Each image counts at least one positive and one negative prior, as published. Objects
        without area have no deltas: their priors count for the objectness only.

        Args:
            outputs: P predictions for B images.
            grid: P priors.
            match: of the priors with the objects.
            targets: the objects.
            sample: [B, P] each, the priors that take part.
        """
        spec = self.spec
        chosen = sample.positive | sample.negative  # [B, P]
        truth = sample.positive[chosen].to(outputs.logits.dtype)  # [N]
        per_prior = spec.cls_loss(outputs.logits[chosen].squeeze(-1), truth)  # [N]
        image, prior = sample.positive.nonzero().unbind(1)  # [M]
        gt_boxes = targets.boxes[match.gt_index[image, prior]]  # [M, 4]
        real = (gt_boxes[:, 2:] > gt_boxes[:, :2]).all(dim=1)  # [M]
        image, prior, gt_boxes = image[real], prior[real], gt_boxes[real]
        priors, deltas = grid.boxes_at(prior), outputs.boxes[image, prior]  # [M, 4]
        if isinstance(spec.box_loss, L1Loss | SmoothL1Loss):
            goal = spec.coder.encode(resize_boxes(priors, spec.target_prior_ratio), gt_boxes)
            per_box = spec.box_loss(deltas, goal)  # [M, 4]
        else:
            per_box = spec.box_loss(spec.coder.decode(priors, deltas), gt_boxes)  # [M]
        counts = torch.stack((sample.positive.sum(1), sample.negative.sum(1)))  # [2, B]
        divisor = global_mean(counts.clamp(min=1).sum(), minimum=1)
        return {
            "loss_rpn_cls": per_prior.sum() / divisor,
            "loss_rpn_box": per_box.sum() / divisor,
        }

    @torch.no_grad()
    def proposals(
        self, outputs: HeadOutputs, image_sizes: Sequence[Size], *, phase: Literal["train", "test"]
    ) -> list[Detections]:
        """The most object-like boxes of each image, clipped to `image_sizes`, best first.

        Args:
            outputs: P predictions for B images.
            image_sizes: (height, width) per image.
            phase: whose number of proposals.
        """
        spec = self.spec
        grid = spec.priors(outputs.level_sizes)

        def boxes_of(image: Tensor, prior: Tensor) -> Tensor:
            return spec.coder.decode(grid.boxes_at(prior), outputs.boxes[image, prior])  # [E, 4]

        rule = spec.train_proposals if phase == "train" else spec.test_proposals
        return rule(
            outputs.logits.squeeze(-1),
            boxes_of,
            level_starts=grid.level_starts,
            image_sizes=image_sizes,
        )


@dataclass(frozen=True, kw_only=True)
class RPNSpec:
    """The proposal network as published for COCO; RFLA changes priors and assigner.

    Attributes:
        channels: of the shared convolution.
        sparse_groups: the shared convolution is depthwise 3x3, then 1x1 in so many groups; 49 in
            TinyDet. Null: a plain 3x3.
        allowed_border: only priors that reach at most so many pixels out of the image learn; null
            lets all learn. Published Cascade R-CNN and DetectoRS with RFLA have 0, which leaves
            objects at the border without priors; so does TinyDet, whose rule excludes the limit
            itself on the right and below: for priors of whole pixels that is 0.5.
        box_loss: L1 and smooth L1 compare deltas, the others decoded boxes.
        target_prior_ratio: deltas are learnt relative to priors with sides of this ratio, but
            applied to the priors themselves. Published RFLA has 0.9 (its assigner shrank the priors
            in place), so that proposals come out 1.11 times too large; 1 is consistent.
    """

    channels: int = 256
    sparse_groups: int | None = None
    priors: AnyPriors = Anchors(strides=(4, 8, 16, 32, 64), scales=(8.0,))
    assigner: PlainAssigner = MaxIoU(pos_iou=0.7, neg_iou=0.3, min_pos_iou=0.3)
    allowed_border: float | None = None
    sampler: RandomSampler = RandomSampler(num=256, pos_fraction=0.5)
    coder: DeltaCoder = DeltaCoder()
    cls_loss: BCELoss = BCELoss()
    box_loss: Annotated[AnyDeltaLoss | AnyBoxLoss, Field(discriminator="kind")] = L1Loss()
    target_prior_ratio: float = 1.0
    train_proposals: Proposals = Proposals(pre_nms=2000, max_per_image=1000)
    test_proposals: Proposals = Proposals(pre_nms=1000, max_per_image=1000)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.channels < 1 or self.target_prior_ratio <= 0:
            raise ValueError(
                "channels and target_prior_ratio must be positive; "
                f"got {self.channels}, {self.target_prior_ratio}."
            )
        groups = 1 if self.sparse_groups is None else self.sparse_groups
        if groups < 1 or self.channels % groups:
            raise ValueError(f"sparse_groups must divide channels={self.channels}; got {groups}.")
        if self.allowed_border is not None and self.allowed_border < 0:
            raise ValueError(
                f"allowed_border must be 0 or more, or null; got {self.allowed_border}."
            )

    def build(self, in_channels: int) -> RPN:
        """The module for features with `in_channels`."""
        return RPN(self, in_channels).to(memory_format=torch.channels_last)


def _shared_conv(spec: RPNSpec, in_channels: int) -> nn.Module:
    """The convolution before both predictors."""
    if spec.sparse_groups is None:
        return _conv(in_channels, spec.channels, 3)
    init = partial(nn.init.normal_, std=INITIAL_STD)
    return sparse_conv(in_channels, spec.channels, groups=spec.sparse_groups, init=init)


def _conv(in_channels: int, out_channels: int, size: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, size, padding=size // 2)
    nn.init.normal_(conv.weight, std=INITIAL_STD)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv
