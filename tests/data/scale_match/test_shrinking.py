from dataclasses import replace

import pytest
import torch

from fake_data import make_sample
from motedet.data.scale_match.shrinking import resize_pixels, shrink_sample


def test_a_sample_without_objects() -> None:
    found = shrink_sample(make_sample(), (24, 32), min_side=1.0, antialias=True)
    assert found.image.shape == (3, 24, 32)
    assert found.boxes.shape == found.ignore_boxes.shape == (0, 4)
    assert found.labels.shape == (0,)


def test_boxes_are_scaled_by_axis_and_clipped() -> None:
    sample = replace(
        make_sample([[8, 8, 24, 24], [60, 40, 80, 60], [1, 1, 2, 9]]),
        ignore_boxes=torch.tensor([[-4.0, 0.0, 8.0, 8.0], [0.0, 0.0, 64.0, 1.0]]),
    )
    found = shrink_sample(sample, (24, 64), min_side=1.0, antialias=True)
    assert found.boxes.tolist() == [[8, 4, 24, 12], [60, 20, 64, 24], [1, 0.5, 2, 4.5]]
    assert found.labels.tolist() == [0, 1, 2]
    assert found.ignore_boxes.tolist() == [[0, 0, 8, 4]]
    assert found.image_size == found.padded_size == (24, 64)
    assert found.original_size == (48, 64)


def test_a_side_of_exactly_the_smallest_stays() -> None:
    sample = make_sample([[0, 0, 2, 4], [0, 0, 1.9, 4]])
    assert shrink_sample(sample, (24, 32), min_side=1.0, antialias=True).labels.tolist() == [0]


@pytest.mark.parametrize(("antialias", "expected"), [(False, 0), (True, 64)])
def test_shrinking_samples_or_averages(*, antialias: bool, expected: int) -> None:
    image = torch.zeros(3, 8, 8, dtype=torch.uint8)
    image[:, :, 3::4] = 255  # a column in four, which falls between the samples
    found = resize_pixels(image, (2, 2), antialias=antialias)
    assert found.float().mean() == pytest.approx(expected, abs=8)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)], ids=str)
def test_down_to_a_single_pixel(size: tuple[int, int], *, antialias: bool) -> None:
    image = torch.full((3, 48, 64), 7, dtype=torch.uint8)
    assert (resize_pixels(image, size, antialias=antialias) == 7).all()
