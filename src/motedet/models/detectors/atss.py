"""ATSS (Zhang et al. 2020, arXiv:1912.02424)."""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from motedet.assign import ATSS, AnyAssigner
from motedet.geometry.boxes import box_centers
from motedet.geometry.coders import DeltaCoder, encode_ltrb
from motedet.losses import AnyBoxLoss, AnyDenseClassLoss, FocalLoss, GIoULoss
from motedet.models.backbones import BackboneSpec, PlainBackbone
from motedet.models.dense import (
    Detector,
    HeadOutputs,
    centerness,
    check_one_per_cell,
    check_single_level,
    check_sizes,
    check_soft_targets,
    class_divisor,
    class_loss,
    ctrness_sides,
    fitted_priors,
    global_mean,
    matched,
    positives_or_one,
    predictions_of,
)
from motedet.models.heads import AnyATSSHead, ATSSHeadSpec
from motedet.models.heads.slim import check_slim
from motedet.models.necks import FPNSpec, PlainNeck
from motedet.models.postprocess import Postprocess
from motedet.priors import Anchors, AnyPriors, PriorGrid
from motedet.structures import Detections, PackedTargets, Predictions, Size, Targets


class ATSSDetector(Detector):
    """Focal loss on every anchor, box and centre-ness loss on the positive ones."""

    def __init__(self, spec: "ATSSSpec", num_classes: int) -> None:
        backbone = spec.backbone.build()
        neck = spec.neck.build(backbone.channels, backbone.strides)
        spec = replace(spec, priors=fitted_priors(spec.priors, backbone, neck.strides))
        head = spec.head.build(
            spec.neck.out_channels, num_classes=num_classes, num_levels=len(neck.strides)
        )
        super().__init__(backbone, neck, num_classes=num_classes)
        self.bbox_head = head
        self.spec = spec

    def forward(self, images: Tensor) -> HeadOutputs:
        """Raw tensors only: images [B, 3, H, W] to P predictions each."""
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
        """The losses of given raw outputs: `loss_cls`, `loss_box`, `loss_ctr`.

        Args:
            outputs: P predictions for B images.
            targets: B records.
        """
        spec = self.spec
        grid = spec.priors(outputs.level_sizes)
        packed = PackedTargets.pack(targets, limit_to_padding=True)
        match = matched(spec.assigner, grid, packed, lambda: self.predictions(outputs, grid))
        image, prior = match.positive.nonzero().unbind(1)  # [N]
        gt_boxes = packed.boxes[match.gt_index[image, prior]]  # [N, 4]
        priors = grid.boxes_at(prior)  # [N, 4]
        ltrb = encode_ltrb(box_centers(priors), gt_boxes)  # [N, 4]
        ctrness = centerness(ctrness_sides(spec.ctrness_from, ltrb, gt_boxes))  # [N]

        per_prior = class_loss(spec.cls_loss, outputs.logits, match, packed)  # [B * P, K]
        boxes = spec.coder.decode(priors, outputs.boxes[image, prior])  # [N, 4]
        per_box = spec.box_loss(boxes, gt_boxes)  # [N]
        num_pos = global_mean(positives_or_one(match), minimum=1)
        num_cls = class_divisor(spec.cls_loss, match, num_pos)
        losses = {
            "loss_cls": (per_prior.sum(-1) * ~match.ignored.flatten()).sum() / num_cls,
            "loss_box": (per_box * ctrness).sum() / global_mean(ctrness.sum(), minimum=1),
        }
        if outputs.ctrness is not None:
            logits = outputs.ctrness[image, prior]  # [N]
            error = F.binary_cross_entropy_with_logits(logits, ctrness, reduction="sum")
            losses["loss_ctr"] = error / num_pos
        return losses

    @torch.no_grad()
    def predictions(self, outputs: HeadOutputs, grid: PriorGrid) -> Predictions:
        """Every score and box of given raw outputs, for assigners that look at them."""
        spec, deltas = self.spec, outputs.boxes  # [B, P, 4]
        priors = grid.boxes(deltas.device).repeat(len(deltas), 1)  # [B * P, 4]
        return predictions_of(outputs.logits, spec.coder.decode(priors, deltas.flatten(0, 1)))

    def detections(self, outputs: HeadOutputs, image_sizes: Sequence[Size]) -> list[Detections]:
        """The detections of given raw outputs, clipped to `image_sizes`."""
        spec = self.spec
        grid = spec.priors(outputs.level_sizes)
        found = spec.postprocess.candidates(outputs, grid.level_starts)
        deltas = outputs.boxes[found.image, found.prior]  # [E, 4]
        boxes = spec.coder.decode(grid.boxes_at(found.prior), deltas)
        return spec.postprocess.detections(found, boxes, image_sizes)


@dataclass(frozen=True, kw_only=True)
class ATSSSpec:
    """ATSS as published for COCO: one anchor of 8 strides per cell.

    Attributes:
        ctrness_from: what the centre-ness target is made of; see `dense.ctrness_sides`.
    """

    kind: Literal["atss"] = "atss"
    backbone: PlainBackbone = BackboneSpec(out_stages=(2, 3, 4), frozen_stages=1, freeze_bn=True)
    neck: PlainNeck = FPNSpec(extra="on_output")
    head: AnyATSSHead = ATSSHeadSpec()
    priors: AnyPriors = Anchors(ratios=(1.0,), octave_base_scale=8, scales_per_octave=1)
    assigner: AnyAssigner = ATSS()
    coder: DeltaCoder = DeltaCoder(std=(0.1, 0.1, 0.2, 0.2))
    cls_loss: AnyDenseClassLoss = FocalLoss()
    box_loss: AnyBoxLoss = GIoULoss(weight=2.0)
    ctrness_from: Literal["distances", "padded_distances"] = "distances"
    postprocess: Postprocess = Postprocess(nms_iou=0.6)

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        check_soft_targets(self.cls_loss, self.assigner)
        check_single_level(self.assigner, self.priors)
        check_sizes(self.assigner, self.priors)
        check_one_per_cell("ATSS", self.priors)
        check_slim(self.head, boxes="deltas")

    def build(self, num_classes: int) -> ATSSDetector:
        """The detector with random weights (or the backbone's pretrained ones).

        Raises:
            RecipeError: if the parts do not fit together.
        """
        return ATSSDetector(self, num_classes)
