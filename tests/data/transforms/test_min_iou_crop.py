from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest
import torch

from fake_data import make_sample
from motedet.data.transforms import MinIoUCrop
from motedet.data.transforms.min_iou_crop import TRIES

OBJECTS: Sequence[Literal["any", "all"]] = ("any", "all")


class Script:
    """Overlaps and uniforms written down beforehand; uniforms are from 0 to 1."""

    def __init__(self, choices: Sequence[float], uniforms: Sequence[float]) -> None:
        self.choices = iter(choices)
        self.uniforms = list(uniforms)
        self.drawn = 0

    def randint(self, high: int, /) -> int:
        raise NotImplementedError

    def uniform(self, low: float, high: float, /) -> float:
        self.drawn += 1
        return low + (high - low) * self.uniforms[(self.drawn - 1) % len(self.uniforms)]

    def choice(self, values: Sequence[float], /) -> float:
        number = next(self.choices)
        assert number in values
        return number

    def permutation(self, count: int, /) -> list[int]:
        raise NotImplementedError


# of 48 x 64 pixels: width 0.3 * 64 + 0.7 * 64 * u = 32, height 24, left 8, top 6
U_HALF = (0.5 - 0.3) / 0.7
WINDOW = (U_HALF + 1e-6, U_HALF + 1e-6, 0.25 + 1e-5, 0.25 + 1e-5)


def test_window_by_hand() -> None:
    sample = make_sample([[10, 10, 14, 16], [38, 28, 46, 30], [0, 0, 9, 7], [4, 4, 9, 7]])
    sample = replace(
        sample, ignore_boxes=torch.tensor([[0.0, 0, 10, 10], [50, 40, 60, 45], [9, 9, 11, 12]])
    )
    found = MinIoUCrop().with_draws(sample, Script([0.0], WINDOW))
    assert torch.equal(found.image, sample.image[:, 6:30, 8:40])
    assert found.image_size == found.padded_size == (24, 32)
    assert found.boxes.tolist() == [[2, 4, 6, 10]]
    assert found.labels.tolist() == [0]
    assert found.ignore_boxes.tolist() == [[0, 0, 2, 4], [1, 3, 3, 6]]


def test_objects_are_clipped() -> None:
    sample = make_sample([[36, 26, 43, 32]])
    found = MinIoUCrop().with_draws(sample, Script([0.0], WINDOW))
    assert found.boxes.tolist() == [[28, 20, 32, 24]]


def test_plus_one_counts_the_last_pixel() -> None:
    # as published: first and last pixel (36, 26) and (42, 31), clipped to (40, 30)
    sample = make_sample([[36, 26, 43, 32]])
    found = MinIoUCrop(plus_one=True).with_draws(sample, Script([0.0], WINDOW))
    assert found.boxes.tolist() == [[28, 20, 33, 25]]


@pytest.mark.parametrize(
    ("plus_one", "kept"), [(False, 0), (True, 1)], ids=["centre on the edge", "half a pixel off"]
)
def test_centres_lie_strictly_inside(*, plus_one: bool, kept: int) -> None:
    sample = make_sample([[36, 10, 44, 14], [10, 10, 14, 14]])
    found = MinIoUCrop(plus_one=plus_one).with_draws(sample, Script([0.0], WINDOW))
    assert len(found.boxes) == 1 + kept


def test_an_overlap_of_one_keeps_the_image() -> None:
    sample = make_sample([[10, 10, 14, 16]])
    assert MinIoUCrop().with_draws(sample, Script([1.0], WINDOW)) is sample


@pytest.mark.parametrize("objects", OBJECTS)
def test_images_without_objects_stay_whole(objects: Literal["any", "all"]) -> None:
    sample = make_sample()
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        assert MinIoUCrop(objects=objects, overlap="iou")(sample, generator) is sample


def test_any_object_or_all() -> None:
    sample = make_sample([[10, 10, 14, 16], [60, 40, 62, 42]])
    script = Script([0.9], WINDOW)
    assert len(MinIoUCrop(objects="any").with_draws(sample, script).boxes) == 1
    assert script.drawn == 4
    script = Script([0.1, 1.0], WINDOW)
    assert MinIoUCrop(objects="all").with_draws(sample, script) is sample
    assert script.drawn == 4 * TRIES


def test_iou_is_not_reached_by_tiny_objects() -> None:
    sample = make_sample([[10, 10, 14, 16]])
    script = Script([0.1, 1.0], WINDOW)
    assert MinIoUCrop(overlap="iou").with_draws(sample, script) is sample
    large = make_sample([[8, 6, 40, 30]])
    assert MinIoUCrop(overlap="iou").with_draws(large, Script([0.9], WINDOW)) is not large


def test_windows_without_a_centre_are_drawn_again() -> None:
    sample = make_sample([[60, 40, 62, 42]])
    script = Script([0.0, 1.0], WINDOW)
    assert MinIoUCrop().with_draws(sample, script) is sample
    assert script.drawn == 4 * TRIES


def test_narrow_windows_are_drawn_again() -> None:
    sample = make_sample([[10, 10, 14, 16]])
    script = Script([0.0, 1.0], [0.0, 1.0])  # 19 px wide, 48 high
    assert MinIoUCrop().with_draws(sample, script) is sample
    assert script.drawn == 2 * TRIES


def test_margins_uniform_or_reversed() -> None:
    sample = make_sample([[30, 20, 34, 26]])
    half = U_HALF + 1e-6
    for share in (0.1, 0.3, 0.8):
        script = Script([0.0], [half, half, share, share])
        found = MinIoUCrop().with_draws(sample, script)
        assert 30 - float(found.boxes[0, 0]) == int(32 * share)
        script = Script([0.0], [half, half, share, share])
        found = MinIoUCrop(margin="reversed").with_draws(sample, script)
        assert 30 - float(found.boxes[0, 0]) == int(32 - 31 * share)


@pytest.mark.parametrize("published", [False, True])
def test_boxes_and_windows_stay_in_the_image(*, published: bool) -> None:
    transform = MinIoUCrop()
    if published:
        transform = MinIoUCrop(overlap="iou", objects="all", margin="reversed", plus_one=True)
    generator = torch.Generator().manual_seed(0)
    sizes = set()
    for size in ((48, 64), (5, 8), (1, 1), (20, 200)):
        height, width = size
        box = [width / 2, height / 3, width / 2 + 0.5, height]
        sample = make_sample([box, [0, 0, width, height]], size=size)
        for _ in range(10):
            found = transform(sample, generator)
            height, width = found.image_size
            sizes.add(found.image_size)
            assert found.image.shape == (3, height, width)
            assert min(height, width) >= 1
            assert len(found.boxes) == len(found.labels) > 0
            limit = torch.tensor([width, height] * 2) + published
            assert (found.boxes >= 0).all()
            assert (found.boxes <= limit).all()
            assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
    assert len(sizes) > 4


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"min_overlaps must lie between 0 and 1; got \(0\.5, 1"):
        MinIoUCrop(min_overlaps=(0.5, 1.0))
    with pytest.raises(ValueError, match=r"min_side must lie in \(0, 1\]; got 0"):
        MinIoUCrop(min_side=0.0)
