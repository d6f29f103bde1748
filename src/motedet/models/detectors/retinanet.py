"""RetinaNet (Lin et al. 2017, arXiv:1708.02002)."""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from motedet.assign import AnyAssigner, MaxIoU
from motedet.geometry.coders import DeltaCoder
from motedet.losses import (
    AnyBoxLoss,
    AnyDeltaLoss,
    AnyDenseClassLoss,
    FocalLoss,
    L1Loss,
    SmoothL1Loss,
)
from motedet.models.backbones import BackboneSpec, PlainBackbone
from motedet.models.dense import (
    Detector,
    HeadOutputs,
    check_single_level,
    check_sizes,
    check_soft_targets,
    class_divisor,
    class_loss,
    fitted_priors,
    global_mean,
    matched,
    positives_or_one,
    predictions_of,
)
from motedet.models.heads import AnyRetinaHead, RetinaHeadSpec
from motedet.models.heads.slim import check_slim
from motedet.models.necks import FPNSpec, PlainNeck
from motedet.models.postprocess import Postprocess
from motedet.priors import Anchors, AnyPriors, PriorGrid
from motedet.structures import Detections, PackedTargets, Predictions, Size, Targets


class RetinaNet(Detector):
    """Focal loss on every anchor that is not ignored, box loss on the positive ones."""

    def __init__(self, spec: "RetinaNetSpec", num_classes: int) -> None:
        backbone = spec.backbone.build()
        neck = spec.neck.build(backbone.channels, backbone.strides)
        spec = replace(spec, priors=fitted_priors(spec.priors, backbone, neck.strides))
        head = spec.head.build(
            spec.neck.out_channels, num_classes=num_classes, per_cell=spec.priors.per_cell
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
        """The losses of given raw outputs: `loss_cls`, `loss_box`.

        Both are divided by the positives of each image, at least one, summed over the batch; a
        quality focal loss by the sum of its soft targets.

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
        priors, deltas = grid.boxes_at(prior), outputs.boxes[image, prior]  # [N, 4]

        per_prior = class_loss(spec.cls_loss, outputs.logits, match, packed)  # [B * P, K]
        if isinstance(spec.box_loss, L1Loss | SmoothL1Loss):
            per_box = spec.box_loss(deltas, spec.coder.encode(priors, gt_boxes))  # [N, 4]
        else:
            per_box = spec.box_loss(spec.coder.decode(priors, deltas), gt_boxes)  # [N]
        num_pos = global_mean(positives_or_one(match), minimum=1)
        num_cls = class_divisor(spec.cls_loss, match, num_pos)
        return {
            "loss_cls": (per_prior.sum(-1) * ~match.ignored.flatten()).sum() / num_cls,
            "loss_box": per_box.sum() / num_pos,
        }

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
class RetinaNetSpec:
    """RetinaNet as published for COCO; RFLA changes priors, assigner and box loss.

    Attributes:
        box_loss: L1 and smooth L1 compare deltas, the IoU family compares decoded boxes.
    """

    kind: Literal["retinanet"] = "retinanet"
    backbone: PlainBackbone = BackboneSpec(out_stages=(2, 3, 4), frozen_stages=1, freeze_bn=True)
    neck: PlainNeck = FPNSpec(extra="on_input")
    head: AnyRetinaHead = RetinaHeadSpec()
    priors: AnyPriors = Anchors()
    assigner: AnyAssigner = MaxIoU()
    coder: DeltaCoder = DeltaCoder()
    cls_loss: AnyDenseClassLoss = FocalLoss()
    box_loss: Annotated[AnyDeltaLoss | AnyBoxLoss, Field(discriminator="kind")] = L1Loss()
    postprocess: Postprocess = Postprocess()

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        check_soft_targets(self.cls_loss, self.assigner)
        check_single_level(self.assigner, self.priors)
        check_sizes(self.assigner, self.priors)
        check_slim(self.head, boxes="deltas", quality=False)

    def build(self, num_classes: int) -> RetinaNet:
        """The detector with random weights (or the backbone's pretrained ones).

        Raises:
            RecipeError: if the parts do not fit together.
        """
        return RetinaNet(self, num_classes)
