"""Detectors small enough to train in a test, and images to train them on."""

from dataclasses import replace

import torch
from torch import Tensor

from motedet.assign import ATSS, FCOSAssigner, GaussianAssigner, Hierarchical, MaxIoU
from motedet.assign.ohem import OHEMSampler
from motedet.assign.sampling import RandomSampler
from motedet.geometry import SoftNMS
from motedet.losses import DIoULoss, GIoULoss, SmoothL1Loss
from motedet.models.backbones import BackboneSpec
from motedet.models.detectors import (
    AnyDetector,
    ATSSSpec,
    AutoAssignSpec,
    CascadeRCNNSpec,
    FasterRCNNSpec,
    FCOSSpec,
    RetinaNetSpec,
    TTFNetSpec,
)
from motedet.models.heads import (
    ATSSHeadSpec,
    AutoAssignHeadSpec,
    BoxHeadSpec,
    FCOSHeadSpec,
    RetinaHeadSpec,
    RPNSpec,
    SlimHeadSpec,
)
from motedet.models.necks import FPNSpec, FuseNeckSpec, TinyFPNSpec
from motedet.models.postprocess import Postprocess, Suppression
from motedet.models.proposals import Proposals
from motedet.models.ps_roi_align import PSRoIAlign
from motedet.models.rois import RoIAlign
from motedet.priors import Anchors, Points, ReceptiveFields, RoundedAnchors
from motedet.structures import Targets

STRIDES = (4, 8, 16)
SIZE = 64
BACKBONE = BackboneSpec(name="resnet18", out_stages=(1, 2, 3))
NECK = FPNSpec(out_channels=32, num_outs=3, extra="none")
RPN = RPNSpec(
    channels=32,
    priors=Anchors(strides=STRIDES, scales=(2.0,)),
    sampler=RandomSampler(num=64, pos_fraction=0.5),
    train_proposals=Proposals(pre_nms=200, max_per_image=100),
    test_proposals=Proposals(pre_nms=200, max_per_image=100),
)
POOL = RoIAlign(output_size=5, num_levels=3)
SAMPLER = RandomSampler(num=64, pos_fraction=0.25)


def small_specs() -> dict[str, AnyDetector]:
    """One spec per kind of detector and of rule."""
    return small_dense() | small_two_stage()


def small_two_stage() -> dict[str, AnyDetector]:
    """Those with proposals."""
    receptive_fields = replace(
        RPN,
        priors=ReceptiveFields(strides=STRIDES, ratios=(0.5, 1.0, 2.0), offset=0.0),
        assigner=Hierarchical(),
        target_prior_ratio=0.9,
    )
    faster = FasterRCNNSpec(
        backbone=BACKBONE,
        neck=NECK,
        rpn=RPN,
        pool=POOL,
        head=BoxHeadSpec(channels=64),
        sampler=SAMPLER,
    )
    return {
        "faster_rcnn": faster,
        "faster_rcnn_rfla": replace(faster, rpn=receptive_fields),
        "cascade_rcnn": CascadeRCNNSpec(
            backbone=BACKBONE,
            neck=NECK,
            rpn=RPN,
            pool=POOL,
            head=BoxHeadSpec(channels=64, class_agnostic=True),
            sampler=SAMPLER,
        ),
        "tinydet": small_tinydet(),
    }


def small_tinydet() -> FasterRCNNSpec:
    """TinyDet's parts on the common backbone: its own has coarse levels of a single cell here."""
    proposals = Proposals(pre_nms=200, max_per_image=100, min_box_size=-1.0, keep=1.0)
    return FasterRCNNSpec(
        backbone=BACKBONE,
        neck=TinyFPNSpec(out_channels=50, groups=(5, 1, 1)),
        rpn=RPNSpec(
            channels=50,
            sparse_groups=5,
            priors=RoundedAnchors(strides=STRIDES, scales=(2.0,)),
            assigner=MaxIoU(pos_iou=0.5, neg_iou=0.3, min_pos_iou=0.3),
            allowed_border=0.5,
            sampler=RandomSampler(num=64, pos_fraction=0.5),
            box_loss=SmoothL1Loss(beta=1 / 9),
            train_proposals=proposals,
            test_proposals=proposals,
        ),
        pool=PSRoIAlign(output_size=5, finest_scale=56.0, num_levels=3),
        head=BoxHeadSpec(channels=64, num_fcs=1, class_agnostic=True),
        sampler=OHEMSampler(num=64),
        box_loss=SmoothL1Loss(beta=1.0),
        postprocess=Suppression(score_thresh=0.01, soft=SoftNMS(), min_box_size=-1.0, keep=1.0),
    )


def small_dense() -> dict[str, AnyDetector]:
    """Those that predict at every prior and nothing else."""
    return small_pyramids() | small_single_level()


def small_pyramids() -> dict[str, AnyDetector]:
    """Those with several levels."""
    towers = FCOSHeadSpec(
        channels=32, num_convs=1, groups=8, ctrness_on="none", distances="exp_stride"
    )
    return {
        "retinanet": RetinaNetSpec(
            backbone=BACKBONE,
            neck=NECK,
            head=RetinaHeadSpec(channels=32, num_convs=1),
            priors=Anchors(strides=STRIDES, octave_base_scale=2),
        ),
        "retinanet_rfla": RetinaNetSpec(
            backbone=BACKBONE,
            neck=NECK,
            head=RetinaHeadSpec(channels=32, num_convs=1),
            priors=ReceptiveFields(strides=STRIDES, ratios=(0.5, 1.0, 2.0), offset=0.0),
            assigner=Hierarchical(),
            box_loss=DIoULoss(),
            postprocess=Postprocess(rank="priors"),
        ),
        "fcos": FCOSSpec(
            backbone=BACKBONE,
            neck=NECK,
            head=FCOSHeadSpec(channels=32, num_convs=1, groups=8),
            priors=Points(strides=STRIDES),
            assigner=FCOSAssigner(regress_ranges=((-1, 16), (16, 32), (32, 1e8))),
        ),
        "fcos_rfla": FCOSSpec(
            backbone=BACKBONE,
            neck=NECK,
            head=towers,
            priors=ReceptiveFields(strides=STRIDES),
            assigner=Hierarchical(),
            box_loss=GIoULoss(weight=2.0),
            box_weight="none",
            ctrness_floor=0.01,
        ),
        "atss": ATSSSpec(
            backbone=BACKBONE,
            neck=NECK,
            head=ATSSHeadSpec(channels=32, num_convs=1, groups=8),
            priors=Anchors(
                strides=STRIDES, ratios=(1.0,), octave_base_scale=2, scales_per_octave=1
            ),
            assigner=ATSS(),
        ),
        "autoassign": AutoAssignSpec(
            backbone=BACKBONE,
            neck=NECK,
            head=AutoAssignHeadSpec(channels=32, num_convs=1, groups=8),
            priors=Points(strides=STRIDES, offset=0.0),
            force_topk=9,
        ),
    }


def small_single_level() -> dict[str, AnyDetector]:
    """Those of Gaussian Assignment: one map of stride 4, and the slim head."""
    neck = FuseNeckSpec(out_channels=32)
    head = SlimHeadSpec(cls_channels=32, box_channels=32, num_convs=1)
    reaching = replace(head, first_reach=1.0)
    deltas = replace(head, boxes="deltas")
    anchors = Anchors(strides=(4,), ratios=(1.0,), octave_base_scale=3, scales_per_octave=1)
    return {
        "ttfnet": TTFNetSpec(
            backbone=BACKBONE,
            neck=neck,
            head=reaching,
            postprocess=Postprocess(nms_iou=0.65, rank="priors"),
        ),
        "retinanet_gaussian": RetinaNetSpec(
            backbone=BACKBONE,
            neck=neck,
            head=replace(deltas, quality=False),
            priors=anchors,
            assigner=GaussianAssigner(),
            box_loss=GIoULoss(weight=2.0),
        ),
        "fcos_gaussian": FCOSSpec(
            backbone=BACKBONE,
            neck=neck,
            head=reaching,
            priors=Points(strides=(4,)),
            assigner=GaussianAssigner(pos_thresh=0.01),
            box_loss=GIoULoss(weight=2.0),
            ctrness_from="corners",
        ),
        "atss_gaussian": ATSSSpec(
            backbone=BACKBONE,
            neck=neck,
            head=deltas,
            priors=anchors,
            assigner=GaussianAssigner(),
            ctrness_from="padded_distances",
        ),
    }


def scene(*, objects: bool = True) -> tuple[Tensor, list[Targets]]:
    """Two images of 64 px: three tiny squares of two classes in one, two in the other.

    Without `objects` the images are noise and the targets empty.
    """
    generator = torch.Generator().manual_seed(0)
    images = 0.1 * torch.randn(2, 3, SIZE, SIZE, generator=generator)
    truth = [[(10, 12, 18, 20, 0), (40, 8, 50, 18, 1), (20, 44, 28, 52, 0)], [(5, 40, 15, 50, 1)]]
    truth[1].append((44, 44, 52, 52, 0))
    targets = []
    for image, rows in zip(images, truth if objects else [[], []], strict=True):
        for x1, y1, x2, y2, label in rows:
            image[label, y1:y2, x1:x2] += 3.0
        table = torch.tensor(rows, dtype=torch.int64).reshape(-1, 5)
        targets.append(Targets.of(table[:, :4].float(), table[:, 4], (SIZE, SIZE)))
    return images, targets
