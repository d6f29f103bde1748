"""AutoAssign (Zhu et al. 2020, arXiv:2007.03496): what a point learns from is learnt itself."""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from motedet.assign import PlainAssigner
from motedet.assign.best_iou import best_iou
from motedet.assign.center_prior import (
    assigned_pairs,
    center_weights,
    forced_pairs,
    inside_pairs,
    weighted_pairs,
)
from motedet.assign.integer_mask import IntegerMask
from motedet.errors import RecipeError, ShapeError
from motedet.geometry.coders import decode_ltrb
from motedet.losses import AnyBoxLoss, GIoULoss
from motedet.losses.autoassign import (
    center_loss,
    negative_loss,
    negative_weights,
    positive_loss,
    shared_negative_weights,
)
from motedet.models.backbones import BackboneSpec
from motedet.models.dense import Detector, HeadOutputs, fitted_priors, global_mean
from motedet.models.heads.autoassign import AutoAssignHeadSpec
from motedet.models.necks import FPNSpec
from motedet.models.postprocess import Postprocess
from motedet.priors import AnyPriors, Points, PriorGrid
from motedet.structures import Detections, PackedTargets, Pairs, Size, Targets


class AutoAssign(Detector):
    """Every point of an object's bag is its positive and a negative, to a degree that is learnt."""

    def __init__(self, spec: "AutoAssignSpec", num_classes: int) -> None:
        if spec.priors.per_cell != 1:
            raise RecipeError(
                f"AutoAssign predicts one box per cell, but priors gives {spec.priors.per_cell}; "
                "use kind points, or receptive_fields with one ratio."
            )
        backbone = spec.backbone.build()
        neck = spec.neck.build(backbone.channels, backbone.strides)
        spec = replace(spec, priors=fitted_priors(spec.priors, backbone, neck.strides))
        head = spec.head.build(
            spec.neck.out_channels, num_classes=num_classes, strides=neck.strides
        )
        super().__init__(backbone, neck, num_classes=num_classes)
        self.bbox_head = head
        self.spec = spec

    def forward(self, images: Tensor) -> HeadOutputs:
        """Raw tensors only: images [B, 3, H, W] to P predictions each, distances in pixels."""
        outputs: HeadOutputs = self.bbox_head(self.neck(self.backbone(images)))
        return outputs

    def loss(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Named scalars for images [B, 3, H, W] and B records; their sum is what trains."""
        return self.losses(self(images), targets)

    @torch.no_grad()
    def predict(
        self, images: Tensor, image_sizes: Sequence[Size] | None = None
    ) -> list[Detections]:
        """Detections in images [B, 3, H, W], clipped to `image_sizes`, best first."""
        height, width = images.shape[-2:]
        return self.detections(self(images), image_sizes or [(height, width)] * len(images))

    def losses(self, outputs: HeadOutputs, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """The losses of given raw outputs: `loss_pos`, `loss_neg` and `loss_center`.

        Args:
            outputs: P predictions for B images.
            targets: B records.
        """
        spec, center = self.spec, self.bbox_head.center_prior
        grid = spec.priors(outputs.level_sizes)
        packed = PackedTargets.pack(targets)
        bags = self.bags(grid, packed)  # E pairs of points and objects
        pairs, num_gt = bags.pairs, len(packed.boxes)
        image, label = packed.image_index[pairs.gt], packed.labels[pairs.gt]  # [E]
        weight = center_weights(grid, packed, pairs, center.mean, center.sigma)  # [E]

        probs = outputs.logits.sigmoid() * _objectness(outputs)  # [B, P, K]
        boxes = decode_ltrb(grid.points_at(pairs.prior), outputs.boxes[image, pairs.prior])
        fit = torch.exp(-spec.box_loss(boxes, packed.boxes[pairs.gt].to(boxes.dtype)))  # [E]
        positives = positive_loss(
            probs[image, pairs.prior, label] * fit, weight, pairs.gt, num_gt
        )  # [G]
        negatives = negative_loss(probs, self._negative_weights(outputs, grid, packed, bags))
        objects = packed.image_index.bincount(minlength=len(targets))  # [B]
        centers = center_loss(weight, image, objects, bags.active)  # [B]
        num_images = global_mean(objects.new_tensor(len(targets)), minimum=1)
        num_objects = global_mean(objects.sum(), minimum=1)
        total_weight = global_mean(weight.sum(), minimum=1)
        return {
            "loss_pos": spec.pos_weight * positives.sum() / num_objects,
            "loss_neg": spec.neg_weight * negatives.sum() / total_weight,
            "loss_center": spec.center_weight * centers.sum() / num_images,
        }

    def detections(self, outputs: HeadOutputs, image_sizes: Sequence[Size]) -> list[Detections]:
        """The detections of given raw outputs, clipped to `image_sizes`."""
        spec = self.spec
        grid = spec.priors(outputs.level_sizes)
        found = spec.postprocess.candidates(outputs, grid.level_starts)
        ltrb = outputs.boxes[found.image, found.prior]  # [E, 4]
        boxes = decode_ltrb(grid.points_at(found.prior), ltrb)
        return spec.postprocess.detections(found, boxes, image_sizes)

    def bags(self, grid: PriorGrid, packed: PackedTargets) -> "Bags":
        """Which points may learn from which objects."""
        spec, prior = self.spec, self.bbox_head.center_prior
        mean, sigma = prior.mean.detach(), prior.sigma.detach()
        if spec.bag is None:
            pairs = inside_pairs(grid, packed)
        else:
            match = spec.bag(grid, packed)
            if spec.bag_rule == "published":
                mask = IntegerMask.of(match, packed)
                pairs = weighted_pairs(grid, packed, mean=mean, sigma=sigma)
                pairs = pairs[~mask.blank[packed.image_index[pairs.gt], pairs.prior]]
                return Bags(pairs, mask.member.any(1), mask)
            pairs = assigned_pairs(match)
        if spec.force_topk is not None:
            pairs = forced_pairs(grid, packed, pairs, mean, sigma, topk=spec.force_topk)
        active = torch.zeros(packed.num_images, dtype=torch.bool, device=pairs.gt.device)
        active[packed.image_index[pairs.gt]] = True
        return Bags(pairs, active, None)

    @torch.no_grad()
    def _negative_weights(
        self, outputs: HeadOutputs, grid: PriorGrid, packed: PackedTargets, bags: "Bags"
    ) -> Tensor:
        """[B, P, K] in [0, 1], how much of a negative each point is for each class."""
        shape, pairs = outputs.logits.shape, bags.pairs
        if bags.mask is not None:
            ltrb = outputs.boxes.flatten(0, 1)  # [B * P, 4]
            image, prior = torch.ones_like(bags.mask.member).nonzero().unbind(1)
            quality = best_iou(grid, packed, image, prior, ltrb).view(shape[:2])
            quality = quality.masked_fill(bags.mask.blank, 0)  # [B, P]
            present = image.new_zeros(shape[0], shape[2], dtype=torch.bool)
            present[packed.image_index, packed.labels] = True
            return shared_negative_weights(quality, bags.mask.member, present)
        slot = packed.image_index[pairs.gt] * grid.num_priors + pairs.prior  # [E]
        points, row = torch.unique(slot, return_inverse=True)  # [S], [E]
        image, prior = points // grid.num_priors, points % grid.num_priors
        quality = best_iou(grid, packed, image, prior, outputs.boxes[image, prior])  # [S]
        entry = slot * shape[2] + packed.labels[pairs.gt]  # [E]
        weights = negative_weights(
            quality[row], pairs.gt, entry, num_gt=len(packed.boxes), num_entries=shape.numel()
        )
        return weights.view(shape)


@dataclass(frozen=True, slots=True)
class Bags:
    """Which points may learn from which objects.

    Attributes:
        pairs: E of points and objects, by rising object.
        active: [B] bool, images with any pair.
        mask: what decides on negatives under `bag_rule="published"`.
    """

    pairs: Pairs
    active: Tensor
    mask: IntegerMask | None


def _objectness(outputs: HeadOutputs) -> Tensor:
    """[B, P, 1] in [0, 1]."""
    if outputs.ctrness is None:
        raise ShapeError("AutoAssign needs objectness logits in outputs.ctrness; got None.")
    return outputs.ctrness.sigmoid()[..., None]


@dataclass(frozen=True, kw_only=True)
class AutoAssignSpec:
    """AutoAssign as published for COCO; with RFLA's priors it is other values.

    Attributes:
        force_topk: an object without a point in its bag gets so many, those of largest centre
            prior over all levels; None leaves it to a constant loss and no gradient, as published.
            Then it trains nothing, and objects between the points of the finest level often have
            none.
        bag: which points are in an object's bag: those that it is assigned, or, if None, those
            inside of it.
        bag_rule: "assigned" means what it says. "published" is the slip of RFLA's released code,
            see `IntegerMask`: a point is in all bags but for its centre prior.
        box_loss: of a pair; its exponential is the confidence in the box.
        pos_weight: of `loss_pos`.
        neg_weight: of `loss_neg`.
        center_weight: of `loss_center`.
    """

    kind: Literal["autoassign"] = "autoassign"
    backbone: BackboneSpec = BackboneSpec(
        out_stages=(2, 3, 4), style="caffe", frozen_stages=1, freeze_bn=True, train_bn_affine=False
    )
    neck: FPNSpec = FPNSpec(extra="on_input", relu_before_extra=True, init="caffe2")
    head: AutoAssignHeadSpec = AutoAssignHeadSpec()
    priors: AnyPriors = Points(offset=0.0)
    force_topk: int | None = None
    bag: PlainAssigner | None = None
    bag_rule: Literal["assigned", "published"] = "assigned"
    box_loss: AnyBoxLoss = GIoULoss(weight=5.0)
    pos_weight: float = 0.25
    neg_weight: float = 0.75
    center_weight: float = 0.75
    postprocess: Postprocess = Postprocess(nms_iou=0.6)

    def __post_init__(self) -> None:
        """Reject what has no meaning."""
        if self.force_topk is not None and self.force_topk < 1:
            raise ValueError(f"force_topk must be at least 1 or None; got {self.force_topk}.")
        if self.bag_rule == "published" and (self.bag is None or self.force_topk is not None):
            raise ValueError(
                "bag_rule='published' needs a bag and no force_topk; "
                f"got bag={self.bag} and force_topk={self.force_topk}."
            )

    @property
    def assigner(self) -> "AutoAssignSpec":
        """The rule of assignment goes by the detector's own name."""
        return self

    def build(self, num_classes: int) -> AutoAssign:
        """The detector with random weights (or the backbone's pretrained ones).

        Raises:
            RecipeError: if the parts do not fit together.
        """
        return AutoAssign(self, num_classes)
