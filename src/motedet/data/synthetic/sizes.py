"""Object sizes with a wanted mean and deviation, and a smallest size."""

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist


@dataclass(frozen=True, kw_only=True)
class SizeDistribution:
    """A normal distribution cut off on both sides, given by the moments it has after the cut.

    The defaults are AI-TOD's: mean 12.8, standard deviation 5.9, nothing under 2 pixels.

    Attributes:
        mean: of the square root of the box area in pixels.
        sd: standard deviation in pixels.
        smallest: in pixels.
        largest: in pixels.
    """

    mean: float = 12.8
    sd: float = 5.9
    smallest: float = 2.0
    largest: float = 48.0

    def __post_init__(self) -> None:
        """Reject what no cut normal distribution can have."""
        if not 1.0 <= self.smallest < self.mean < self.largest or not self.sd > 0:
            raise ValueError(
                "need 1 <= smallest < mean < largest and sd > 0; got "
                f"{self.smallest}, {self.mean}, {self.largest} and {self.sd}."
            )
        if self.sd > 0.75 * (self.mean - self.smallest):
            raise ValueError(
                f"sd {self.sd} is too wide for a mean {self.mean} that is only "
                f"{self.mean - self.smallest} above the smallest size."
            )

    def quantile(self, share: float) -> float:
        """The size in pixels below which a share of all objects lies.

        Args:
            share: in (0, 1).
        """
        parent = _parent(self.mean, self.sd, self.smallest, self.largest)
        low, high = parent.cdf(self.smallest), parent.cdf(self.largest)
        size = parent.inv_cdf(min(max(low + share * (high - low), 1e-12), 1 - 1e-12))
        return min(max(size, self.smallest), self.largest)


@cache
def _parent(mean: float, sd: float, low: float, high: float) -> NormalDist:
    """The normal distribution that has the wanted moments once it is cut off.

    Found by correcting both parameters by what the cut changes, until nothing changes.
    """
    mu, sigma = mean, sd
    normal = NormalDist()
    for _ in range(200):
        a, b = (low - mu) / sigma, (high - mu) / sigma
        mass = normal.cdf(b) - normal.cdf(a)
        first = (normal.pdf(a) - normal.pdf(b)) / mass
        second = (a * normal.pdf(a) - b * normal.pdf(b)) / mass
        cut_sd = sigma * float(max(1 + second - first**2, 1e-9)) ** 0.5
        mu += 0.7 * (mean - (mu + sigma * first))
        sigma *= (sd / cut_sd) ** 0.7
    return NormalDist(mu, sigma)
