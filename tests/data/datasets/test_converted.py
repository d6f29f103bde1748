from pathlib import Path

import pytest

from fake_data import CLASSES, coco_content, write_image, write_json
from motedet.data.datasets.converted import first_file, read_converted
from motedet.errors import DataError


def test_first_file(tmp_path: Path) -> None:
    assert first_file(tmp_path, ()) is None
    assert first_file(tmp_path, ("a.json", "b.json")) is None
    for name in ("b.json", "c.json"):
        (tmp_path / name).write_text("{}")
    assert first_file(tmp_path, ("a.json", "b.json", "c.json")) == tmp_path / "b.json"


def test_the_usual_places_come_before_the_original_one(tmp_path: Path) -> None:
    path = write_json(tmp_path / "annotations" / "val.json", coco_content(["a.png"]))
    original = tmp_path / "published" / "images"
    with pytest.raises(DataError, match="its images were not found"):
        read_converted(path, classes=CLASSES, original=original)
    write_image(original / "a.png")
    assert (
        read_converted(path, classes=CLASSES, original=original).records[0].path.parent == original
    )
    write_image(tmp_path / "val" / "a.png")
    found = read_converted(path, classes=CLASSES, original=original).records[0].path
    assert found == tmp_path / "val" / "a.png"


def test_ignored_categories_become_regions_of_no_class(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    path = write_json(tmp_path / "x.json", coco_content(["a.png"]))
    record = read_converted(
        path, classes=("car",), original=tmp_path, ignored=("ship", "plane")
    ).records[0]
    assert record.any_class.tolist() == [False, True, False]
