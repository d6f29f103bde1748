"""A catalog as a map-style dataset: the same sample for the same seed, epoch and index."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from motedet.data.images import read_image
from motedet.data.records import Catalog, ImageRecord
from motedet.data.sample import Sample
from motedet.data.transforms import AnyTransform, Compose
from motedet.errors import DataError


class DetectionDataset(Dataset[Sample]):
    """Images of a catalog after their transforms.

    The randomness of a sample depends on (seed, epoch, index) and on nothing else: not on the
    number of workers, the order of loading, or other samples. An image that is listed twice is
    transformed in two ways, and kept in memory once.

    Args:
        catalog: the images; `prepare_catalog` makes one fit for training.
        transforms: applied in order.
        seed: of all random choices.
        cache: decode all images once, now, and keep them in memory. Workers share that memory where
            they are forked. `decoded_bytes` tells the cost.
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
        self._cached: list[Tensor] = []
        if cache:
            with ThreadPoolExecutor(max_workers=4) as pool:
                self._cached = list(pool.map(read_checked, catalog.records))

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
        image = self._cached[row] if self._cached else read_checked(record)
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
    """Memory that all images of a catalog take when decoded, in bytes."""
    return sum(3 * record.width * record.height for record in catalog.records)


def read_checked(record: ImageRecord) -> Tensor:
    """Decode the image of a record.

    Returns:
        [3, H, W] uint8.

    Raises:
        DataError: if it cannot be read, or has another size than the annotation file says.
    """
    image = read_image(record.path)
    found = (image.shape[1], image.shape[2])
    if found != (record.height, record.width):
        raise DataError(
            f"{record.path}: image {record.image_id} is {found[1]} x {found[0]} pixels, but its "
            f"annotations say {record.width} x {record.height}. Boxes would be misplaced: correct "
            "the annotation file, or use the images it was made for."
        )
    return image
