"""Large images as a plan of windows: where they lie, and boxes into them and back.

The plan is that of DOTA's development kit (Xia et al. 2018, arXiv 1711.10398): windows of one size
at regular steps, the last of a row or column moved back inside.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from motedet.structures import Size

Boxes = TypeVar("Boxes", NDArray[np.float64], Tensor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of an image, in pixels.

    Attributes:
        x: of the left side.
        y: of the upper side.
        width: of the part.
        height: of the part.
    """

    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.height, self.width

    @property
    def offset(self) -> tuple[int, int, int, int]:
        """What lies between a box (xyxy) of the window and the same box of the image."""
        return self.x, self.y, self.x, self.y

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """Xyxy in the image."""
        return self.x, self.y, self.x + self.width, self.y + self.height


def windows(size: Size, *, window: int, overlap: int) -> tuple[Window, ...]:
    """Windows that cover an image, row by row.

    Along a side that is shorter than the window, the window has the length of the side. An object
    of at most `overlap` pixels lies whole in at least one window.

    Args:
        size: (height, width) of the image.
        window: both sides of a window.
        overlap: shared by neighbours, at least.

    Raises:
        ValueError: unless the image and the window are positive and 0 <= overlap < window.
    """
    if min(*size, window) < 1:
        raise ValueError(f"image and window must be positive; got size {size}, window {window}.")
    if not 0 <= overlap < window:
        raise ValueError(
            f"overlap must be at least 0 and less than the window {window}; got {overlap}."
        )
    height, width = (min(window, side) for side in size)
    return tuple(
        Window(x=x, y=y, width=width, height=height)
        for y in _starts(size[0], window, overlap)
        for x in _starts(size[1], window, overlap)
    )


def cut_boxes(
    boxes: NDArray[np.float64], window: Window
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes as they are seen through a window.

    Args:
        boxes: [N, 4] xyxy in pixels of the image.
        window: the part that is seen.

    Returns:
        [N, 4] xyxy in pixels of the window, cut at its border; and [N] the share of their area
        that is inside, exactly 1 where all of it is, 0 for boxes without area or outside.
    """
    x1, y1, x2, y2 = window.corners
    low = boxes[:, :2].clip([x1, y1], [x2, y2])  # [N, 2]
    high = boxes[:, 2:].clip([x1, y1], [x2, y2])  # [N, 2]
    inside = (high - low).prod(axis=1)  # [N]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)  # [N]
    share = np.zeros(len(boxes))
    np.divide(inside, area, out=share, where=area > 0)
    return np.concatenate([low, high], axis=1) - np.array(window.offset), share


def boxes_to_image(boxes: Boxes, window: Window) -> Boxes:
    """Boxes of a window in the coordinates of the image.

    Args:
        boxes: [N, 4] xyxy in pixels of the window.
        window: where they were seen.

    Returns:
        [N, 4] xyxy in pixels of the image.
    """
    if isinstance(boxes, Tensor):
        return boxes + boxes.new_tensor(window.offset)
    return boxes + np.array(window.offset, dtype=np.float64)


def _starts(side: int, window: int, overlap: int) -> list[int]:
    """Where the windows start along one side of the image."""
    last = max(side - window, 0)
    return [*range(0, last, window - overlap), last]
