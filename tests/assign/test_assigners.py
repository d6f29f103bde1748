"""What every assigner owes its users (house style, section 11)."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from motedet.assign import (
    ATSS,
    NWDRKA,
    Assigner,
    FCOSAssigner,
    GaussianAssigner,
    Hierarchical,
    MaxIoU,
    PlainAssigner,
    SimD,
)
from motedet.priors import Anchors, AnyPriors, Points, PriorGrid, ReceptiveFields
from motedet.structures import IGNORED, PackedTargets, Targets

STRIDES = (4, 8, 16)
SIZES = [(32, 40), (16, 20), (8, 10)]  # an image of 128 x 160
RANGES = ((-1.0, 16.0), (16.0, 64.0), (64.0, 1e8))

RULES: list[tuple[PlainAssigner, AnyPriors]] = [
    (MaxIoU(), Anchors(strides=STRIDES)),
    (ATSS(), Anchors(strides=STRIDES, scales=(2.0,), ratios=(1.0,))),
    (FCOSAssigner(regress_ranges=RANGES, center_radius=1.5), Points(strides=STRIDES)),
    (Hierarchical(), ReceptiveFields(strides=STRIDES)),
    (NWDRKA(), Anchors(strides=STRIDES)),
    (SimD(m=4.0, n=3.0, min_pos_simd=0.0), Anchors(strides=STRIDES)),
    (GaussianAssigner(), Points(strides=(4,))),
]
every_rule = pytest.mark.parametrize(("rule", "priors"), RULES, ids=lambda v: v.kind)


def batch(*images: list[list[float]]) -> PackedTargets:
    records = []
    for boxes in images:
        tensor = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        records.append(Targets.of(tensor, torch.zeros(len(tensor), dtype=torch.int64), (128, 160)))
    return PackedTargets.pack(records)


def taken(rule: Assigner, priors: AnyPriors, targets: PackedTargets) -> Tensor:
    grid = priors(SIZES[: len(priors.strides)])
    assignment = rule(grid, targets)
    assert assignment.gt_index.shape == (targets.num_images, grid.num_priors)
    assert assignment.gt_index.dtype == torch.int64
    assert assignment.quality.shape == assignment.gt_index.shape
    assert assignment.quality.dtype == torch.float32
    assert assignment.gt_index.min() >= IGNORED
    assert assignment.gt_index.max() < max(len(targets.boxes), 1)
    assert (assignment.quality[~assignment.positive] == 0).all()
    assert (assignment.quality[assignment.positive] > 0).all()
    image, prior = assignment.positive.nonzero(as_tuple=True)
    owner = targets.image_index[assignment.gt_index[image, prior]]
    assert torch.equal(owner, image)  # nobody learns from another image's object
    return assignment.gt_index


@every_rule
@pytest.mark.parametrize("num_images", [1, 3])
def test_no_objects(rule: PlainAssigner, priors: AnyPriors, num_images: int) -> None:
    assert (taken(rule, priors, batch(*[[] for _ in range(num_images)])) == -1).all()


@every_rule
def test_one_object(rule: PlainAssigner, priors: AnyPriors) -> None:
    gt_index = taken(rule, priors, batch([[40, 40, 56, 57]]))
    assert (gt_index == 0).any()


@every_rule
def test_images_of_a_batch_do_not_see_each_other(rule: PlainAssigner, priors: AnyPriors) -> None:
    images: list[list[list[float]]] = [[[40, 40, 56, 57]], [], [[0, 0, 9, 9], [90, 60, 99, 80]]]
    together = taken(rule, priors, batch(*images))
    first = 0
    for number, image in enumerate(images):
        alone = taken(rule, priors, batch(image))[0]
        assert torch.equal(together[number], torch.where(alone >= 0, alone + first, alone))
        first += len(image)


@every_rule
def test_of_identical_objects_each_prior_has_one(rule: PlainAssigner, priors: AnyPriors) -> None:
    box: list[float] = [40, 40, 56, 57]
    once, twice = (taken(rule, priors, batch([box] * n)) for n in (1, 2))
    assert torch.equal(once >= 0, twice >= 0)
    assert torch.equal(once == IGNORED, twice == IGNORED)


@every_rule
def test_object_on_the_border(rule: PlainAssigner, priors: AnyPriors) -> None:
    gt_index = taken(rule, priors, batch([[0, 0, 10, 12], [150, 100, 160, 128]]))
    assert set(gt_index[gt_index >= 0].tolist()) == {0, 1}


@every_rule
def test_object_below_two_pixels(rule: PlainAssigner, priors: AnyPriors) -> None:
    grid = priors(SIZES[: len(priors.strides)])
    center = grid.centers()[grid.level_starts[0] + 40 * grid.levels[0].num_priors // 97]
    around = torch.cat((center - 0.9, center + 0.9)).tolist()
    assert (taken(rule, priors, batch([around])) == 0).any()


@every_rule
def test_object_of_half_the_image(rule: PlainAssigner, priors: AnyPriors) -> None:
    assert (taken(rule, priors, batch([[10, 10, 120, 100]])) == 0).any()


@every_rule
def test_permuting_objects_permutes_the_answer(rule: PlainAssigner, priors: AnyPriors) -> None:
    generator = torch.Generator().manual_seed(3)
    corner = torch.arange(12)[:, None] % 4 * torch.tensor([40.0, 0.0])
    corner = corner + torch.arange(12)[:, None] // 4 * torch.tensor([0.0, 42.0])
    side = 6 + 8 * torch.rand(12, 2, generator=generator)  # far apart: no conflicts
    boxes = torch.cat((corner + 12.3, corner + 12.3 + side), dim=1)
    order = torch.randperm(12, generator=generator)
    plain = taken(rule, priors, batch(boxes.tolist()))
    mixed = taken(rule, priors, batch(boxes[order].tolist()))
    assert torch.equal(plain, torch.where(mixed >= 0, order[mixed.clamp(min=0)], mixed))


@every_rule
def test_cells_beyond_the_valid_size_are_ignored(rule: PlainAssigner, priors: AnyPriors) -> None:
    targets = replace(batch([[50, 50, 62, 61]], []), valid_sizes=((64, 64), (128, 160)))
    gt_index = taken(rule, priors, targets)
    inside = priors(SIZES[: len(priors.strides)]).inside([(64, 64)])[0]
    assert (gt_index[0, ~inside] == IGNORED).all()
    assert (gt_index[0] == 0).any()
    assert (gt_index[1] == -1).all()


@every_rule
@pytest.mark.parametrize("border", [0.0, 5.0])
def test_priors_that_reach_out_of_the_image_are_ignored(
    rule: PlainAssigner, priors: AnyPriors, border: float
) -> None:
    targets = batch([[50, 50, 62, 61], [0, 0, 9, 9]], [])
    targets = replace(targets, allowed_border=border, image_sizes=((128, 90), (128, 160)))
    gt_index = taken(rule, priors, targets)
    boxes = priors(SIZES[: len(priors.strides)]).boxes()
    for image, width in enumerate((90, 160)):
        limit = torch.tensor([width, 128]) + border
        within = ((boxes[:, :2] >= -border) & (boxes[:, 2:] < limit)).all(1)
        assert within.any()
        assert (gt_index[image, ~within] == IGNORED).all()
    assert (gt_index[0] == 0).any()
    assert torch.equal(gt_index[1] == IGNORED, ~within)


@every_rule
def test_answer_follows_the_device(rule: PlainAssigner, priors: AnyPriors) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    targets = batch([[40, 40, 56, 57]], [[0, 0, 9, 9], [90, 60, 99, 80]])
    moved = replace(
        targets,
        boxes=targets.boxes.to(device),
        labels=targets.labels.to(device),
        image_index=targets.image_index.to(device),
        ignore_boxes=targets.ignore_boxes.to(device),
        ignore_image_index=targets.ignore_image_index.to(device),
    )
    grid: PriorGrid = priors(SIZES[: len(priors.strides)])
    gt_index = rule(grid, moved).gt_index
    assert gt_index.device.type == device
    assert torch.equal(gt_index.cpu(), rule(grid, targets).gt_index)
