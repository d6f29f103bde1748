"""Hierarchical label assignment of RFLA (Xu et al. 2022, arXiv 2208.08738, section 3.3)."""

import math
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from motedet.assign.pairs import (
    conclude,
    covered_priors,
    nearest_block,
    pairs_between,
    segment_kth_largest,
    usable_cells,
    usable_priors,
)
from motedet.assign.reach import Similarity, similarity_reach
from motedet.geometry import aligned_iof, aligned_similarity, resize_boxes
from motedet.geometry.bits import bits_float, float_bits
from motedet.priors import Lattices, PriorGrid
from motedet.structures import BACKGROUND, IGNORED, Assignment, PackedTargets, Pairs

FIRST_STAGE: Final = 1 << 62  # first-stage keys are above all of the second stage
UNLIKE_ALL: Final = 0  # of priors to which every object has a negative similarity, for a while


@dataclass(frozen=True, kw_only=True)
class Hierarchical:
    """Each object gets its most similar priors, then those most similar to shrunk priors.

    In each stage an object takes all priors whose similarity is at least its k-th largest value, so
    ties are taken together; where fewer than k priors take part it takes them all. A prior that
    several objects take goes to the last of them, whatever its size; the first stage goes before
    the second. A prior that nobody takes is background, unless in the second stage it is
    `min_similarity` to some object, or (GIoU) negative to all: then it is ignored.

    Attributes:
        similarity: how an object and a prior are compared. `iof` is the released code's: IoU.
        topk: k of the first and of the second stage.
        ratio: sides of the priors in the second stage over those in the first.
        min_similarity: from which an untaken prior is ignored.
        nwd_constant: C of NWD in pixels.
        inside: give up matches whose prior centre is not inside of the object. As published, an
            ignored prior becomes background unless its centre is in the first object of the image.
        ignore_iof: cover by an ignore box above which a prior is taken out; None turns ignore boxes
            off. In images without objects they never count, as published.
        ignore_rule: `exclude`: a (shrunk) prior with more than this share of its area in an ignore
            box is ignored and never taken. `published`: the cover is the IoU of shrunk prior and
            ignore box; it takes part in the first stage with similarity -1, so that an object with
            fewer than k other priors takes all of the image, and is untouched in the second.
        shared_priors: as in the released FCOS head, the images of a batch share one set of priors,
            which every image with objects shrinks in passing: image b starts from ratio ** b.
    """

    kind: Literal["hierarchical"] = "hierarchical"
    similarity: Similarity = "kl"
    topk: tuple[int, int] = (3, 1)
    ratio: float = 0.9
    min_similarity: float = 0.8
    nwd_constant: float = 12.8
    inside: bool = False
    ignore_iof: float | None = None
    ignore_rule: Literal["exclude", "published"] = "exclude"
    shared_priors: bool = False

    def __post_init__(self) -> None:
        """Reject empty choices."""
        if min(self.topk) < 1:
            raise ValueError(f"topk must be at least 1 in both stages; got {self.topk}.")
        for name in ("ratio", "nwd_constant", "min_similarity"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}.")
        if self.ignore_iof is not None and self.ignore_iof <= 0:
            raise ValueError(f"ignore_iof must be positive or None; got {self.ignore_iof}.")

    def __call__(self, grid: PriorGrid, targets: PackedTargets) -> Assignment:
        """Assign a batch.

        Args:
            grid: P priors.
            targets: G objects of B images, packed; G may be 0.

        Raises:
            ValueError: if `topk` is larger than the number of priors.
        """
        image, boxes = targets.image_index, targets.boxes.float()
        nothing = image.new_zeros(targets.num_images * grid.num_priors)
        if len(image) == 0 or grid.num_priors == 0:
            return conclude(grid, targets, nothing + BACKGROUND, nothing.to(boxes.dtype))
        if max(self.topk) > grid.num_priors:
            raise ValueError(f"topk {self.topk} is more than the {grid.num_priors} priors.")
        signed = self.similarity == "giou"
        batch = _Batch(
            grid=grid,
            targets=targets,
            boxes=boxes,
            priors=grid.boxes(boxes.device),
            lattices=grid.lattices(boxes.device),
            cells=usable_cells(grid, targets, image),
            objects_per_image=image.bincount(minlength=targets.num_images),
            floor=-1.0 if signed else 0.0,
            taken=nothing,
            gt_index=torch.full_like(nothing, UNLIKE_ALL if signed else BACKGROUND),
        )
        covered = None
        if self.ignore_iof is not None and len(targets.ignore_boxes) > 0:
            covered = self._covered(batch, self.ignore_iof)  # [B * P]
        excluded = covered if self.ignore_rule == "exclude" else None
        for stage, mask in enumerate((covered, excluded)):
            self._take_(batch, stage, mask, self._enough(batch, stage, mask))
        return self._conclude(batch, excluded)

    def _enough(self, batch: "_Batch", stage: int, covered: Tensor | None) -> Tensor:
        """[G] the k-th largest similarity or less, from the priors around each object's centre."""
        topk, image = self.topk[stage], batch.targets.image_index
        center = (batch.boxes[:, None, :2] + batch.boxes[:, None, 2:]) / 2  # [G, 1, 2]
        size = math.isqrt(topk - 1) + 1
        prior = nearest_block(batch.lattices, batch.cells, center, size)[0].flatten(1)  # [G, S]
        rows = torch.arange(len(prior), device=prior.device)[:, None].expand_as(prior)
        flat, rows = prior.flatten(), rows.flatten()  # [G * S]
        priors = self._prior_boxes(batch, flat, image[rows], stage)
        value = aligned_similarity(
            self.similarity, batch.boxes[rows], priors, nwd_constant=self.nwd_constant
        )
        usable = flat >= 0
        if covered is not None:
            slot = image[rows] * batch.grid.num_priors + flat.clamp(min=0)
            usable = usable & ~covered[slot]
        value = value.where(usable, -math.inf).view_as(prior)
        return value.topk(topk, dim=1).values[:, -1]

    def _take_(self, batch: "_Batch", stage: int, covered: Tensor | None, enough: Tensor) -> None:
        """Enter in `batch.taken` and `batch.gt_index` what happens in a stage."""
        boxes, image = batch.boxes, batch.targets.image_index
        kth = boxes.new_full((len(boxes),), -math.inf)
        low, high = self._extent(batch, stage, enough)  # [G, M, 2] each
        for pairs in pairs_between(batch.grid, batch.cells, low, high):
            slot = image[pairs.gt] * batch.grid.num_priors + pairs.prior  # [E]
            priors = self._prior_boxes(batch, pairs.prior, image[pairs.gt], stage)  # [E, 4]
            value = aligned_similarity(
                self.similarity, boxes[pairs.gt], priors, nwd_constant=self.nwd_constant
            )  # [E]
            if stage:
                state = torch.full_like(slot, BACKGROUND).masked_fill(value < 0, UNLIKE_ALL)
                state = state.masked_fill(value >= self.min_similarity, IGNORED)
                batch.gt_index.scatter_reduce_(0, slot, state, "amin")
            likely = (value >= enough[pairs.gt]) & (value > batch.floor)  # [E]
            if covered is not None:
                likely &= ~covered[slot]
            value, slot, gt = value[likely], slot[likely], pairs.gt[likely]
            kth = kth.maximum(segment_kth_largest(value, gt, self.topk[stage], len(boxes)))
            key = FIRST_STAGE * (1 - stage) + ((gt + 1) << 32) + float_bits(value)
            batch.taken.scatter_reduce_(0, slot, key.where(value >= kth[gt], 0), "amax")
        short = kth == -math.inf  # [G] fewer than k priors of any similarity
        if bool(short.any()):  # rare, and a table of its own: worth asking the device
            whole = self._whole_image(batch, stage, covered, short)
            batch.taken.copy_(batch.taken.maximum(whole))

    def _extent(self, batch: "_Batch", stage: int, enough: Tensor) -> tuple[Tensor, Tensor]:
        """[G, M, 2] twice: where similar priors may be, from that of cell (0, 0), in pixels."""
        boxes, lattices = batch.boxes, batch.lattices
        if stage:  # what becomes of untaken priors has to be known as well
            enough = enough.clamp(max=0.0 if batch.floor < 0 else self.min_similarity)
        center = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2 - lattices.centers  # [G, M, 2]
        prior_sides = lattices.sides * self.ratio**stage
        if self.shared_priors:
            earlier = batch.earlier_images()[batch.targets.image_index]  # [G]
            prior_sides = prior_sides * (self.ratio ** earlier.float())[:, None, None]
        reach = similarity_reach(
            self.similarity,
            boxes[:, None, 2:] - boxes[:, None, :2],
            prior_sides,
            enough,
            nwd_constant=self.nwd_constant,
        )
        return center - reach, center + reach

    def _prior_boxes(self, batch: "_Batch", prior: Tensor, image: Tensor, stage: int) -> Tensor:
        """[E, 4] boxes of priors [E] as the images [E] find them at this stage."""
        boxes = batch.priors[prior]
        times, most = image, stage
        if self.shared_priors:
            times = batch.earlier_images()[image, None] + stage  # [E, 1]
            most += batch.targets.num_images - 1
        for done in range(most):
            shrunk = resize_boxes(boxes, self.ratio)
            boxes = shrunk.where(done < times, boxes) if self.shared_priors else shrunk
        return boxes

    def _whole_image(
        self, batch: "_Batch", stage: int, covered: Tensor | None, short: Tensor
    ) -> Tensor:
        """[B * P] the last object of the image that takes all priors, packed, 0 for none.

        Such an object, marked in `short` [G], has fewer than k priors of any similarity, so that
        its k-th largest similarity is what all other priors have.
        """
        targets, num_priors = batch.targets, batch.grid.num_priors
        rows = torch.arange(len(short), device=short.device).where(short, -1)  # [G]
        last = rows.new_full((targets.num_images,), -1)
        last.scatter_reduce_(0, targets.image_index, rows, "amax")  # [B]
        key = (FIRST_STAGE * (1 - stage) + ((last + 1) << 32)).where(last >= 0, 0)  # [B]
        if covered is None:
            return key.repeat_interleave(num_priors)
        free = ~covered.view(targets.num_images, -1)  # [B, P]
        if self.ignore_rule == "published":
            usable = usable_priors(batch.grid, targets)  # [B, P]
            left = free if usable is None else free & usable
            free = free | (left.sum(1, keepdim=True) < self.topk[stage])
        return key[:, None].where(free, 0).flatten()

    def _conclude(self, batch: "_Batch", excluded: Tensor | None) -> Assignment:
        """The assignment that the stages have entered in the tables."""
        gt_index, num_priors = batch.gt_index, batch.grid.num_priors
        if batch.floor < 0:
            occupied = (batch.objects_per_image > 0).repeat_interleave(num_priors)  # [B * P]
            gt_index[(gt_index == UNLIKE_ALL) & occupied] = IGNORED
            gt_index[gt_index == UNLIKE_ALL] = BACKGROUND
        quality = torch.zeros_like(gt_index, dtype=batch.boxes.dtype)
        slot = batch.taken.nonzero()[:, 0]  # [T]
        key = batch.taken[slot] % FIRST_STAGE
        gt_index[slot] = (key >> 32) - 1
        quality[slot] = bits_float(key)
        if self.inside:
            gt_index = self._only_inside(batch, gt_index)
            quality = quality.where(gt_index >= 0, 0)
        if excluded is not None:
            gt_index[excluded] = IGNORED
        return conclude(batch.grid, batch.targets, gt_index, quality)

    def _only_inside(self, batch: "_Batch", gt_index: Tensor) -> Tensor:
        """[B * P] the same without priors whose centre is not inside of their object."""
        targets, num_priors = batch.targets, batch.grid.num_priors
        images = torch.arange(targets.num_images, device=gt_index.device)
        image = images.repeat_interleave(num_priors)  # [B * P]
        prior = torch.arange(num_priors, device=gt_index.device).repeat(len(images))
        boxes = self._prior_boxes(batch, prior, image, 1)
        center = (boxes[:, :2] + boxes[:, 2:]) / 2  # [B * P, 2]
        first = torch.searchsorted(targets.image_index, images).clamp(max=len(batch.boxes) - 1)
        box = batch.boxes[gt_index.where(gt_index >= 0, first[image])]  # [B * P, 4]
        margin = torch.cat((center - box[:, :2], box[:, 2:] - center), dim=1).amin(1)
        empty = (batch.objects_per_image == 0)[image]
        return gt_index.where((margin > 0) | empty, BACKGROUND)

    def _covered(self, batch: "_Batch", threshold: float) -> Tensor:
        """[B * P] bool, the priors under ignore boxes."""
        ignore = batch.targets.ignore_boxes.float()

        def cover(pairs: Pairs) -> Tensor:
            image = batch.targets.ignore_image_index[pairs.gt]
            priors = self._prior_boxes(batch, pairs.prior, image, 1)
            if self.ignore_rule == "published":
                return aligned_similarity("iou", priors, ignore[pairs.gt])
            return aligned_iof(priors, ignore[pairs.gt])

        return covered_priors(batch.grid, batch.targets, cover, threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What the stages know and write.

    Attributes:
        grid: P priors on M lattices.
        targets: G objects of B images.
        boxes: [G, 4] float32.
        priors: [P, 4] unshrunk boxes.
        lattices: of the grid.
        cells: [G, M, 4] or [1, M, 4] usable cells.
        objects_per_image: [B].
        floor: similarity of the pairs that are not worth finding: all share it, or none has it.
        taken: [B * P] the last object that takes each prior and their similarity, packed so that
            the largest number wins and the first stage is above the second; 0 for nobody.
        gt_index: [B * P] what becomes of each prior if nobody takes it.
    """

    grid: PriorGrid
    targets: PackedTargets
    boxes: Tensor
    priors: Tensor
    lattices: Lattices
    cells: Tensor
    objects_per_image: Tensor
    floor: float
    taken: Tensor
    gt_index: Tensor

    def earlier_images(self) -> Tensor:
        """[B] how many images with objects come before each image."""
        occupied = (self.objects_per_image > 0).long()
        return occupied.cumsum(0) - occupied
