"""Scale Match: train on images resized so that their objects are as large as another data set's.

Yu et al. 2020, "Scale Match for Tiny Person Detection" (arXiv 1912.10664).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch

from motedet.data.sample import Sample
from motedet.data.scale_match import (
    FlatBins,
    MonotoneMap,
    OutOfRange,
    ScaleLimits,
    SizeBins,
    SizeHistogram,
    choose_scale,
    draw_scale,
    fitted_size,
    gaussian_histogram,
    read_histogram,
    read_sizes,
)
from motedet.data.scale_match.histogram import Uniform
from motedet.data.scale_match.shrinking import shrink_sample
from motedet.errors import DataError


@dataclass(frozen=True, kw_only=True)
class SizeMatching(ABC):
    """What the random and the monotone Scale Match share; takes the place of the usual resize.

    The defaults are those of the published runs, but for `antialias`. Files are read when the first
    image comes, once per process; `check` reads them earlier.

    Attributes:
        target: COCO annotation file of the data set whose sizes are wanted, or the
            `scale_match.json` that `motedet scale-match` writes.
        bins: of the histogram of the target's sizes.
        except_rate: share of the objects in both tails of it; negative for 2 / bins.
        log_bins: bins are equal in the logarithm of the size.
        mu_sigma: mean and standard deviation in pixels that the target's sizes are brought to.
        first_ignore_decides: as published, objects marked `ignore` are left out of the histogram
            only if the first annotation has that key; by default every one of them is.
        default_scale: of images without objects, and of those whose objects would all vanish.
        scale_range: smallest and largest factor.
        out_of_range: a factor beyond the range becomes the nearer end, or `default_scale`.
        plus_one: measure an image's objects as a pixel wider and higher than their boxes, as
            published; false for sizes that come out as wanted.
        min_side: objects and ignored regions with a shorter side after resizing are left out.
        keep_ratio: keep the image's shape exactly, at the price of a pixel, as the newer published
            code does; false for the very size that was computed, as the older did.
        antialias: average over the area where images shrink. The published code does not, and
            objects of few pixels then flicker with their position: false reproduces it.
    """

    kind: str
    target: str = ""
    bins: int = 100
    except_rate: float = -1.0
    log_bins: bool = False
    mu_sigma: tuple[float, float] | None = None
    first_ignore_decides: bool = False
    default_scale: float = 0.25
    scale_range: tuple[float, float] = (0.1, 1.0)
    out_of_range: OutOfRange = "clip"
    plus_one: bool = True
    min_side: float = 1.0
    keep_ratio: bool = True
    antialias: bool = True

    def __post_init__(self) -> None:
        """Check the ranges; no file is touched."""
        _ = self.size_bins, self.limits

    @property
    def size_bins(self) -> SizeBins:
        """How the target's sizes are counted."""
        return SizeBins(
            bins=self.bins,
            except_rate=self.except_rate,
            log=self.log_bins,
            mu_sigma=self.mu_sigma,
        )

    @property
    def limits(self) -> ScaleLimits:
        """How far images may be resized."""
        return ScaleLimits(
            default_scale=self.default_scale,
            scale_range=self.scale_range,
            out_of_range=self.out_of_range,
            plus_one=self.plus_one,
            min_side=self.min_side,
        )

    @property
    def histogram(self) -> SizeHistogram:
        """Of the target; read once."""
        with _naming(self.kind, "target", self.target):
            return _target_histogram(
                self.target, self.size_bins, first_ignore_decides=self.first_ignore_decides
            )

    @abstractmethod
    def check(self) -> None:
        """Read the files, so that a bad one stops nothing halfway and workers find them read.

        Raises:
            DataError: naming the key, the file, and how to set it.
        """

    @abstractmethod
    def wanted_scale(self, mean: float, uniform: Uniform) -> float:
        """The factor for an image whose objects have a mean size in pixels.

        Raises:
            DataError: as `check`.
        """

    def __call__(self, sample: Sample, generator: torch.Generator) -> Sample:
        """Resize a sample by the factor that its objects ask for.

        Raises:
            DataError: as `check`.
        """
        return self.with_draws(sample, partial(_uniform, generator))

    def with_draws(self, sample: Sample, uniform: Uniform) -> Sample:
        """Resize a sample with given random numbers.

        Args:
            sample: not padded.
            uniform: gives one number in [0, 1) after the other.
        """
        chosen = choose_scale(
            sample.boxes.numpy(),
            sample.image_size,
            lambda mean: self.wanted_scale(mean, uniform),
            self.limits,
        )
        size = fitted_size(sample.image_size, chosen.size, keep_ratio=self.keep_ratio)
        return shrink_sample(sample, size, min_side=self.min_side, antialias=self.antialias)


@dataclass(frozen=True, kw_only=True)
class ScaleMatch(SizeMatching):
    """Resize each image so that its mean object size is one drawn from the target's distribution.

    Attributes:
        max_tries: sizes drawn for one image until its factor is in range.
    """

    kind: Literal["scale_match"] = "scale_match"
    max_tries: int = 5

    def __post_init__(self) -> None:
        """Check the ranges; no file is touched."""
        super().__post_init__()
        if self.max_tries < 1:
            raise ValueError(f"max_tries must be at least 1; got {self.max_tries}.")

    def check(self) -> None:
        """Read the target."""
        _ = self.histogram

    def wanted_scale(self, mean: float, uniform: Uniform) -> float:
        """Two numbers per try, first for the bin, then for the place within it."""
        return draw_scale(
            self.histogram, mean, uniform=uniform, limits=self.limits, max_tries=self.max_tries
        )


@dataclass(frozen=True, kw_only=True)
class MonotoneScaleMatch(SizeMatching):
    """Resize each image so that its mean object size keeps its rank, from the source to the target.

    Attributes:
        source: COCO annotation file of the data set that is trained on.
        source_per_image: compare an image's mean with the means of the source's images. The
            published code compares it with the sizes of single objects, which spread wider.
        flat_bins: what images with objects smaller than all of the source's get if its first bin
            has no width (equal sizes): the size at the bin's end, or with "limit", as published,
            the smallest factor, because of a division by zero.
        gaussian: mean and standard deviation of the natural logarithm of the size in pixels, in
            place of `target`. Logarithms are interpolated then.
        min_log_size: smallest logarithm of `gaussian`; negative for no limit.
    """

    kind: Literal["monotone_scale_match"] = "monotone_scale_match"
    source: str = ""
    source_per_image: bool = False
    flat_bins: FlatBins = "end"
    gaussian: tuple[float, float] | None = None
    min_log_size: float = -1.0

    def __post_init__(self) -> None:
        """Check the ranges; no file is touched."""
        super().__post_init__()
        if self.gaussian is not None and self.target:
            raise ValueError(
                f"give `target` or `gaussian`, not both; got {self.target!r} and {self.gaussian}."
            )
        if self.gaussian is not None and not self.gaussian[1] > 0:
            raise ValueError(f"gaussian needs a positive deviation; got {self.gaussian}.")

    @property
    def histogram(self) -> SizeHistogram:
        """Of the target, or of `gaussian`."""
        if self.gaussian is None:
            return super().histogram
        mu, sigma = self.gaussian
        return gaussian_histogram(self.bins, mu=mu, sigma=sigma, min_log_size=self.min_log_size)

    @property
    def sizes(self) -> MonotoneMap:
        """From the source's sizes to the target's; read once."""
        return _monotone_map(self)

    def check(self) -> None:
        """Read the source and the target."""
        _ = self.sizes

    def wanted_scale(self, mean: float, uniform: Uniform) -> float:
        """Nothing is drawn."""
        return self.sizes(mean) / mean


def _uniform(generator: torch.Generator) -> float:
    """A number in [0, 1) with all digits, because bins may be narrower than float32 tells."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))


@contextmanager
def _naming(kind: str, key: str, value: str) -> Iterator[None]:
    """Say which key an unusable file came from.

    Raises:
        DataError: naming the key, the file, and how to set it.
    """
    advice = f"Set it with --set data.train_transforms.0.{key}=FILE (0: the first transform)."
    if not value:
        raise DataError(f"{kind}: `{key}` is not set; it needs a COCO annotation file. {advice}")
    try:
        yield
    except DataError as error:
        raise DataError(f"{kind}: `{key}`: {error} {advice}") from error


@cache
def _target_histogram(path: str, bins: SizeBins, *, first_ignore_decides: bool) -> SizeHistogram:
    """Read once per process; histograms are never changed."""
    return read_histogram(Path(path), bins, first_ignore_decides=first_ignore_decides)


@cache
def _monotone_map(transform: MonotoneScaleMatch) -> MonotoneMap:
    """Read once per process; maps are never changed."""
    histogram = transform.histogram
    with _naming(transform.kind, "source", transform.source):
        found = read_sizes(
            Path(transform.source), first_ignore_decides=transform.first_ignore_decides
        )
    return MonotoneMap.between(
        found.per_image() if transform.source_per_image else found.sizes,
        histogram,
        log=transform.gaussian is not None,
        flat=transform.flat_bins,
    )
