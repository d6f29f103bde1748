import pytest
import torch

from fake_data import make_sample
from motedet.data.transforms import Pad


@pytest.mark.parametrize(
    ("divisor", "expected"), [(1, (48, 64)), (16, (48, 64)), (32, (64, 64)), (50, (50, 100))]
)
def test_sizes(divisor: int, expected: tuple[int, int]) -> None:
    sample = make_sample([[1, 2, 3, 4]])
    padded = Pad(divisor=divisor, value=7)(sample, torch.Generator())
    assert tuple(padded.image.shape[1:]) == padded.padded_size == expected
    assert padded.image_size == (48, 64)
    assert torch.equal(padded.image[:, :48, :64], sample.image)
    assert (padded.image[:, 48:] == 7).all()
    assert (padded.image[:, :, 64:] == 7).all()
    assert torch.equal(padded.boxes, sample.boxes)


def test_bad_divisor() -> None:
    with pytest.raises(ValueError, match="divisor must be at least 1; got 0"):
        Pad(divisor=0)
