from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.assign import BestOverlap
from motedet.geometry import aligned_intersection, meetings, pairwise_iou
from motedet.structures import BACKGROUND, PackedTargets, Pairs, Targets

Crowd = tuple[Tensor, Tensor]
"""Boxes [N, 4] and the image of each [N]."""

NONE: Crowd = (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def packed(boxes: Tensor, image: Tensor, num_images: int) -> PackedTargets:
    records = []
    for number in range(num_images):
        own = boxes[image == number]
        records.append(Targets.of(own, torch.zeros(len(own), dtype=torch.int64), (64, 64)))
    return PackedTargets.pack(records)


def overlapping_pairs(boxes: Tensor, image: Tensor, objects: Tensor, gt_image: Tensor) -> Pairs:
    images = 1 + max([0, *image.tolist(), *gt_image.tolist()])
    parts = list(meetings.meetings(boxes, image, objects, gt_image, num_images=images))
    return Pairs(torch.cat([p.prior for p in parts]), torch.cat([p.gt for p in parts]))


def dense_pairs(boxes: Crowd, objects: Crowd) -> set[tuple[int, int]]:
    shared = aligned_intersection(objects[0][:, None], boxes[0][None]) > 0  # [G, R]
    gt, row = (shared & (objects[1][:, None] == boxes[1])).nonzero(as_tuple=True)
    return set(zip(row.tolist(), gt.tolist(), strict=True))


def dense_match(rule: BestOverlap, boxes: Crowd, targets: PackedTargets) -> Tensor:
    """[R] as published, image by image: the object of the largest IoU, the first among equals."""
    answer = torch.full((len(boxes[0]),), BACKGROUND)
    for image in range(targets.num_images):
        rows, own = (targets.image_index == image).nonzero()[:, 0], boxes[1] == image
        if len(rows) == 0 or not own.any():
            continue
        table = pairwise_iou(targets.boxes[rows], boxes[0][own])  # [G, N]
        best = table.amax(0)
        first = rows[(table == best).int().argmax(0)]
        answer[own] = first.where(best >= rule.pos_iou, BACKGROUND)
    return answer


def crowd(count: int, *, images: int, low: float, high: float, step: float, seed: int) -> Crowd:
    """Boxes around an origin, some copied, some without area, some turned inside out."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.exp(
        torch.tensor(low).log()
        + torch.rand(count, 2, generator=generator) * (torch.tensor(high) / low).log()
    )
    center = torch.rand(count, 2, generator=generator) * 80 - 8
    boxes = torch.cat((center - side / 2, center + side / 2), dim=1)
    if step:
        boxes = (boxes / step).round() * step
    if count > 1:
        copied = torch.rand(count, generator=generator) < 0.2
        source = torch.randint(count, (count,), generator=generator)
        boxes = boxes[source].where(copied[:, None], boxes)
        boxes[::11, 2] = boxes[::11, 0]
        boxes[::17] = boxes[::17][:, [2, 3, 0, 1]]
    return boxes, torch.randint(images, (count,), generator=generator)


def crowds(most: int) -> st.SearchStrategy[tuple[Crowd, Crowd, int]]:
    ranges = st.sampled_from(
        ((0.01, 3.0), (2.0, 30.0), (0.01, 9000.0), (8.0, 8.1), (200.0, 5000.0))
    )
    return st.builds(
        lambda boxes, objects, images, sizes, others, step, seed: (
            crowd(boxes, images=images, low=sizes[0], high=sizes[1], step=step, seed=seed),
            crowd(objects, images=images, low=others[0], high=others[1], step=step, seed=seed + 1),
            images,
        ),
        st.integers(0, most),
        st.integers(0, most),
        st.sampled_from((1, 2, 7)),
        ranges,
        ranges,
        st.sampled_from((0.0, 0.5, 1.0, 4.0)),
        st.integers(0, 10_000),
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(crowds(150), st.sampled_from((100, 1 << 20)))
def test_overlapping_pairs_are_all_pairs_that_overlap(
    made: tuple[Crowd, Crowd, int], limit: int
) -> None:
    boxes, objects, _ = made
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meetings, "MAX_PAIRS", limit)
        found = overlapping_pairs(*boxes, *objects)
    assert torch.equal(found.gt, found.gt.sort().values)
    got = list(zip(found.prior.tolist(), found.gt.tolist(), strict=True))
    assert len(got) == len(set(got))
    assert set(got) == dense_pairs(boxes, objects)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    crowds(150),
    st.sampled_from((0.3, 0.5, 0.6, 1.0)),
    st.sampled_from((100, 1 << 20)),
)
def test_best_overlap_is_the_published_rule(
    made: tuple[Crowd, Crowd, int], pos_iou: float, limit: int
) -> None:
    boxes, objects, images = made
    targets = packed(*objects, images)
    near = targets.boxes[: len(boxes[0])]  # so that many boxes are positive
    jittered = near + 0.1 * (near[:, 2:] - near[:, :2]).repeat(1, 2)
    boxes = (
        torch.cat((boxes[0], near, jittered)),
        torch.cat((boxes[1], *[targets.image_index[: len(near)]] * 2)),
    )
    rule = BestOverlap(pos_iou=pos_iou)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meetings, "MAX_PAIRS", limit)
        got = rule(*boxes, targets)
    assert torch.equal(got, dense_match(rule, boxes, targets))


@pytest.mark.parametrize("width", [0.25, 1.0, 4096.0, 1e6])
def test_boxes_that_barely_touch(width: float) -> None:
    edge = torch.tensor(width)
    after, before = edge.nextafter(torch.tensor(torch.inf)), edge.nextafter(torch.tensor(0.0))
    left = torch.stack(
        (torch.zeros(3), torch.zeros(3), torch.stack((before, edge, after)), edge.expand(3)), 1
    )
    beside = torch.stack((edge, torch.tensor(0.0), 2 * edge, edge))[None]
    image = torch.zeros(3, dtype=torch.int64)
    assert overlapping_pairs(left, image, beside, image[:1]).prior.tolist() == [2]
    assert overlapping_pairs(beside, image[:1], left, image).gt.tolist() == [2]


@pytest.mark.parametrize("boxes", [0, 3])
@pytest.mark.parametrize("objects", [0, 3])
def test_nothing_on_either_side(boxes: int, objects: int) -> None:
    some = torch.tensor([[0.0, 0, 9, 9]]).repeat(3, 1), torch.tensor([0, 1, 1])
    rows, gt = (some[0][:boxes], some[1][:boxes]), (some[0][:objects], some[1][:objects])
    assert len(overlapping_pairs(*rows, *gt)) == (5 if boxes and objects else 0)
    matched = BestOverlap()(*rows, packed(*gt, 2))
    assert matched.tolist() == ([0, 1, 1] if objects else [BACKGROUND] * 3)[:boxes]


def test_first_of_equal_objects_wins_and_images_do_not_meet() -> None:
    objects = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    targets = packed(objects, torch.tensor([0, 0, 1]), 3)
    boxes = torch.tensor([[0.0, 0, 10, 5]]).repeat(3, 1)
    matched = BestOverlap()(boxes, torch.tensor([2, 1, 0]), targets)
    assert matched.tolist() == [BACKGROUND, 2, 0]  # an IoU of exactly 0.5 is enough


def test_boxes_without_area_are_background() -> None:
    point = torch.tensor([[5.0, 5, 5, 5], [5, 0, 5, 9], [9, 9, 0, 0]])
    image = torch.zeros(3, dtype=torch.int64)
    rule = BestOverlap(pos_iou=1e-6)
    assert (rule(point, image, packed(point, image, 1)) == BACKGROUND).all()


def test_permuting_boxes_permutes_the_answer() -> None:
    boxes = crowd(200, images=3, low=2.0, high=30.0, step=1.0, seed=5)
    targets = packed(*boxes, 3)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    plain = BestOverlap()(*boxes, targets)
    assert (plain >= 0).any()
    assert torch.equal(BestOverlap()(boxes[0][order], boxes[1][order], targets), plain[order])


def test_threshold_must_say_something() -> None:
    for wrong in (0.0, 1.5):
        with pytest.raises(ValueError, match=rf"pos_iou must be in \(0, 1\]; got {wrong}"):
            BestOverlap(pos_iou=wrong)


def test_answer_follows_the_device() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    boxes = crowd(200, images=3, low=2.0, high=30.0, step=1.0, seed=5)
    targets = packed(*boxes, 3)
    moved = replace(
        targets, boxes=targets.boxes.to(device), image_index=targets.image_index.to(device)
    )
    matched = BestOverlap()(boxes[0].to(device), boxes[1].to(device), moved)
    assert matched.device.type == device
    assert torch.equal(matched.cpu(), BestOverlap()(*boxes, targets))
