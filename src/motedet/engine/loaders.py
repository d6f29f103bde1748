"""Which images make up which batch: the same for any number of processes, and after a restart."""

import logging
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from motedet.data import (
    Catalog,
    DetectionDataset,
    ImageRecord,
    Sample,
    balanced_listing,
    collate,
    decoded_bytes,
)
from motedet.errors import RecipeError
from motedet.recipes import Recipe

CACHE_BYTES = 1 << 30  # decoded images of smaller splits are kept in memory

logger = logging.getLogger(__name__)


class GlobalBatches(Sampler[list[int]]):
    """Shuffled batches that depend on nothing but the seed, the epoch and the global batch size.

    Every process takes its share of each global batch, so that two processes see together exactly
    what one would see alone. `start` skips batches that an interrupted epoch has already trained.
    The last images of an epoch that do not fill a batch are left out; a data set smaller than one
    batch is repeated to fill it.
    """

    def __init__(
        self,
        dataset: DetectionDataset,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if batch_size % world:
            raise RecipeError(
                f"train.batch_size is the global one and must divide among {world} processes; "
                f"found {batch_size}."
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.share = slice(rank * batch_size // world, (rank + 1) * batch_size // world)
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle and the transforms' randomness; another epoch starts at its start."""
        if epoch != self.epoch:
            self.start = 0
        self.epoch = epoch
        self.dataset.set_epoch(epoch)

    def __len__(self) -> int:
        """Batches in a whole epoch."""
        return whole_batches(len(self.dataset), self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """This process's share of each batch."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.dataset), generator=generator).tolist()
        while len(order) < self.batch_size:
            order += order
        for i in range(self.start, len(self)):
            yield order[i * self.batch_size : (i + 1) * self.batch_size][self.share]


def whole_batches(images: int, batch_size: int) -> int:
    """Batches in a whole epoch over so many images, at least one."""
    return max(images // batch_size, 1)


def training_listing(recipe: Recipe, catalog: Catalog) -> Sequence[int]:
    """Rows of the catalog that an epoch goes through, those of rare classes as the recipe asks."""
    thresh = recipe.data.oversample_thresh
    if thresh is None:
        return range(len(catalog))
    listing = balanced_listing(catalog, thresh)
    logger.info("class-balanced sampling: %d listings of %d images", len(listing), len(catalog))
    return listing


def training_batches(
    recipe: Recipe, catalog: Catalog, *, listing: Sequence[int], rank: int, world: int
) -> GlobalBatches:
    """This process's share of the images to learn from, each as often as it is listed."""
    dataset = DetectionDataset(
        catalog,
        recipe.data.train_transforms,
        seed=recipe.train.seed,
        cache=decoded_bytes(catalog) < CACHE_BYTES,
        listing=listing,
    )
    size, seed = recipe.train.batch_size, recipe.train.seed
    return GlobalBatches(dataset, size, seed=seed, rank=rank, world=world)


def validation_loader(
    recipe: Recipe, catalog: Catalog, *, workers: int, rank: int, world: int
) -> DataLoader[Sample]:
    """This process's share of the images that are scored during training."""
    dataset = DetectionDataset(
        catalog,
        recipe.data.test_transforms,
        seed=recipe.train.seed,
        cache=decoded_bytes(catalog) < CACHE_BYTES,
    )
    size = max(recipe.train.batch_size // world, 1)
    return ordered_loader(dataset, batch_size=size, workers=workers, rank=rank, world=world)


def record_loader(catalog: Catalog, *, rank: int, world: int) -> DataLoader[ImageRecord]:
    """This process's share of images that are read window by window when they are looked at."""
    mine = cast("Dataset[ImageRecord]", catalog.records[rank::world])
    return DataLoader(mine, batch_size=None)  # one by one, as they are


def shuffled_loader(batches: GlobalBatches, *, workers: int) -> DataLoader[Sample]:
    """Batches for training; workers start anew each epoch, so they see the epoch's randomness."""
    return DataLoader(
        batches.dataset, batch_sampler=batches, num_workers=workers, collate_fn=collate
    )


def ordered_loader(
    dataset: DetectionDataset, *, batch_size: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader[Sample]:
    """Every image once, in order; each process takes every `world`-th."""
    mine = torch.utils.data.Subset(dataset, range(rank, len(dataset), world))
    return DataLoader(mine, batch_size=batch_size, num_workers=workers, collate_fn=collate)
