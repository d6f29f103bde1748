import pytest
import torch

from fake_data import make_sample
from motedet.data.transforms import ColourJitter, Normalise
from motedet.errors import ShapeError


def test_jitter_of_nothing_changes_nothing() -> None:
    sample = make_sample()
    still = ColourJitter(brightness=0, contrast=0)(sample, torch.Generator())
    assert torch.equal(still.image, sample.image)


def test_brightness_multiplies_within_its_range() -> None:
    sample, generator = make_sample(), torch.Generator().manual_seed(0)
    sample.image.fill_(100)
    values = set()
    for _ in range(50):
        changed = ColourJitter(brightness=0.3, contrast=0.0)(sample, generator)
        values.add(int(changed.image[0, 0, 0]))
        assert changed.image.dtype == torch.uint8
    assert 70 <= min(values) < 80
    assert 120 < max(values) <= 130


def test_contrast_keeps_the_mean() -> None:
    sample, generator = make_sample(), torch.Generator().manual_seed(1)
    sample.image.clamp_(100, 150)
    changed = ColourJitter(brightness=0.0, contrast=0.5)(sample, generator)
    assert not torch.equal(changed.image, sample.image)
    difference = changed.image.float().mean() - sample.image.float().mean()
    assert abs(float(difference)) < 0.6


def test_saturation_leaves_grey_images_alone() -> None:
    sample = make_sample()
    sample.image.copy_(sample.image[:1].clone().expand(3, -1, -1))
    transform = ColourJitter(brightness=0, contrast=0, saturation=0.8)
    changed = transform(sample, torch.Generator().manual_seed(0))
    assert (changed.image.int() - sample.image.int()).abs().max() <= 1


def test_jitter_does_not_change_its_input() -> None:
    sample = make_sample()
    before = sample.image.clone()
    for transform in (ColourJitter(saturation=0.5), Normalise(), Normalise(bgr=True)):
        transform(sample, torch.Generator())
    assert torch.equal(sample.image, before)


def test_jitter_after_normalise_is_refused() -> None:
    sample = Normalise()(make_sample(), torch.Generator())
    with pytest.raises(ShapeError, match="Put it before normalise"):
        ColourJitter()(sample, torch.Generator())


def test_normalise_by_hand() -> None:
    sample = make_sample()
    sample.image[0].fill_(10)
    sample.image[1].fill_(20)
    sample.image[2].fill_(30)
    rgb = Normalise(mean=(1, 2, 3), std=(1, 2, 3))(sample, torch.Generator())
    assert rgb.image.dtype == torch.float32
    assert rgb.image[:, 0, 0].tolist() == [9, 9, 9]
    bgr = Normalise(mean=(1, 2, 3), std=(1, 1, 1), bgr=True)(sample, torch.Generator())
    assert bgr.image[:, 0, 0].tolist() == [29, 18, 7]


def test_normalise_leaves_float_input_as_it_was() -> None:
    sample = Normalise()(make_sample(), torch.Generator())
    before = sample.image.clone()
    Normalise()(sample, torch.Generator())
    assert torch.equal(sample.image, before)


def test_bad_values() -> None:
    with pytest.raises(ValueError, match="std must be positive"):
        Normalise(std=(1.0, 0.0, 1.0))
    with pytest.raises(ValueError, match="brightness must lie in"):
        ColourJitter(brightness=2.0)
