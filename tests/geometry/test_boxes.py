"""Forms of a box."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from motedet.errors import ShapeError
from motedet.geometry import (
    box_area,
    box_centers,
    boxes_from_cxcywh,
    boxes_from_xywh,
    boxes_to_cxcywh,
    boxes_to_xywh,
    clip_boxes,
    corners,
    scale_boxes,
)

BOX = torch.tensor([[10.0, 20.0, 14.0, 28.0]])


def test_known_values() -> None:
    assert box_area(BOX).tolist() == [32]
    assert box_centers(BOX).tolist() == [[12, 24]]
    assert boxes_to_cxcywh(BOX).tolist() == [[12, 24, 4, 8]]
    assert boxes_to_xywh(BOX).tolist() == [[10, 20, 4, 8]]


def test_scale_takes_x_before_y() -> None:
    assert scale_boxes(BOX, (2.0, 0.5)).tolist() == [[20, 10, 28, 14]]


def test_area_of_an_inverted_box_is_negative() -> None:
    assert box_area(torch.tensor([[4.0, 0.0, 0.0, 2.0]])).tolist() == [-8]


def test_clip_takes_height_before_width() -> None:
    boxes = torch.tensor([[-5.0, -6.0, 50.0, 60.0], [70.0, 5.0, 80.0, 8.0]])
    assert clip_boxes(boxes, (30, 40)).tolist() == [[0, 0, 40, 30], [40, 5, 40, 8]]


@pytest.mark.parametrize(
    ("forth", "back"),
    [(boxes_to_cxcywh, boxes_from_cxcywh), (boxes_to_xywh, boxes_from_xywh)],
    ids=["cxcywh", "xywh"],
)
@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (7, 4), (2, 3, 4)], ids=str)
def test_round_trip(
    forth: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    boxes = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(back(forth(boxes)), boxes)
    torch.testing.assert_close(forth(back(boxes)), boxes)


def test_empty() -> None:
    none = torch.zeros(0, 4)
    assert box_area(none).shape == (0,)
    assert box_centers(none).shape == (0, 2)
    assert clip_boxes(none, (8, 8)).shape == (0, 4)


@pytest.mark.parametrize(
    "boxes", [torch.zeros(3, 5), torch.zeros(()), torch.zeros(2, 4, dtype=torch.int64)], ids=str
)
def test_bad_input(boxes: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"anchors must be a float tensor \[\.\.\., 4\]; got"):
        corners(boxes, "anchors")
