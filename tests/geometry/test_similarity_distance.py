import math

import pytest
import torch
from torch import Tensor

from motedet.errors import ShapeError
from motedet.geometry import similarity_distance


def draw_boxes(seed: int, count: int) -> Tensor:
    """[count, 4] boxes with sides of 1-21 px within 60 px."""
    uniform = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed))
    top_left = uniform[:, :2] * 40
    return torch.cat((top_left, top_left + 1 + uniform[:, 2:] * 20), dim=1)


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (0, 3), (3, 0), (4, 6)])
def test_shape(rows: int, columns: int) -> None:
    boxes, others = draw_boxes(0, rows), draw_boxes(1, columns)
    assert similarity_distance(boxes[:, None], others[None], m=2.0, n=3.0).shape == (rows, columns)


def test_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 4.0]], dtype=torch.float64)
    others = torch.tensor([[3.0, 4.0, 9.0, 8.0]], dtype=torch.float64)
    # centres (1, 2) and (6, 6), sides 2 x 4 and 6 x 4: sums of sides 8 and 8
    location = math.hypot(3 * 5 / 8, 2 * 4 / 8)
    shape = 3 * 4 / 8
    got = similarity_distance(boxes, others, m=3.0, n=2.0)
    assert got.item() == pytest.approx(math.exp(-location - shape), rel=1e-5)


def test_equal_boxes_are_one_with_or_without_area() -> None:
    boxes = torch.cat((draw_boxes(2, 20), torch.tensor([[7.0, 7.0, 7.0, 7.0]])))
    assert torch.equal(similarity_distance(boxes, boxes, m=6.13, n=4.59), torch.ones(21))


def test_symmetric_and_independent_of_scale() -> None:
    boxes, others = draw_boxes(3, 50), draw_boxes(4, 50)
    value = similarity_distance(boxes, others, m=2.0, n=1.5)
    torch.testing.assert_close(similarity_distance(others, boxes, m=2.0, n=1.5), value)
    scaled = similarity_distance(boxes * 8, others * 8, m=2.0, n=1.5)
    torch.testing.assert_close(scaled, value, rtol=1e-4, atol=1e-6)
    assert bool((value > 0).all())
    assert bool((value < 1).all())


def test_table_equals_pairs_bit_by_bit() -> None:
    boxes, others = draw_boxes(5, 37), draw_boxes(6, 53)
    table = similarity_distance(boxes[:, None], others[None], m=6.13, n=4.59)
    row, column = torch.randint(37, (999,)), torch.randint(53, (999,))
    pairs = similarity_distance(boxes[row], others[column], m=6.13, n=4.59)
    assert torch.equal(pairs, table[row, column])


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="others must be a float tensor"):
        similarity_distance(torch.zeros(2, 4), torch.zeros(2, 5), m=1.0, n=1.0)
