"""TTFNet (Liu et al. 2020, arXiv:1909.00700) with Gaussian Assignment (Zhang et al. 2024).

The assignment is published in IEEE TGRS 62, DOI 10.1109/TGRS.2024.3430071. One map of stride 4 says
where objects are, how large, and how well their boxes fit.
"""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.assign import GaussianAssigner
from motedet.errors import ShapeError
from motedet.geometry import aligned_iou
from motedet.geometry.coders import decode_ltrb
from motedet.losses import AnyBoxLoss, GIoULoss, HeatmapFocalLoss
from motedet.models.backbones import DarkNetSpec, PlainBackbone
from motedet.models.dense import (
    Detector,
    HeadOutputs,
    check_single_level,
    fitted_priors,
    global_mean,
)
from motedet.models.heads.slim import SlimHeadSpec, check_slim
from motedet.models.necks import PlainNeck, UpsamplingNeckSpec
from motedet.models.postprocess import Postprocess
from motedet.priors import AnyPriors, Points, PriorGrid
from motedet.structures import Detections, PackedTargets, Size, Targets

WEIGHT_EPS: Final = 1e-4  # as published: added to the sum of the box weights


class TTFNet(Detector):
    """Focal loss towards a heat map, box and IoU loss where an object owns the cell."""

    def __init__(self, spec: "TTFNetSpec", num_classes: int) -> None:
        backbone = spec.backbone.build()
        neck = spec.neck.build(backbone.channels, backbone.strides)
        spec = replace(spec, priors=fitted_priors(spec.priors, backbone, neck.strides))
        head = spec.head.build(spec.neck.out_channels, num_classes=num_classes)
        super().__init__(backbone, neck, num_classes=num_classes)
        self.bbox_head = head
        self.spec = spec

    def forward(self, images: Tensor) -> HeadOutputs:
        """Raw tensors only: images [B, 3, H, W] to P predictions each, IoU logits as `ctrness`."""
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
        """The losses of given raw outputs: `loss_cls`, `loss_box`, `loss_iou`.

        The first is divided by the positive entries of the heat map, the second by the sum of the
        weights, the third by the number of cells with a weight. All are taken over all processes,
        as everywhere here; the published code divides by those of its own process.

        Args:
            outputs: P predictions for B images.
            targets: B records.
        """
        spec = self.spec
        grid = spec.priors(outputs.level_sizes)
        packed = PackedTargets.pack(targets)
        maps = spec.assigner.maps(grid, packed, self.num_classes)
        per_prior = spec.cls_loss(outputs.logits, maps.heatmap).sum(-1)  # [B, P]
        per_prior = per_prior * ~maps.match.ignored  # where there is neither heat nor a weight
        num_cls = global_mean(spec.cls_loss.num_pos(maps.heatmap), minimum=1)

        weighted = maps.match.positive & (maps.box_weight > 0)  # [B, P]
        image, prior = weighted.nonzero().unbind(1)  # [M]
        gt_boxes = packed.boxes[maps.match.gt_index[image, prior]]  # [M, 4]
        boxes = self.boxes(outputs, grid, image, prior)  # [M, 4]
        weight = maps.box_weight[image, prior]  # [M]
        per_box = spec.box_loss(boxes, gt_boxes) * weight  # [M]
        overlap = aligned_iou(boxes.detach() if spec.detach_iou else boxes, gt_boxes)  # [M]
        error = (_iou_logits(outputs)[image, prior].sigmoid() - overlap).abs()  # [M]
        return {
            "loss_cls": per_prior.sum() / num_cls,
            "loss_box": per_box.sum() / global_mean(weight.sum(), minimum=0, plus=WEIGHT_EPS),
            "loss_iou": spec.iou_weight * error.sum() / global_mean(weighted.sum(), minimum=1),
        }

    def detections(self, outputs: HeadOutputs, image_sizes: Sequence[Size]) -> list[Detections]:
        """The detections of given raw outputs, clipped to `image_sizes` less one pixel.

        Cells are ranked, and held against the threshold, by class alone; then the predicted IoU
        multiplies in.
        """
        spec = self.spec
        grid = spec.priors(outputs.level_sizes)
        found = spec.postprocess.candidates(outputs._replace(ctrness=None), grid.level_starts)
        iou = _iou_logits(outputs)[found.image, found.prior].sigmoid()  # [E]
        found = replace(found, score=found.score * iou)
        boxes = self.boxes(outputs, grid, found.image, found.prior)  # [E, 4]
        # As published, boxes end at the last pixel rather than behind it.
        last = [(height - 1, width - 1) for height, width in image_sizes]
        return spec.postprocess.detections(found, boxes, last)

    def boxes(self, outputs: HeadOutputs, grid: PriorGrid, image: Tensor, prior: Tensor) -> Tensor:
        """[N, 4] xyxy in pixels, predicted in images [N] at priors [N]."""
        ltrb = outputs.boxes[image, prior] * self.spec.priors.strides[0]  # [N, 4]
        return decode_ltrb(grid.points_at(prior), ltrb)


def _iou_logits(outputs: HeadOutputs) -> Tensor:
    """[B, P], from the head's third branch."""
    if outputs.ctrness is None:
        raise ShapeError("TTFNet needs IoU logits in outputs.ctrness; got None.")
    return outputs.ctrness


@dataclass(frozen=True, kw_only=True)
class TTFNetSpec:
    """TTFNet with Gaussian Assignment as published for AI-TOD.

    Attributes:
        priors: as published, a prediction belongs to the top left corner of its cell although the
            cell is the one that holds the object's centre; offset 0.5 makes it the middle.
        iou_weight: of `loss_iou`.
        detach_iou: as published, `loss_iou` also moves the boxes to the IoU that is predicted for
            them; True trains only the IoU branch with it.
    """

    kind: Literal["ttfnet"] = "ttfnet"
    backbone: PlainBackbone = DarkNetSpec()
    neck: PlainNeck = UpsamplingNeckSpec()
    head: SlimHeadSpec = SlimHeadSpec()
    priors: AnyPriors = Points(strides=(4,), offset=0.0)
    assigner: GaussianAssigner = GaussianAssigner()
    cls_loss: HeatmapFocalLoss = HeatmapFocalLoss()
    box_loss: AnyBoxLoss = GIoULoss(weight=2.0, plus_one=True)
    iou_weight: float = 1.0
    detach_iou: bool = False
    postprocess: Postprocess = Postprocess(
        score_thresh=0.01, nms_iou=0.65, max_per_image=300, min_box_size=-1.0, rank="priors"
    )

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        check_single_level(self.assigner, self.priors)
        check_slim(self.head, boxes="relu_stride", quality=True)
        if self.iou_weight < 0:
            raise ValueError(f"iou_weight must not be negative; got {self.iou_weight}.")

    def build(self, num_classes: int) -> TTFNet:
        """The detector with random weights (or the backbone's pretrained ones).

        Raises:
            RecipeError: if the parts do not fit together.
        """
        return TTFNet(self, num_classes)
