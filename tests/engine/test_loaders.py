import logging
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from fake_data import write_coco
from motedet.data import Catalog, Folder
from motedet.engine.loaders import (
    GlobalBatches,
    training_batches,
    training_listing,
    validation_loader,
    whole_batches,
)
from motedet.errors import RecipeError
from motedet.recipes import Recipe, load_recipe


class Numbers(Dataset[int]):
    """As many items as wanted, and a memory of the epoch."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        return index

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def batches(length: int, size: int, **kwargs: int) -> GlobalBatches:
    return GlobalBatches(Numbers(length), size, seed=3, **kwargs)  # type: ignore[arg-type]


def test_each_image_comes_once_and_whole_batches_only() -> None:
    seen = list(batches(10, 4))
    assert [len(b) for b in seen] == [4, 4]
    flat = [i for b in seen for i in b]
    assert len(set(flat)) == 8


def test_processes_together_see_what_one_would() -> None:
    alone = list(batches(12, 4))
    shares = [list(batches(12, 4, rank=r, world=2)) for r in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == alone


def test_epochs_differ_and_repeat() -> None:
    sampler = batches(32, 8)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert first != second
    assert sampler.dataset.epoch == 0  # type: ignore[attr-defined]


def test_start_skips_in_its_own_epoch_only() -> None:
    sampler = batches(32, 8)
    whole = list(sampler)
    sampler.start = 3
    sampler.set_epoch(0)
    assert list(sampler) == whole[3:]
    assert len(sampler) == 4
    sampler.set_epoch(1)
    assert len(list(sampler)) == 4


@pytest.mark.parametrize("length", [1, 3])
def test_small_data_sets_are_repeated_to_fill_a_batch(length: int) -> None:
    (batch,) = list(batches(length, 8))
    assert len(batch) == 8
    assert set(batch) == set(range(length))


def test_batches_that_do_not_divide_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"divide among 2 processes; found 3"):
        batches(10, 3, rank=0, world=2)


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    list(batches(10, 2))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.fixture(name="catalog")
def _catalog(tmp_path: Path) -> Catalog:
    """Two images, of which the first has objects."""
    return Folder().catalog(write_coco(tmp_path), "train")


def recipe(*settings: str) -> Recipe:
    return load_recipe("demo", ["train.batch_size=2", *settings])


@pytest.mark.parametrize(("images", "expected"), [(0, 1), (3, 1), (4, 1), (7, 1), (8, 2)])
def test_an_epoch_has_whole_batches_and_at_least_one(images: int, expected: int) -> None:
    assert whole_batches(images, 4) == expected
    assert len(batches(images, 4)) == expected


def test_by_default_every_image_is_listed_once(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert list(training_listing(recipe(), catalog)) == [0, 1]
    assert caplog.text == ""


def test_an_epoch_goes_through_the_longer_listing(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    balanced = recipe("data.oversample_thresh=1.0")
    listing = [*training_listing(balanced, catalog), 1]
    assert "class-balanced sampling: 3 listings of 2 images" in caplog.text
    sampler = training_batches(balanced, catalog, listing=listing, rank=0, world=1)
    seen = [i for batch in sampler for i in batch]
    assert sorted(seen) == [0, 1, 2, 3]
    assert sorted(sampler.dataset[i].image_id for i in seen) == [10, 10, 11, 11]


def test_processes_share_a_listing_too(catalog: Catalog) -> None:
    spec, listing = recipe(), [0, 0, 0, 1]
    alone = list(training_batches(spec, catalog, listing=listing, rank=0, world=1))
    shares = [
        list(training_batches(spec, catalog, listing=listing, rank=r, world=2)) for r in range(2)
    ]
    assert [a + b for a, b in zip(*shares, strict=True)] == alone


def test_validation_sees_each_image_once(catalog: Catalog) -> None:
    balanced = recipe("data.oversample_thresh=1.0")
    loader = validation_loader(balanced, catalog, workers=0, rank=0, world=1)
    assert [i for batch in loader for i in batch.image_ids] == [10, 11]
