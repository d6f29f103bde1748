"""Monotone Scale Match: sizes of one data set mapped to another's so that their order stays."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from motedet.data.scale_match.histogram import ROUNDING, Floats, SizeHistogram

FlatBins = Literal["end", "limit"]
"""What a source bin of no width gives to sizes under it: its end, or what dividing by 0 gives."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MonotoneMap:
    """Sizes of the source at edges of equal cumulative share, and those of the target.

    Attributes:
        source: [bins + 1] in pixels, ascending; neighbours may be equal.
        target: [bins + 1] in pixels, ascending.
        log: interpolate logarithms rather than pixels.
        flat: with "limit", as published, a size under a first bin of no width goes to minus
            infinity, so that the image is made as small as allowed.
    """

    source: Floats
    target: Floats
    log: bool = False
    flat: FlatBins = "end"

    @classmethod
    def between(
        cls, sizes: Floats, histogram: SizeHistogram, *, log: bool = False, flat: FlatBins = "end"
    ) -> "MonotoneMap":
        """The map that gives the source the target's distribution.

        Args:
            sizes: [M] of the source in pixels, at least one; of objects, or means of images.
            histogram: of the target.
            log: see the attribute.
            flat: see the attribute.
        """
        ordered = np.sort(sizes)  # [M]
        last = len(ordered) - 1
        rows = [min(int(share * len(ordered)), last) for share in histogram.cumulative.tolist()]
        source = np.concatenate([ordered[:1], ordered[rows]])  # [bins + 1]
        source[-1] = ordered[last]  # rounded shares may end before 1
        return cls(source=source, target=histogram.edges, log=log, flat=flat)

    def __call__(self, size: float) -> float:
        """The size in the target that a size in the source becomes, in pixels.

        Sizes beyond either end go on as in the first or the last bin, so the result may be
        negative. The published code has no last bin for them: it fails.
        """
        found = int(np.searchsorted(self.source[1:] + ROUNDING, size))
        k = min(found, len(self.source) - 2)
        source, target = self.source[k : k + 2], self.target[k : k + 2]  # [2], [2]
        if self.log:
            end = _along(float(np.log(size)), np.log(source), np.log(target), self.flat)
            return float(np.exp(end))
        return _along(size, source, target, self.flat)


def _along(value: float, source: Floats, target: Floats, flat: FlatBins) -> float:
    """The line through two points, at a value."""
    (s0, s1), (t0, t1) = source.tolist(), target.tolist()
    if s1 > s0:
        return float((value - s0) / (s1 - s0) * (t1 - t0) + t0)
    return float("-inf") if flat == "limit" and value < s0 else float(t1)
