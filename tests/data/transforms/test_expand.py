from dataclasses import replace

import pytest
import torch

from fake_data import make_sample
from motedet.data.transforms import Expand
from motedet.data.transforms.draws import GeneratorDraws


def test_the_image_lies_where_its_boxes_say() -> None:
    sample = make_sample([[10, 20, 14, 26], [0, 0, 64, 48]])
    sample = replace(sample, ignore_boxes=torch.tensor([[1.0, 2, 3, 4]]))
    generator = torch.Generator().manual_seed(0)
    places = set()
    for _ in range(20):
        found = Expand(prob=1.0)(sample, generator)
        left, top, right, bottom = (int(v) for v in found.boxes[1])
        places.add((left, top))
        assert (right - left, bottom - top) == (64, 48)
        assert torch.equal(found.image[:, top:bottom, left:right], sample.image)
        shift = torch.tensor([left, top, left, top])
        assert torch.equal(found.boxes, sample.boxes + shift)
        assert torch.equal(found.ignore_boxes, sample.ignore_boxes + shift)
        assert found.image_size == found.padded_size == found.image.shape[1:]
        assert 48 <= found.image_size[0] <= 192
        assert found.original_size == (48, 64)
    assert len(places) > 10


@pytest.mark.parametrize(
    ("dtype", "colour"),
    [(torch.uint8, [124, 116, 104]), (torch.float32, [123.675, 116.28, 103.53])],
)
def test_the_canvas_has_the_mean_colour(dtype: torch.dtype, colour: list[float]) -> None:
    sample = make_sample()
    sample = replace(sample, image=sample.image.to(dtype))
    found = Expand(ratio=(3.0, 3.0), prob=1.0)(sample, torch.Generator().manual_seed(0))
    assert found.image.dtype == dtype
    assert found.image.shape == (3, 144, 192)
    outside = torch.ones(144, 192, dtype=torch.bool)
    top, left = torch.nonzero((found.image != found.image[:, -1:, -1:]).any(dim=0)).amin(dim=0)
    outside[top : top + 48, left : left + 64] = False
    for plane, value in zip(found.image, colour, strict=True):
        assert plane[outside].unique().tolist() == pytest.approx([value])


def test_how_often() -> None:
    sample, generator = make_sample([[1, 2, 3, 4]]), torch.Generator().manual_seed(0)
    assert Expand(prob=0.0)(sample, generator) is sample
    times = sum(Expand()(sample, generator) is not sample for _ in range(200))
    assert 70 < times < 130


def test_a_ratio_of_one_changes_nothing() -> None:
    sample = make_sample([[1, 2, 3, 4]])
    draws = GeneratorDraws(torch.Generator().manual_seed(0))
    found = Expand(ratio=(1.0, 1.0)).with_draws(sample, draws)
    assert torch.equal(found.image, sample.image)
    assert torch.equal(found.boxes, sample.boxes)


def test_images_without_objects() -> None:
    found = Expand(prob=1.0)(make_sample(), torch.Generator().manual_seed(0))
    assert found.boxes.shape == (0, 4)


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"ratio needs 1 <= smallest <= largest; got \(0\.5, 2"):
        Expand(ratio=(0.5, 2.0))
    with pytest.raises(ValueError, match=r"mean must lie in \[0, 255\]; got"):
        Expand(mean=(0.0, 0.0, 300.0))
    with pytest.raises(ValueError, match="prob must lie in"):
        Expand(prob=1.5)
