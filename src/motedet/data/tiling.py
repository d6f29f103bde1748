"""Large images as a plan of windows: where they lie, and boxes into them and back.

By default the plan is that of DOTA's development kit (Xia et al. 2018, arXiv 1711.10398): windows
of one size at regular steps, row by row, the last of a row or column moved back inside.
"""

from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from motedet.structures import Size

Plan = Literal["inside", "clipped", "corners"]
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


def windows(
    size: Size, *, window: int | Size, overlap: int | Size, plan: Plan = "inside"
) -> tuple[Window, ...]:
    """Windows that cover an image.

    Along a side that is shorter than the window, the window has the length of the side. An object
    of at most `overlap` pixels lies whole in at least one window.

    Args:
        size: (height, width) of the image.
        window: both sides of a window, or (height, width).
        overlap: shared by neighbours, at least; along both sides, or (vertically, horizontally).
        plan: what happens at the end of a row or column. "inside": its last window is moved back
            inside, as DOTA's kit has it and TinyPerson's tests and released tiles (Yu et al. 2020,
            arXiv 1912.10664). "clipped": it ends with the image. "corners": windows start at every
            step there is, column by column, so that the last ones can be slivers that the ones
            before them hold already; TinyPerson's generator of corners, kept for what it has made.

    Raises:
        ValueError: unless the image and the window are positive and 0 <= overlap < window.
    """
    sides, shared = _both(window), _both(overlap)
    if min(*size, *sides) < 1:
        raise ValueError(f"image and window must be positive; got size {size}, window {window}.")
    if not all(0 <= o < w for o, w in zip(shared, sides, strict=True)):
        raise ValueError(
            f"overlap must be at least 0 and less than the window {window}; got {overlap}."
        )
    rows, columns = (
        _spans(side, w, o, plan) for side, w, o in zip(size, sides, shared, strict=True)
    )
    if plan == "corners":
        places = [(row, column) for column in columns for row in rows]
    else:
        places = [(row, column) for row in rows for column in columns]
    return tuple(
        Window(x=left, y=top, width=right - left, height=bottom - top)
        for (top, bottom), (left, right) in places
    )


def window_of_pieces(size: Size, *, pieces: Size, overlap: int | Size) -> Size:
    """The window of which so many cover an image with the plan "clipped".

    Args:
        size: (height, width) of the image.
        pieces: windows in a column and in a row.
        overlap: as in `windows`.

    Returns:
        (height, width) of the window.
    """
    shared = _both(overlap)
    height, width = (
        -(-(side - o) // n) + o for side, n, o in zip(size, pieces, shared, strict=True)
    )
    return height, width


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


def _both(value: int | Size) -> Size:
    """(vertical, horizontal)."""
    return (value, value) if isinstance(value, int) else value


def _spans(side: int, window: int, overlap: int, plan: Plan) -> list[tuple[int, int]]:
    """(start, end) of the windows along one side of the image."""
    last, step = max(side - window, 0), window - overlap
    if plan == "inside":
        starts = [*range(0, last, step), last]
    elif plan == "clipped":
        starts = list(range(0, max(side - overlap, 1), step))
    else:
        starts = list(range(0, side, step))
    return [(start, min(start + window, side)) for start in starts]
