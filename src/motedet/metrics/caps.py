"""Caps on the number of detections that are scored per image and class."""

import itertools

import numpy as np

from motedet.metrics.entries import Ints
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
    """A sentence on the images that fill the cap of an image and class, if there are any.

    Args:
        found: D detections.
        cap: the largest number that is scored per image and class.
        truth: gives the number of images and classes.
    """
    num_classes = truth.num_classes
    counts = np.bincount(
        found.image * num_classes + found.category, minlength=len(truth.image_ids) * num_classes
    )
    return _note(counts.reshape(-1, num_classes), cap, "image and class")


def image_cap_notes(found: DetectionTable, *, cap: int, truth: GroundTruthTable) -> tuple[str, ...]:
    """The same of a cap that all classes of an image share."""
    counts = np.bincount(found.image, minlength=len(truth.image_ids))
    return _note(counts[:, None], cap, "image")


def _note(counts: Ints, cap: int, group: str) -> tuple[str, ...]:
    """The sentence from [I, groups] numbers of detections."""
    full = counts >= cap
    if not full.any():
        return ()
    images, left_out = int(full.any(axis=1).sum()), int((counts - cap).clip(min=0).sum())
    return (
        f"detection cap reached in {images} images (max {cap} per {group}); "
        f"{left_out} detections were not scored.",
    )
