import colorsys
from collections.abc import Iterator, Sequence

import pytest
import torch

from fake_data import make_sample
from motedet.data.transforms import Compose, HorizontalFlip, Normalise, Pad, Resize
from motedet.data.transforms.draws import GeneratorDraws
from motedet.data.transforms.photometric import (
    PhotometricDistortion,
    hsv_to_rgb,
    rgb_to_hsv,
)
from motedet.errors import ShapeError


class Script:
    """Numbers written down beforehand."""

    def __init__(
        self,
        coins: Sequence[int],
        numbers: Sequence[float] = (),
        order: Sequence[int] = (0, 1, 2),
    ) -> None:
        self.coins = iter(coins)
        self.numbers = iter(numbers)
        self.order = order

    def randint(self, high: int, /) -> int:
        return next(self.coins) % high

    def uniform(self, low: float, high: float, /) -> float:
        number = next(self.numbers)
        assert low <= number <= high
        return number

    def choice(self, values: Sequence[float], /) -> float:
        return values[0]

    def permutation(self, count: int, /) -> Iterator[int]:
        return iter(self.order[:count])

    def used_up(self) -> bool:
        return next(self.coins, None) is None and next(self.numbers, None) is None


def distort(
    colour: Sequence[float],
    coins: Sequence[int],
    numbers: Sequence[float] = (),
    order: Sequence[int] = (0, 1, 2),
) -> list[float]:
    """One pixel, distorted; every number is used."""
    script = Script(coins, numbers, order)
    pixels = torch.tensor(colour, dtype=torch.float32)[:, None, None]  # [3, 1, 1]
    found = PhotometricDistortion().distort(pixels, script)
    assert script.used_up()
    return [float(value) for value in found.flatten()]


def test_brightness_is_added_and_not_clipped() -> None:
    assert distort((250, 20, 100), [1, 0, 0, 0, 0, 0], [20]) == pytest.approx((270, 40, 120))


@pytest.mark.parametrize("coins", [[0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]], ids=["first", "last"])
def test_contrast_multiplies(coins: list[int]) -> None:
    assert distort((200, 20, 100), coins, [1.5]) == pytest.approx((300, 30, 150))


def test_saturation_moves_away_from_the_largest_channel() -> None:
    found = distort((200, 100, 150), [0, 0, 1, 0, 0, 0], [1.5])
    assert found == pytest.approx((200, 50, 125))


def test_hue_turns() -> None:
    # 60 degrees of the colour circle lie between red and yellow
    found = distort((200, 0, 0), [0, 0, 0, 1, 0, 0], [15])
    assert found == pytest.approx((200, 50, 0), abs=1e-4)
    found = distort((200, 0, 0), [0, 0, 0, 1, 0, 0], [-15])
    assert found == pytest.approx((200, 0, 50), abs=1e-4)


def test_channels_are_reordered_as_blue_green_red() -> None:
    # new blue, green, red are the old green, red, blue
    found = distort((30, 20, 10), [0, 0, 0, 0, 0, 1], order=(1, 2, 0))
    assert found == pytest.approx((10, 30, 20))


def test_negative_pixels_come_out_of_the_conversion_positive() -> None:
    assert distort((-10, -20, -30), [0] * 6) == pytest.approx((-10, 0, 10), abs=1e-4)


def test_hsv_as_in_the_standard_library() -> None:
    pixels = make_sample().image[:, :8, :8].float()
    pixels[:, 0, 0] = 77.0
    pixels[:, 0, 1] = 0.0
    hue, saturation, value = rgb_to_hsv(pixels)
    for y, x in ((0, 0), (0, 1), (3, 4), (5, 6), (7, 7), (2, 1), (4, 2)):
        expected = colorsys.rgb_to_hsv(*pixels[:, y, x].tolist())
        found = (float(hue[y, x]) / 360, float(saturation[y, x]), float(value[y, x]))
        assert found == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(hsv_to_rgb(hue, saturation, value), pixels, atol=1e-3, rtol=0)
    torch.testing.assert_close(hsv_to_rgb(hue - 360, saturation, value), pixels, atol=1e-3, rtol=0)


def test_only_the_pixels_of_the_result_change() -> None:
    sample, generator = make_sample([[1, 2, 3, 4]]), torch.Generator().manual_seed(0)
    before = sample.image.clone()
    kept = 0
    for _ in range(20):
        found = PhotometricDistortion()(sample, generator)
        assert found.image.dtype == torch.float32
        assert found.image.shape == before.shape
        assert found.boxes is sample.boxes
        kept += int((found.image - before).abs().max() < 1e-2)
    assert torch.equal(sample.image, before)
    assert kept < 5


def test_the_same_seed_gives_the_same_image() -> None:
    first, second = (
        PhotometricDistortion()(make_sample(), torch.Generator().manual_seed(4)) for _ in range(2)
    )
    assert torch.equal(first.image, second.image)


def test_later_transforms_take_the_result() -> None:
    chain = Compose(
        [
            PhotometricDistortion(),
            Resize(size=(30, 20)),
            HorizontalFlip(prob=1.0),
            Normalise(),
            Pad(),
        ]
    )
    sample = chain(make_sample([[1, 2, 3, 4]]), torch.Generator().manual_seed(0))
    assert sample.image.shape == (3, 32, 32)
    assert sample.image.isfinite().all()


def test_normalised_images_are_refused() -> None:
    sample = Normalise()(make_sample(), torch.Generator())
    with pytest.raises(ShapeError, match=r"needs uint8 pixels; got torch\.float32"):
        PhotometricDistortion()(sample, torch.Generator())


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"contrast needs 0 <= low <= high; got 1\.5 and 0\.5"):
        PhotometricDistortion(contrast=(1.5, 0.5))
    with pytest.raises(ValueError, match=r"saturation needs"):
        PhotometricDistortion(saturation=(-0.1, 0.5))
    with pytest.raises(ValueError, match=r"hue must lie in .*; got 32\.0 and 181\.0"):
        PhotometricDistortion(hue=181.0)
    with pytest.raises(ValueError, match="brightness must not be negative"):
        PhotometricDistortion(brightness=-1.0)


def test_draws_of_a_generator() -> None:
    draws = GeneratorDraws(torch.Generator().manual_seed(0))
    assert {draws.randint(2) for _ in range(30)} == {0, 1}
    assert all(2 < draws.uniform(3, 2) <= 3 for _ in range(30))
    assert {draws.choice((1.0, 0.5)) for _ in range(30)} == {1.0, 0.5}
    assert sorted(draws.permutation(3)) == [0, 1, 2]
    assert len({tuple(draws.permutation(3)) for _ in range(60)}) == 6
