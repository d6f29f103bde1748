"""Which objects of a data set count for its size distribution, and how large they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from motedet.data.formats.coco import load_json
from motedet.data.records import Catalog, box_sizes
from motedet.data.scale_match.histogram import Floats, SizeBins, SizeHistogram
from motedet.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class ObjectSizes:
    """The objects of a data set that count.

    Attributes:
        sizes: [N] square root of width times height in pixels, all positive.
        images: [N] int64, which image each is in.
    """

    sizes: Floats
    images: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of objects, N."""
        return len(self.sizes)

    @property
    def median(self) -> float:
        """Median size in pixels; NaN if there are none."""
        return float(np.median(self.sizes)) if len(self.sizes) else float("nan")

    def per_image(self) -> Floats:
        """[I] geometric mean of the sizes of every image that has objects, in pixels."""
        _, image = np.unique(self.images, return_inverse=True)  # [N]
        total = np.bincount(image, weights=np.log(self.sizes))  # [I]
        mean: Floats = np.exp(total / np.bincount(image))
        return mean


def read_sizes(path: Path, *, first_ignore_decides: bool = False) -> ObjectSizes:
    """The sizes in a COCO annotation file; its images are not needed.

    Args:
        path: the JSON file.
        first_ignore_decides: as published, objects marked `ignore` are left out only if the first
            annotation has that key. By default every one of them is.

    Raises:
        DataError: if the file cannot be read, or has no usable boxes.
    """
    content = load_json(path)
    entries = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"{path}: expected a COCO file with a list `annotations`; it has none.")
    found = annotation_sizes(entries, source=path, first_ignore_decides=first_ignore_decides)
    if not len(found):
        raise DataError(
            f"{path}: no usable boxes: {len(entries)} annotations, of which none is an object "
            "with a positive area that is neither a crowd nor marked `ignore`."
        )
    return found


def annotation_sizes(
    entries: Sequence[object], *, source: Path, first_ignore_decides: bool = False
) -> ObjectSizes:
    """The sizes in a list of COCO annotations.

    Args:
        entries: with `bbox` [x, y, width, height]; `iscrowd`, `ignore` and `image_id` may be
            missing.
        source: for messages.
        first_ignore_decides: see `read_sizes`.

    Raises:
        DataError: naming an entry without a box.
    """
    rows: list[tuple[float, float]] = []
    images: list[int] = []
    heeded = not first_ignore_decides
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise DataError(f"{source}: annotations[{number}]: expected {{...}}; found {entry!r}.")
        if entry.get("iscrowd"):
            continue
        if not rows and first_ignore_decides:
            heeded = "ignore" in entry
        rows.append(_sides(entry, f"{source}: annotations[{number}]"))
        if heeded and entry.get("ignore"):
            rows[-1] = (0.0, 0.0)  # as large as nothing
        images.append(int(entry.get("image_id", 0)))
    sides = np.array(rows, dtype=np.float64).reshape(-1, 2)  # [N, 2]
    positive = (sides > 0).all(axis=1)  # [N]; also false for NaN
    return ObjectSizes(
        np.sqrt(sides[positive].prod(axis=1)), np.array(images, dtype=np.int64)[positive]
    )


def catalog_sizes(catalog: Catalog) -> ObjectSizes:
    """The sizes in a catalog, of any format; may be none."""
    sizes, images = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for number, record in enumerate(catalog.records):
        found = box_sizes(record.boxes[~(record.crowd | record.ignore)])  # [G]
        found = found[found > 0]
        sizes.append(found)
        images.append(np.full(len(found), number, dtype=np.int64))
    return ObjectSizes(np.concatenate(sizes), np.concatenate(images))


def join_sizes(parts: Sequence[ObjectSizes]) -> ObjectSizes:
    """The objects of several data sets, in images of their own."""
    images, first = [np.zeros(0, dtype=np.int64)], 0
    for part in parts:
        images.append(part.images + first)
        first += int(part.images.max(initial=-1)) + 1
    sizes = [np.zeros(0), *(part.sizes for part in parts)]
    return ObjectSizes(np.concatenate(sizes), np.concatenate(images))


def largest_gap(one: ObjectSizes, other: ObjectSizes) -> float:
    """How far two size distributions are apart (Kolmogorov and Smirnov's distance).

    Returns:
        The largest difference between the shares of objects up to a size: 0 for equal
        distributions, 1 for sizes that do not overlap; NaN if one is empty.
    """
    if not len(one) or not len(other):
        return float("nan")
    places = np.concatenate([one.sizes, other.sizes])  # [N + M]
    shares = [
        np.searchsorted(np.sort(sizes), places, side="right") / len(sizes)  # [N + M]
        for sizes in (one.sizes, other.sizes)
    ]
    return float(np.abs(shares[0] - shares[1]).max())


def read_histogram(
    path: Path, bins: SizeBins, *, first_ignore_decides: bool = False
) -> SizeHistogram:
    """The size histogram of a data set.

    Args:
        path: a COCO annotation file, or the `scale_match.json` that `motedet scale-match` writes,
            whose histogram of the target is taken as it is.
        bins: how to count.
        first_ignore_decides: see `read_sizes`.

    Raises:
        DataError: if the file cannot be read, or has no usable boxes.
    """
    content = load_json(path)
    if isinstance(content, dict) and "histogram" in content and "annotations" not in content:
        try:
            stored = content["histogram"]
            return SizeHistogram(
                np.array(stored["edges"], dtype=np.float64),
                np.array(stored["prob"], dtype=np.float64),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: `histogram` must have lists `edges` and `prob` of numbers, one edge more "
                f"than shares ({error})."
            ) from error
    return bins(read_sizes(path, first_ignore_decides=first_ignore_decides).sizes)


def _sides(entry: Mapping[str, object], where: str) -> tuple[float, float]:
    """Width and height of an annotation."""
    box = entry.get("bbox")
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(value, int | float) for value in box)
    ):
        raise DataError(f"{where}: `bbox` must be [x, y, width, height] in pixels; found {box!r}.")
    return float(box[2]), float(box[3])
