"""How a box is written relative to its prior: deltas of an anchor, or distances from a point."""

import math
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.errors import ShapeError
from motedet.geometry.boxes import boxes_from_cxcywh, boxes_to_cxcywh, clip_boxes, corners
from motedet.structures import Size

MAX_LOG_RATIO: Final = abs(math.log(16 / 1000))  # Detectron: a box is at most 62.5 times its prior

Quadruple = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class DeltaCoder:
    """Shift of the centre in prior sizes, and logarithm of the size ratio (Girshick et al. 2014).

    Attributes:
        mean: subtracted from (dx, dy, dw, dh) when encoding.
        std: divides them afterwards.
        ctr_clamp: if given, decoded centres move at most this many pixels, and size ratios are
            limited from above only (YOLOF, arXiv 2103.09460).
    """

    kind: Literal["delta"] = "delta"
    mean: Quadruple = (0.0, 0.0, 0.0, 0.0)
    std: Quadruple = (1.0, 1.0, 1.0, 1.0)
    ctr_clamp: float | None = None

    def __post_init__(self) -> None:
        """Reject scales that cannot be inverted.

        Raises:
            ValueError: if a std or the clamp is not positive.
        """
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive; got {self.std}.")
        if self.ctr_clamp is not None and self.ctr_clamp <= 0:
            raise ValueError(f"ctr_clamp must be positive; got {self.ctr_clamp}.")

    def encode(self, priors: Tensor, boxes: Tensor) -> Tensor:
        """Deltas that lead from priors to boxes.

        Args:
            priors: [N, 4] xyxy in pixels.
            boxes: [N, 4] xyxy in pixels; a side of 0 gives -inf, as published.

        Returns:
            [N, 4] (dx, dy, dw, dh).
        """
        px, py, pw, ph = boxes_to_cxcywh(priors).unbind(-1)
        gx, gy, gw, gh = boxes_to_cxcywh(boxes).unbind(-1)
        deltas = ((gx - px) / pw, (gy - py) / ph, torch.log(gw / pw), torch.log(gh / ph))
        scaled = [(d - m) / s for d, m, s in zip(deltas, self.mean, self.std, strict=True)]
        return torch.stack(scaled, dim=-1)  # [N, 4]

    def decode(self, priors: Tensor, deltas: Tensor, max_size: Size | None = None) -> Tensor:
        """Boxes to which deltas lead from priors.

        Args:
            priors: [N, 4] xyxy in pixels.
            deltas: [N, 4], or [N, 4 * K] with one quadruple per class.
            max_size: (height, width) to which boxes are clipped.

        Returns:
            Shaped like `deltas`, xyxy in pixels.

        Raises:
            ShapeError: if `deltas` does not consist of quadruples.
        """
        if deltas.ndim != 2 or deltas.shape[-1] % 4:
            raise ShapeError(f"deltas must be [N, 4 * K]; got {list(deltas.shape)}.")
        num_classes = deltas.shape[-1] // 4
        quadruples = deltas.reshape(deltas.shape[0], num_classes, 4).unbind(-1)  # 4 of [N, K]
        columns = zip(quadruples, self.mean, self.std, strict=True)
        dx, dy, dw, dh = [d * s + m for d, m, s in columns]

        px, py, pw, ph = boxes_to_cxcywh(priors)[:, None].unbind(-1)  # [N, 1]
        shift_x, shift_y = pw * dx, ph * dy  # [N, K]
        lowest = -MAX_LOG_RATIO
        if self.ctr_clamp is not None:
            shift_x = shift_x.clamp(-self.ctr_clamp, self.ctr_clamp)
            shift_y = shift_y.clamp(-self.ctr_clamp, self.ctr_clamp)
            lowest = -math.inf
        width = pw * dw.clamp(lowest, MAX_LOG_RATIO).exp()  # [N, K]
        height = ph * dh.clamp(lowest, MAX_LOG_RATIO).exp()  # [N, K]

        centered = torch.stack((px + shift_x, py + shift_y, width, height), dim=-1)  # [N, K, 4]
        boxes = boxes_from_cxcywh(centered)
        if max_size is not None:
            boxes = clip_boxes(boxes, max_size)
        return boxes.flatten(-2)


@dataclass(frozen=True, kw_only=True)
class LTRBCoder:
    """Distances from a point to the left, top, right and bottom side (FCOS, arXiv 1904.01355).

    Attributes:
        max_dis: if given, encoded distances are clamped to [0, max_dis - 0.1].
    """

    kind: Literal["ltrb"] = "ltrb"
    max_dis: float | None = None

    def __post_init__(self) -> None:
        """Reject an empty range.

        Raises:
            ValueError: if `max_dis` leaves no distance.
        """
        if self.max_dis is not None and self.max_dis <= 0.1:
            raise ValueError(f"max_dis must be above 0.1; got {self.max_dis}.")

    def encode(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Distances from points [N, 2] to the sides of boxes [N, 4]; returns [N, 4]."""
        ltrb = encode_ltrb(points, boxes)
        return ltrb if self.max_dis is None else ltrb.clamp(0, self.max_dis - 0.1)

    def decode(self, points: Tensor, ltrb: Tensor, max_size: Size | None = None) -> Tensor:
        """Boxes [N, 4] around points [N, 2] from distances [N, 4], clipped if `max_size`."""
        return decode_ltrb(points, ltrb, max_size)


def encode_ltrb(points: Tensor, boxes: Tensor) -> Tensor:
    """Distances from points to the sides of boxes.

    Args:
        points: [..., 2] (x, y) in pixels.
        boxes: [..., 4] xyxy in pixels.

    Returns:
        [..., 4] left, top, right, bottom; all positive where the point is inside.
    """
    x, y = points.unbind(-1)
    x1, y1, x2, y2 = corners(boxes)
    return torch.stack((x - x1, y - y1, x2 - x, y2 - y), dim=-1)


def decode_ltrb(points: Tensor, ltrb: Tensor, max_size: Size | None = None) -> Tensor:
    """Boxes from points and distances to the sides.

    Args:
        points: [..., 2] (x, y) in pixels.
        ltrb: [..., 4] left, top, right, bottom in pixels.
        max_size: (height, width) to which boxes are clipped.

    Returns:
        [..., 4] xyxy in pixels.
    """
    x, y = points.unbind(-1)
    left, top, right, bottom = corners(ltrb, "ltrb")
    boxes = torch.stack((x - left, y - top, x + right, y + bottom), dim=-1)
    return boxes if max_size is None else clip_boxes(boxes, max_size)
