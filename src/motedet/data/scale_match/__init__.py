"""Scale Match: images of one data set resized so that its objects are as large as another's.

Yu et al. 2020, "Scale Match for Tiny Person Detection" (arXiv 1912.10664). Writing a matched data
set is in `offline`, which is imported from there: it needs the data set of samples, whose
transforms need this.
"""

from motedet.data.scale_match.histogram import SizeBins, SizeHistogram, gaussian_histogram
from motedet.data.scale_match.monotone import FlatBins, MonotoneMap
from motedet.data.scale_match.scaling import (
    ImageScale,
    OutOfRange,
    ScaleLimits,
    choose_scale,
    draw_scale,
    fitted_size,
    mean_size,
)
from motedet.data.scale_match.sizes import (
    ObjectSizes,
    catalog_sizes,
    join_sizes,
    largest_gap,
    read_histogram,
    read_sizes,
)

__all__ = [
    "FlatBins",
    "ImageScale",
    "MonotoneMap",
    "ObjectSizes",
    "OutOfRange",
    "ScaleLimits",
    "SizeBins",
    "SizeHistogram",
    "catalog_sizes",
    "choose_scale",
    "draw_scale",
    "fitted_size",
    "gaussian_histogram",
    "join_sizes",
    "largest_gap",
    "mean_size",
    "read_histogram",
    "read_sizes",
]
