from itertools import pairwise

import numpy as np

from motedet.report.sizes import BINS, bin_counts


def test_bins_are_half_open_and_cover_everything() -> None:
    sizes = np.array([0.0, 1.99, 2.0, 7.99, 8.0, 15.99, 16.0, 31.99, 32.0, 1e6, np.nan, np.inf])
    assert bin_counts(sizes) == (2, 2, 2, 2, 2)
    assert all(a.high == b.low for a, b in pairwise(BINS))


def test_no_sizes() -> None:
    assert bin_counts(np.zeros(0)) == (0, 0, 0, 0, 0)
