"""Losses on decoded boxes that measure their overlap."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from motedet.geometry import aligned_ciou, aligned_diou, aligned_giou, aligned_iou


@dataclass(frozen=True, kw_only=True)
class IoULoss:
    """Loss from the plain IoU (Yu et al. 2016, arXiv 1608.01471); no gradient without overlap.

    Attributes:
        mode: `log` -ln(IoU), `linear` 1 - IoU, `square` 1 - IoU^2.
        eps: smallest IoU.
        weight: multiplies the result.
    """

    kind: Literal["iou"] = "iou"
    mode: Literal["log", "linear", "square"] = "log"
    eps: float = 1e-6
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check `eps` and `weight`."""
        _check(self.eps, self.weight)

    def __call__(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Loss of boxes [N, 4] against [N, 4], xyxy; returns [N], not reduced."""
        iou = aligned_iou(pred_boxes, target_boxes).clamp(min=self.eps)  # [N]
        if self.mode == "log":
            return self.weight * -torch.log(iou)
        return self.weight * (1 - (iou if self.mode == "linear" else iou**2))


@dataclass(frozen=True, kw_only=True)
class GIoULoss:
    """1 - generalised IoU (Rezatofighi et al. 2019, arXiv 1902.09630).

    Attributes:
        eps: smallest union and hull area, in square pixels.
        weight: multiplies the result.
        plus_one: a box from 2 to 5 is 4 px wide instead of 3, as in old code and in TTFNet: boxes
            a pixel apart still touch. It matters for boxes of a few pixels.
    """

    kind: Literal["giou"] = "giou"
    eps: float = 1e-6
    weight: float = 1.0
    plus_one: bool = False

    def __post_init__(self) -> None:
        """Check `eps` and `weight`."""
        _check(self.eps, self.weight)

    def __call__(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Loss of boxes [N, 4] against [N, 4], xyxy; returns [N] in [0, 2], not reduced."""
        if self.plus_one:
            pred_boxes, target_boxes = _plus_one(pred_boxes), _plus_one(target_boxes)
        return self.weight * (1 - aligned_giou(pred_boxes, target_boxes, eps=self.eps))


@dataclass(frozen=True, kw_only=True)
class DIoULoss:
    """1 - distance IoU (Zheng et al. 2020, arXiv 1911.08287, eq. 7).

    Attributes:
        eps: added to the union and to the squared diagonal of the hull.
        weight: multiplies the result.
    """

    kind: Literal["diou"] = "diou"
    eps: float = 1e-6
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check `eps` and `weight`."""
        _check(self.eps, self.weight)

    def __call__(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Loss of boxes [N, 4] against [N, 4], xyxy; returns [N] in [0, 2], not reduced."""
        return self.weight * (1 - aligned_diou(pred_boxes, target_boxes, eps=self.eps))


@dataclass(frozen=True, kw_only=True)
class CIoULoss:
    """1 - complete IoU (Zheng et al. 2020, arXiv 1911.08287, eq. 10).

    A box equal to its target has loss 0; the published code gives NaN there (0 / 0).

    Attributes:
        eps: added to the union, to the squared diagonal of the hull and to the heights.
        weight: multiplies the result.
    """

    kind: Literal["ciou"] = "ciou"
    eps: float = 1e-6
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check `eps` and `weight`."""
        _check(self.eps, self.weight)

    def __call__(self, pred_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """Loss of boxes [N, 4] against [N, 4], xyxy; returns [N] in [0, 2], not reduced."""
        return self.weight * (1 - aligned_ciou(pred_boxes, target_boxes, eps=self.eps))


def _plus_one(boxes: Tensor) -> Tensor:
    """[N, 4] boxes one pixel wider and higher."""
    return torch.cat((boxes[:, :2], boxes[:, 2:] + 1), dim=1)


def _check(eps: float, weight: float) -> None:
    """Raise ValueError unless `eps` is positive and `weight` is not negative."""
    if eps <= 0 or weight < 0:
        raise ValueError(
            f"eps must be positive and weight must not be negative; got {eps} and {weight}."
        )
