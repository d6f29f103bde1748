"""Similarity of boxes from their places and shapes: SimD (Shi et al. 2024, arXiv 2407.02394)."""

from typing import Final

import torch
from torch import Tensor

from motedet.geometry.boxes import corners

EPS: Final = 1e-6  # added to every side, as in the released code: boxes without area have a SimD


def similarity_distance(boxes: Tensor, others: Tensor, *, m: float, n: float) -> Tensor:
    """SimD of corresponding boxes (equations 1 to 3).

        location = sqrt((m (x - x') / (w + w'))^2 + (n (y - y') / (h + h'))^2)
        shape    = sqrt((m (w - w') / (w + w'))^2 + (n (h - h') / (h + h'))^2)
        SimD     = exp(-(location + shape))

    The larger m and n are, the nearer the boxes have to be. The paper writes m and n as divisors of
    the sum of the sides, which is the same.

    Args:
        boxes: [..., 4] xyxy in pixels.
        others: [..., 4] xyxy in pixels.
        m: weight of x and of the widths, above 0.
        n: weight of y and of the heights, above 0.

    Returns:
        [...] in [0, 1], 1 for equal boxes; 0 where float32 has no smaller number.
    """
    x1, y1, x2, y2 = corners(boxes, "boxes")
    ox1, oy1, ox2, oy2 = corners(others, "others")
    w, h = x2 - x1 + EPS, y2 - y1 + EPS
    ow, oh = ox2 - ox1 + EPS, oy2 - oy1 + EPS
    weight_x, weight_y = m / (w + ow), n / (h + oh)  # [...]
    dx, dy = (x1 + x2) / 2 - (ox1 + ox2) / 2, (y1 + y2) / 2 - (oy1 + oy2) / 2
    location = ((dx * weight_x) ** 2 + (dy * weight_y) ** 2).sqrt()
    shape = (((w - ow) * weight_x) ** 2 + ((h - oh) * weight_y) ** 2).sqrt()
    return torch.exp(-(location + shape))
