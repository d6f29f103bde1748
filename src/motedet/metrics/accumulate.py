"""From judged detections of one class, best score first, to one number."""

from typing import Final

import numpy as np

from motedet.metrics.entries import Bools, Floats, Ints
from motedet.metrics.scores import UNDEFINED
from motedet.metrics.tables import DetectionTable

RECALLS: Final = np.linspace(0.0, 1.0, 101)
EPS: Final = float(np.spacing(1.0))  # in the published denominators


def rows_by_class(found: DetectionTable, *, num_classes: int) -> list[Ints]:
    """Rows of the detections of each class, best score first; ties keep their order.

    Args:
        found: D detections, sorted by image.
        num_classes: K.
    """
    order = np.lexsort((-found.scores, found.category))  # [D]
    bounds = np.searchsorted(found.category[order], np.arange(1, num_classes))
    return np.split(order, bounds)


def interpolated_ap(positive: Bools, false: Bools, *, num_objects: int) -> tuple[float, float]:
    """COCO's average precision, a mean over 101 recalls, and the highest recall.

    Args:
        positive: [N] found an object, best score first.
        false: [N] found none; those that are neither do not count.
        num_objects: that are to be found.

    Returns:
        Both are -1 where there are no objects.
    """
    if num_objects == 0:
        return UNDEFINED, UNDEFINED
    if not len(positive):
        return 0.0, 0.0
    tp, fp = positive.cumsum(), false.cumsum()  # [N], [N]
    recall = tp / num_objects
    precision = tp / (fp + tp + EPS)
    place = np.searchsorted(recall, RECALLS)  # [101], N where the recall is never reached
    return float(np.append(_falling(precision), 0.0)[place].mean()), float(recall[-1])


def area_under_curve(positive: Bools, false: Bools, *, num_objects: int) -> tuple[float, float]:
    """The average precision of VOC 2010, the area under the whole curve, and the highest recall.

    Args:
        positive: [N] found an object, best score first.
        false: [N] found none; those that are neither do not count.
        num_objects: by which recall is divided; 0 counts as 1.
    """
    tp, fp = positive.cumsum(), false.cumsum()  # [N], [N]
    recall = np.concatenate([[0.0], tp / max(1, num_objects)])  # [N + 1]
    precision = _falling(tp / np.maximum(1, tp + fp))  # [N]
    return float((np.diff(recall) * precision).sum()), float(recall[-1])


def recall_at(
    rates: Floats, positive: Bools, false: Bools, *, num_objects: int, num_images: int
) -> tuple[Floats, float]:
    """The recalls at some rates of false positives per image, and the highest recall.

    Args:
        rates: [R] false positives per image.
        positive: [N] found an object, best score first.
        false: [N] found none; those that are neither do not count.
        num_objects: that are to be found, at least 1.
        num_images: with and without objects.

    Returns:
        [R] nan where already the first detection goes beyond the rate; and the highest.
    """
    if not len(positive):
        return np.zeros(len(rates)), 0.0
    recall = positive.cumsum() / num_objects  # [N]
    place = np.searchsorted(false.cumsum() / num_images, rates, side="right")  # [R]
    return np.concatenate([[np.nan], recall])[place], float(recall[-1])


def _falling(precision: Floats) -> Floats:
    """[N] at each place the highest precision from there on."""
    return np.maximum.accumulate(precision[::-1])[::-1]
