"""Images of rare classes seen more often (Gupta et al. 2019, LVIS, arXiv:1908.03195)."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from motedet.data.records import Catalog


def repeats(labels: Sequence[NDArray[np.int64]], thresh: float) -> list[int]:
    """How often each image is to be seen in one epoch.

    A class that a share f of the images holds has the factor max(1, sqrt(thresh / f)). An image has
    the largest factor of its classes, rounded up; rounding follows the published code, so that any
    class under the threshold doubles its images at least. The paper rounds at random.

    Args:
        labels: for each of N images, [G] the classes of its objects; G may be 0.
        thresh: share of the images under which a class counts as rare, in (0, 1].

    Returns:
        N numbers of at least 1; 1 for an image without objects.

    Raises:
        ValueError: if the threshold is not in (0, 1].
    """
    if not 0 < thresh <= 1:
        raise ValueError(f"thresh must be a share of the images in (0, 1]; got {thresh}.")
    held = [set(of_image.tolist()) for of_image in labels]
    images = Counter(label for classes in held for label in classes)
    factor = {k: math.sqrt(thresh / (count / len(held))) for k, count in images.items()}
    return [math.ceil(max([1.0, *(factor[label] for label in classes)])) for classes in held]


def balanced_listing(catalog: Catalog, thresh: float) -> list[int]:
    """The rows of a catalog, each as often in a row as `repeats` says.

    Crowds and ignored objects say nothing about the classes of an image.

    Args:
        catalog: as prepared for training.
        thresh: see `repeats`.
    """
    labels = [record.labels[~(record.crowd | record.ignore)] for record in catalog.records]
    return [row for row, times in enumerate(repeats(labels, thresh)) for _ in range(times)]
