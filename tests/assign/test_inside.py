import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from motedet.assign.inside import cells_between, priors_within
from motedet.priors import Anchors, Points, PriorGrid

GRID = Points(strides=(8, 16))([(4, 5), (2, 3)])


def rectangles(grid: PriorGrid, boxes: Tensor) -> Tensor:
    lattices = grid.lattices()
    whole = torch.cat((torch.zeros_like(lattices.cells), lattices.cells), dim=-1)[None]
    return cells_between(lattices, whole, boxes[:, None, :2], boxes[:, None, 2:])


def test_by_hand() -> None:
    box = torch.tensor([[3.0, 4.0, 12.5, 21.0]])  # points at 4, 12, 20 and at 8, 24
    assert rectangles(GRID, box).tolist() == [[[0, 1, 2, 3], [0, 0, 1, 1]]]


def test_points_on_the_edge_are_outside() -> None:
    got = rectangles(GRID, torch.tensor([[4.0, 4.0, 12.0, 12.0]]))[0, 0]
    assert (got[2:] <= got[:2]).all()


def test_no_objects() -> None:
    boxes = torch.zeros(0, 4)
    assert rectangles(GRID, boxes).shape == (0, 2, 4)
    image = torch.zeros(0, dtype=torch.int64)
    assert not priors_within(GRID, rectangles(GRID, boxes), image, 2).any()
    assert len(priors_within(GRID, rectangles(GRID, boxes), image, 2)) == 2 * GRID.num_priors


def test_objects_off_the_grid_hold_no_cell() -> None:
    boxes = torch.tensor([[-50.0, -50, -10, -10], [900, 900, 990, 990], [9, 9, 3, 3]])
    image = torch.tensor([0, 0, 0])
    assert not priors_within(GRID, rectangles(GRID, boxes), image, 1).any()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    step=st.sampled_from((0.0, 1.0, 4.0)),
    offset=st.sampled_from((0.0, 0.5, 0.3)),
    anchors=st.booleans(),
)
def test_a_prior_counts_as_its_point_says(
    seed: int, step: float, offset: float, anchors: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(9, 2, generator=generator) * 90 - 10
    boxes = torch.cat((corner, corner + torch.rand(9, 2, generator=generator) * 40), dim=1)
    if step:
        boxes = (boxes / step).round() * step
    image = torch.tensor([0, 0, 0, 0, 2, 2, 2, 2, 2])
    grid = (
        Anchors(strides=(8, 16), center_offset=offset)([(9, 7), (5, 4)])
        if anchors
        else Points(strides=(8, 16), offset=offset)([(9, 7), (5, 4)])
    )
    got = priors_within(grid, rectangles(grid, boxes), image, 3).view(3, -1)
    points = grid.points()[:, None]
    inside = ((points > boxes[:, :2]) & (points < boxes[:, 2:])).all(-1)  # [P, 9]
    for number in range(3):
        assert torch.equal(got[number], inside[:, image == number].any(1))
