"""Detectors small enough to train in a test, and images to train them on."""

from dataclasses import replace

import torch
from torch import Tensor

from motedet.assign import ATSS, FCOSAssigner, Hierarchical
from motedet.assign.sampling import RandomSampler
from motedet.losses import DIoULoss, GIoULoss
from motedet.models.backbones import BackboneSpec
from motedet.models.detectors import (
    AnyDetector,
    ATSSSpec,
    AutoAssignSpec,
    CascadeRCNNSpec,
    FasterRCNNSpec,
    FCOSSpec,
    RetinaNetSpec,
)
from motedet.models.heads import (
    ATSSHeadSpec,
    AutoAssignHeadSpec,
    BoxHeadSpec,
    FCOSHeadSpec,
    RetinaHeadSpec,
    RPNSpec,
)
from motedet.models.necks import FPNSpec
from motedet.models.postprocess import Postprocess
from motedet.models.proposals import Proposals
from motedet.models.rois import RoIAlign
from motedet.priors import Anchors, Points, ReceptiveFields
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
    }


def small_dense() -> dict[str, AnyDetector]:
    """Those that predict at every prior and nothing else."""
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
