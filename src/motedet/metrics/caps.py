"""Caps on the number of detections that are scored per image and class."""

import itertools

import numpy as np

from motedet.metrics.tables import DetectionTable, GroundTruthTable


def check_caps(max_dets: tuple[int, ...]) -> None:
    """Raise unless the caps are positive and ascend.

    Raises:
        ValueError: showing them.
    """
    ascending = all(a < b for a, b in itertools.pairwise(max_dets))
    if not max_dets or max_dets[0] < 1 or not ascending:
        raise ValueError(f"max_dets must be positive and ascend; got {max_dets}.")


def cap_notes(found: DetectionTable, *, cap: int, truth: GroundTruthTable) -> tuple[str, ...]:
    """A sentence on the images that fill the cap, if there are any.

    Args:
        found: D detections.
        cap: the largest number that is scored per image and class.
        truth: gives the number of images and classes.
    """
    num_classes = len(truth.category_ids)
    counts = np.bincount(found.image * num_classes + found.category)  # [up to I * K]
    full = np.flatnonzero(counts >= cap)
    if not len(full):
        return ()
    images = len(np.unique(full // num_classes))
    left_out = int((counts[full] - cap).sum())
    return (
        f"detection cap reached in {images} images (max {cap} per image and class); "
        f"{left_out} detections were not scored.",
    )
