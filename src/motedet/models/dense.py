"""What detectors share: their three verbs, raw outputs at priors, and sums over processes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, Literal, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from motedet.assign import (
    ATSS,
    NWDRKA,
    AnyAssigner,
    GaussianAssigner,
    Hierarchical,
    MaxIoU,
    PredictionAware,
    SimD,
)
from motedet.errors import RecipeError
from motedet.losses import AnyDenseClassLoss, QualityFocalLoss
from motedet.priors import AnyPriors, Points, PriorGrid, ReceptiveFields, network_receptive_fields
from motedet.structures import (
    BACKGROUND,
    Assignment,
    Detections,
    PackedTargets,
    Predictions,
    Size,
    Targets,
)

EPS: Final = 1e-6  # px; an object without width would give 0 / 0

SIZED: Final = (ATSS, Hierarchical, MaxIoU, NWDRKA, SimD)  # rules that compare boxes

CtrnessFrom = Literal["distances", "padded_distances", "corners"]


class HeadOutputs(NamedTuple):
    """Raw predictions at P priors of B images, level after level, row after row.

    Attributes:
        logits: [B, P, K], before the sigmoid.
        boxes: [B, P, 4], deltas or distances in the head's own unit.
        ctrness: [B, P] logits of the centre-ness, or None if the head has none.
        level_sizes: (h, w) of each level.
    """

    logits: Tensor
    boxes: Tensor
    ctrness: Tensor | None
    level_sizes: tuple[Size, ...]


class Detector(nn.Module, ABC):
    """Three verbs and no mode switch: forward, loss, predict."""

    def __init__(self, backbone: nn.Module, neck: nn.Module, *, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.num_classes = num_classes

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[object, ...]:
        """Raw tensors only, as a named tuple; this is what is exported.

        Args:
            images: [B, 3, H, W], normalised.
        """

    @abstractmethod
    def loss(self, images: Tensor, targets: Sequence[Targets]) -> dict[str, Tensor]:
        """Named scalars; their sum is what trains.

        Args:
            images: [B, 3, H, W], normalised.
            targets: one record per image, in pixels of `images`.
        """

    @abstractmethod
    def predict(
        self, images: Tensor, image_sizes: Sequence[Size] | None = None
    ) -> list[Detections]:
        """What is seen in each image, best first, in pixels of `images`.

        Call `eval()` first, unless batch-norm is frozen or absent.

        Args:
            images: [B, 3, H, W], normalised.
            image_sizes: (height, width) of each image without its padding; boxes are clipped to it.
        """


def matched(
    assigner: AnyAssigner,
    grid: PriorGrid,
    targets: PackedTargets,
    predictions: Callable[[], Predictions],
) -> Assignment:
    """Which prior learns from which object; predictions are made only for who looks at them.

    Args:
        assigner: of any kind.
        grid: P priors.
        targets: G objects of B images.
        predictions: makes those of the same B images at the same P priors.
    """
    if isinstance(assigner, PredictionAware):
        return assigner(grid, targets, predictions())
    return assigner(grid, targets)


def predictions_of(logits: Tensor, boxes: Tensor) -> Predictions:
    """What an assigner may look at: float32 and without gradient.

    Args:
        logits: [B, P, K].
        boxes: [B * P, 4] decoded, xyxy in pixels.
    """
    logits = logits.detach().float()
    boxes = boxes.detach().float().view(*logits.shape[:2], 4)
    return Predictions(logits.sigmoid(), logits, boxes)


def class_loss(
    loss: AnyDenseClassLoss, logits: Tensor, match: Assignment, targets: PackedTargets
) -> Tensor:
    """Class loss of every prior, towards 1 or, where the loss asks for it, the match's quality.

    Args:
        loss: focal or quality focal.
        logits: [B, P, K].
        match: of the priors with the objects.
        targets: the objects.

    Returns:
        [B * P, K].
    """
    labels = prior_labels(match, targets).flatten()  # [B * P]
    if isinstance(loss, QualityFocalLoss):
        return loss(logits.flatten(0, 1), labels, match.quality.flatten())
    return loss(logits.flatten(0, 1), labels)


def class_divisor(loss: AnyDenseClassLoss, match: Assignment, num_pos: Tensor) -> Tensor:
    """Scalar by which the class loss is divided: `num_pos`, or the sum of soft targets."""
    if isinstance(loss, QualityFocalLoss):
        return global_mean(match.quality.sum(), minimum=1)
    return num_pos


def check_soft_targets(loss: AnyDenseClassLoss, assigner: AnyAssigner) -> None:
    """Refuse a quality focal loss without qualities.

    Raises:
        ValueError: if the assigner does not look at predictions.
    """
    if isinstance(loss, QualityFocalLoss) and not isinstance(assigner, PredictionAware):
        raise ValueError(
            f"cls_loss {loss.kind!r} needs soft targets, which assigner {assigner.kind!r} does "
            "not give; expected simota, tal or soft_label, or cls_loss focal"
        )


def check_single_level(assigner: object, priors: AnyPriors) -> None:
    """Refuse the Gaussian assigner where its one map does not fit.

    Raises:
        ValueError: unless there is one level, and one prior in each of its cells.
    """
    levels, per_cell = len(priors.strides), priors.per_cell
    if isinstance(assigner, GaussianAssigner) and (levels != 1 or per_cell != 1):
        raise ValueError(
            f"assigner {assigner.kind!r} needs one level and one prior per cell; got priors with "
            f"{levels} levels and {per_cell} per cell. Give priors one stride, and anchors one "
            "ratio and scale."
        )


def check_sizes(assigner: object, priors: AnyPriors) -> None:
    """Refuse points where a rule compares boxes.

    Raises:
        ValueError: if the priors have no size and the rule needs one.
    """
    if isinstance(priors, Points) and isinstance(assigner, SIZED):
        raise ValueError(
            f"assigner {assigner.kind!r} compares boxes, but priors 'points' have no size; "
            "expected priors receptive_fields or anchors, or assigner fcos, gaussian, simota, tal "
            "or soft_label"
        )


def check_one_per_cell(detector: str, priors: AnyPriors) -> None:
    """Refuse several priors per cell where a head predicts one box.

    Raises:
        ValueError: if there are several.
    """
    if priors.per_cell != 1:
        raise ValueError(
            f"{detector} predicts one box per cell, but priors has {priors.per_cell}; give it one "
            "ratio and one scale"
        )


def prior_labels(match: Assignment, targets: PackedTargets) -> Tensor:
    """[B, P] int64: the class that each prior should predict, BACKGROUND where it is none."""
    labels = F.pad(targets.labels, (0, 1), value=BACKGROUND)  # [G + 1]
    return labels[match.gt_index.clamp(min=-1)]  # -1 is the last one


def positives_or_one(match: Assignment) -> Tensor:
    """Scalar: the positives of each image, at least one, summed over the batch."""
    return match.positive.sum(dim=1).clamp(min=1).sum()


def centerness(ltrb: Tensor, *, floor: float = 0.0) -> Tensor:
    """How central a point lies in its object (Tian et al. 2019, eq. 3).

    Args:
        ltrb: [N, 4] distances to the sides, in any unit.
        floor: the smaller distance of each axis counts as at least this.

    Returns:
        [N] in [0, 1], unless an object is smaller than `floor`.
    """
    left, top, right, bottom = ltrb.unbind(-1)
    across = left.minimum(right).clamp(min=floor) / left.maximum(right).clamp(min=EPS)
    down = top.minimum(bottom).clamp(min=floor) / top.maximum(bottom).clamp(min=EPS)
    return (across * down).sqrt()


def ctrness_sides(source: CtrnessFrom, ltrb: Tensor, gt_boxes: Tensor) -> Tensor:
    """The distances from which a prior's centre-ness target is made.

    Args:
        source: "distances": those to the sides, as published by FCOS. "padded_distances": without
            sign and one pixel longer, for priors outside of a tiny object (Gaussian Assignment's
            ATSS). "corners": a slip of Gaussian Assignment's FCOS, which takes the corners of the
            object in the image for distances, so that the target depends on where the object is.
            `centerness` makes 0 of a negative corner, of which the published code makes NaN.
        ltrb: [N, 4] from the prior's point to the sides of its object, in pixels.
        gt_boxes: [N, 4] the object, xyxy in pixels.

    Returns:
        [N, 4] in pixels.
    """
    if source == "corners":
        return gt_boxes
    return ltrb.abs() + 1 if source == "padded_distances" else ltrb


def global_mean(value: Tensor, *, minimum: float, plus: float = 0.0) -> Tensor:
    """A normaliser that makes several processes train as one with all their images would.

    Data-parallel training averages gradients over W processes. With every process dividing its sum
    by `max(total, minimum) / W`, that average is the sum over all images / max(total, minimum).

    Args:
        value: scalar, this process's part of the total.
        minimum: lower limit of the total.
        plus: added to the total after that, once for all processes.

    Returns:
        Scalar float; in a single process simply `max(value, minimum) + plus`.
    """
    total = value.detach().to(torch.promote_types(value.dtype, torch.float32))
    world = 1
    if dist.is_available() and dist.is_initialized():
        world = dist.get_world_size()
        total = total.clone()
        dist.all_reduce(total)
    return (total.clamp(min=minimum) + plus) / world


def fitted_priors(priors: AnyPriors, backbone: nn.Module, strides: Sequence[int]) -> AnyPriors:
    """The priors of a network: on its levels, and with its receptive fields where they ask for it.

    Args:
        priors: as the recipe has them.
        backbone: whose kernels and strides `source="network"` follows.
        strides: of the pyramid, in pixels.

    Raises:
        RecipeError: if the pyramid and the priors have different levels.
    """
    if tuple(strides) != priors.strides:
        raise RecipeError(
            f"The neck's strides {tuple(strides)} must be those of the priors {priors.strides}; "
            "change neck.num_outs, backbone.out_stages or priors.strides."
        )
    if isinstance(priors, ReceptiveFields) and priors.source == "network" and priors.trf is None:
        return replace(priors, trf=network_receptive_fields(backbone, strides))
    return priors
