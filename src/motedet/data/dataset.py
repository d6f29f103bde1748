"""A catalog as a map-style dataset: the same sample for the same seed, epoch and index."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from motedet.data.images import read_image
from motedet.data.rasters import open_raster
from motedet.data.records import Catalog, ImageRecord
from motedet.data.sample import Sample
from motedet.data.tiling import Window
from motedet.data.transforms import AnyTransform, Compose
from motedet.errors import DataError
from motedet.structures import Size


class DetectionDataset(Dataset[Sample]):
    """Images of a catalog after their transforms.

    The randomness of a sample depends on (seed, epoch, index) and on nothing else: not on the
    number of workers, the order of loading, or other samples. An image that is listed twice is
    transformed in two ways, and kept in memory once.

    Args:
        catalog: the images; `prepare_catalog` makes one fit for training.
        transforms: applied in order.
        seed: of all random choices.
        cache: decode all files once, now, and keep them in memory, of each as much as the images
            show. Workers share that memory where they are forked. `decoded_bytes` tells the cost.
        listing: row of the catalog behind every index, so that an image can come more than once;
            by default each image once.

    Raises:
        DataError: on access (with `cache`, at once), naming the image that cannot be used.
    """

    def __init__(
        self,
        catalog: Catalog,
        transforms: Sequence[AnyTransform],
        *,
        seed: int,
        cache: bool = False,
        listing: Sequence[int] | None = None,
    ) -> None:
        self.catalog = catalog
        self.listing = range(len(catalog)) if listing is None else listing
        self.transform = Compose(transforms)
        self.seed = seed
        # in shared memory, so that workers which live longer than an epoch see it change
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]
        self._cached: dict[Path, _Decoded] = {}
        if cache:
            files = _by_file(catalog.records)
            with ThreadPoolExecutor(max_workers=4) as pool:
                self._cached = dict(zip(files, pool.map(_decode, files.values()), strict=True))

    def __len__(self) -> int:
        """The number of images, counted as often as they are listed."""
        return len(self.listing)

    def __getitem__(self, index: int) -> Sample:
        """The transformed sample of one image."""
        sample = self.load(self.listing[index])
        state = np.random.SeedSequence([self.seed, int(self._epoch), index % len(self)])
        for_transforms, for_loss = (int(n >> 1) for n in state.generate_state(2, np.uint64))
        generator = torch.Generator().manual_seed(for_transforms)
        return replace(self.transform(sample, generator), seed=for_loss)

    def set_epoch(self, epoch: int) -> None:
        """Choose the randomness of the samples that are asked for from now on."""
        self._epoch.fill_(epoch)

    def load(self, row: int) -> Sample:
        """The sample of one image of the catalog as it is stored, before any transform."""
        record = self.catalog.records[row]
        image = self._cached[record.path].crop(record) if self._cached else read_checked(record)
        size = (record.height, record.width)
        counted = ~(record.crowd | record.ignore)  # [G]
        return Sample(
            image=image,
            boxes=torch.from_numpy(record.boxes[counted]).float(),
            labels=torch.from_numpy(record.labels[counted]),
            ignore_boxes=torch.from_numpy(record.boxes[record.crowd]).float(),
            image_id=record.image_id,
            original_size=size,
            image_size=size,
            padded_size=size,
        )


def decoded_bytes(catalog: Catalog) -> int:
    """Memory that a catalog takes when decoded, in bytes.

    Of each file the smallest part counts that holds all images which are parts of it.
    """
    parts = map(_hull, _by_file(catalog.records).values())
    return sum(3 * part.width * part.height for part in parts)


def read_checked(record: ImageRecord) -> Tensor:
    """Decode the image of a record.

    A part of a file is read alone where the file's format allows it, and otherwise cut out of the
    decoded file.

    Returns:
        [3, H, W] uint8.

    Raises:
        DataError: if it cannot be read, or has another size than the annotation file says.
    """
    return _decode((record,)).image


@dataclass(frozen=True, slots=True)
class _Decoded:
    """As much of a file as its images show.

    Attributes:
        image: [3, h, w] uint8.
        part: where it is in the file.
    """

    image: Tensor
    part: Window

    def crop(self, record: ImageRecord) -> Tensor:
        """[3, H, W], the image of a record, a view of the file."""
        seen = _part(record)
        top, left = seen.y - self.part.y, seen.x - self.part.x
        return self.image[:, top : top + seen.height, left : left + seen.width]


def _decode(records: Sequence[ImageRecord]) -> _Decoded:
    """Read what the records of one file show of it.

    Raises:
        DataError: if it cannot be read, or does not have the size that a record says.
    """
    path, part = records[0].path, _hull(records)
    if all(record.window is None for record in records):
        image = read_image(path)  # [3, H, W]
        _check_size(records, (image.shape[1], image.shape[2]))
        return _Decoded(image, part)
    with open_raster(path) as raster:
        _check_size(records, raster.size)
        rows = raster.read(part).permute(1, 2, 0)  # [h, w, 3]
        rows = rows.clone(memory_format=torch.contiguous_format)  # the rest is let go
    return _Decoded(rows.permute(2, 0, 1), part)


def _check_size(records: Iterable[ImageRecord], found: Size) -> None:
    """Compare a file of (height, width) pixels with what its records say.

    Raises:
        DataError: naming the first that does not fit.
    """
    for record in records:
        height, width = found
        if record.window is None and found != (record.height, record.width):
            raise DataError(
                f"{record.path}: image {record.image_id} is {width} x {height} pixels, but its "
                f"annotations say {record.width} x {record.height}. Boxes would be misplaced: "
                "correct the annotation file, or use the images it was made for."
            )
        _, _, right, bottom = _part(record).corners
        if right > width or bottom > height:
            raise DataError(
                f"{record.path}: image {record.image_id} is its part {list(_part(record).corners)} "
                f"(left, top, right, bottom), but the file has {width} x {height} pixels; use the "
                "images that the annotations were made for."
            )


def _by_file(records: Iterable[ImageRecord]) -> dict[Path, list[ImageRecord]]:
    """The records of every file."""
    files: dict[Path, list[ImageRecord]] = {}
    for record in records:
        files.setdefault(record.path, []).append(record)
    return files


def _part(record: ImageRecord) -> Window:
    """What a record shows of its file."""
    return record.window or Window(x=0, y=0, width=record.width, height=record.height)


def _hull(records: Iterable[ImageRecord]) -> Window:
    """The smallest window that holds all that the records show."""
    corners = np.array([_part(record).corners for record in records])  # [N, 4]
    (left, top), (right, bottom) = corners[:, :2].min(axis=0), corners[:, 2:].max(axis=0)
    return Window(x=int(left), y=int(top), width=int(right - left), height=int(bottom - top))
