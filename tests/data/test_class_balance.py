from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fake_data import write_coco
from motedet.data import Catalog, DetectionDataset, Folder, balanced_listing
from motedet.data.class_balance import repeats
from motedet.data.transforms import ColourJitter


def labels(*images: list[int]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    return [np.array(image, dtype=np.int64) for image in images]


@pytest.fixture(name="catalog")
def _catalog(tmp_path: Path) -> Catalog:
    """An image of classes 0 and 1, and one without objects."""
    return Folder().catalog(write_coco(tmp_path), "train")


def test_no_images_and_no_objects() -> None:
    assert repeats([], 0.5) == []
    assert repeats(labels([], []), 0.5) == [1, 1]


def test_the_rarest_class_of_an_image_counts() -> None:
    images = labels([0, 0, 1], [0, 2], [0, 2], [0], [0], [0], [0], [0], [0], [])
    # class 0: f 0.9; class 1: f 0.1, sqrt(0.8 / 0.1) = 2.83; class 2: f 0.2, sqrt(4) = 2
    assert repeats(images, 0.8) == [3, 2, 2, 1, 1, 1, 1, 1, 1, 1]


def test_any_class_under_the_threshold_doubles_its_images() -> None:
    images = labels(*[[0]] * 94, *[[1]] * 6)
    assert repeats(images, 0.06) == [1] * 100
    assert repeats(images, 0.0601) == [1] * 94 + [2] * 6


def test_the_order_of_images_does_not_matter() -> None:
    images = labels([0], [0, 1], [0], [2, 0], [])
    backwards = repeats(images[::-1], 0.9)
    assert backwards[::-1] == repeats(images, 0.9)


@pytest.mark.parametrize("thresh", [0.0, -0.1, 1.1, float("nan")])
def test_thresholds_are_shares(thresh: float) -> None:
    with pytest.raises(ValueError, match=rf"in \(0, 1\]; got {thresh}"):
        repeats(labels([0]), thresh)


def test_listings_are_rows_of_the_catalog(catalog: Catalog) -> None:
    assert balanced_listing(catalog, 0.5) == [0, 1]
    assert balanced_listing(catalog, 1.0) == [0, 0, 1]  # sqrt(1 / 0.5), rounded up


def test_crowds_and_ignored_objects_do_not_count(catalog: Catalog) -> None:
    record = catalog.records[0]
    record.crowd[:] = [True, False, True]
    record.ignore[1] = True
    assert balanced_listing(catalog, 1.0) == [0, 1]


def test_an_image_listed_twice_is_transformed_in_two_ways(catalog: Catalog) -> None:
    transforms = (ColourJitter(prob=1.0),)
    twice = DetectionDataset(catalog, transforms, seed=3, cache=True, listing=[0, 0, 1])
    once = DetectionDataset(catalog, transforms, seed=3)
    assert len(twice) == 3
    assert [twice[i].image_id for i in range(3)] == [10, 10, 11]
    assert not torch.equal(twice[0].image, twice[1].image)
    assert twice[0].seed != twice[1].seed
    assert torch.equal(twice[0].image, once[0].image)
    assert torch.equal(twice[0].image, twice[0].image)


def test_an_image_listed_twice_is_kept_once(catalog: Catalog) -> None:
    dataset = DetectionDataset(catalog, (), seed=3, cache=True, listing=[0, 0, 1, 1, 1])
    for record in catalog.records:
        record.path.unlink()
    first, second = dataset[0].image, dataset[1].image
    assert first.data_ptr() == second.data_ptr()


def test_a_listing_may_leave_images_out(catalog: Catalog) -> None:
    empty = replace(catalog, records=())
    assert len(DetectionDataset(empty, (), seed=3)) == 0
    assert [DetectionDataset(catalog, (), seed=3, listing=[1])[0].image_id] == [11]
