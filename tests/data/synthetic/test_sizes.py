import numpy as np
import pytest

from motedet.data.synthetic import SizeDistribution


@pytest.mark.parametrize(
    "sizes",
    [
        SizeDistribution(),
        SizeDistribution(mean=6, sd=3, smallest=2, largest=30),
        SizeDistribution(mean=20, sd=4, smallest=2, largest=48),
    ],
)
def test_moments_after_the_cut_are_those_asked_for(sizes: SizeDistribution) -> None:
    shares = (np.arange(20000) + 0.5) / 20000
    drawn = np.array([sizes.quantile(share) for share in shares])
    assert drawn.mean() == pytest.approx(sizes.mean, abs=0.02)
    assert drawn.std() == pytest.approx(sizes.sd, abs=0.02)
    assert drawn.min() >= sizes.smallest
    assert drawn.max() <= sizes.largest
    assert (np.diff(drawn) >= 0).all()


def test_impossible_moments_are_refused() -> None:
    with pytest.raises(ValueError, match="need 1 <= smallest < mean < largest"):
        SizeDistribution(mean=1.5)
    with pytest.raises(ValueError, match=r"sd 20 is too wide for a mean 12.8"):
        SizeDistribution(sd=20)
