import pytest
import torch

from fake_data import make_sample
from motedet.data.transforms import RandomScale, Resize, ResizeKeepRatio, Scale
from motedet.data.transforms.resize import scaled_size


@pytest.fixture(name="generator")
def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_exact_size_scales_each_axis(generator: torch.Generator) -> None:
    sample = Resize(size=(96, 32))(make_sample([[10, 20, 14, 26]]), generator)
    assert sample.image.shape == (3, 96, 32)
    assert sample.image.dtype == torch.uint8
    assert sample.boxes.tolist() == [[5, 40, 7, 52]]
    assert sample.image_size == sample.padded_size == (96, 32)
    assert sample.original_size == (48, 64)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (800, 1067)), ((427, 640), (800, 1199)), ((300, 900), (444, 1333))],
)
def test_keep_ratio_sizes(
    size: tuple[int, int], expected: tuple[int, int], generator: torch.Generator
) -> None:
    assert ResizeKeepRatio()(make_sample(size=size), generator).image_size == expected


def test_keep_ratio_boxes_use_the_exact_ratios(generator: torch.Generator) -> None:
    sample = ResizeKeepRatio()(make_sample([[0, 0, 640, 427]], size=(427, 640)), generator)
    assert sample.boxes.tolist() == [[0, 0, 1199, 800]]


def test_tiny_boxes_survive_shrinking(generator: torch.Generator) -> None:
    sample = make_sample([[3, 3, 4, 4], [0, 0, 0.5, 0.25], [63, 47, 64, 48]])
    small = Scale(factor=0.125)(sample, generator)
    assert small.image_size == (6, 8)
    torch.testing.assert_close(small.boxes, sample.boxes * 0.125)
    assert small.labels.tolist() == [0, 1, 2]


def test_scale_of_one_changes_nothing(generator: torch.Generator) -> None:
    sample = make_sample([[1, 2, 3, 4]])
    assert Scale()(sample, generator) is sample


def test_random_scale_stays_in_its_range_and_varies(generator: torch.Generator) -> None:
    transform = RandomScale(low=0.5, high=1.5, factor=2.0)
    heights = {transform(make_sample(), generator).image_size[0] for _ in range(40)}
    assert 48 <= min(heights) < 65
    assert 125 < max(heights) <= 144


def test_an_enlarged_bright_pixel_stays_in_its_box(generator: torch.Generator) -> None:
    sample = make_sample([[20, 10, 21, 11]])
    sample.image.zero_()
    sample.image[:, 10, 20] = 255
    large = Scale(factor=4.0)(sample, generator)
    y, x = divmod(int(large.image[0].argmax()), large.image.shape[2])
    x1, y1, x2, y2 = large.boxes[0].tolist()
    assert x1 <= x + 0.5 <= x2
    assert y1 <= y + 0.5 <= y2


def test_sizes_round_half_up_and_never_vanish() -> None:
    assert scaled_size((5, 7), 0.5) == (3, 4)
    assert scaled_size((5, 7), 0.01) == (1, 1)


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"size must be positive; got \(0, 5\)"):
        Resize(size=(0, 5))
    with pytest.raises(ValueError, match="got 900 and 800"):
        ResizeKeepRatio(short=900, long=800)
    with pytest.raises(ValueError, match="factor must be positive; got 0"):
        Scale(factor=0)
    with pytest.raises(ValueError, match=r"got 1.2, 0.8 and 1.0"):
        RandomScale(low=1.2, high=0.8)
