import re
from pathlib import Path

import numpy as np
import pytest

from fake_data import BOXES, write_image, write_yolo
from motedet.data.formats import read_annotations
from motedet.errors import DataError

XYXY = [[x, y, x + w, y + h] for x, y, w, h in BOXES]


@pytest.mark.parametrize("name", ["", "data.yaml"], ids=["folder", "yaml"])
def test_splits_and_boxes(tmp_path: Path, name: str) -> None:
    catalog = read_annotations(write_yolo(tmp_path) / name, split="train")
    assert catalog.classes == ("car", "ship")
    assert [r.path.relative_to(tmp_path).as_posix() for r in catalog.records] == [
        "images/train/a.png",
        "images/train/b.png",
    ]
    np.testing.assert_allclose(catalog.records[0].boxes, XYXY, atol=1e-9)
    assert catalog.records[0].labels.tolist() == [0, 1, 0]
    assert len(catalog.records[1]) == 0
    assert (catalog.records[0].height, catalog.records[0].width) == (48, 64)


def test_without_split_everything_is_read(tmp_path: Path) -> None:
    catalog = read_annotations(write_yolo(tmp_path))
    assert [record.image_id for record in catalog.records] == [1, 2, 3, 4]


def test_folder_of_images_finds_the_names_above(tmp_path: Path) -> None:
    catalog = read_annotations(write_yolo(tmp_path) / "images" / "val")
    assert catalog.classes == ("car", "ship")
    assert catalog.num_objects == 3


def test_without_yaml_the_names_must_be_given(tmp_path: Path) -> None:
    (write_yolo(tmp_path) / "data.yaml").unlink()
    with pytest.raises(DataError, match="the classes have no names"):
        read_annotations(tmp_path, split="train")
    catalog = read_annotations(tmp_path, split="train", classes=("x", "y"))
    assert catalog.classes == ("x", "y")


def test_chosen_classes_set_the_labels(tmp_path: Path) -> None:
    catalog = read_annotations(write_yolo(tmp_path), split="val", classes=("ship",))
    assert catalog.records[0].labels.tolist() == [0]
    with pytest.raises(DataError, match="has no class 'plane'"):
        read_annotations(tmp_path, classes=("plane",))


@pytest.mark.parametrize(
    "text",
    [
        "names: {0: car, 1: ship}\ntrain: images/train\n",
        "names: [car, ship]\npath: .\ntrain: [images/train]\n",
        "names: [car, ship]\ntrain: ../images/train\n",
        "names: [car, ship]\ntrain: train.txt\n",
    ],
    ids=["numbered names", "list of folders", "exported", "list of files"],
)
def test_forms_of_yaml(tmp_path: Path, text: str) -> None:
    (write_yolo(tmp_path) / "data.yaml").write_text(text)
    (tmp_path / "train.txt").write_text("./images/train/a.png\n./images/train/b.png\n")
    assert len(read_annotations(tmp_path, split="train")) == 2
    with pytest.raises(DataError, match="has no key 'val'"):
        read_annotations(tmp_path, split="val")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("names: [car\n", "not valid YAML"),
        ("names: {1: car}\ntrain: images/train\n", r"must be numbered 0..0; found \{1: 'car'\}"),
        ("names: car\n", "`names` must list the classes"),
        ("- 1\n", "expected keys such as `names`"),
        ("names: [car]\ntrain: nowhere\n", "'nowhere' does not exist; looked at"),
    ],
)
def test_bad_yaml(tmp_path: Path, text: str, match: str) -> None:
    (write_yolo(tmp_path) / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=match):
        read_annotations(tmp_path / "data.yaml", split="train")


def test_polygons_become_their_bounding_boxes(tmp_path: Path) -> None:
    label = write_yolo(tmp_path) / "labels" / "train" / "a.txt"
    label.write_text("1 0.25 0.5 0.5 0.25 0.375 0.75\n")
    record = read_annotations(tmp_path, split="train").records[0]
    np.testing.assert_allclose(record.boxes, [[16, 12, 32, 36]])


@pytest.mark.parametrize(
    ("line", "kind", "match"),
    [
        ("0 0.5 0.5 0.1", "bad entry", "line 1: expected `class x y width height`"),
        ("0 a b c d", "bad entry", "line 1"),
        ("0 320 240 12 12", "bad entry", "fractions of the image's width and height, not pixels"),
        ("5 0.5 0.5 0.1 0.1", "unknown category", r"class 5 is not one of 0\.\.1"),
        ("-1 0.5 0.5 0.1 0.1", "unknown category", "class -1"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, kind: str, match: str) -> None:
    (write_yolo(tmp_path) / "labels" / "train" / "a.txt").write_text(line)
    catalog = read_annotations(tmp_path, split="train")
    assert [problem.kind for problem in catalog.problems] == [kind]
    assert re.search(match, str(catalog.problems[0]))
    assert catalog.problems[0].file == tmp_path / "labels" / "train" / "a.txt"


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    (write_yolo(tmp_path) / "images" / "train" / "a.png").write_bytes(b"x")
    catalog = read_annotations(tmp_path, split="train")
    assert [problem.kind for problem in catalog.problems] == ["unreadable image"]
    assert len(catalog) == 1


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "images" / "train").mkdir(parents=True)
    with pytest.raises(DataError, match=r"no images found; looked in .*images/train"):
        read_annotations(tmp_path, split="train", classes=("a",))
    with pytest.raises(DataError, match="no images of split 'val'; looked for images/val"):
        read_annotations(tmp_path, split="val", classes=("a",))


def test_labels_beside_the_images(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    record = read_annotations(tmp_path, classes=("car",)).records[0]
    np.testing.assert_allclose(record.boxes, [[24, 18, 40, 30]])


def test_broken_yaml_of_a_folder_is_named(tmp_path: Path) -> None:
    (write_yolo(tmp_path) / "other.yaml").write_text("a: [")
    assert len(read_annotations(tmp_path)) == 4
    (tmp_path / "data.yaml").write_text("names: [car")
    with pytest.raises(DataError, match=r"data.yaml: not valid YAML"):
        read_annotations(tmp_path)


def test_label_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (write_yolo(tmp_path) / "labels" / "train" / "a.txt").write_bytes(b"\xff\xfe\x00")
    catalog = read_annotations(tmp_path, split="train")
    assert [problem.kind for problem in catalog.problems] == ["bad entry"]
