"""Numbers and indices in one int64, so that one comparison settles both value and tie."""

from typing import Final

import torch
from torch import Tensor

from motedet.geometry.bits import LOW_BITS, bits_float, rising_bits

INDEX_BITS: Final = 31
MAX_INDEX: Final = (1 << INDEX_BITS) - 1
NOTHING: Final = torch.iinfo(torch.int64).max


def pack(values: Tensor, index: Tensor) -> Tensor:
    """Int64 keys that sort by a float32 number, NaN last, then by an index.

    Args:
        values: [...] float32.
        index: [...] int64 in [0, 2**31).

    Returns:
        [...] int64, all below `NOTHING`.
    """
    values = values.nan_to_num(torch.inf, torch.inf, -torch.inf)
    return (rising_bits(values) << INDEX_BITS) | index


def packed_value(key: Tensor) -> Tensor:
    """[...] float32, the numbers in keys from `pack`; infinity for `NOTHING`."""
    rising = key >> INDEX_BITS
    bits = torch.where(rising >= 1 << 31, rising - (1 << 31), LOW_BITS - rising)
    return bits_float(bits).masked_fill(key == NOTHING, torch.inf)


def packed_index(key: Tensor) -> Tensor:
    """[...] int64, the indices in keys from `pack`."""
    return key & MAX_INDEX


def keep_lowest(best: Tensor, key: Tensor, gt: Tensor) -> Tensor:
    """The lowest keys of each object so far, and those of new pairs.

    Args:
        best: [G, k] rising, `NOTHING` where an object has fewer than k.
        key: [E], from `pack`; a key that an object has already counts once.
        gt: [E] int64, the object of each key.

    Returns:
        [G, k] rising.
    """
    topk = best.shape[1]
    order = key.argsort()
    order = order[gt[order].argsort(stable=True)]  # by object, then rising
    key, gt = key[order], gt[order]
    counts = gt.bincount(minlength=len(best))  # [G]
    rank = torch.arange(len(gt), device=gt.device) - (counts.cumsum(0) - counts)[gt]  # [E]
    few = rank < topk
    added = torch.full_like(best, NOTHING)
    added[gt[few], rank[few]] = key[few]
    both = torch.cat((best, added), dim=1).sort(dim=1).values  # [G, 2k]
    twice = both[:, 1:] == both[:, :-1]
    both[:, 1:] = both[:, 1:].masked_fill(twice, NOTHING)
    return both.sort(dim=1).values[:, :topk]
