"""Large images through windows: cut in memory for training, looked at piece by piece afterwards."""

# ruff: noqa: RUF009 - the defaults are frozen dataclasses

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from motedet.data.annotations import no_objects
from motedet.data.cut_objects import AnyCutRule, VisibleShare
from motedet.data.records import Catalog, ImageRecord, numbered, refuse_fatal
from motedet.data.tiling import Plan, Window, windows
from motedet.geometry.merge import AnyMerge, SeamMerge
from motedet.structures import Size


@dataclass(frozen=True, kw_only=True)
class TrainTiles:
    """How training images are cut into windows; nothing is written to disk.

    Attributes:
        size: both sides of a window in pixels, or (height, width).
        overlap: shared by neighbours in pixels, at least; or (vertically, horizontally).
        plan: where windows lie, see `motedet.data.tiling.windows`.
        objects: what becomes of objects that a window shows only in part.
        empty: share of the windows without objects that is trained on.
    """

    size: int | Size = 640
    overlap: int | Size = 100
    plan: Plan = "inside"
    objects: AnyCutRule = VisibleShare()
    empty: float = 0.1

    def __post_init__(self) -> None:
        """Check the numbers."""
        self.windows((1, 1))
        if not 0 <= self.empty <= 1:
            raise ValueError(f"empty must be a share in [0, 1]; got {self.empty}.")

    def windows(self, size: Size) -> tuple[Window, ...]:
        """The windows of an image of (height, width) pixels."""
        return windows(size, window=self.size, overlap=self.overlap, plan=self.plan)


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How a whole image is looked at in windows, and what they saw is put together.

    Attributes:
        size: both sides of a window in pixels, or (height, width).
        overlap: shared by neighbours, in pixels, at least. Objects up to this size are whole in
            some window.
        merge: how detections of all windows become those of the image.
        max_per_image: at most so many are returned, the best ones; None for all.
        seam: a box that comes this close to the end of its window, in pixels, where the image goes
            on, counts as cut.
    """

    size: int | Size = 640
    overlap: int = 100
    merge: AnyMerge = SeamMerge()
    max_per_image: int | None = None
    seam: float = 2.0

    def __post_init__(self) -> None:
        """Check the numbers."""
        self.windows((1, 1))
        if self.max_per_image is not None and self.max_per_image < 1:
            raise ValueError(f"max_per_image must be at least 1; got {self.max_per_image}.")

    def windows(self, size: Size) -> tuple[Window, ...]:
        """The windows of an image of (height, width) pixels."""
        return windows(size, window=self.size, overlap=self.overlap)


def cut_windows(
    catalog: Catalog, tiles: TrainTiles, *, seed: int, min_size: float = 1.0
) -> Catalog:
    """The windows of all images as images of their own, which are read from the same files.

    Images and annotations are numbered anew from 1, because an object can be in several windows.
    Which windows without objects stay depends on the seed and on the number of their image alone.

    Args:
        catalog: as prepared for training; its images may be parts of files already.
        tiles: how to cut.
        seed: of the choice among windows without objects.
        min_size: of what a window shows, boxes with a shorter side are left out, in pixels.

    Raises:
        DataError: if no object is left.
    """
    records: list[ImageRecord] = []
    for row, record in enumerate(catalog.records):
        plan = tiles.windows((record.height, record.width))
        draws = np.random.default_rng([seed, row]).random(len(plan))
        for window, draw in zip(plan, draws.tolist(), strict=True):
            seen = _large(tiles.objects(record, window), min_size)
            if draw < tiles.empty or _counted(seen).any():
                records.append(replace(seen, window=_within(record.window, window)))
    result = replace(catalog, records=numbered(records))
    if not any(_counted(record).any() for record in records):
        refuse_fatal([no_objects(result)])
    return result


def _large(record: ImageRecord, min_size: float) -> ImageRecord:
    """The record without boxes that have a side under `min_size` pixels."""
    sides = record.boxes[:, 2:] - record.boxes[:, :2]  # [G, 2]
    return record[np.asarray((sides >= min_size).all(axis=1))]


def _counted(record: ImageRecord) -> NDArray[np.bool_]:
    """[G] bool, the annotations that are objects to learn from."""
    return ~(record.crowd | record.ignore)


def _within(outer: Window | None, window: Window) -> Window:
    """A window of a part of a file as a window of the file."""
    if outer is None:
        return window
    return replace(window, x=outer.x + window.x, y=outer.y + window.y)
