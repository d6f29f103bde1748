import torch

from motedet.geometry.bits import bits_float, float_bits, rising_bits


def test_float_bits_sort_like_the_numbers_and_come_back() -> None:
    values = torch.tensor([0.0, 1e-45, 1e-20, 0.5, 1.0, 3e38])
    bits = float_bits(values)
    assert torch.equal(bits, bits.sort().values)
    assert torch.equal(bits_float(bits | (7 << 32)), values)
    negative = torch.tensor([-1.5, -0.25])
    assert (float_bits(negative) >= 0).all()
    assert torch.equal(bits_float(float_bits(negative)), negative)


def test_rising_bits_sort_negative_numbers_too() -> None:
    values = torch.tensor([-torch.inf, -3e38, -1.5, -0.25, -1e-45, 0.0, 1e-45, 2.0, torch.inf])
    bits = rising_bits(values)
    assert (bits.diff() > 0).all()
    assert bits.min() >= 0
    assert bits.max() < 1 << 32
    assert rising_bits(torch.tensor([-0.0])) == rising_bits(torch.tensor([0.0]))
