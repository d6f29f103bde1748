"""The second stage of Faster R-CNN: class and box of a pooled region (Ren et al. 2015)."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motedet.geometry import DeltaCoder
from motedet.losses import AnyDeltaLoss
from motedet.models.dense import global_mean
from motedet.models.postprocess import Candidates, Suppression, clip_to_images
from motedet.models.rois import Rois, SampledRois
from motedet.structures import Detections, PackedTargets, Size


class RoIOutputs(NamedTuple):
    """Raw predictions for R regions.

    Attributes:
        logits: [R, K + 1], before the softmax, background last.
        deltas: [R, 4] of the object whatever its class, or [R, 4 * K] with four per class.
    """

    logits: Tensor
    deltas: Tensor


class BoxHead(nn.Module):
    """Fully connected layers shared by the class logits and the deltas."""

    def __init__(self, spec: "BoxHeadSpec", in_features: int, *, num_classes: int) -> None:
        super().__init__()
        sizes = [in_features] + [spec.channels] * spec.num_fcs
        self.shared_fcs = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.fc_cls = nn.Linear(sizes[-1], num_classes + 1)
        self.fc_reg = nn.Linear(sizes[-1], 4 if spec.class_agnostic else 4 * num_classes)
        for layer in self.shared_fcs:
            nn.init.xavier_uniform_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        for last, std in ((self.fc_cls, 0.01), (self.fc_reg, 0.001)):
            nn.init.normal_(last.weight, std=std)
            nn.init.zeros_(last.bias)

    def forward(self, pooled: Tensor) -> RoIOutputs:
        """Logits and deltas of pooled features [R, C, S, S], in float32 or better."""
        shared = pooled.flatten(1)  # [R, C * S * S]
        for layer in self.shared_fcs:
            shared = layer(shared).relu_()
        logits, deltas = self.fc_cls(shared), self.fc_reg(shared)
        precise = torch.promote_types(logits.dtype, torch.float32)
        return RoIOutputs(logits.to(precise), deltas.to(precise))


@dataclass(frozen=True, kw_only=True)
class BoxHeadSpec:
    """The layers' size.

    Attributes:
        channels: of the shared layers.
        num_fcs: how many there are.
        class_agnostic: one quadruple of deltas for all classes, as cascades have it.
    """

    channels: int = 1024
    num_fcs: int = 2
    class_agnostic: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.channels < 1 or self.num_fcs < 0:
            raise ValueError(
                f"channels must be at least 1 and num_fcs 0; got {self.channels}, {self.num_fcs}."
            )

    def build(self, in_features: int, *, num_classes: int) -> BoxHead:
        """The module for regions of `in_features` values each."""
        return BoxHead(self, in_features, num_classes=num_classes)


def roi_losses(
    outputs: RoIOutputs,
    sampled: SampledRois,
    targets: PackedTargets,
    *,
    coder: DeltaCoder,
    box_loss: AnyDeltaLoss,
) -> dict[str, Tensor]:
    """`loss_cls` and `loss_box` of a stage, both divided by the number of sampled regions.

    Args:
        outputs: of the S sampled regions.
        sampled: the regions and their objects.
        targets: the objects.
        coder: writes the objects relative to the regions.
        box_loss: compares deltas.
    """
    num_classes = outputs.logits.shape[1] - 1
    labels = outputs.logits.new_full((len(sampled.gt_index),), num_classes, dtype=torch.int64)
    row = (sampled.gt_index >= 0).nonzero().flatten()  # [N], the positive regions
    gt_index = sampled.gt_index[row]  # [N]
    labels[row] = targets.labels[gt_index]
    per_class = _per_class(outputs.deltas)  # [S, K or 1, 4]
    column = labels[row] if per_class.shape[1] > 1 else torch.zeros_like(row)
    goal = coder.encode(sampled.rois.boxes[row], targets.boxes[gt_index])  # [N, 4]
    divisor = global_mean(row.new_tensor(len(labels)), minimum=1)
    return {
        "loss_cls": F.cross_entropy(outputs.logits, labels, reduction="sum") / divisor,
        "loss_box": box_loss(per_class[row, column], goal).sum() / divisor,
    }


def roi_detections(
    rois: Rois,
    outputs: RoIOutputs,
    image_sizes: Sequence[Size],
    *,
    coder: DeltaCoder,
    suppression: Suppression,
) -> list[Detections]:
    """The detections of given raw outputs; only what is above the threshold gets decoded.

    Args:
        rois: R regions of B images.
        outputs: of the R regions.
        image_sizes: (height, width) per image, to which boxes are clipped.
        coder: of the deltas.
        suppression: from scored boxes to detections.
    """
    probs = outputs.logits.softmax(dim=1)[:, :-1]  # [R, K]
    row, label = (probs > suppression.score_thresh).nonzero().unbind(1)  # [E]
    per_class = _per_class(outputs.deltas)  # [R, K or 1, 4]
    column = label if per_class.shape[1] > 1 else torch.zeros_like(label)
    boxes = coder.decode(rois.boxes[row], per_class[row, column])  # [E, 4]
    found = Candidates(rois.image[row], row, label, probs[row, label])
    return suppression.detections(found, boxes, image_sizes)


def refine_rois(
    rois: Rois, deltas: Tensor, image_sizes: Sequence[Size], *, coder: DeltaCoder
) -> Rois:
    """Regions moved by class-agnostic deltas [R, 4] and clipped to their images, as numbers."""
    boxes = coder.decode(rois.boxes, deltas.detach())  # [R, 4]
    return Rois(clip_to_images(boxes, rois.image, image_sizes), rois.image)


def _per_class(deltas: Tensor) -> Tensor:
    """[R, 4 * K] as [R, K, 4]; with R = 0 the view has to be told K."""
    return deltas.view(len(deltas), deltas.shape[1] // 4, 4)
