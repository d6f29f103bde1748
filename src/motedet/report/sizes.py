"""The size bins of AI-TOD, by the square root of a box's area in pixels."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class SizeBin:
    """A half-open interval of object sizes.

    Attributes:
        name: what the bin is called.
        low: smallest size in pixels, included.
        high: end of the bin in pixels, not included.
    """

    name: str
    low: float
    high: float

    @property
    def interval(self) -> str:
        """The bin in words, such as "8 to 16 px"."""
        if self.low == 0:
            return f"under {self.high:g} px"
        if math.isinf(self.high):
            return f"{self.low:g} px and up"
        return f"{self.low:g} to {self.high:g} px"


BINS: Final = (
    SizeBin("below", 0.0, 2.0),
    SizeBin("very tiny", 2.0, 8.0),
    SizeBin("tiny", 8.0, 16.0),
    SizeBin("small", 16.0, 32.0),
    SizeBin("medium", 32.0, math.inf),
)


def bin_counts(sizes: FloatArray) -> tuple[int, ...]:
    """Objects per bin of `BINS`.

    Args:
        sizes: [N] square roots of box areas in pixels; NaN and infinite ones count nowhere.
    """
    finite = sizes[np.isfinite(sizes)]
    return tuple(int(((finite >= b.low) & (finite < b.high)).sum()) for b in BINS)
