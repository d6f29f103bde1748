from pathlib import Path

import pytest

from fake_data import write_dota, write_image
from motedet.data import prepare_catalog
from motedet.data.formats import is_dota, read_annotations
from motedet.data.formats.dota import read_dota
from motedet.errors import DataError


def test_image_without_objects_has_an_empty_record(tmp_path: Path) -> None:
    record = read_dota(write_dota(tmp_path), split="train").records[1]
    assert (len(record), record.path.name) == (0, "P1train.png")


def test_oriented_boxes_become_their_bounding_boxes(tmp_path: Path) -> None:
    catalog = read_annotations(write_dota(tmp_path), split="train")
    record = catalog.records[0]
    assert catalog.classes == ("plane", "ship", "small-vehicle")
    assert record.boxes.tolist() == [[10, 20, 14, 26], [20, 10, 40, 30], [50, 40, 58, 43]]
    assert record.labels.tolist() == [1, 0, 2]
    assert record.areas.tolist() == [24, 400, 24]
    assert not record.crowd.any()
    assert record.path.parent == tmp_path / "train" / "images" / "part1"
    assert catalog.problems == ()


def test_difficult_objects_can_be_ignored(tmp_path: Path) -> None:
    record = read_dota(write_dota(tmp_path), split="val", ignore_difficult=True).records[0]
    assert record.crowd.tolist() == [False, True, True]
    assert not record.any_class.any()


@pytest.mark.parametrize(
    "texts", ["labelTxt", "labelTxt-v2.0", "labelTxt-v2.0/DOTA-v2.0_{}_hbb", "labelTxt/labelTxt"]
)
def test_places_of_the_text_files(tmp_path: Path, texts: str) -> None:
    write_dota(tmp_path, texts=texts)
    assert is_dota(tmp_path, "train")
    assert read_dota(tmp_path, split="train").num_objects == 3
    assert len(read_dota(tmp_path)) == 4
    assert len(read_dota(tmp_path / "val")) == 2


def test_the_version_decides_between_folders(tmp_path: Path) -> None:
    write_dota(tmp_path, texts="labelTxt-v1.5")
    with pytest.raises(DataError, match=r"expected train/ with images/ and labelTxt-v2.0/"):
        read_dota(tmp_path, split="train", version="2.0")
    newer = tmp_path / "train" / "labelTxt-v2.0"
    newer.mkdir()
    for number in (0, 1):
        (newer / f"P{number}train.txt").write_text("1 1 2 1 2 2 1 2 helipad 0\n")
    assert read_dota(tmp_path, split="train").classes == ("helipad",)


def test_chosen_and_known_classes(tmp_path: Path) -> None:
    write_dota(tmp_path)
    kept = read_dota(tmp_path, split="train", classes=("ship",))
    assert (kept.num_objects, kept.problems) == (1, ())
    strict = read_dota(tmp_path, split="train", classes=("ship",), known=("ship", "plane"))
    with pytest.raises(
        DataError, match=r"P0train.txt, image 1: unknown category: line 6: class 's"
    ):
        prepare_catalog(strict)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("1 1 2 1 2 2 1 ship 0", "line 4: expected eight numbers in `x1 y1 .*found '1 1 2 1 2"),
        ("1 1 2 1 2 2 1 2", "line 4: expected `x1 y1 .*found '1 1 2 1 2 2 1 2'"),
        ("1 1 2 1 2 2 1 2 ship 0 9", "line 4: expected `x1 y1"),
        ("1 1 2 1 2 2 1 2 ship easy", "line 4: expected eight numbers"),
        ("1 1 2 1 2 2 nan 2 ship 0", "line 4: expected eight numbers"),
    ],
)
def test_bad_lines_are_refused(tmp_path: Path, line: str, match: str) -> None:
    path = write_dota(tmp_path) / "train/labelTxt-v2.0/DOTA-v2.0_train/P0train.txt"
    path.write_text(f"'imagesource':GoogleEarth\n'gsd':0.1\n1 1 2 1 2 2 1 2 ship\n{line}\n")
    with pytest.raises(DataError, match=match):
        prepare_catalog(read_dota(tmp_path, split="train"))


def test_files_without_a_partner_are_named(tmp_path: Path) -> None:
    write_dota(tmp_path)
    (tmp_path / "train/images/part1/P1train.png").unlink()
    write_image(tmp_path / "train/images/P9.png")
    problems = read_dota(tmp_path, split="train").problems
    assert {(p.kind, p.file.name) for p in problems} == {
        ("missing image", "P1train.txt"),
        ("missing annotations", "P9.png"),
    }
    assert "expected" in problems[1].message


def test_nothing_there(tmp_path: Path) -> None:
    assert not is_dota(tmp_path)
    with pytest.raises(DataError, match="expected val/ with images/ and labelTxt"):
        read_dota(tmp_path, split="val")
