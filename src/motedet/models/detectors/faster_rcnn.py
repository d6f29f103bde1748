"""Faster R-CNN (Ren et al. 2015, arXiv:1506.01497) on a feature pyramid (Lin et al. 2017)."""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn

from motedet.assign import PlainAssigner
from motedet.assign.proposals import BestOverlap
from motedet.assign.sampling import RandomSampler
from motedet.geometry import DeltaCoder
from motedet.losses import AnyDeltaLoss, L1Loss
from motedet.models.backbones import BackboneSpec, PlainBackbone
from motedet.models.dense import Detector, HeadOutputs, fitted_priors
from motedet.models.heads.roi import BoxHeadSpec, RoIOutputs, roi_detections, roi_losses
from motedet.models.heads.rpn import RPNSpec
from motedet.models.necks import FPNSpec, PlainNeck
from motedet.models.pooling import AnyPool
from motedet.models.postprocess import Suppression
from motedet.models.rois import AnySampler, RoIAlign, Rois, sample_rois
from motedet.priors import AnyPriors
from motedet.structures import Detections, PackedTargets, Size, Targets

SALT: Final = 1  # the draws of the second stage


class TwoStageOutputs(NamedTuple):
    """Raw predictions of both stages.

    Attributes:
        rpn: objectness and deltas of every prior.
        rois: the R regions that the second stage looked at.
        second: its predictions for them.
    """

    rpn: HeadOutputs
    rois: Rois
    second: RoIOutputs


class FasterRCNN(Detector):
    """Proposals from priors, then class and box of each proposal."""

    def __init__(self, spec: "FasterRCNNSpec", num_classes: int) -> None:
        backbone = spec.backbone.build()
        neck = spec.neck.build(backbone.channels, backbone.strides)
        super().__init__(backbone, neck, num_classes=num_classes)
        priors = fitted_priors(spec.rpn.priors, backbone, neck.strides)
        self.spec = replace(spec, rpn=replace(spec.rpn, priors=priors))
        self.rpn_head = self.spec.rpn.build(spec.neck.out_channels)
        values = spec.pool.values(spec.neck.out_channels)
        head = spec.head.build(values, num_classes=num_classes)
        self.roi_head = nn.ModuleDict({"bbox_head": head})  # the published name

    def forward(self, images: Tensor) -> TwoStageOutputs:
        """Raw tensors only: images [B, 3, H, W] to priors and R regions."""
        height, width = images.shape[-2:]
        return self.outputs(images, [(height, width)] * len(images))

    def loss(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Named scalars for images [B, 3, H, W] and B records; their sum is what trains.

        `loss_rpn_cls` and `loss_rpn_box` of the proposals, `loss_cls` and `loss_box` of the second
        stage on sampled proposals.
        """
        spec = self.spec
        features = self.neck(self.backbone(images))
        rpn = self.rpn_head(features)
        losses = self.rpn_head.losses(rpn, targets)

        packed = PackedTargets.pack(targets)
        found = self.rpn_head.proposals(rpn, packed.image_sizes, phase="train")
        sampled = sample_rois(
            Rois.of(found),
            packed,
            match=spec.match,
            sampler=spec.sampler,
            seeds=[t.seed for t in targets],
            salt=SALT,
            outputs=partial(self.second_stage, features),
        )
        second = self.second_stage(features, sampled.rois)
        return losses | roi_losses(
            second, sampled, packed, coder=spec.coder, box_loss=spec.box_loss
        )

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
        """Raw predictions, with proposals clipped to `image_sizes`."""
        features = self.neck(self.backbone(images))
        rpn = self.rpn_head(features)
        rois = Rois.of(self.rpn_head.proposals(rpn, image_sizes, phase="test"))
        return TwoStageOutputs(rpn, rois, self.second_stage(features, rois))

    def second_stage(self, features: Sequence[Tensor], rois: Rois) -> RoIOutputs:
        """Class logits and deltas of R regions, from the pyramid's levels."""
        pooled = self.spec.pool(features, self.spec.rpn.priors.strides, rois)  # [R, C, S, S]
        outputs: RoIOutputs = self.roi_head["bbox_head"](pooled)
        return outputs

    def detections(
        self, rois: Rois, outputs: RoIOutputs, image_sizes: Sequence[Size]
    ) -> list[Detections]:
        """The detections of given raw outputs, clipped to `image_sizes`."""
        spec = self.spec
        return roi_detections(
            rois, outputs, image_sizes, coder=spec.coder, suppression=spec.postprocess
        )


@dataclass(frozen=True, kw_only=True)
class FasterRCNNSpec:
    """Faster R-CNN as published for COCO; RFLA changes the priors and assigner of the RPN.

    TinyDet is this detector with parts of its own: the recipes `tinydet/...` name them.

    Attributes:
        rpn: the first stage.
        pool: how the features of a proposal are read.
        match: which object a proposal answers for.
        sampler: how many proposals of an image learn, and which.
        box_loss: compares deltas.
    """

    kind: Literal["faster_rcnn"] = "faster_rcnn"
    backbone: PlainBackbone = BackboneSpec(frozen_stages=1, freeze_bn=True)
    neck: PlainNeck = FPNSpec(extra="pool")
    rpn: RPNSpec = RPNSpec()
    pool: AnyPool = RoIAlign()
    head: BoxHeadSpec = BoxHeadSpec()
    match: BestOverlap = BestOverlap(pos_iou=0.5)
    sampler: AnySampler = RandomSampler(num=512, pos_fraction=0.25)
    coder: DeltaCoder = DeltaCoder(std=(0.1, 0.1, 0.2, 0.2))
    box_loss: AnyDeltaLoss = L1Loss()
    postprocess: Suppression = Suppression()

    @property
    def priors(self) -> AnyPriors:
        """Where the first stage predicts."""
        return self.rpn.priors

    @property
    def assigner(self) -> PlainAssigner:
        """The rule of the first stage."""
        return self.rpn.assigner

    def build(self, num_classes: int) -> FasterRCNN:
        """The detector with random weights (or the backbone's pretrained ones).

        Raises:
            RecipeError: if the parts do not fit together.
        """
        return FasterRCNN(self, num_classes)
