"""Images cut into windows in memory."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from fake_data import write_image
from motedet.data import Catalog, DetectionDataset, ImageRecord
from motedet.data.cut_objects import AnyCutRule, CornerRule, SplitRule, VisibleShare
from motedet.data.records import Row
from motedet.data.tiling import Window
from motedet.data.windowed import Tiles, TrainTiles, cut_windows
from motedet.errors import DataError

CUT = TrainTiles(size=32, overlap=8, empty=0.0)


def catalog_of(*boxes: tuple[float, float, float, float], images: int = 1) -> Catalog:
    """Images of 64 x 56 pixels with the same objects."""
    rows = [Row(b, 0, i, (b[2] - b[0]) * (b[3] - b[1])) for i, b in enumerate(boxes)]
    records = tuple(
        ImageRecord.of(number + 7, Path(f"{number}.png"), size=(56, 64), rows=rows)
        for number in range(images)
    )
    return Catalog(classes=("a",), category_ids=(1,), records=records, source=Path("s.json"))


def places(catalog: Catalog) -> list[tuple[Path, tuple[int, int, int, int]]]:
    return [(r.path, r.window.corners) for r in catalog.records if r.window is not None]


def test_windows_with_objects_stay_and_hold_them() -> None:
    cut = cut_windows(catalog_of((26, 2, 30, 6), (50, 40, 60, 50)), CUT, seed=0)
    assert [corners for _, corners in places(cut)] == [
        (0, 0, 32, 32),
        (24, 0, 56, 32),
        (32, 24, 64, 56),
    ]
    assert [record.boxes.tolist() for record in cut.records] == [
        [[26, 2, 30, 6]],
        [[2, 2, 6, 6]],
        [[18, 16, 28, 26]],
    ]
    assert [record.image_id for record in cut.records] == [1, 2, 3]
    assert np.concatenate([r.annotation_ids for r in cut.records]).tolist() == [1, 2, 3]
    assert {record.path for record in cut.records} == {Path("0.png")}


@pytest.mark.parametrize(
    ("partial", "objects", "crowds"), [("ignore", 0, 1), ("drop", 0, 0), ("keep", 1, 0)]
)
def test_cut_objects_are_ignored_dropped_or_kept(
    partial: Literal["ignore", "drop", "keep"], objects: int, crowds: int
) -> None:
    rule = VisibleShare(min_visible=0.7, partial=partial)
    catalog = catalog_of((26, 0, 38, 10), (2, 2, 6, 6))
    first = cut_windows(catalog, replace(CUT, objects=rule), seed=0).records[0]
    assert first.crowd.sum() == crowds
    assert (~first.crowd).sum() == objects + 1


@pytest.mark.parametrize("rule", [VisibleShare(), CornerRule(), SplitRule()], ids=lambda r: r.kind)
def test_every_rule_can_be_asked_for(rule: AnyCutRule) -> None:
    cut = cut_windows(catalog_of((2, 2, 12, 12)), replace(CUT, objects=rule), seed=0)
    assert cut.records[0].boxes.tolist() == [[2, 2, 12, 12]]


def test_slivers_of_objects_are_left_out() -> None:
    rule = VisibleShare(min_visible=0.0, partial="keep")
    catalog = catalog_of((31.5, 2, 40, 10), (2, 2, 6, 6))
    first = cut_windows(catalog, replace(CUT, objects=rule), seed=0).records[0]
    assert first.boxes.tolist() == [[2, 2, 6, 6]]


def test_empty_windows_stay_at_the_rate_and_by_the_seed() -> None:
    catalog = catalog_of((2, 2, 6, 6), images=200)  # each with 5 windows that show nothing
    everything = cut_windows(catalog, replace(CUT, empty=1.0), seed=0)
    assert len(everything) == 200 * 6
    some = replace(CUT, empty=0.25)
    first, again, other = (cut_windows(catalog, some, seed=seed) for seed in (0, 0, 1))
    assert places(first) == places(again) != places(other)
    assert len(first) - 200 == pytest.approx(250, abs=50)
    fewer = replace(catalog, records=catalog.records[:100])
    count = len(cut_windows(fewer, some, seed=0))
    assert places(first)[:count] == places(cut_windows(fewer, some, seed=0))


def test_crowds_alone_make_an_empty_window() -> None:
    rows = [Row((2, 2, 6, 6), 0, 1, 16.0), Row((40, 30, 60, 50), 0, 2, 400.0, crowd=True)]
    record = ImageRecord.of(1, Path("a.png"), size=(56, 64), rows=rows)
    cut = cut_windows(replace(catalog_of(), records=(record,)), CUT, seed=0)
    assert len(cut) == 1


def test_parts_of_files_are_cut_further() -> None:
    catalog = catalog_of((50, 40, 60, 50))
    part = replace(catalog.records[0], window=Window(x=100, y=200, width=64, height=56))
    cut = cut_windows(replace(catalog, records=(part,)), CUT, seed=0)
    assert [corners for _, corners in places(cut)] == [(132, 224, 164, 256)]


def test_the_windows_show_the_pixels_of_their_objects(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", size=(56, 64))
    catalog = catalog_of((26, 2, 30, 6), (50, 40, 60, 50))
    record = replace(catalog.records[0], path=tmp_path / "a.png")
    whole = replace(catalog, records=(record,))
    image = DetectionDataset(whole, (), seed=0)[0].image
    dataset = DetectionDataset(cut_windows(whole, CUT, seed=0), (), seed=0, cache=True)
    x1, y1, x2, y2 = dataset[2].boxes[0].int().tolist()
    assert torch.equal(dataset[2].image[:, y1:y2, x1:x2], image[:, 40:50, 50:60])


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(DataError, match=r"s.json: no objects: 6 images with 0 annotations"):
        cut_windows(catalog_of(), replace(CUT, empty=1.0), seed=0)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"overlap": 640}, "overlap must be at least 0"),
        ({"size": 0}, "must be positive"),
        ({"empty": 1.5}, r"empty must be a share in \[0, 1\]; got 1.5"),
    ],
    ids=["overlap", "size", "empty"],
)
def test_bad_training_tiles(values: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        TrainTiles(**values)


def test_tiles_for_looking() -> None:
    tiles = Tiles(size=(512, 640), overlap=100)
    assert [w.corners for w in tiles.windows((720, 1280))] == [
        (0, 0, 640, 512),
        (540, 0, 1180, 512),
        (640, 0, 1280, 512),
        (0, 208, 640, 720),
        (540, 208, 1180, 720),
        (640, 208, 1280, 720),
    ]
    with pytest.raises(ValueError, match="overlap must be at least 0"):
        Tiles(size=(90, 640), overlap=100)
    with pytest.raises(ValueError, match="max_per_image must be at least 1; got 0"):
        Tiles(max_per_image=0)
