"""What several windows of one image saw, as one list: suppression among hundreds of thousands.

Suppression is exact and greedy, and its work grows with the pairs of boxes that overlap, not with
the square of the boxes.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from motedet.errors import ShapeError, check_boxes
from motedet.geometry.boxes import box_area
from motedet.geometry.iou import aligned_intersection
from motedet.geometry.meetings import meetings


@dataclass(frozen=True, slots=True)
class Sightings:
    """Detections of all windows of an image, in pixels of the image.

    Attributes:
        boxes: [N, 4] xyxy.
        scores: [N].
        labels: [N] int64.
        window: [N] int64, which window saw it.
        cut: [N] bool, whether the box ends where its window does but the image goes on.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    window: Tensor
    cut: Tensor

    def __post_init__(self) -> None:
        """Check shapes.

        Raises:
            ShapeError: if the tensors do not fit together.
        """
        check_boxes(self.boxes, "Sightings.boxes")
        others = (self.scores, self.labels, self.window, self.cut)
        if any(other.shape != self.boxes.shape[:1] for other in others):
            raise ShapeError(
                f"Sightings need one value per box; got {len(self.boxes)} boxes and "
                f"{[list(other.shape) for other in others]}."
            )


@dataclass(frozen=True, kw_only=True)
class PlainMerge:
    """Greedy suppression over all windows, as published.

    TinyPerson's merging after inference is class-agnostic, counts sides with +1 and suppresses at
    the threshold too; merging during inference is none of these (Yu et al. 2020, arXiv 1912.10664).

    Attributes:
        iou: a box is dropped above this IoU with a better one of its class; 1 keeps all.
        class_agnostic: let every class suppress every other.
        plus_one: count sides as pixels from first to last, which brings tiny boxes closer.
        inclusive: drop at exactly the threshold too.
    """

    kind: Literal["nms"] = "nms"
    iou: float = 0.5
    class_agnostic: bool = False
    plus_one: bool = False
    inclusive: bool = False

    def __post_init__(self) -> None:
        """Check the threshold."""
        if not 0 <= self.iou <= 1:
            raise ValueError(f"iou must be in [0, 1]; got {self.iou}.")

    def __call__(self, seen: Sightings) -> Tensor:
        """[D] int64, the rows that stay, best first."""
        labels = torch.zeros_like(seen.labels) if self.class_agnostic else seen.labels
        return suppress(
            seen.boxes,
            seen.scores,
            labels,
            iou_thresh=self.iou,
            plus_one=self.plus_one,
            inclusive=self.inclusive,
        )


@dataclass(frozen=True, kw_only=True)
class SeamMerge:
    """Suppression that knows where windows end.

    An object at the seam of two windows is whole in one and cut off in the other. The part has too
    little overlap with the whole for suppression by IoU, and a good score: it stays as a second
    detection. Here a box that ends at its window's seam is dropped where another window has a box
    of its class that does not and that covers it. Objects larger than the overlap of the windows
    are whole in none and stay in parts.

    Attributes:
        iou: a box is dropped above this IoU with a better one of its class.
        cover: share of a cut box that the whole one must cover.
    """

    kind: Literal["seams"] = "seams"
    iou: float = 0.5
    cover: float = 0.5

    def __post_init__(self) -> None:
        """Check the thresholds."""
        if not (0 <= self.iou <= 1 and 0 < self.cover <= 1):
            raise ValueError(
                f"iou must be in [0, 1] and cover in (0, 1]; got {self.iou} and {self.cover}."
            )

    def __call__(self, seen: Sightings) -> Tensor:
        """[D] int64, the rows that stay, best first."""
        left = (~covered_parts(seen, self.cover)).nonzero().flatten()
        kept = suppress(seen.boxes[left], seen.scores[left], seen.labels[left], iou_thresh=self.iou)
        return left[kept]


AnyMerge = Annotated[PlainMerge | SeamMerge, Field(discriminator="kind")]


def covered_parts(seen: Sightings, cover: float) -> Tensor:
    """[N] bool: the cut boxes that an uncut one of another window and the same class covers.

    Args:
        seen: N detections.
        cover: share of the cut box that must be covered.
    """
    whole, part = (~seen.cut).nonzero().flatten(), seen.cut.nonzero().flatten()
    covered = torch.zeros_like(seen.cut)
    boxes, labels = seen.boxes.float(), seen.labels
    number = int(labels.max()) + 1 if len(labels) else 0
    for pairs in meetings(
        boxes[whole], labels[whole], boxes[part], labels[part], num_images=number
    ):
        one, other = whole[pairs.prior], part[pairs.gt]  # [E] each
        shared = aligned_intersection(boxes[one], boxes[other])  # [E]
        enough = shared >= cover * box_area(boxes[other])
        covered[other[enough & (seen.window[one] != seen.window[other])]] = True
    return covered


def suppress(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    iou_thresh: float,
    plus_one: bool = False,
    inclusive: bool = False,
) -> Tensor:
    """Greedy suppression among boxes of the same class; equal scores: lower index first.

    Args:
        boxes: [N, 4] xyxy in pixels.
        scores: [N].
        labels: [N] int64.
        iou_thresh: a box is dropped above this IoU with a better one; 1 keeps all.
        plus_one: count sides as pixels from first to last.
        inclusive: drop at exactly the threshold too.

    Returns:
        [D] int64 index of what stays, best first.
    """
    check_boxes(boxes, "boxes")
    order = scores.argsort(descending=True, stable=True)  # [N]
    if iou_thresh >= 1 or len(order) == 0:
        return order
    ranked, label = boxes[order].float(), labels[order]
    if plus_one:
        ranked = ranked + ranked.new_tensor([0, 0, 1, 1])
    area = box_area(ranked)  # [N]
    better, worse = [], []
    for pairs in meetings(ranked, label, ranked, label, num_images=int(label.max()) + 1):
        rising = pairs[pairs.prior < pairs.gt]  # each pair once
        shared = aligned_intersection(ranked[rising.prior], ranked[rising.gt])  # [E]
        iou = shared / (area[rising.prior] + area[rising.gt] - shared)
        close = iou >= iou_thresh if inclusive else iou > iou_thresh
        better.append(rising.prior[close])
        worse.append(rising.gt[close])
    return order[_undominated(torch.cat(better), torch.cat(worse), len(order))]


def _undominated(better: Tensor, worse: Tensor, count: int) -> Tensor:
    """[D] int64, rising: the rows of which no row that stays is the better one of a pair.

    Deciding all rows again and again from the last answer settles them from the first on; it ends
    when nothing changes, after as many rounds as the longest chain of pairs.

    Args:
        better: [E] int64, the earlier row of each pair.
        worse: [E] int64, the later one.
        count: N rows.
    """
    stays = torch.ones(count, dtype=torch.bool, device=better.device)
    while True:
        again = torch.ones_like(stays)
        again[worse[stays[better]]] = False
        if torch.equal(again, stays):
            return stays.nonzero().flatten()
        stays = again
