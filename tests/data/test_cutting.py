from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fake_data import write_coco, write_dota, write_image, write_visdrone
from motedet.data import DetectionDataset, read_image
from motedet.data.check import check_dataset
from motedet.data.cutting import SOURCES, Cut, cut_catalog, cut_dataset
from motedet.data.datasets import DOTA, Folder, VisDrone
from motedet.data.records import Catalog, ImageRecord, Row
from motedet.data.tiling import Window, boxes_to_image
from motedet.errors import DataError

CUT = Cut(window=32, overlap=8)


def _catalog(path: Path, *boxes: tuple[float, float, float, float], size: int = 128) -> Catalog:
    write_image(path, size=(size, size))
    rows = [Row(b, i % 2, i + 1, (b[2] - b[0]) * (b[3] - b[1])) for i, b in enumerate(boxes)]
    record = ImageRecord.of(1, path, size=(size, size), rows=rows)
    return Catalog(
        classes=("a", "b"), category_ids=(1, 2), records=(record,), source=path.parent / "s.json"
    )


def _window(record: ImageRecord) -> Window:
    """Where a tile lay, from its name."""
    x, y = record.path.stem.split("__1__")[1].split("___")
    return Window(x=int(x), y=int(y), width=record.width, height=record.height)


@pytest.mark.parametrize("options", [{"overlap": 32}, {"overlap": -1}, {"window": 0}])
def test_bad_windows_are_refused(options: dict[str, int]) -> None:
    values: dict[str, Any] = {"window": 32, "overlap": 8} | options
    with pytest.raises(ValueError, match=r"must be positive|overlap must be at least 0"):
        Cut(**values)


def test_image_without_objects_is_cut_all_the_same(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path / "a.png", size=40)
    tiles = cut_catalog(catalog, tmp_path / "out", CUT, file="annotations/t.json", folder="t")
    assert [record.path.name for record in tiles.records] == [
        "a__1__0___0.png",
        "a__1__8___0.png",
        "a__1__0___8.png",
        "a__1__8___8.png",
    ]
    assert tiles.num_objects == 0
    assert (tmp_path / "out" / "annotations" / "t.json").is_file()


def test_tiles_hold_the_pixels_of_the_image(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path / "a.png", (1, 1, 5, 5), size=70)
    tiles = cut_catalog(catalog, tmp_path / "out", CUT, file="t.json", folder="t")
    image = read_image(tmp_path / "a.png")
    for record in tiles.records:
        x1, y1, x2, y2 = _window(record).corners
        assert (read_image(record.path) == image[:, y1:y2, x1:x2]).all()


def test_the_union_of_the_tiles_is_the_source(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 119, (60, 2))
    corners = np.concatenate([low, low + rng.uniform(1, 8, (60, 2))], axis=1)
    catalog = _catalog(tmp_path / "a.png", *map(tuple, corners.tolist()))
    tiles = cut_catalog(catalog, tmp_path / "out", CUT, file="t.json", folder="t")
    found: set[tuple[float, ...]] = set()
    for record in tiles.records:
        whole = ~record.crowd
        back = boxes_to_image(record.boxes[whole], _window(record))
        found |= {
            (*np.round(box, 6), label)
            for box, label in zip(back.tolist(), record.labels[whole], strict=True)
        }
    source = catalog.records[0]
    expected = {
        (*np.round(box, 6), label)
        for box, label in zip(source.boxes.tolist(), source.labels, strict=True)
    }
    assert expected <= found  # all are whole somewhere; cut ones of 0.7 and more come on top
    ids = [int(key) for record in tiles.records for key in record.annotation_ids]
    assert ids == list(range(1, len(ids) + 1))


def test_dota_reads_its_tiles_back(tmp_path: Path) -> None:
    source, out = write_dota(tmp_path / "source"), tmp_path / "out"
    for split in ("train", "val"):
        tiles = cut_dataset(
            source, out, CUT, dataset="dota", split="train" if split == "train" else "val"
        )
        assert tiles.source == out / "annotations" / f"dota_v2.0_{split}.json"
    back = DOTA().catalog(out, "train")
    assert len(back) == 2 * 3 * 2  # 64 x 48 px in steps of 24
    assert back.records[0].path.parent == out / "train"
    written = cut_dataset(source, tmp_path / "b", CUT, dataset="dota", split="train")
    for one, other in zip(back.records, written.records, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes)
        assert one.labels.tolist() == other.labels.tolist()
        assert one.crowd.tolist() == other.crowd.tolist()
    assert [p for p in check_dataset(out).fatal if p.kind != "no objects"] == []


def test_regions_of_no_class_survive(tmp_path: Path) -> None:
    source, out = write_visdrone(tmp_path / "source"), tmp_path / "out"
    tiles = cut_dataset(source, out, Cut(window=64, overlap=0), dataset="visdrone", split="val")
    back = VisDrone().catalog(out, "val")
    assert back.records[0].any_class.tolist() == tiles.records[0].any_class.tolist()
    assert back.records[0].boxes.tolist() == tiles.records[0].boxes.tolist()
    targets = DetectionDataset(back, [], seed=0)[0].targets()
    assert targets.ignore_boxes.tolist() == [[0, 28, 20, 48], [40, 30, 45, 35], [50, 40, 58, 43]]


def test_folders_are_cut_too(tmp_path: Path) -> None:
    source, out = write_coco(tmp_path / "source"), tmp_path / "out"
    cut_dataset(source, out, CUT, dataset="folder", split="train")
    assert Folder().catalog(out, "train").num_objects >= 3
    assert set(SOURCES) == {"dota", "visdrone", "folder"}
    with pytest.raises(DataError, match="must be one of dota, visdrone, folder; found 'voc'"):
        cut_dataset(source, out, CUT, dataset="voc", split="train")


def test_images_of_equal_names_stay_apart(tmp_path: Path) -> None:
    first, second = _catalog(tmp_path / "x" / "a.png"), _catalog(tmp_path / "y" / "a.png")
    records = (
        *first.records,
        *(ImageRecord.of(2, second.records[0].path, size=(128, 128), rows=[]),),
    )
    catalog = Catalog(
        classes=("a",), category_ids=(1,), records=records, source=tmp_path / "s.json"
    )
    tiles = cut_catalog(
        catalog, tmp_path / "out", Cut(window=128, overlap=0), file="t.json", folder="t"
    )
    assert [r.path.name for r in tiles.records] == ["a_1__1__0___0.png", "a_2__1__0___0.png"]


def test_nothing_is_written_when_an_image_is_bad(tmp_path: Path) -> None:
    source, out = write_dota(tmp_path / "source"), tmp_path / "out"
    path = source / "train/images/part1/P1train.png"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"P1train.png: cannot be read as an image"):
        cut_dataset(source, out, CUT, dataset="dota", split="train")
    assert [p for p in out.rglob("*") if p.is_file()] == []
    assert not (out / "train").exists()


def test_bad_lines_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = write_dota(tmp_path / "source")
    text = source / "train/labelTxt-v2.0/DOTA-v2.0_train/P1train.txt"
    text.write_text("1 2 3\n")
    with pytest.raises(
        DataError, match=r"P1train.txt, image 2: bad entry: line 1: expected `x1 y1"
    ):
        cut_dataset(source, tmp_path / "out", CUT, dataset="dota", split="train")
    assert not (tmp_path / "out").exists()


def test_existing_tiles_are_kept_unless_forced(tmp_path: Path) -> None:
    source, out = write_dota(tmp_path / "source"), tmp_path / "out"
    cut_dataset(source, out, CUT, dataset="dota", split="train")
    with pytest.raises(DataError, match=r"dota_v2.0_train.json: exists already; .*--force"):
        cut_dataset(source, out, CUT, dataset="dota", split="train")
    wide = Cut(window=64, overlap=0)
    cut_dataset(source, out, wide, dataset="dota", split="train", force=True)
    assert len(list((out / "train").iterdir())) == 2
    assert [p.name for p in out.rglob(".*")] == []
    (out / "train" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match=r"mine.txt: is no tile; the folder .* is not replaced"):
        cut_dataset(source, out, wide, dataset="dota", split="train", force=True)


def test_the_source_is_never_replaced(tmp_path: Path) -> None:
    source = write_dota(tmp_path)
    with pytest.raises(DataError, match="the data set to cut lies where the tiles would go"):
        cut_dataset(source, source, CUT, dataset="dota", split="train", force=True)
    assert (source / "train/images/part1/P0train.png").is_file()


def test_images_beyond_the_limit_of_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_dota(tmp_path / "source")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)
    tiles = cut_dataset(source, tmp_path / "out", CUT, dataset="dota", split="val")
    assert len(tiles) == 12
    assert Image.MAX_IMAGE_PIXELS == 200


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path / "a.png", size=32)
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError, match="out: tiles cannot be written there"):
        cut_catalog(catalog, tmp_path / "out", CUT, file="t.json", folder="t")
