"""The distribution of object sizes that images are matched to (Yu et al. 2020, section 4.1)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from motedet.errors import DataError

Floats = NDArray[np.float64]
Uniform = Callable[[], float]
"""Gives one number in [0, 1) after the other."""

ROUNDING: Final = 1e-6  # added to both sides of a bin's search, as published
_STANDARD_SAMPLE: Final = 2000  # quantiles that stand for a normal distribution


@dataclass(frozen=True, slots=True, eq=False)
class SizeHistogram:
    """Shares of objects by size.

    Attributes:
        edges: [bins + 1] in pixels, ascending; those around a tail may be equal.
        prob: [bins] share of the objects in each bin; may be 0 in the tails.
    """

    edges: Floats
    prob: Floats

    def __post_init__(self) -> None:
        """Reject what is no histogram.

        Raises:
            DataError: saying what was found.
        """
        if self.edges.ndim != 1 or len(self.prob) < 1 or len(self.edges) != len(self.prob) + 1:
            raise DataError(
                "a size histogram needs one edge more than shares; "
                f"got {list(self.edges.shape)} edges and {list(self.prob.shape)} shares."
            )

    @property
    def cumulative(self) -> Floats:
        """[bins] share of the objects up to the end of each bin."""
        return np.cumsum(self.prob)

    def draw(self, uniform: Uniform) -> float:
        """A size in pixels: first a bin by its share, then a place within it, both uniform.

        Args:
            uniform: two numbers are taken from it.
        """
        share = uniform()
        found = int(np.searchsorted(self.cumulative + ROUNDING, share))
        k = min(found, len(self.prob) - 1)
        low, high = float(self.edges[k]), float(self.edges[k + 1])
        return (high - low) * uniform() + low

    def as_dict(self) -> dict[str, list[float]]:
        """For JSON."""
        return {"edges": self.edges.tolist(), "prob": self.prob.tolist()}


@dataclass(frozen=True, kw_only=True)
class SizeBins:
    """How sizes become a histogram: equal bins, and one wide bin for each tail.

    Attributes:
        bins: how many, tails included.
        except_rate: share of the objects in both tails together; negative for 2 / bins.
        log: bins are equal in the logarithm of the size rather than in pixels.
        mu_sigma: mean and standard deviation in pixels that the sizes are brought to first; sizes
            under 1 px become 1 px then. By default they stay as they are.
    """

    bins: int = 100
    except_rate: float = -1.0
    log: bool = False
    mu_sigma: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.bins < 1 or (self.tails > 0 and self.bins < 3):
            raise ValueError(
                f"bins must be at least 3, or 1 with except_rate=0 (no tails); got {self.bins}."
            )
        if self.except_rate >= 1:
            raise ValueError(f"except_rate must be less than 1; got {self.except_rate}.")
        if self.mu_sigma is not None and min(self.mu_sigma) <= 0:
            raise ValueError(f"mu_sigma must be two positive numbers; got {self.mu_sigma}.")

    @property
    def tails(self) -> float:
        """Share of the objects in both tails together."""
        return 2 / self.bins if self.except_rate < 0 else self.except_rate

    def __call__(self, sizes: Floats) -> SizeHistogram:
        """Count.

        Args:
            sizes: [N] in pixels, all positive.

        Raises:
            DataError: if there are none.
        """
        if not len(sizes):
            raise DataError("a size histogram needs at least one object; got none.")
        values = sizes if self.mu_sigma is None else _standardised(sizes, *self.mu_sigma)  # [N]
        values = np.sort(np.log(values) if self.log else values)  # [N]
        counts, edges = self._count(values)  # [bins], [bins + 1]
        return SizeHistogram(np.exp(edges) if self.log else edges, counts / len(values))

    def _count(self, values: Floats) -> tuple[Floats, Floats]:
        """[bins] counts and [bins + 1] edges of sorted values."""
        total = len(values)
        low, high = int(total * self.tails / 2), int(total * (1 - self.tails / 2))
        if self.tails == 0 or low >= high:  # too few to set some aside: one object, for example
            counts, edges = np.histogram(values, self.bins)
            return counts.astype(np.float64), edges
        core, inner = np.histogram(values[low:high], self.bins - 2)  # [bins - 2], [bins - 1]
        counts = np.concatenate([[low], core, [total - high]]).astype(np.float64)
        return counts, np.concatenate([values[:1], inner, values[-1:]])


def gaussian_histogram(
    bins: int,
    *,
    mu: float,
    sigma: float,
    min_log_size: float = -1.0,
    standard_sample: Floats | None = None,
) -> SizeHistogram:
    """A log-normal distribution of sizes in bins of equal shares; in no published number.

    Args:
        bins: how many; the last takes what is left over.
        mu: mean of the natural logarithm of the size in pixels.
        sigma: its standard deviation.
        min_log_size: smaller logarithms are left out. The published code names it a size, but
            compares it with logarithms. Negative for no limit.
        standard_sample: [N] values that stand for a standard normal distribution, as the published
            code reads from a file; by default quantiles.

    Raises:
        DataError: if too few values are left to fill the bins.
    """
    sample = _quantiles() if standard_sample is None else standard_sample  # [N]
    values = np.sort(sample * sigma + mu)  # [N]
    if min_log_size >= 0:
        values = values[values > min_log_size]  # [N']
    total = len(values)
    step = math.ceil(total / bins)
    last = total - step * (bins - 1)
    if last <= 0:
        raise DataError(
            f"{total} values of a normal distribution do not fill {bins} bins of equal shares; "
            "use fewer bins, or a smaller min_log_size."
        )
    counts = np.array([step] * (bins - 1) + [last], dtype=np.float64)  # [bins]
    edges = np.append(values[::step], values[-1])  # [bins + 1]
    return SizeHistogram(np.exp(edges), counts / total)


def _standardised(sizes: Floats, mu: float, sigma: float) -> Floats:
    """[N] sizes brought to a mean and a standard deviation, at least 1 px."""
    spread = float(sizes.std()) or 1.0  # equal sizes have none to change
    shifted: Floats = (sizes - sizes.mean()) / spread * sigma + mu
    return shifted.clip(min=1.0)


def _quantiles() -> Floats:
    """[N] quantiles of the standard normal distribution, in the middle of equal shares."""
    shares = (np.arange(_STANDARD_SAMPLE) + 0.5) / _STANDARD_SAMPLE  # [N]
    normal = NormalDist()
    return np.array([normal.inv_cdf(share) for share in shares.tolist()])
