"""Detectors that predict at every prior, from pixels to detections without a decision."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor, nn

from motedet.export.candidates import chosen
from motedet.export.grids import GridTables, grid_tables, single_cells
from motedet.export.suppression import surviving
from motedet.geometry.coders import decode_ltrb
from motedet.models.detectors import FCOS, ATSSDetector, AutoAssign, HeadOutputs, RetinaNet, TTFNet

DenseDetector = RetinaNet | ATSSDetector | FCOS | AutoAssign | TTFNet
DENSE: Final = (RetinaNet, ATSSDetector, FCOS, AutoAssign, TTFNet)

Found = tuple[Tensor, Tensor, Tensor, Tensor]
"""[D] int64 image, [D, 4] boxes, [D] scores and [D] int64 labels: image by image, best first."""


class DenseGraph(nn.Module):
    """What `detector.predict` does, for images whose sizes are a tensor."""

    def __init__(self, detector: DenseDetector) -> None:
        super().__init__()
        self.detector = detector
        self._levels = single_cells(detector.spec.priors)

    def forward(self, pixels: Tensor, sizes: Tensor) -> Found:
        """Detections in images.

        Args:
            pixels: [B, 3, H, W], normalised and padded.
            sizes: [B, 2] int64, (height, width) of each image without its padding.
        """
        detector = self.detector
        outputs: HeadOutputs = detector(pixels)
        rule = detector.spec.postprocess
        grid = grid_tables(self._levels, outputs.level_sizes)
        starts = [0]
        for height, width in outputs.level_sizes[:-1]:
            starts.append(starts[-1] + height * width * detector.spec.priors.per_cell)

        limits = sizes.flip(1).repeat(1, 2).to(torch.float32)  # [B, 4]
        if isinstance(detector, TTFNet):
            limits = limits - 1  # as published, boxes end at the last pixel
            picked = chosen(outputs._replace(ctrness=None), starts, rule)
            score = picked.score * _gathered_iou(outputs, picked.prior)
            # what is out stays below 0, if not at OUT
            picked = picked._replace(score=score.where(picked.score >= 0, picked.score))
        else:
            picked = chosen(outputs, starts, rule)
        raw = outputs.boxes.gather(1, picked.prior[..., None].expand(-1, -1, 4))  # [B, N, 4]
        decode = decoder_of(detector)
        boxes = decode(raw.flatten(0, 1), grid, picked.prior.flatten())  # [B * N, 4]
        return surviving(boxes.view(raw.shape), picked.score, picked.label, limits, rule)


def decoder_of(detector: DenseDetector) -> Callable[[Tensor, GridTables, Tensor], Tensor]:
    """What makes boxes [N, 4] of raw values [N, 4] at priors [N] of a grid."""
    if isinstance(detector, RetinaNet | ATSSDetector):
        coder = detector.spec.coder
        return lambda raw, grid, prior: coder.decode(grid.boxes[prior], raw)
    if isinstance(detector, AutoAssign) or (
        isinstance(detector, FCOS) and not detector.spec.head.in_strides
    ):
        return lambda raw, grid, prior: decode_ltrb(grid.points[prior], raw)
    return lambda raw, grid, prior: decode_ltrb(
        grid.points[prior], raw * grid.strides[prior][:, None]
    )


def _gathered_iou(outputs: HeadOutputs, prior: Tensor) -> Tensor:
    """[B, N] in [0, 1], the predicted IoU at priors [B, N]; 1 where there is none."""
    if outputs.ctrness is None:  # TTFNet's head always has the branch
        return torch.ones_like(prior, dtype=outputs.logits.dtype)
    return outputs.ctrness.gather(1, prior).sigmoid()
