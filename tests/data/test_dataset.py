from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from fake_data import write_coco, write_image
from motedet.data import Catalog, DetectionDataset, Folder, Sample, collate, decoded_bytes
from motedet.data.transforms import (
    AnyTransform,
    ColourJitter,
    HorizontalFlip,
    Normalise,
    Pad,
    RandomScale,
)
from motedet.errors import DataError

TRANSFORMS: tuple[AnyTransform, ...] = (
    HorizontalFlip(),
    RandomScale(low=0.7, high=1.4),
    ColourJitter(),
    Normalise(),
    Pad(),
)


@pytest.fixture(name="catalog")
def _catalog(tmp_path: Path) -> Catalog:
    return Folder().catalog(write_coco(tmp_path), "train")


def _same(a: Sample, b: Sample) -> bool:
    return torch.equal(a.image, b.image) and torch.equal(a.boxes, b.boxes)


def test_without_transforms_the_sample_is_the_file(catalog: Catalog) -> None:
    sample = DetectionDataset(catalog, (), seed=0)[0]
    assert sample.image.dtype == torch.uint8
    assert sample.image.shape == (3, 48, 64)
    assert sample.boxes.dtype == torch.float32
    assert sample.boxes[1].tolist() == [30, 5, 31, 6]
    assert sample.labels.tolist() == [0, 1, 0]
    assert sample.image_id == 10
    assert sample.original_size == (48, 64)


def test_image_without_objects(catalog: Catalog) -> None:
    sample = DetectionDataset(catalog, TRANSFORMS, seed=0)[1]
    assert sample.boxes.shape == (0, 4)
    assert sample.labels.shape == (0,)


def test_sample_depends_on_seed_epoch_and_index_alone(catalog: Catalog) -> None:
    first, second = (DetectionDataset(catalog, TRANSFORMS, seed=3) for _ in range(2))
    second[1]  # other samples do not matter
    torch.manual_seed(99)  # nor does the global generator
    assert _same(first[0], second[0])
    first.set_epoch(1)
    assert not _same(first[0], second[0])
    second.set_epoch(1)
    assert _same(first[0], second[0])
    assert not _same(first[0], DetectionDataset(catalog, TRANSFORMS, seed=4)[0])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 and newer
def test_workers_that_live_on_see_the_epoch_change(catalog: Catalog) -> None:
    dataset = DetectionDataset(catalog, TRANSFORMS, seed=3)
    loader = DataLoader(
        dataset, batch_size=2, num_workers=1, collate_fn=collate, persistent_workers=True
    )
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        batch = next(iter(loader))
        expected = collate([dataset[0], dataset[1]])
        assert torch.equal(batch.images, expected.images)


def test_cached_images_are_the_same_and_are_not_read_again(catalog: Catalog) -> None:
    plain = DetectionDataset(catalog, TRANSFORMS, seed=3)
    expected = [plain[i] for i in range(2)]
    cached = DetectionDataset(catalog, TRANSFORMS, seed=3, cache=True)
    for record in catalog.records:
        record.path.unlink()
    for _ in range(2):  # transforms must not change the cached image
        assert all(_same(cached[i], expected[i]) for i in range(2))
    assert decoded_bytes(catalog) == 2 * 3 * 48 * 64


def test_another_size_than_annotated_is_refused(catalog: Catalog) -> None:
    write_image(catalog.records[0].path, size=(64, 48))
    with pytest.raises(
        DataError, match=r"train_a.png: image 10 is 48 x 64 pixels, but its annotations say 64 x 48"
    ):
        DetectionDataset(catalog, (), seed=0)[0]


def test_missing_image_is_named(catalog: Catalog) -> None:
    catalog.records[1].path.unlink()
    with pytest.raises(DataError, match=r"train_b.png: no such image file"):
        DetectionDataset(catalog, (), seed=0, cache=True)


def test_crowds_become_ignored_regions(catalog: Catalog) -> None:
    record = catalog.records[0]
    record.crowd[0] = True
    record.ignore[1] = True
    sample = DetectionDataset(catalog, (), seed=0)[0]
    assert sample.labels.tolist() == [0]
    assert sample.ignore_boxes.tolist() == [[10, 20, 14, 26]]
