from pathlib import Path

import pytest

from fake_data import write_image, write_visdrone
from motedet.data import DetectionDataset, prepare_catalog
from motedet.data.formats import is_visdrone, read_annotations
from motedet.data.formats.visdrone import VISDRONE_CLASSES, read_visdrone
from motedet.data.records import Catalog
from motedet.errors import DataError


def _with_line(root: Path, line: str) -> Catalog:
    """The train part, whose first file has a good line and another."""
    path = write_visdrone(root) / "VisDrone2019-DET-train" / "annotations" / "train_a.txt"
    path.write_text(f"1,1,5,5,1,4,0,0\n{line}\n")
    return read_visdrone(root, split="train")


def test_image_without_objects_has_an_empty_record(tmp_path: Path) -> None:
    record = read_visdrone(write_visdrone(tmp_path), split="train").records[1]
    assert (len(record), record.boxes.shape, record.path.name) == (0, (0, 4), "train_b.jpg")


def test_boxes_classes_and_what_does_not_count(tmp_path: Path) -> None:
    catalog = read_annotations(write_visdrone(tmp_path), split="train")
    record = catalog.records[0]
    assert catalog.classes == VISDRONE_CLASSES
    assert catalog.category_ids == tuple(range(1, 11))
    assert (record.height, record.width) == (48, 64)
    assert record.boxes.tolist() == [
        [10, 20, 14, 26],
        [30, 5, 31, 6],
        [0, 28, 20, 48],
        [40, 30, 45, 35],
        [50, 40, 58, 43],
    ]
    assert [VISDRONE_CLASSES[i] for i in record.labels[[0, 1, 4]]] == ["car", "pedestrian", "van"]
    assert record.crowd.tolist() == [False, False, True, True, True]
    assert record.any_class.tolist() == [False, False, True, True, False]
    assert catalog.problems == ()


def test_ignored_regions_reach_the_targets(tmp_path: Path) -> None:
    catalog = prepare_catalog(read_visdrone(write_visdrone(tmp_path), split="train"))
    targets = DetectionDataset(catalog, [], seed=0)[0].targets()
    assert targets.boxes.tolist() == [[10, 20, 14, 26], [30, 5, 31, 6]]
    assert targets.ignore_boxes.tolist() == [
        [0, 28, 20, 48],
        [40, 30, 45, 35],
        [50, 40, 58, 43],
    ]


def test_without_a_split_everything_is_read(tmp_path: Path) -> None:
    write_visdrone(tmp_path, parts=("train", "val", "test-dev"))
    records = read_visdrone(tmp_path).records
    assert [record.image_id for record in records] == [1, 2, 3, 4, 5, 6]
    assert read_visdrone(tmp_path, split="test-dev").records[0].path.name == "test-dev_a.jpg"


def test_plain_names_and_a_part_by_itself(tmp_path: Path) -> None:
    write_visdrone(tmp_path)
    part = (tmp_path / "VisDrone2019-DET-val").rename(tmp_path / "val")
    assert read_visdrone(tmp_path, split="val").records[0].path == part / "images" / "val_a.jpg"
    assert len(read_annotations(part)) == 2
    assert is_visdrone(part)
    assert not is_visdrone(part, "val")


def test_chosen_classes_keep_the_ignored_regions(tmp_path: Path) -> None:
    catalog = read_visdrone(write_visdrone(tmp_path), split="train", classes=("van", "car"))
    record = catalog.records[0]
    assert catalog.category_ids == (5, 4)
    assert record.labels[~record.any_class].tolist() == [1, 0]
    assert record.any_class.sum() == 2
    with pytest.raises(DataError, match="has no class 'plane'; it has"):
        read_visdrone(tmp_path, classes=("plane",))


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("1,2,3,4,1,4,0", r"bad entry: line 2: expected `x,y,width,height,score.*found '1,2,3,4,1"),
        ("1,2,3,4,1,4,0,0,7", r"bad entry: line 2: expected `x,y.*found '1,2,3,4,1,4,0,0,7'"),
        ("1,two,3,4,1,4,0,0", r"bad entry: line 2: expected numbers `x,y.*found '1,two,3"),
        ("1 2 3 4 1 4 0 0", "bad entry: line 2: expected"),
        ("1,2,3,4,1,12,0,0", r"unknown category: line 2: category 12 is not one of 0\.\.11"),
        ("1,2,3,4,1,-1,0,0", "unknown category: line 2: category -1"),
    ],
)
def test_bad_lines_are_refused_by_file_and_line(tmp_path: Path, line: str, match: str) -> None:
    catalog = _with_line(tmp_path, line)
    assert len(catalog.records[0]) == 1
    with pytest.raises(DataError, match=rf"train_a\.txt, image 1: {match}"):
        prepare_catalog(catalog)


def test_boxes_without_area_are_left_to_the_check(tmp_path: Path) -> None:
    prepared = prepare_catalog(_with_line(tmp_path, "5,5,0,4,1,4,0,0"))
    assert [problem.kind for problem in prepared.problems] == ["zero-size box"]
    assert len(prepared.records[0]) == 1


def test_files_without_a_partner_are_named(tmp_path: Path) -> None:
    folder = write_visdrone(tmp_path) / "VisDrone2019-DET-train"
    (folder / "images" / "train_a.jpg").write_bytes(b"x")
    (folder / "annotations" / "train_b.txt").unlink()
    (folder / "annotations" / "c.txt").write_text("")
    found = {(p.kind, p.file.name) for p in read_visdrone(tmp_path, split="train").problems}
    assert found == {
        ("unreadable image", "train_a.jpg"),
        ("missing annotations", "train_b.jpg"),
        ("missing image", "c.txt"),
    }


def test_nothing_there(tmp_path: Path) -> None:
    write_image(tmp_path / "val" / "images" / "a.jpg")
    assert not is_visdrone(tmp_path)
    with pytest.raises(DataError, match="expected VisDrone2019-DET-val/ with images/"):
        read_visdrone(tmp_path, split="val")
