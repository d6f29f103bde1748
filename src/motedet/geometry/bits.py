"""Float32 numbers as int64, so that they can be packed together with an index and sorted."""

from typing import Final

import torch
from torch import Tensor

LOW_BITS: Final = (1 << 32) - 1


def float_bits(values: Tensor) -> Tensor:
    """The bits of float32 numbers, as int64 in [0, 2**32).

    They sort as the numbers do if no number is negative.

    Args:
        values: of any shape.
    """
    return values.contiguous().view(torch.int32).long() & LOW_BITS


def bits_float(bits: Tensor) -> Tensor:
    """The float32 numbers of which `float_bits` gave the bits; higher bits are dropped.

    Args:
        bits: int64 of any shape.
    """
    return bits.to(torch.int32).view(torch.float32)


def rising_bits(values: Tensor) -> Tensor:
    """Int64 numbers in [0, 2**32) that sort as float32 numbers do, negative ones included.

    Args:
        values: [...] float32, no NaN.
    """
    values = values + 0.0  # -0 becomes 0
    bits = float_bits(values)
    return torch.where(values < 0, LOW_BITS - bits, bits + (1 << 31))
