from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from fake_data import write_coco, write_image
from motedet.data import (
    Catalog,
    DetectionDataset,
    Folder,
    ImageRecord,
    Sample,
    collate,
    decoded_bytes,
    read_image,
)
from motedet.data.tiling import Window
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


WINDOWS = (
    Window(x=0, y=0, width=32, height=24),
    Window(x=20, y=8, width=32, height=40),
    Window(x=32, y=24, width=20, height=24),
)


def parts(catalog: Catalog, windows: Sequence[Window] = WINDOWS) -> Catalog:
    """Windows of the first image as images without objects."""
    path = catalog.records[0].path
    records = tuple(
        ImageRecord.of(number, path, size=window.size, rows=[], window=window)
        for number, window in enumerate(windows)
    )
    return replace(catalog, records=records)


def test_parts_of_a_file_are_cut_out_of_it(catalog: Catalog) -> None:
    image = read_image(catalog.records[0].path)
    dataset = DetectionDataset(parts(catalog), (), seed=0)
    for index, window in enumerate(WINDOWS):
        x1, y1, x2, y2 = window.corners
        sample = dataset[index]
        assert torch.equal(sample.image, image[:, y1:y2, x1:x2])
        assert sample.original_size == window.size


def test_a_file_is_decoded_once_and_only_what_is_seen_is_kept(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = parts(catalog)
    plain = DetectionDataset(seen, TRANSFORMS, seed=3)
    expected = [plain[i] for i in range(3)]
    opened: list[Path] = []

    def counted(path: Path) -> Tensor:
        opened.append(path)
        return read_image(path)

    monkeypatch.setattr("motedet.data.rasters.read_image", counted)
    cached = DetectionDataset(seen, TRANSFORMS, seed=3, cache=True)
    for _ in range(2):
        assert all(_same(cached[i], expected[i]) for i in range(3))
    assert opened == [seen.records[0].path]
    assert decoded_bytes(seen) == 3 * 52 * 48  # of 64 x 48
    assert decoded_bytes(parts(catalog, WINDOWS[1:])) == 3 * 32 * 40


@pytest.mark.parametrize("window", [Window(x=33, y=0, width=32, height=24)], ids=["to the right"])
def test_parts_outside_of_the_file_are_refused(catalog: Catalog, window: Window) -> None:
    with pytest.raises(
        DataError, match=r"image 0 is its part \[33, 0, 65, 24\] .* the file has 64 x 48 pixels"
    ):
        DetectionDataset(parts(catalog, [window]), (), seed=0)[0]


def test_parts_of_a_tiff_are_read_alone(tmp_path: Path, catalog: Catalog) -> None:
    pytest.importorskip("rasterio")
    path = tmp_path / "a.tif"
    write_image(path)
    records = tuple(replace(record, path=path) for record in parts(catalog).records)
    expected = DetectionDataset(parts(catalog), (), seed=0)
    for cache in (False, True):
        dataset = DetectionDataset(replace(catalog, records=records), (), seed=0, cache=cache)
        assert all(torch.equal(dataset[i].image, expected[i].image) for i in range(3))
