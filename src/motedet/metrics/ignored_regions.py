"""Parts of images in which nothing of any class counts, as VisDrone has them."""

from typing import Final

import numpy as np

from motedet.metrics.entries import Bools, Floats, Ints
from motedet.metrics.tables import GroundTruthTable

REGION_NAMES: Final = ("ignored regions", "ignored region", "ignored", "ignore")
OTHER_NAMES: Final = ("others", "other")
"""Classes that are not scored."""


def scored_classes(truth: GroundTruthTable) -> Bools:
    """[K] all but classes that by their names are ignored regions, or objects of other classes."""
    return ~_named(truth, (*REGION_NAMES, *OTHER_NAMES))


def find_regions(truth: GroundTruthTable) -> Bools:
    """[G] annotations that are ignored regions.

    They are of a class of that name, or crowds that are listed once for every scored class, as COCO
    files have them whose format knows no region of all classes.
    """
    scored = scored_classes(truth)
    crowd = truth.crowd & scored[truth.category]  # [G]
    boxes = np.column_stack([truth.image, truth.boxes_xywh])[crowd]  # [N, 5]
    place = np.unique(boxes, axis=0, return_inverse=True)[1].reshape(-1)  # [N]
    listed = np.unique(np.column_stack([place, truth.category[crowd]]), axis=0)[:, 0]
    times = np.bincount(listed, minlength=1)
    region = _named(truth, REGION_NAMES)[truth.category]  # [G]
    if scored.sum() > 1:
        region[crowd] |= times[place] == scored.sum()
    return region


def inside_regions(
    boxes_xywh: Floats, image: Ints, *, regions_xywh: Floats, region_image: Ints
) -> Bools:
    """Whether boxes have half of their area or more in the regions of their image.

    Boxes and regions are rounded to whole pixels, and regions that overlap count once, as where
    they are painted into a mask.

    Args:
        boxes_xywh: [N, 4].
        image: [N].
        regions_xywh: [R, 4].
        region_image: [R].
    """
    inside = np.zeros(len(boxes_xywh), dtype=np.bool_)
    corners, regions = _whole_pixels(boxes_xywh), _whole_pixels(regions_xywh)
    for i in np.unique(region_image).tolist():
        rows = np.flatnonzero(image == i)
        inside[rows] = _covered(corners[rows], regions[region_image == i]) >= 0.5
    return inside


def _covered(boxes: Floats, regions: Floats) -> Floats:
    """[N] share of each [N, 4] xyxy box that is inside of the union of [R, 4] xyxy regions."""
    x, y = np.unique(regions[:, ::2]), np.unique(regions[:, 1::2])  # cells between all sides
    in_column = (regions[:, 0] <= x[:-1, None]) & (regions[:, 2] >= x[1:, None])  # [X, R]
    in_row = (regions[:, 1] <= y[:-1, None]) & (regions[:, 3] >= y[1:, None])  # [Y, R]
    painted = in_column.astype(np.float64) @ in_row.T > 0  # [X, Y]
    width, height = _common(boxes[:, ::2], x), _common(boxes[:, 1::2], y)  # [N, X], [N, Y]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    share: Floats = (width @ painted * height).sum(axis=1) / area
    return share


def _common(spans: Floats, edges: Floats) -> Floats:
    """[N, X] length that [N, 2] spans have in common with the intervals between [X + 1] edges."""
    low = np.maximum(spans[:, :1], edges[:-1])  # [N, X]
    return (np.minimum(spans[:, 1:], edges[1:]) - low).clip(min=0)


def _whole_pixels(boxes_xywh: Floats) -> Floats:
    """[N, 4] xyxy with corner and sides rounded, sides at least 1."""
    rounded = np.floor(boxes_xywh + 0.5)
    return np.hstack([rounded[:, :2], rounded[:, :2] + rounded[:, 2:].clip(min=1)])


def _named(truth: GroundTruthTable, names: tuple[str, ...]) -> Bools:
    """[K] classes of some names, however they are spelt."""
    plain = [name.lower().replace("-", " ").replace("_", " ") for name in truth.classes]
    return np.array([name in names for name in plain], dtype=np.bool_)
