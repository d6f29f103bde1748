"""FCOS (Tian et al. 2019, arXiv:1904.01355; Tian et al. 2020, arXiv:2006.09214)."""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from motedet.assign import AnyAssigner, FCOSAssigner
from motedet.geometry.coders import decode_ltrb, encode_ltrb
from motedet.losses import AnyBoxLoss, AnyDenseClassLoss, FocalLoss, IoULoss
from motedet.models.backbones import BackboneSpec, PlainBackbone
from motedet.models.dense import (
    CtrnessFrom,
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
    predictions_of,
)
from motedet.models.heads import AnyFCOSHead, FCOSHeadSpec
from motedet.models.heads.slim import check_slim
from motedet.models.necks import FPNSpec, PlainNeck
from motedet.models.postprocess import Postprocess
from motedet.priors import AnyPriors, Points, PriorGrid
from motedet.structures import Detections, PackedTargets, Predictions, Size, Targets


class FCOS(Detector):
    """Focal loss on every point, box and centre-ness loss on the positive ones."""

    def __init__(self, spec: "FCOSSpec", num_classes: int) -> None:
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
        """The losses of given raw outputs: `loss_cls`, `loss_box`, and `loss_ctr` if there is one.

        Args:
            outputs: P predictions for B images.
            targets: B records.
        """
        spec = self.spec
        grid = spec.priors(outputs.level_sizes)
        packed = PackedTargets.pack(targets)
        match = matched(spec.assigner, grid, packed, lambda: self.predictions(outputs, grid))
        image, prior = match.positive.nonzero().unbind(1)  # [N]
        points = grid.points_at(prior)  # [N, 2]
        gt_boxes = packed.boxes[match.gt_index[image, prior]]  # [N, 4]
        ltrb = encode_ltrb(points, gt_boxes)  # [N, 4]
        sides = ctrness_sides(spec.ctrness_from, ltrb, gt_boxes)  # [N, 4]
        if spec.head.in_strides:
            stride = grid.strides(prior.device)[prior, None]  # [N, 1]
            ltrb, sides = ltrb / stride, sides / stride
        # Boxes of the size of the distances, around the pixel point: IoU does not mind.
        boxes = decode_ltrb(points, outputs.boxes[image, prior])  # [N, 4]
        num_pos = global_mean(match.positive.sum(), minimum=1)
        num_cls = class_divisor(spec.cls_loss, match, num_pos)

        ctrness = centerness(sides, floor=spec.ctrness_floor)  # [N]
        per_prior = class_loss(spec.cls_loss, outputs.logits, match, packed)  # [B * P, K]
        per_box = spec.box_loss(boxes, decode_ltrb(points, ltrb))  # [N]
        if not spec.ignored_as_background:
            per_prior = per_prior.sum(-1) * ~match.ignored.flatten()  # [B * P]
        losses = {"loss_cls": per_prior.sum() / num_cls}
        if spec.box_weight == "ctrness":
            total = global_mean(ctrness.sum(), minimum=1e-6)
            losses["loss_box"] = (per_box * ctrness).sum() / total
        else:
            losses["loss_box"] = per_box.sum() / num_pos
        if outputs.ctrness is not None:
            logits = outputs.ctrness[image, prior]  # [N]
            error = F.binary_cross_entropy_with_logits(logits, ctrness, reduction="sum")
            losses["loss_ctr"] = error / num_pos
        return losses

    @torch.no_grad()
    def predictions(self, outputs: HeadOutputs, grid: PriorGrid) -> Predictions:
        """Every score and box of given raw outputs, for assigners that look at them."""
        spec, ltrb = self.spec, outputs.boxes  # [B, P, 4]
        if spec.head.in_strides:
            ltrb = ltrb * grid.strides(ltrb.device)[:, None]
        points = grid.points(ltrb.device).repeat(len(ltrb), 1)  # [B * P, 2]
        return predictions_of(outputs.logits, decode_ltrb(points, ltrb.flatten(0, 1)))

    def detections(self, outputs: HeadOutputs, image_sizes: Sequence[Size]) -> list[Detections]:
        """The detections of given raw outputs, clipped to `image_sizes`."""
        spec = self.spec
        grid = spec.priors(outputs.level_sizes)
        found = spec.postprocess.candidates(outputs, grid.level_starts)
        ltrb = outputs.boxes[found.image, found.prior]  # [E, 4]
        if spec.head.in_strides:
            ltrb = ltrb * grid.strides(ltrb.device)[found.prior, None]
        boxes = decode_ltrb(grid.points_at(found.prior), ltrb)
        return spec.postprocess.detections(found, boxes, image_sizes)


@dataclass(frozen=True, kw_only=True)
class FCOSSpec:
    """FCOS as first published for COCO; later variants and RFLA are other values.

    Attributes:
        box_weight: "ctrness" weights the box loss of each positive by its centre-ness target, as
            published; "none" averages it over the positives.
        ctrness_from: what the centre-ness target is made of; see `dense.ctrness_sides`.
        ctrness_floor: the shorter distances count as at least this in the centre-ness target. RFLA
            has positives outside their object, where distances are negative; it uses 0.01.
        ignored_as_background: published RFLA trains FCOS on ignored points as on background;
            otherwise they take no part.
    """

    kind: Literal["fcos"] = "fcos"
    backbone: PlainBackbone = BackboneSpec(
        out_stages=(2, 3, 4), style="caffe", frozen_stages=1, freeze_bn=True, train_bn_affine=False
    )
    neck: PlainNeck = FPNSpec(extra="on_output", relu_before_extra=True)
    head: AnyFCOSHead = FCOSHeadSpec()
    priors: AnyPriors = Points()
    assigner: AnyAssigner = FCOSAssigner()
    cls_loss: AnyDenseClassLoss = FocalLoss()
    box_loss: AnyBoxLoss = IoULoss()
    box_weight: Literal["ctrness", "none"] = "ctrness"
    ctrness_from: CtrnessFrom = "distances"
    ctrness_floor: float = 0.0
    ignored_as_background: bool = False
    postprocess: Postprocess = Postprocess()

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        check_soft_targets(self.cls_loss, self.assigner)
        check_single_level(self.assigner, self.priors)
        check_sizes(self.assigner, self.priors)
        check_one_per_cell("FCOS", self.priors)
        check_slim(self.head, boxes="relu_stride")

    def build(self, num_classes: int) -> FCOS:
        """The detector with random weights (or the backbone's pretrained ones).

        Raises:
            RecipeError: if the parts do not fit together.
        """
        return FCOS(self, num_classes)
