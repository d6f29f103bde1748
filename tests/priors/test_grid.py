import pytest
import torch

from motedet.priors import Anchors, Level, Points, PriorGrid, ReceptiveFields

GRID = PriorGrid(
    (
        Level(4, 2, 3, 2.0, ((-1.0, -2.0, 5.0, 6.0), (0.0, 0.0, 4.0, 4.0))),
        Level(8, 1, 2, 4.0, ((-4.0, -4.0, 12.0, 12.0),)),
    )
)


def test_order_is_level_row_column_place() -> None:
    boxes = GRID.boxes()
    assert GRID.num_priors == len(boxes) == 14
    assert GRID.level_starts == (0, 12)
    assert boxes[0].tolist() == [-1, -2, 5, 6]
    assert boxes[1].tolist() == [0, 0, 4, 4]
    assert boxes[2].tolist() == [3, -2, 9, 6]  # next column
    assert boxes[6].tolist() == [-1, 2, 5, 10]  # next row
    assert boxes[13].tolist() == [4, -4, 20, 12]  # next level, second cell


def test_points_centers_and_strides() -> None:
    assert GRID.points()[[0, 1, 2, 6, 12, 13]].tolist() == [
        [2, 2],
        [2, 2],
        [6, 2],
        [2, 6],
        [4, 4],
        [12, 4],
    ]
    assert GRID.centers()[[0, 1, 2]].tolist() == [[2, 2], [2, 2], [6, 2]]
    assert GRID.strides().tolist() == [4.0] * 12 + [8.0] * 2


def test_at_gathers_any_shape() -> None:
    index = torch.tensor([[0, 13], [6, 2]])
    assert torch.equal(GRID.boxes_at(index), GRID.boxes()[index])
    assert torch.equal(GRID.points_at(index), GRID.points()[index])
    assert GRID.boxes_at(index[:0]).shape == (0, 2, 4)


def test_lattices_rebuild_every_prior() -> None:
    lattices = GRID.lattices()
    seen = []
    for m in range(3):
        columns, rows = lattices.cells[m].tolist()
        for y in range(rows):
            for x in range(columns):
                index = int(lattices.first[m] + (lattices.steps[m] * torch.tensor([x, y])).sum())
                shift = torch.tensor([x, y]) * lattices.stride[m]
                box = GRID.boxes()[index]
                assert torch.equal((box[:2] + box[2:]) / 2, lattices.centers[m] + shift)
                assert torch.equal(box[2:] - box[:2], lattices.sides[m])
                assert torch.equal(box, lattices.boxes[m] + shift.repeat(2))
                assert torch.equal(GRID.points()[index], lattices.points[m] + shift)
                seen.append(index)
    assert sorted(seen) == list(range(14))
    assert torch.equal(lattices[1:2].first, lattices.first[1:2])


@pytest.mark.parametrize(
    ("size", "want"),
    [((0, 0), 0), ((1, 1), 3), ((4, 4), 3), ((4, 5), 5), ((5, 4), 5), ((99, 99), 14)],
)
def test_inside_counts_cells_that_start_before_the_edge(size: tuple[int, int], want: int) -> None:
    mask = GRID.inside([size, (99, 99)])
    assert mask.shape == (2, 14)
    assert mask[0].sum() == want
    assert mask[1].all()


@pytest.mark.parametrize(
    ("border", "want"),
    [
        (0.0, [1, 3, 7, 9]),  # what ends at 8; the limit on the right is excluded
        (1.0, [1, 3, 7, 9]),  # -1 is allowed, but not -2
        (2.0, [0, 1, 2, 3, 6, 7, 8, 9]),
        (4.0, [0, 1, 2, 3, 5, 6, 7, 8, 9, 11, 12]),
        (100.0, list(range(14))),
        (-9.0, []),
    ],
)
def test_within_a_border(border: float, want: list[int]) -> None:
    mask = GRID.within([(9, 9), (0, 0)], border)
    assert mask.shape == (2, 14)
    assert mask[0].nonzero()[:, 0].tolist() == want


def test_tensors_are_made_once_and_can_train() -> None:
    grid = PriorGrid(GRID.levels)
    with torch.inference_mode():
        boxes = grid.boxes()
    assert grid.boxes() is boxes
    assert not boxes.is_inference()
    assert grid == GRID
    assert hash(grid) == hash(GRID)


def test_empty_levels() -> None:
    grid = PriorGrid((Level(4, 0, 3, 2.0, ((0.0, 0.0, 4.0, 4.0),)),))
    assert grid.num_priors == 0
    assert grid.boxes().shape == (0, 4)
    assert grid.inside([(8, 8)]).shape == (1, 0)
    assert grid.within([(8, 8)], 0.0).shape == (1, 0)


@pytest.mark.parametrize("priors", [Anchors(), Points(), ReceptiveFields()], ids=lambda p: p.kind)
def test_equal_sizes_give_the_same_grid(priors: Anchors | Points | ReceptiveFields) -> None:
    sizes = [(16, 20), (8, 10), (4, 5), (2, 3), (1, 2)]
    grid = priors(sizes)
    assert priors([(h, w) for h, w in sizes]) is grid
    assert grid.num_priors == priors.per_cell * sum(h * w for h, w in sizes)
    with pytest.raises(ValueError, match="do not fit 2 feature maps"):
        priors(sizes[:2])
