from dataclasses import replace

import pytest
import torch

from fake_data import make_sample
from motedet.data.transforms import RandomCrop
from motedet.data.transforms.crop import crop_sample, offset_range


def test_window_by_hand() -> None:
    sample = make_sample([[10, 20, 14, 26], [0, 0, 5, 5], [18, 18, 22, 22]])
    cropped = crop_sample(sample, (18, 8), (20, 12), min_visible=0.3)
    assert torch.equal(cropped.image, sample.image[:, 18:38, 8:20])
    assert cropped.boxes.tolist() == [[2, 2, 6, 8], [10, 0, 12, 4]]
    assert cropped.labels.tolist() == [0, 2]
    assert cropped.image_size == cropped.padded_size == (20, 12)


@pytest.mark.parametrize(
    ("min_visible", "kept", "ignored"), [(0.0, 1, 0), (0.5, 1, 0), (0.51, 0, 1), (1.0, 0, 1)]
)
def test_too_little_left_becomes_an_ignored_region(
    min_visible: float, kept: int, ignored: int
) -> None:
    sample = make_sample([[10, 10, 12, 12]])  # half of it is inside
    cropped = crop_sample(sample, (0, 11), (48, 30), min_visible=min_visible)
    assert (len(cropped.boxes), len(cropped.ignore_boxes)) == (kept, ignored)


def test_nothing_of_an_object_outside_is_left() -> None:
    sample = replace(
        make_sample([[0, 0, 4, 4]]), ignore_boxes=torch.tensor([[0.0, 0, 4, 4], [30, 30, 40, 40]])
    )
    cropped = crop_sample(sample, (20, 20), (20, 20), min_visible=0.0)
    assert len(cropped.boxes) == 0
    assert cropped.ignore_boxes.tolist() == [[10, 10, 20, 20]]


def test_objects_under_a_pixel_survive() -> None:
    sample = make_sample([[10.2, 10.2, 10.5, 10.4], [20, 20, 21, 21]])
    cropped = crop_sample(sample, (5, 5), (30, 30), min_visible=1.0 - 1e-5)
    assert cropped.labels.tolist() == [0, 1]


def test_the_chosen_object_is_wholly_inside() -> None:
    sample = make_sample([[41.5, 3.2, 47.9, 9.1]])
    transform = RandomCrop(size=(16, 16), object_prob=1.0, min_visible=0.0)
    generator = torch.Generator().manual_seed(0)
    offsets = set()
    for _ in range(50):
        cropped = transform(sample, generator)
        size = cropped.boxes[0, 2:] - cropped.boxes[0, :2]
        torch.testing.assert_close(size, torch.tensor([6.4, 5.9]), atol=1e-4, rtol=0)
        offsets.add(tuple(cropped.boxes[0].tolist()))
    assert len(offsets) > 10


def test_windows_without_objects_go_anywhere() -> None:
    sample, generator = make_sample(), torch.Generator().manual_seed(0)
    cropped = RandomCrop(size=(20, 30))(sample, generator)
    assert cropped.image.shape == (3, 20, 30)
    assert cropped.boxes.shape == (0, 4)


def test_small_images_stay_whole() -> None:
    sample = make_sample([[1, 1, 2, 2]])
    cropped = RandomCrop(size=(100, 30))(sample, torch.Generator().manual_seed(0))
    assert cropped.image_size == (48, 30)


@pytest.mark.parametrize(
    ("length", "window", "span", "expected"),
    [
        (64, 16, None, (0, 48)),
        (64, 16, (20.5, 24.5), (9, 20)),
        (64, 16, (0.0, 4.0), (0, 0)),
        (64, 16, (60.0, 64.0), (48, 48)),
        (64, 64, (10.0, 20.0), (0, 0)),
        (64, 8, (10.0, 30.0), (10, 22)),
    ],
)
def test_offset_range(
    length: int, window: int, span: tuple[float, float] | None, expected: tuple[int, int]
) -> None:
    assert offset_range(length, window, span) == expected


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="size must be positive"):
        RandomCrop(size=(0, 4))
    with pytest.raises(ValueError, match="min_visible must lie in"):
        RandomCrop(min_visible=-0.1)
