"""Cascade R-CNN (Cai and Vasconcelos 2018, arXiv:1712.00726), and DetectoRS, which is one too.

DetectoRS (Qiao et al. 2020, arXiv:2006.02334) is this detector with `backbone.kind`
detectors_resnet and `neck.kind` rfp.
"""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from motedet.assign import PlainAssigner
from motedet.assign.proposals import BestOverlap
from motedet.assign.sampling import RandomSampler
from motedet.geometry import DeltaCoder
from motedet.losses import AnyDeltaLoss, SmoothL1Loss
from motedet.models.backbones import AnyBackbone, BackboneSpec
from motedet.models.dense import Detector, HeadOutputs, fitted_priors
from motedet.models.detectors.faster_rcnn import TwoStageOutputs
from motedet.models.heads.roi import (
    BoxHeadSpec,
    RoIOutputs,
    refine_rois,
    roi_detections,
    roi_losses,
)
from motedet.models.heads.rpn import RPNSpec
from motedet.models.necks import AnyNeck, FPNSpec
from motedet.models.pooling import AnyPool
from motedet.models.postprocess import Suppression
from motedet.models.rois import AnySampler, RoIAlign, Rois, sample_rois
from motedet.priors import AnyPriors
from motedet.structures import Detections, PackedTargets, Size, Targets


class CascadeRCNN(Detector):
    """Proposals from priors, then stages that each refine the boxes of the one before."""

    def __init__(self, spec: "CascadeRCNNSpec", num_classes: int) -> None:
        backbone = spec.backbone.build()
        neck = spec.neck.build(backbone.channels, backbone.strides)
        super().__init__(backbone, neck, num_classes=num_classes)
        priors = fitted_priors(spec.rpn.priors, backbone, neck.strides)
        self.spec = replace(spec, rpn=replace(spec.rpn, priors=priors))
        self.rpn_head = self.spec.rpn.build(spec.neck.out_channels)
        values = spec.pool.values(spec.neck.out_channels)
        heads = [spec.head.build(values, num_classes=num_classes) for _ in spec.stages]
        self.roi_head = nn.ModuleDict({"bbox_head": nn.ModuleList(heads)})  # the published name

    def forward(self, images: Tensor) -> TwoStageOutputs:
        """Raw tensors only: images [B, 3, H, W] to priors and the R regions of the last stage.

        The logits are the means over the stages.
        """
        height, width = images.shape[-2:]
        return self.outputs(images, [(height, width)] * len(images))

    def loss(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Named scalars for images [B, 3, H, W] and B records; their sum is what trains.

        `loss_rpn_cls` and `loss_rpn_box` of the proposals, `loss_cls_s` and `loss_box_s` of stage
        s on regions sampled from those that the stage before has refined.
        """
        features = self.neck(self.backbone(images))
        rpn: HeadOutputs = self.rpn_head(features)
        losses: dict[str, Tensor] = self.rpn_head.losses(rpn, targets)

        packed = PackedTargets.pack(targets)
        rois = Rois.of(self.rpn_head.proposals(rpn, packed.image_sizes, phase="train"))
        for number, stage in enumerate(self.spec.stages):
            sampled = sample_rois(
                rois,
                packed,
                match=stage.match,
                sampler=self.spec.sampler,
                seeds=[t.seed for t in targets],
                salt=1 + number,
                outputs=partial(self.stage, number, features),
            )
            outputs = self.stage(number, features, sampled.rois)
            of_stage = roi_losses(
                outputs, sampled, packed, coder=stage.coder, box_loss=self.spec.box_loss
            )
            losses |= {f"{k}_{number}": stage.weight * v for k, v in of_stage.items()}
            refined = refine_rois(
                sampled.rois, outputs.deltas, packed.image_sizes, coder=stage.coder
            )
            rois = Rois(*(part[~sampled.is_object] for part in refined))
        return losses

    @torch.no_grad()
    def predict(
        self, images: Tensor, image_sizes: Sequence[Size] | None = None
    ) -> list[Detections]:
        """Detections in images [B, 3, H, W], clipped to `image_sizes`, best first."""
        height, width = images.shape[-2:]
        sizes = image_sizes or [(height, width)] * len(images)
        outputs = self.outputs(images, sizes)
        return self.detections(outputs.rois, outputs.second, sizes)

    def outputs(self, images: Tensor, image_sizes: Sequence[Size]) -> TwoStageOutputs:
        """Raw predictions, with proposals and refined regions clipped to `image_sizes`."""
        features = self.neck(self.backbone(images))
        rpn = self.rpn_head(features)
        rois = Rois.of(self.rpn_head.proposals(rpn, image_sizes, phase="test"))
        stages = self.refine(features, rois, image_sizes)
        logits = torch.stack([outputs.logits for _, outputs in stages]).mean(dim=0)  # [R, K + 1]
        last, outputs = stages[-1]
        return TwoStageOutputs(rpn, last, RoIOutputs(logits, outputs.deltas))

    def refine(
        self, features: Sequence[Tensor], rois: Rois, image_sizes: Sequence[Size]
    ) -> list[tuple[Rois, RoIOutputs]]:
        """What each stage looks at and predicts, starting from R regions."""
        seen = []
        for number, stage in enumerate(self.spec.stages):
            outputs = self.stage(number, features, rois)
            seen.append((rois, outputs))
            rois = refine_rois(rois, outputs.deltas, image_sizes, coder=stage.coder)
        return seen

    def stage(self, number: int, features: Sequence[Tensor], rois: Rois) -> RoIOutputs:
        """Class logits and deltas that a stage gives R regions, from the pyramid's levels."""
        pooled = self.spec.pool(features, self.spec.rpn.priors.strides, rois)  # [R, C, S, S]
        outputs: RoIOutputs = self.roi_head["bbox_head"][number](pooled)  # type: ignore[index]
        return outputs

    def detections(
        self, rois: Rois, outputs: RoIOutputs, image_sizes: Sequence[Size]
    ) -> list[Detections]:
        """The detections of the last stage's regions and deltas, with the mean logits."""
        coder, rule = self.spec.stages[-1].coder, self.spec.postprocess
        return roi_detections(rois, outputs, image_sizes, coder=coder, suppression=rule)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of the cascade.

    Attributes:
        match: which object a region answers for; stricter from stage to stage.
        coder: finer from stage to stage.
        weight: of its losses.
    """

    match: BestOverlap = BestOverlap(pos_iou=0.5)
    coder: DeltaCoder = DeltaCoder(std=(0.1, 0.1, 0.2, 0.2))
    weight: float = 1.0


STAGES = (
    Stage(),
    Stage(match=BestOverlap(pos_iou=0.6), coder=DeltaCoder(std=(0.05, 0.05, 0.1, 0.1)), weight=0.5),
    Stage(
        match=BestOverlap(pos_iou=0.7),
        coder=DeltaCoder(std=(0.033, 0.033, 0.067, 0.067)),
        weight=0.25,
    ),
)


@dataclass(frozen=True, kw_only=True)
class CascadeRCNNSpec:
    """Cascade R-CNN as published for COCO; RFLA changes the priors and assigner of the RPN.

    Attributes:
        rpn: the first stage.
        pool: how the features of a region are read.
        head: of every stage; class-agnostic.
        stages: in order.
        sampler: how many regions of an image learn in each stage, and which.
        box_loss: compares deltas.
    """

    kind: Literal["cascade_rcnn"] = "cascade_rcnn"
    backbone: AnyBackbone = BackboneSpec(frozen_stages=1, freeze_bn=True)
    neck: AnyNeck = FPNSpec(extra="pool")
    rpn: RPNSpec = RPNSpec(box_loss=SmoothL1Loss(beta=1 / 9))
    pool: AnyPool = RoIAlign()
    head: BoxHeadSpec = BoxHeadSpec(class_agnostic=True)
    stages: tuple[Stage, ...] = STAGES
    sampler: AnySampler = RandomSampler(num=512, pos_fraction=0.25)
    box_loss: AnyDeltaLoss = SmoothL1Loss()
    postprocess: Suppression = Suppression()

    def __post_init__(self) -> None:
        """Check what the stages need."""
        if not self.stages:
            raise ValueError("a cascade needs at least one stage; got none.")
        if not self.head.class_agnostic:
            raise ValueError("head.class_agnostic must be true: stages refine one box per region.")
        if (self.backbone.kind == "detectors_resnet") != (self.neck.kind == "rfp"):
            raise ValueError(
                "backbone.kind detectors_resnet and neck.kind rfp (DetectoRS) need each other; "
                f"got {self.backbone.kind!r} and {self.neck.kind!r}."
            )

    @property
    def priors(self) -> AnyPriors:
        """Where the first stage predicts."""
        return self.rpn.priors

    @property
    def assigner(self) -> PlainAssigner:
        """The rule of the first stage."""
        return self.rpn.assigner

    def build(self, num_classes: int) -> CascadeRCNN:
        """The detector with random weights (or the backbone's pretrained ones).

        Raises:
            RecipeError: if the parts do not fit together.
        """
        return CascadeRCNN(self, num_classes)
