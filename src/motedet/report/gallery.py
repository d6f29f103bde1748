"""Which images of a validation set are worth showing: the best and the worst."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from motedet.errors import ShapeError
from motedet.report.matching import IntArray, Matches, covered, match_greedily
from motedet.structures import Detections, Targets

IGNORE_COVER = 0.5  # a detection that lies in an ignore region by this share counts for nothing


@dataclass(frozen=True, slots=True)
class ImageQuality:
    """How well one image was understood.

    Attributes:
        found: objects with a detection.
        false: detections without an object.
        missed: objects without a detection.
        mean_iou: of the found objects with their detections; 0 if there are none.
    """

    found: int
    false: int
    missed: int
    mean_iou: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 for an empty image left empty."""
        mistakes = self.false + self.missed
        return 2 * self.found / (2 * self.found + mistakes) if self.found or mistakes else 1.0

    @property
    def summary(self) -> str:
        """In words, for a caption."""
        return f"F1 {self.f1:.2f}: {self.found} found, {self.false} false, {self.missed} missed"


def per_image_quality(
    detections: Detections, truth: Targets, *, iou: float = 0.5, score_thresh: float = 0.3
) -> ImageQuality:
    """Compare the detections of one image with the truth.

    Args:
        detections: D of them, in the pixels of the truth; D may be 0.
        truth: G objects; G may be 0. Detections in its ignore regions do not count as false.
        iou: least overlap of a detection with the object it found.
        score_thresh: detections below are left out.
    """
    scores, matches, counted = _compare(detections, truth, iou)
    kept = scores >= score_thresh  # [D]
    hit = (matches.gt_index >= 0) & kept
    found = int(hit.sum())
    return ImageQuality(
        found=found,
        false=int((counted & kept & ~hit).sum()),
        missed=len(truth.boxes) - found,
        mean_iou=float(matches.iou[hit].mean()) if found else 0.0,
    )


def best_score_thresh(
    detections: Sequence[Detections], truths: Sequence[Targets], *, iou: float = 0.5
) -> float:
    """The score from which on detections are best kept: the highest F1 over all images.

    Args:
        detections: one record per image.
        truths: of the same images.
        iou: least overlap of a detection with the object it found.

    Returns:
        In 0-1; 0.5 where nothing was found at all.

    Raises:
        ShapeError: if the lists differ in length.
    """
    if len(detections) != len(truths):
        raise ShapeError(
            f"Need detections and truth of the same images; got {len(detections)}, {len(truths)}."
        )
    compared = [_compare(d, t, iou) for d, t in zip(detections, truths, strict=True)]
    if not compared:
        return 0.5
    counted = np.concatenate([c for _, _, c in compared])  # [D], D over all images
    scores = np.concatenate([s for s, _, _ in compared])[counted]
    hits = np.concatenate([m.gt_index >= 0 for _, m, _ in compared])[counted]
    if not hits.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    scores, hits = scores[order], hits[order]
    total = sum(len(t.boxes) for t in truths)
    f1 = 2 * np.cumsum(hits) / (np.arange(1, len(hits) + 1) + total)  # [D]
    last_of_score = np.append(scores[1:] != scores[:-1], True)  # equal scores stay together
    return float(scores[int(np.where(last_of_score, f1, -1.0).argmax())])


def best_and_worst(
    qualities: Sequence[ImageQuality], *, count: int = 4
) -> tuple[list[int], list[int]]:
    """Pick the images to show; none is in both lists.

    Among equals, the best are those with more objects and tighter boxes, the worst those with more
    mistakes. An image without a mistake is never among the worst.

    Args:
        qualities: one per image.
        count: most images in each list.

    Returns:
        Positions of the best, best first, and of the worst, worst first.
    """
    by_worth = sorted(
        range(len(qualities)),
        key=lambda i: (-qualities[i].f1, -qualities[i].found, -qualities[i].mean_iou),
    )
    half = min(count, (len(qualities) + 1) // 2)
    best = [i for i in by_worth if qualities[i].found][:half]
    rest = [i for i in by_worth if i not in best and _mistakes(qualities[i])]
    worst = sorted(rest, key=lambda i: (qualities[i].f1, -_mistakes(qualities[i])))[:count]
    return best, worst


def _mistakes(quality: ImageQuality) -> int:
    """False detections and missed objects."""
    return quality.false + quality.missed


def _compare(
    detections: Detections, truth: Targets, iou: float
) -> tuple[NDArray[np.float64], Matches, NDArray[np.bool_]]:
    """Scores [D] in descending order, matches, and whether each detection counts, [D] bool."""
    scores = _floats(detections.scores)
    order = np.argsort(-scores, kind="stable")  # [D]
    boxes = _floats(detections.boxes)[order]
    matches = match_greedily(
        boxes,
        _ints(detections.labels)[order],
        gt_boxes=_floats(truth.boxes),
        gt_labels=_ints(truth.labels),
        match_iou=iou,
    )
    ignored = covered(boxes, _floats(truth.ignore_boxes)) >= IGNORE_COVER
    return scores[order], matches, (matches.gt_index >= 0) | ~ignored


def _floats(values: Tensor) -> NDArray[np.float64]:
    """A tensor as a float64 array."""
    array: NDArray[np.float64] = values.detach().cpu().numpy().astype(np.float64)
    return array


def _ints(values: Tensor) -> IntArray:
    """A tensor as an int64 array."""
    array: IntArray = values.detach().cpu().numpy().astype(np.int64)
    return array
