import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.errors import ShapeError
from motedet.geometry import aligned_intersection
from motedet.geometry import meetings as module
from motedet.geometry.meetings import meetings


def found(boxes: Tensor, box_image: Tensor, gt: Tensor, gt_image: Tensor) -> set[tuple[int, int]]:
    parts = list(meetings(boxes, box_image, gt, gt_image, num_images=3))
    rows = torch.cat([part.gt for part in parts])
    assert (rows.diff() >= 0).all()
    listed = list(zip(torch.cat([p.prior for p in parts]).tolist(), rows.tolist(), strict=True))
    assert len(set(listed)) == len(listed)
    return set(listed)


def crowd(count: int, generator: torch.Generator, step: float) -> tuple[Tensor, Tensor]:
    center = torch.rand(count, 2, generator=generator) * 400 - 50
    half = (torch.randn(count, 2, generator=generator) * 2 + 2).exp()
    boxes = torch.cat((center - half, center + half), dim=1)
    if step:
        boxes = (boxes / step).round() * step
    return boxes, torch.randint(3, (count,), generator=generator).sort().values


def test_none() -> None:
    nothing, image = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    one, first = torch.tensor([[0.0, 0, 9, 9]]), torch.zeros(1, dtype=torch.int64)
    assert found(nothing, image, nothing, image) == set()
    assert found(one, first, nothing, image) == set()
    assert found(nothing, image, one, first) == set()


def test_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [5, 5, 6000, 6000]])
    gt = torch.tensor([[8.0, 2, 10, 4], [100, 100, 120, 120]])
    image = torch.zeros(3, dtype=torch.int64)
    assert found(boxes, image, gt, image[:2]) == {(0, 0), (2, 1)}
    assert found(boxes, image + 1, gt, image[:2]) == set()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    counts=st.tuples(st.integers(0, 120), st.integers(0, 60)),
    step=st.sampled_from((0.0, 1.0, 8.0)),
    part=st.sampled_from((7, 1000, 1 << 20)),
)
def test_equals_the_table(seed: int, counts: tuple[int, int], step: float, part: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    boxes, box_image = crowd(counts[0], generator, step)
    gt, gt_image = crowd(counts[1], generator, step)
    table = aligned_intersection(gt[None], boxes[:, None]) > 0
    table &= box_image[:, None] == gt_image
    want = {(int(b), int(g)) for b, g in table.nonzero()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_PAIRS", part)
        assert found(boxes, box_image, gt, gt_image) == want


def test_numbers_that_are_none_meet_nothing() -> None:
    nan, inf = float("nan"), float("inf")
    boxes = torch.tensor([[nan] * 4, [-inf, -inf, inf, inf], [9, 9, 1, 1], [0, 0, 5, 5]])
    image = torch.zeros(4, dtype=torch.int64)
    got = found(boxes, image, torch.tensor([[1.0, 1, 4, 4]]), image[:1])
    assert got == {(1, 0), (3, 0)}


def test_bad_input() -> None:
    image = torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ShapeError, match=r"gt_boxes must be a float tensor \[N, 4\]"):
        next(meetings(torch.zeros(1, 4), image, torch.zeros(1, 3), image, num_images=1))
