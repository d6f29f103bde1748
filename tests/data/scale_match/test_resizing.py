from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fake_data import write_image
from motedet.data import read_image
from motedet.data.records import Catalog, ImageRecord, Row
from motedet.data.scale_match import ScaleLimits
from motedet.data.scale_match.histogram import Uniform
from motedet.data.scale_match.resizing import Resized, resize_images, resize_record
from motedet.errors import DataError

LIMITS = ScaleLimits(plus_one=False)


def catalog(folder: Path, *names: str, side: float = 8.0) -> Catalog:
    """64 x 48 px images with one square object in each."""
    records = []
    for number, name in enumerate(names, start=1):
        write_image(folder / name)
        rows = [Row((4.0, 4.0, 4.0 + side, 4.0 + side), 0, number, side * side)]
        records.append(ImageRecord.of(number, folder / name, size=(48, 64), rows=rows))
    return Catalog(
        classes=("car",), category_ids=(1,), records=tuple(records), source=folder / "s.json"
    )


def resize(splits: Mapping[str, Catalog], folder: Path, *, seed: int = 0) -> Resized:
    def rule(mean: float, uniform: Uniform) -> float:
        return (3 + 3 * uniform()) / mean

    return resize_images(splits, folder, rule=rule, limits=LIMITS, seed=seed, antialias=True)


def test_boxes_areas_and_regions_follow_the_image() -> None:
    rows = [
        Row((4.0, 8.0, 20.0, 24.0), 0, 11, 200.0),
        Row((0.0, 0.0, 32.0, 48.0), 1, 12, 1536.0, crowd=True),
        Row((60.0, 40.0, 70.0, 52.0), 0, 13, 120.0, ignore=True),  # over the border
        Row((1.0, 1.0, 2.0, 9.0), 0, 14, 8.0),  # half a pixel wide
        Row((-9.0, 0.0, -1.0, 5.0), 0, 15, 40.0),  # outside
    ]
    record = ImageRecord.of(1, Path("a.png"), size=(48, 64), rows=rows)
    found = resize_record(record, (24, 32), min_side=1.0)
    assert (found.height, found.width) == (24, 32)
    assert found.annotation_ids.tolist() == [11, 12, 13]
    assert found.boxes.tolist() == [[2, 4, 10, 12], [0, 0, 16, 24], [30, 20, 32, 24]]
    assert found.areas.tolist() == [50, 384, 30]
    assert found.crowd.tolist() == [False, True, False]
    assert found.ignore.tolist() == [False, False, True]
    assert len(resize_record(record, (24, 32), min_side=0.5)) == 4


def test_an_image_without_annotations() -> None:
    record = ImageRecord.of(1, Path("a.png"), size=(48, 64), rows=[])
    assert len(resize_record(record, (24, 32), min_side=1.0)) == 0


def test_files_have_the_sizes_of_their_records(tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    splits = {"train": catalog(tmp_path, "a.png", "b.png"), "val": catalog(tmp_path, "c.jpg")}
    found = resize_images(
        splits,
        tmp_path / "out",
        rule=lambda mean, _: 4 / mean,
        limits=LIMITS,
        seed=0,
        antialias=True,
        on_image=lambda *step: done.append(step),
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "c.png"]
    assert done == [(1, 3), (2, 3), (3, 3)]
    assert found.outcomes == {"matched": 3}
    assert found.left_out == 0
    for split in found.splits.values():
        for record in split.records:
            assert read_image(record.path).shape == (3, 24, 32)
            assert record.boxes.tolist() == [[2, 2, 6, 6]]


def test_an_image_at_factor_1_keeps_its_pixels(tmp_path: Path) -> None:
    splits = {"train": catalog(tmp_path, "a.png")}
    resize_images(
        splits, tmp_path / "out", rule=lambda *_: 1.0, limits=LIMITS, seed=0, antialias=True
    )
    assert (read_image(tmp_path / "out" / "a.png") == read_image(tmp_path / "a.png")).all()


def test_draws_depend_on_the_seed_and_the_place_alone(tmp_path: Path) -> None:
    splits = {"train": catalog(tmp_path, *(f"{i}.png" for i in range(8)))}
    runs = [resize(splits, tmp_path / f"out{i}", seed=i // 2) for i in range(3)]
    widths = [[r.width for r in run.splits["train"].records] for run in runs]
    assert widths[0] == widths[1] != widths[2]
    assert len(set(widths[0])) > 3


def test_files_of_equal_names_stay_apart(tmp_path: Path) -> None:
    splits = {"train": catalog(tmp_path / "x", "a.png"), "val": catalog(tmp_path / "y", "A.jpg")}
    found = resize(splits, tmp_path / "out")
    names = [r.path.name for split in found.splits.values() for r in split.records]
    assert names == ["a_000000.png", "A_000001.png"]


def test_objects_that_become_too_small_are_counted(tmp_path: Path) -> None:
    one = catalog(tmp_path, "a.png")
    rows = np.array([[30.0, 30.0, 34.0, 34.0], [4.0, 4.0, 12.0, 12.0]])
    record = ImageRecord.of(
        1,
        tmp_path / "a.png",
        size=(48, 64),
        rows=[Row((*r,), 0, i, 9.0) for i, r in enumerate(rows)],
    )
    splits = {
        "train": Catalog(
            classes=one.classes, category_ids=(1,), records=(record,), source=one.source
        )
    }
    found = resize_images(
        splits, tmp_path / "out", rule=lambda *_: 0.2, limits=LIMITS, seed=0, antialias=True
    )
    assert found.left_out == 1


def test_a_bad_image_is_named(tmp_path: Path) -> None:
    splits = {"train": catalog(tmp_path, "a.png")}
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a.png: cannot be read as an image"):
        resize(splits, tmp_path / "out")
