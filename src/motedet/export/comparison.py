"""Whether an exported file finds what the detector finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motedet.data import Compose, Sample
from motedet.export import ExportError
from motedet.export.preparation import Preparation
from motedet.export.runtime import start
from motedet.geometry import pairwise_iou
from motedet.models.detectors import Detector
from motedet.models.postprocess import Suppression
from motedet.structures import Detections, Size

BOX: Final = 0.1  # px
SCORE: Final = 1e-3
LOOSE: Final = {"half": (1.0, 0.03)}  # float16 holds 11 bits; int8 is only reported


@dataclass(frozen=True, slots=True)
class Comparison:
    """By how much a file and its detector differ.

    Attributes:
        images: that were compared.
        detections: that both found.
        box: largest difference of a coordinate, in pixels of the network input.
        score: largest difference of a score.
        tied: detections of one side alone, or lowered on one side alone, that a difference of
            `SCORE` in scores, or in an IoU at the suppression, explains.
        missing: those that nothing explains.
    """

    images: int = 0
    detections: int = 0
    box: float = 0.0
    score: float = 0.0
    tied: int = 0
    missing: int = 0

    def plus(self, other: "Comparison") -> "Comparison":
        """Both together."""
        return Comparison(
            self.images + other.images,
            self.detections + other.detections,
            max(self.box, other.box),
            max(self.score, other.score),
            self.tied + other.tied,
            self.missing + other.missing,
        )

    def check(self, precision: str) -> None:
        """Refuse a file that finds something else.

        Raises:
            ExportError: with the differences; int8 is never refused.
        """
        box, score = LOOSE.get(precision, (BOX, SCORE))
        allowed = 0.1 * self.detections if precision == "half" else 0
        if precision != "int8" and (self.box > box or self.score > score or self.missing > allowed):
            raise ExportError(
                f"the exported model differs from the detector: {self}; allowed are {box} px and "
                f"{score}. No file was written."
            )

    def __str__(self) -> str:
        """One line."""
        text = (
            f"{self.detections} detections in {self.images} images, boxes within {self.box:.2g} px,"
            f" scores within {self.score:.2g}"
        )
        return text + (f", {self.missing} found by one side alone" if self.missing else "")


def compare(
    content: bytes,
    detector: Detector,
    preparation: Preparation,
    *,
    size: Size | None,
    images: Sequence[Tensor] = (),
) -> Comparison:
    """Run a file and its detector on the same pixels.

    Args:
        content: of the file.
        detector: in evaluation mode, on the CPU.
        preparation: of the images.
        size: (height, width) of the network input; None for as large as the image.
        images: uint8 [3, H, W] in RGB, compared one by one, after a generated pair.

    Raises:
        ExportError: if an image does not fit the size, or onnxruntime cannot load the file.
    """
    try:
        running = start(content)
    except Exception as error:  # its errors share nothing but this
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"onnxruntime cannot load what was exported: {reason}") from error
    total = _compare(running, detector, preparation, generated(preparation, size), size)
    for image in images:
        sample = Compose(preparation.resizing)(Sample.of_image(image), torch.Generator())
        total = total.plus(_compare(running, detector, preparation, [sample.image], size))
    return total


def generated(preparation: Preparation, size: Size | None) -> list[Tensor]:
    """Two uint8 images [3, h, w] of blurred noise with small squares, the second one smaller."""
    height, width = size or (8 * preparation.pad.divisor, 8 * preparation.pad.divisor)
    generator = torch.Generator().manual_seed(0)
    images = []
    for shrink in (1.0, 0.8):
        shape = (max(int(height * shrink), 1), max(int(width * shrink), 1))
        ground = torch.rand(1, 3, shape[0] // 8 + 1, shape[1] // 8 + 1, generator=generator)
        image = 60 + 80 * F.interpolate(ground, size=shape, mode="bilinear")[0]  # [3, h, w]
        for _ in range(20):
            y, x, side = (int(v) for v in torch.randint(2, 400, (3,), generator=generator))
            y, x, side = y % shape[0], x % shape[1], 3 + side % 20
            image[:, y : y + side, x : x + side] = 255 * torch.rand(3, 1, 1, generator=generator)
        images.append(image.to(torch.uint8))
    return images


def _compare(
    running: Any,  # noqa: ANN401 - onnxruntime has no types
    detector: Detector,
    preparation: Preparation,
    resized: Sequence[Tensor],
    size: Size | None,
) -> Comparison:
    """Compare on a batch of uint8 images [3, h, w] that are resized already."""
    sizes: list[Size] = [(image.shape[1], image.shape[2]) for image in resized]
    divisor = preparation.pad.divisor
    largest = (max(h for h, _ in sizes), max(w for _, w in sizes))
    frame = size or (-(-largest[0] // divisor) * divisor, -(-largest[1] // divisor) * divisor)
    if largest[0] > frame[0] or largest[1] > frame[1]:
        raise ExportError(
            f"an image of {largest[0]} x {largest[1]} pixels does not fit the size "
            f"{frame[0]} x {frame[1]}; check on another one, or export a larger --size."
        )
    value = preparation.pad.value
    pixels, raw = [], []
    for image, (height, width) in zip(resized, sizes, strict=True):
        room = (0, frame[1] - width, 0, frame[0] - height)
        sample = preparation.normalise(Sample.of_image(image), torch.Generator())
        pixels.append(F.pad(sample.image, room, value=value))
        raw.append(F.pad(image, room))
    spec: Any = detector.spec
    expected = detector.predict(torch.stack(pixels), sizes)
    inputs = {"images": torch.stack(raw).numpy(), "sizes": np.array(sizes, dtype=np.int64)}
    image, boxes, scores, labels = (torch.from_numpy(v) for v in running.run(None, inputs))
    total = Comparison()
    for number, theirs in enumerate(expected):
        mine = image == number
        found = Detections(boxes[mine], scores[mine], labels[mine])
        total = total.plus(compare_detections(theirs, found, spec.postprocess))
    return total


def compare_detections(
    theirs: Detections, mine: Detections, rule: Suppression, *, near: float = 5.0
) -> Comparison:
    """Pair the detections of one image, and see what is left.

    Args:
        theirs: of the detector.
        mine: of the file.
        rule: by which both were made.
        near: detections of one class pair up to this many pixels, nearest first.
    """
    apart = (theirs.boxes[:, None] - mine.boxes[None]).abs().amax(dim=-1)  # [D, E]
    gaps = (theirs.scores[:, None] - mine.scores[None]).abs()  # [D, E]
    possible = (theirs.labels[:, None] == mine.labels[None]) & (apart <= near)  # [D, E]
    row, column = _pairs(apart / near + gaps, possible)  # [F] each
    alone = [
        _explained(theirs, mine, _others(len(theirs), row), rule),
        _explained(mine, theirs, _others(len(mine), column), rule),
    ]
    explained = int(sum(v.sum() for v in alone))
    apart, gap = apart[row, column], gaps[row, column]  # [F] each
    # Two that were decided closely may lie near each other without being the same.
    close = (apart > BOX) & _explained(theirs, mine, row, rule)  # [F]
    close = close & _explained(mine, theirs, column, rule)
    if rule.soft is not None:  # the same box, but lowered on one side alone
        higher = theirs.scores[row] > mine.scores[column]  # [F]
        lowered = _close(theirs, mine, row, rule).where(higher, _close(mine, theirs, column, rule))
        close = close | ((gap > SCORE) & lowered)
    apart, gap = apart[~close], gap[~close]
    return Comparison(
        images=1,
        detections=len(gap),
        box=float(apart.max()) if len(apart) else 0.0,
        score=float(gap.max()) if len(gap) else 0.0,
        tied=explained + int(close.sum()),
        missing=sum(len(v) for v in alone) - explained,
    )


def _pairs(cost: Tensor, possible: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [F] and columns [F] of the table `cost` [D, E], cheapest first, each used once.

    Args:
        cost: of every pair.
        possible: [D, E] bool, the pairs that may be made.
    """
    place = possible.nonzero()  # [N, 2]
    place = place[cost[possible].argsort(stable=True)]
    rows: dict[int, int] = {}
    columns: set[int] = set()
    for row, column in place.tolist():
        if row not in rows and column not in columns:
            rows[row] = column
            columns.add(column)
    pairs = torch.tensor(list(rows.items()), dtype=torch.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _others(count: int, used: Tensor) -> Tensor:
    """[count - len(used)] int64, the places that were not used."""
    free = torch.ones(count, dtype=torch.bool)
    free[used] = False
    return free.nonzero().flatten()


def _explained(found: Detections, other: Detections, rows: Tensor, rule: Suppression) -> Tensor:
    """[R] bool, whether a detection that the other side lacks was a close decision.

    Args:
        found: of one side.
        other: of the other side.
        rows: [R] int64, detections of the first that have no partner.
        rule: by which both were made.
    """
    scores = found.scores[rows]  # [R]
    close = _raw_scores(found, rule)[rows] <= rule.score_thresh + SCORE
    if rule.soft is not None:
        close = close | (scores <= rule.soft.min_score + SCORE)
    if len(other) == rule.max_per_image:
        close = close | (scores <= other.scores.min() + SCORE)
    return close | _close(found, other, rows, rule)


def _close(found: Detections, other: Detections, rows: Tensor, rule: Suppression) -> Tensor:
    """[R] bool, whether the suppression of a detection was a close decision.

    It was if a box of its class has an IoU at the threshold with it, or overlaps it with an equal
    score.

    Args:
        found: of one side, where it was not suppressed.
        other: of the side where it was.
        rows: [R] int64, of the first.
        rule: by which both were made.
    """
    iou = pairwise_iou(found.boxes[rows], other.boxes)  # [R, E]
    equal = (found.scores[rows, None] - other.scores[None]).abs() < SCORE  # [R, E]
    if rule.soft is not None and rule.soft.method == "gaussian":  # which has no threshold
        near = equal & (iou > 0)
    else:
        near = ((iou - rule.nms_iou).abs() < SCORE) | (equal & (iou > rule.nms_iou))
    return (near & (found.labels[rows, None] == other.labels[None])).any(dim=1)


def _raw_scores(found: Detections, rule: Suppression) -> Tensor:
    """[D] the scores before the suppression, where soft-NMS lowered them."""
    if rule.soft is None:
        return found.scores
    iou = pairwise_iou(found.boxes, found.boxes)  # [D, D]
    better = torch.ones_like(iou, dtype=torch.bool).tril(-1)  # they are sorted
    better = better & (found.labels[:, None] == found.labels[None])
    factors = rule.soft.factors(iou, rule.nms_iou).where(better, 1.0)  # [D, D]
    return found.scores / factors.prod(dim=1)
