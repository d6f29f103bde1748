import itertools

import numpy as np
import pytest
import torch

from motedet.data.tiling import Window, boxes_to_image, cut_boxes, windows

WINDOW = Window(x=10, y=20, width=30, height=20)


@pytest.mark.parametrize(
    ("size", "window", "overlap", "starts"),
    [
        ((50, 60), 100, 20, [(0, 0)]),
        ((100, 100), 100, 20, [(0, 0)]),
        ((100, 101), 100, 20, [(0, 0), (1, 0)]),
        ((100, 180), 100, 20, [(0, 0), (80, 0)]),
        ((100, 181), 100, 20, [(0, 0), (80, 0), (81, 0)]),
        ((130, 130), 100, 0, [(0, 0), (30, 0), (0, 30), (30, 30)]),
        ((1, 3), 1, 0, [(0, 0), (1, 0), (2, 0)]),
    ],
    ids=str,
)
def test_where_windows_start(
    size: tuple[int, int], window: int, overlap: int, starts: list[tuple[int, int]]
) -> None:
    plan = windows(size, window=window, overlap=overlap)
    assert [(w.x, w.y) for w in plan] == starts
    assert {w.size for w in plan} == {(min(window, size[0]), min(window, size[1]))}


@pytest.mark.parametrize(
    ("size", "window", "overlap"), [((300, 517), 64, 16), ((64, 1000), 100, 99), ((65, 66), 64, 0)]
)
def test_windows_cover_the_image_and_overlap(
    size: tuple[int, int], window: int, overlap: int
) -> None:
    plan = windows(size, window=window, overlap=overlap)
    seen = np.zeros(size, dtype=np.int64)
    for w in plan:
        x1, y1, x2, y2 = w.corners
        assert x1 >= 0
        assert x2 <= size[1]
        assert y2 <= size[0]
        seen[y1:y2, x1:x2] += 1
    assert seen.min() >= 1
    columns = sorted({w.x for w in plan})
    assert all(b - a <= window - overlap for a, b in itertools.pairwise(columns))
    assert len(set(plan)) == len(plan)


@pytest.mark.parametrize(
    ("size", "window", "overlap", "match"),
    [
        ((10, 10), 0, 0, "must be positive; got size .10, 10., window 0"),
        ((0, 10), 8, 0, "must be positive"),
        ((10, 10), 8, 8, "overlap must be at least 0 and less than the window 8; got 8"),
        ((10, 10), 8, -1, "got -1"),
    ],
)
def test_bad_plans_are_refused(
    size: tuple[int, int], window: int, overlap: int, match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        windows(size, window=window, overlap=overlap)


def test_no_boxes() -> None:
    boxes, share = cut_boxes(np.zeros((0, 4)), WINDOW)
    assert boxes.shape == (0, 4)
    assert share.shape == (0,)


def test_boxes_and_their_share() -> None:
    boxes = np.array(
        [
            [12.0, 22.0, 14.0, 25.0],  # inside
            [35.0, 30.0, 45.0, 32.0],  # half
            [0.0, 0.0, 100.0, 100.0],  # around
            [40.0, 25.0, 44.0, 28.0],  # touches the side
            [15.0, 25.0, 15.0, 28.0],  # no width
        ]
    )
    cut, share = cut_boxes(boxes, WINDOW)
    assert cut[:3].tolist() == [[2, 2, 4, 5], [25, 10, 30, 12], [0, 0, 30, 20]]
    assert share.tolist() == [1, 0.5, 0.06, 0, 0]


def test_whole_boxes_have_a_share_of_exactly_one() -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform([10, 20], [30, 30], (200, 2))
    boxes = np.concatenate([low, low + rng.uniform(1e-3, 9, (200, 2))], axis=1)
    assert (cut_boxes(boxes, WINDOW)[1] == 1.0).all()


def test_boxes_come_back_where_they_were() -> None:
    boxes = np.array([[12.5, 22.0, 14.0, 25.0]])
    back = boxes_to_image(cut_boxes(boxes, WINDOW)[0], WINDOW)
    np.testing.assert_allclose(back, boxes)
    found = boxes_to_image(torch.tensor([[2.5, 2.0, 4.0, 5.0]]), WINDOW)
    assert found.tolist() == boxes.tolist()
    assert found.dtype == torch.float32
    assert boxes_to_image(torch.zeros(0, 4), WINDOW).shape == (0, 4)
