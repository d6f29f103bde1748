"""What becomes of an object that a window shows only in part: one rule per class here."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from motedet.data.records import ImageRecord
from motedet.data.tiling import Window, cut_boxes


@dataclass(frozen=True, kw_only=True)
class VisibleShare:
    """Objects count from a share of their area on; the rest is not held against the detector.

    DOTA's development kit measures the share on the oriented box, this on the upright one; it keeps
    objects above the share, this also those of exactly the share.

    Attributes:
        min_visible: share of the area inside of the window from which an object is one.
        partial: what becomes of the others: "ignore" makes them regions in which their class does
            not count, "drop" leaves them out, "keep" keeps what is seen of them.
    """

    kind: Literal["visible"] = "visible"
    min_visible: float = 0.7
    partial: Literal["ignore", "drop", "keep"] = "ignore"

    def __post_init__(self) -> None:
        """Check the range."""
        if not 0.0 <= self.min_visible <= 1.0:
            raise ValueError(f"min_visible must be within [0, 1]; got {self.min_visible}.")

    def __call__(self, record: ImageRecord, window: Window) -> ImageRecord:
        """What is true in a window of an image.

        Args:
            record: of the whole image.
            window: a part of it.
        """
        limit = [record.width, record.height] * 2
        boxes, share = cut_boxes(record.boxes.clip(0.0, limit), window)  # [G, 4], [G]
        partial = share < self.min_visible  # [G]
        dropped = partial & ~record.crowd & (self.partial == "drop")
        crowd = record.crowd | (partial & (self.partial == "ignore"))
        return _seen(
            replace(record, boxes=boxes, crowd=crowd, areas=record.areas * share),
            window,
            (share > 0) & ~dropped,
        )


@dataclass(frozen=True, kw_only=True)
class CornerRule:
    """TinyPerson's generator of corners (`generate_corner_dataset` in yinglang/huicv).

    It counts pixels from the first to the last, leaves `area` as it was, and keeps ignored objects
    of any share.

    Attributes:
        min_visible: share of the area from which an object is kept.
        min_side: objects that show no more than so many pixels of either side are dropped.
        min_area: and so are those of no more than so many square pixels.
    """

    kind: Literal["corners"] = "corners"
    min_visible: float = 0.3
    min_side: float = 2.0
    min_area: float = 4.0

    def __call__(self, record: ImageRecord, window: Window) -> ImageRecord:
        """What is true in a window of an image, as `VisibleShare` says it."""
        x1, y1, x2, y2 = window.corners
        low, high = record.boxes[:, :2], record.boxes[:, 2:] - 1  # [G, 2], the last pixels
        first = low.clip([x1, y1], [x2 - 1, y2 - 1])
        last = high.clip([x1, y1], [x2 - 1, y2 - 1])
        share = _ratio((last - first).prod(axis=1), (high - low).prod(axis=1))  # [G]
        sides = last - first + 1
        shown = (share >= 1e-6) & ((share >= self.min_visible) | record.ignore)
        large = (sides > self.min_side).all(axis=1) & (sides.prod(axis=1) > self.min_area)
        boxes = np.concatenate([first, last + 1], axis=1) - np.array(window.offset)
        return _seen(replace(record, boxes=boxes), window, shown & large)


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """TinyPerson's splitter, by which its released tiles were cut (same repository).

    Attributes:
        min_visible: share of the square root of the area from which an object is kept; what the
            release used is not documented.
    """

    kind: Literal["split"] = "split"
    min_visible: float = 0.7

    def __call__(self, record: ImageRecord, window: Window) -> ImageRecord:
        """What is true in a window of an image, as `VisibleShare` says it."""
        boxes, _ = cut_boxes(record.boxes, window)  # [G, 4]
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)  # [G]
        whole = (record.boxes[:, 2:] - record.boxes[:, :2]).prod(axis=1)
        kept = _ratio(np.sqrt(area), np.sqrt(whole)) >= self.min_visible
        return _seen(replace(record, boxes=boxes, areas=area), window, kept)


AnyCutRule = Annotated[VisibleShare | CornerRule | SplitRule, Field(discriminator="kind")]


def _seen(record: ImageRecord, window: Window, keep: NDArray[np.bool_]) -> ImageRecord:
    """The kept objects, in an image of the window's size."""
    return replace(record[keep], width=window.width, height=window.height)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """[G] part / whole, 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
