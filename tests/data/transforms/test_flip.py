import pytest
import torch

from fake_data import make_sample
from motedet.data import Sample
from motedet.data.transforms import AnyTransform, HorizontalFlip, RandomRotate90, VerticalFlip
from motedet.data.transforms.flip import rotate_boxes

BOX = [[10.0, 20.0, 14.0, 26.0]]


def _marked() -> Sample:
    """A black image with a white rectangle in its only box."""
    sample = make_sample(BOX)
    sample.image.zero_()
    sample.image[:, 20:26, 10:14] = 255
    return sample


def _box_of_white(sample: Sample) -> list[float]:
    ys, xs = torch.nonzero(sample.image[0], as_tuple=True)
    return [float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]


@pytest.mark.parametrize(
    "transform",
    [HorizontalFlip(prob=1.0), VerticalFlip(prob=1.0), RandomRotate90(prob=1.0)],
    ids=lambda transform: str(transform.kind),
)
@pytest.mark.parametrize("seed", range(5))
def test_boxes_follow_the_pixels(transform: AnyTransform, seed: int) -> None:
    sample = transform(_marked(), torch.Generator().manual_seed(seed))
    assert sample.boxes[0].tolist() == _box_of_white(sample)
    assert sample.image_size == tuple(sample.image.shape[1:])


@pytest.mark.parametrize("transform", [HorizontalFlip(prob=1.0), VerticalFlip(prob=1.0)])
def test_twice_is_the_original(transform: AnyTransform) -> None:
    sample, generator = make_sample(BOX), torch.Generator()
    twice = transform(transform(sample, generator), generator)
    assert torch.equal(twice.image, sample.image)
    assert torch.equal(twice.boxes, sample.boxes)


@pytest.mark.parametrize("transform", [HorizontalFlip(prob=0), RandomRotate90(prob=0)])
def test_never_is_never(transform: AnyTransform) -> None:
    sample = make_sample(BOX)
    assert all(transform(sample, torch.Generator()) is sample for _ in range(20))


def test_half_is_about_half() -> None:
    sample, generator = make_sample(BOX), torch.Generator().manual_seed(0)
    flipped = sum(HorizontalFlip()(sample, generator) is not sample for _ in range(400))
    assert 160 < flipped < 240


def test_empty_boxes() -> None:
    for transform in (HorizontalFlip(prob=1), VerticalFlip(prob=1), RandomRotate90(prob=1)):
        assert transform(make_sample(), torch.Generator()).boxes.shape == (0, 4)


def test_four_quarter_turns_are_none() -> None:
    boxes = torch.tensor(BOX)
    assert torch.equal(rotate_boxes(boxes, (48, 64), 4), boxes)


def test_bad_probability() -> None:
    with pytest.raises(ValueError, match=r"prob must lie in \[0, 1\]; got 1.5"):
        VerticalFlip(prob=1.5)
