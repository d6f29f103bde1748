"""Detectors with proposals, from pixels to detections without a decision."""

import itertools
from collections.abc import Sequence
from typing import Final, NamedTuple, cast

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from motedet.export.candidates import best
from motedet.export.dense import Found
from motedet.export.grids import grid_tables, single_cells
from motedet.export.suppression import OUT, clipped, suppress, suppress_similar, surviving
from motedet.geometry import DeltaCoder
from motedet.models.dense import HeadOutputs
from motedet.models.detectors import CascadeRCNN, CascadeRCNNSpec, FasterRCNN
from motedet.models.heads.roi import RoIOutputs
from motedet.models.heads.rpn import RPNSpec
from motedet.models.pooling import AnyPool
from motedet.models.proposals import Proposals
from motedet.models.rois import RoIAlign, Rois
from motedet.priors import Level

TwoStageDetector = FasterRCNN | CascadeRCNN
TWO_STAGE: Final = (FasterRCNN, CascadeRCNN)


class Regions(NamedTuple):
    """The same number of proposals in every image.

    Attributes:
        boxes: [B, R, 4] xyxy in pixels.
        there: [B, R] bool; the others only fill up.
    """

    boxes: Tensor
    there: Tensor


class TwoStageGraph(nn.Module):
    """What `detector.predict` does, for images whose sizes are a tensor."""

    def __init__(self, detector: TwoStageDetector) -> None:
        super().__init__()
        self.detector = detector
        self._levels = single_cells(detector.spec.rpn.priors)

    def forward(self, pixels: Tensor, sizes: Tensor) -> Found:
        """Detections in images.

        Args:
            pixels: [B, 3, H, W], normalised and padded.
            sizes: [B, 2] int64, (height, width) of each image without its padding.
        """
        spec = self.detector.spec
        limits = sizes.flip(1).repeat(1, 2).to(torch.float32)  # [B, 4]
        features = self.detector.neck(self.detector.backbone(pixels))
        regions = proposals(spec.rpn, self._levels, self.detector.rpn_head(features), limits)
        batch, count = regions.there.shape
        clip = limits[:, None].expand(-1, count, -1).flatten(0, 1)  # [B * R, 4]
        boxes = regions.boxes.flatten(0, 1)  # [B * R, 4]
        image = torch.arange(batch)[:, None].expand(-1, count).flatten()  # [B * R]
        boxes, outputs, coder = self._stages(features, boxes, image, clip)

        probs = outputs.logits.softmax(dim=1)[:, :-1]  # [B * R, K]
        keep = regions.there.flatten()[:, None] & (probs > spec.postprocess.score_thresh)
        scores = probs.where(keep, OUT)  # [B * R, K]
        num_classes = scores.shape[1]
        decoded = coder.decode(boxes, outputs.deltas)  # [B * R, K or 1, 4]
        decoded = decoded.view(-1, outputs.deltas.shape[1] // 4, 4).expand(
            -1, num_classes, -1
        )  # [B * R, K, 4]
        total = count * num_classes
        labels = torch.arange(num_classes).expand(scores.shape[0], -1)  # [B * R, K]
        return surviving(
            decoded.reshape(batch, total, 4),
            scores.reshape(batch, total),
            labels.reshape(batch, total),
            limits,
            spec.postprocess,
        )

    def _stages(
        self, features: Sequence[Tensor], boxes: Tensor, image: Tensor, clip: Tensor
    ) -> tuple[Tensor, RoIOutputs, DeltaCoder]:
        """The regions that the last stage looked at, its predictions, and their coder.

        The logits are the means over the stages.

        Args:
            features: one [B, C, h, w] per level, finest first.
            boxes: [R, 4] proposals, xyxy in pixels.
            image: [R] int64.
            clip: [R, 4] to which refined boxes are clipped.
        """
        spec = self.detector.spec
        stages: list[tuple[nn.Module, DeltaCoder]]
        if isinstance(spec, CascadeRCNNSpec):
            heads = cast("nn.ModuleList", self.detector.roi_head["bbox_head"])
            stages = [(h, s.coder) for h, s in zip(heads, spec.stages, strict=True)]
        else:
            stages = [(self.detector.roi_head["bbox_head"], spec.coder)]
        logits: list[Tensor] = []
        for number, (head, coder) in enumerate(stages):
            read = pooled(spec.pool, features, spec.rpn.priors.strides, boxes, image)
            outputs: RoIOutputs = head(read.to(features[0].dtype))
            logits.append(outputs.logits)
            if number < len(stages) - 1:
                boxes = coder.decode(boxes, outputs.deltas).clamp(min=0).minimum(clip)  # [R, 4]
        mean = torch.stack(logits).mean(dim=0)  # [R, K + 1]
        return boxes, RoIOutputs(mean, outputs.deltas), coder


def proposals(
    spec: RPNSpec, priors: Sequence[Level], outputs: HeadOutputs, limits: Tensor
) -> Regions:
    """The most object-like boxes of each image, best first, as `Proposals` chooses them.

    Args:
        spec: of the first stage.
        priors: what `single_cells` gave for its priors.
        outputs: P predictions for B images.
        limits: [B, 4], (width, height, width, height) to which boxes are clipped.
    """
    rule = spec.test_proposals
    grid = grid_tables(priors, outputs.level_sizes)
    ends = list(itertools.accumulate(h * w * spec.priors.per_cell for h, w in outputs.level_sizes))
    boxes, scores = [], []
    for start, end in itertools.pairwise([0, *ends]):
        logits, place = best(outputs.logits[:, start:end].squeeze(-1), rule.pre_nms)  # [B, n]
        prior = place + start
        deltas = outputs.boxes.gather(1, prior[..., None].expand(-1, -1, 4))  # [B, n, 4]
        decoded = spec.coder.decode(grid.boxes[prior.flatten()], deltas.flatten(0, 1))
        mine = clipped(decoded.view(deltas.shape), limits, keep=rule.keep)  # [B, n, 4]
        large = ((mine[..., 2:] - mine[..., :2]) > rule.min_box_size).all(dim=-1)  # [B, n]
        found = logits.sigmoid().where(large & logits.isfinite(), OUT)  # [B, n]
        row = _kept(mine, found, rule).unbind(1)  # [S] image, [S] place
        boxes.append(mine)
        scores.append(torch.full_like(found, OUT).index_put(row, found[row]))
    score, order = best(torch.cat(scores, dim=1), rule.max_per_image)  # [B, R]
    every = torch.cat(boxes, dim=1)  # [B, N, 4]
    there = score >= 0  # [B, R]
    chosen = every.gather(1, order[..., None].expand(-1, -1, 4))  # [B, R, 4]
    return Regions(chosen.where(there[..., None], 0.0), there)


def _kept(boxes: Tensor, scores: Tensor, rule: Proposals) -> Tensor:
    """[S, 2] image and place of what is not dropped of boxes [B, n, 4] with scores [B, n]."""
    kept: Tensor
    if rule.similarity == "nwd":
        numbers = (rule.nms_iou, rule.nwd_constant, rule.max_per_image)
        kept = suppress_similar(boxes, scores, *numbers)
    else:
        kept = suppress(boxes, scores, rule.nms_iou, rule.max_per_image)
    return kept


def pooled(
    rule: AnyPool, features: Sequence[Tensor], strides: Sequence[int], boxes: Tensor, image: Tensor
) -> Tensor:
    """The features of every region, each read from the level of its size.

    Args:
        rule: how they are read.
        features: one [B, C, h, w] per level, finest first.
        strides: of the levels, in pixels.
        boxes: [R, 4] xyxy in pixels.
        image: [R] int64.

    Returns:
        [R, C, S, S].
    """
    if not isinstance(rule, RoIAlign):
        return rule(features, strides, Rois(boxes, image))
    used = [feature.float() for feature in features[: rule.num_levels]]
    level = rule.levels(boxes, len(used))  # [R]
    table = torch.cat((image[:, None].to(boxes), boxes), dim=1)  # [R, 5]
    size = rule.output_size
    result = boxes.new_zeros(boxes.shape[0], used[0].shape[1], size, size)  # [R, C, S, S]
    for i, (feature, stride) in enumerate(zip(used, strides[: len(used)], strict=True)):
        rows = (level == i).nonzero().flatten()
        part: Tensor = roi_align(
            feature,
            table[rows],
            size,
            spatial_scale=1 / stride,
            sampling_ratio=rule.sampling_ratio or -1,
            aligned=True,
        )
        result = result.index_put((rows,), part)
    return result
