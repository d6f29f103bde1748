import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fake_data import BOXES, CLASSES, LABELS, coco_content, write_coco, write_image, write_json
from motedet.data.formats import coco_dict, read_annotations
from motedet.data.formats.coco import read_coco
from motedet.data.tiling import Window
from motedet.errors import DataError
from motedet.metrics.tables import GroundTruthTable


def test_boxes_are_half_open_and_labels_follow_the_file(tmp_path: Path) -> None:
    catalog = read_annotations(write_coco(tmp_path) / "annotations" / "train.json")
    assert catalog.classes == CLASSES
    assert catalog.category_ids == (7, 8)
    assert [record.image_id for record in catalog.records] == [10, 11]
    record = catalog.records[0]
    assert record.boxes.tolist() == [[x, y, x + w, y + h] for x, y, w, h in BOXES]
    assert record.labels.tolist() == list(LABELS)
    assert record.annotation_ids.tolist() == [100, 101, 102]
    assert record.path.is_file()
    assert len(catalog.records[1]) == 0
    assert catalog.problems == ()


def test_chosen_classes_set_the_labels(tmp_path: Path) -> None:
    path = write_coco(tmp_path) / "annotations" / "train.json"
    swapped = read_annotations(path, classes=("ship", "car"))
    assert swapped.records[0].labels.tolist() == [1, 0, 1]
    assert swapped.category_ids == (8, 7)
    one = read_annotations(path, classes=("ship",))
    assert one.records[0].annotation_ids.tolist() == [101]
    assert one.problems == ()
    with pytest.raises(DataError, match=r"train.json: has no class 'plane'; it has \['car', 'ship"):
        read_annotations(path, classes=("plane",))


def test_crowd_ignore_and_area_are_kept(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png"])
    content["annotations"][0] |= {"iscrowd": 1, "area": 3.5}
    content["annotations"][1] |= {"ignore": 1}
    del content["annotations"][2]["area"]
    record = read_annotations(write_json(tmp_path / "x.json", content)).records[0]
    assert record.crowd.tolist() == [True, False, False]
    assert record.ignore.tolist() == [False, True, False]
    assert record.areas.tolist() == [3.5, 1.0, 28.0]


def test_round_trip_through_the_dictionary(tmp_path: Path) -> None:
    path = write_coco(tmp_path) / "annotations" / "train.json"
    catalog = read_annotations(path)
    content = json.loads(path.read_text())
    written = coco_dict(catalog, image_folder=tmp_path / "images")
    assert written["images"] == content["images"]
    assert written["categories"] == content["categories"]
    again = read_annotations(
        write_json(tmp_path / "again.json", written), image_folder=tmp_path / "images"
    )
    for first, second in zip(catalog.records, again.records, strict=True):
        assert first.boxes.tolist() == second.boxes.tolist()
        assert first.annotation_ids.tolist() == second.annotation_ids.tolist()


@pytest.mark.parametrize(
    ("key", "value", "kind", "match"),
    [
        ("id", 101, "duplicate annotation id", "used before"),
        ("image_id", 99, "unknown image id", "no image with id 99"),
        ("category_id", 55, "unknown category", r"category_id 55 is not one of \[7, 8\]"),
        ("bbox", [1, 2, 3], "bad entry", r"annotations\[2\]: `bbox` must be \[x, y, width, height"),
        ("bbox", None, "bad entry", "`bbox` must be"),
        ("bbox", [1, 2, "3", 4], "bad entry", "`bbox` must be"),
        ("image_id", "ten", "bad entry", "`image_id` must be a whole number; found 'ten'"),
    ],
)
def test_bad_annotations_are_named_and_left_out(
    tmp_path: Path, key: str, value: object, kind: str, match: str
) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png"])
    content["annotations"][2][key] = value
    catalog = read_annotations(write_json(tmp_path / "x.json", content))
    assert catalog.num_objects == 2
    assert [problem.kind for problem in catalog.problems] == [kind]
    assert catalog.problems[0].severity == "fatal"
    assert re.search(match, str(catalog.problems[0]))


@pytest.mark.parametrize("key", ["image_id", "category_id", "bbox"])
def test_missing_keys_are_named(tmp_path: Path, key: str) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png"])
    del content["annotations"][0][key]
    problem = read_annotations(write_json(tmp_path / "x.json", content)).problems[0]
    assert f"annotation 100: bad entry: annotations[0]: the key `{key}` is missing" in str(problem)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"id": 10}, "duplicate image id"),
        ({"width": None}, "bad entry"),
        ({"file_name": 3}, "bad entry"),
    ],
)
def test_bad_images_are_named(tmp_path: Path, change: dict[str, object], kind: str) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png", "b.png"])
    content["images"][1] |= change
    catalog = read_annotations(write_json(tmp_path / "x.json", content))
    assert [problem.kind for problem in catalog.problems] == [kind]
    assert len(catalog) == 1


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"images": [', r"x.json: line 1, column 13: not valid JSON"),
        ("[1]", "expected a COCO object"),
        ("{}", "needs a list `categories`"),
        ('{"categories": {}}', "needs a list `categories`; found dict"),
        ('{"categories": [{"id": 1}]}', r"categories\[0\]: the key `name` is missing"),
        ('{"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "listed twice"),
    ],
)
def test_files_that_are_no_coco_files(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=match):
        read_annotations(tmp_path / "x.json")


def test_images_that_are_nowhere_are_named_with_the_places(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    path = write_json(tmp_path / "annotations" / "train.json", coco_content(["sub/a.png"]))
    with pytest.raises(DataError, match=r"'sub/a.png'; looked in .*images/"):
        read_annotations(path)


@pytest.mark.parametrize(
    ("json_name", "image_name"),
    [
        ("annotations/train.json", "images/a.png"),
        ("annotations/train.json", "images/train/a.png"),
        ("annotations/train.json", "train/a.png"),
        ("annotations/instances_val2017.json", "val2017/a.png"),
        ("annotations/small_trainval_v1_1.0.json", "trainval/a.png"),
        ("valid/_annotations.coco.json", "valid/a.png"),
        ("train.json", "a.png"),
    ],
)
def test_usual_places_of_images(tmp_path: Path, json_name: str, image_name: str) -> None:
    write_image(tmp_path / image_name)
    path = write_json(tmp_path / json_name, coco_content(["a.png"]))
    assert read_annotations(path).records[0].path == tmp_path / image_name


def test_unknown_path_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("")
    with pytest.raises(DataError, match=r"it has readme.txt.*Expected a COCO .json file"):
        read_annotations(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        read_annotations(tmp_path / "nope")


@pytest.mark.parametrize(("ids", "written"), [((0, 1, 2), [1, 2, 3]), ((5, 3, 9), [5, 3, 9])])
def test_ids_that_scorers_cannot_use_are_counted_anew(
    tmp_path: Path, ids: tuple[int, ...], written: list[int]
) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png"])
    for annotation, key in zip(content["annotations"], ids, strict=True):
        annotation["id"] = key
    catalog = read_annotations(write_json(tmp_path / "x.json", content))
    annotations = coco_dict(catalog)["annotations"]
    assert isinstance(annotations, list)
    assert [annotation["id"] for annotation in annotations] == written


def test_crowds_of_any_class_are_written_per_class_and_read_as_one(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    path = write_json(tmp_path / "x.json", coco_content(["a.png"]))
    catalog = read_coco(path, classes=("car",), ignored=("ship", "not there"))
    assert catalog.records[0].any_class.tolist() == [False, True, False]
    both = replace(catalog, classes=("car", "ship"), category_ids=(7, 8))
    written = coco_dict(both)
    annotations = written["annotations"]
    assert isinstance(annotations, list)
    assert [(a["id"], a["category_id"], a["iscrowd"]) for a in annotations] == [
        (1, 7, 0),
        (2, 7, 1),
        (3, 8, 1),
        (4, 7, 0),
    ]
    back = read_coco(write_json(tmp_path / "y.json", written)).records[0]
    assert back.any_class.tolist() == [False, True, False]
    assert back.crowd.tolist() == [False, True, False]
    assert back.boxes.tolist() == catalog.records[0].boxes.tolist()


def test_a_crowd_of_some_classes_stays_as_it_is(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png"])
    content["annotations"][1]["iscrowd"] = 1
    record = read_coco(write_json(tmp_path / "x.json", content)).records[0]
    assert record.crowd.tolist() == [False, True, False]
    assert not record.any_class.any()


def test_corners_make_images_parts_of_one_file_and_are_written_back(tmp_path: Path) -> None:
    write_image(tmp_path / "sub" / "a.png", size=(96, 100))
    content = coco_content(["sub/a.png", "sub/a.png"])
    content["images"][1]["corner"] = [36, 48, 100, 96]
    catalog = read_annotations(write_json(tmp_path / "x.json", content))
    whole, part = catalog.records
    assert whole.window is None
    assert part.window == Window(x=36, y=48, width=64, height=48)
    assert whole.path == part.path
    images = coco_dict(catalog, image_folder=tmp_path)["images"]
    assert images == content["images"]


@pytest.mark.parametrize(
    ("corner", "match"),
    [
        ([0, 0, 64, 47], r"`corner` \[0, 0, 64, 47\] is 64 x 47 pixels, .* to have 64 x 48"),
        ([36, 48, 64, 48], r"right and bottom excluded; found \[36, 48, 64, 48\]"),  # xywh
        ([-1, 0, 63, 48], r"must be \[left, top, right, bottom\] .*; found \[-1, 0, 63, 48\]"),
        ([0.5, 0, 64.5, 48], r"in whole pixels"),
        ([0, 0, 64], r"must be \[left"),
        ("all", r"found 'all'"),
    ],
    ids=["size", "width and height", "outside", "fractions", "three", "text"],
)
def test_impossible_corners_are_named(tmp_path: Path, corner: object, match: str) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png", "b.png"])
    content["images"][1]["corner"] = corner
    catalog = read_annotations(write_json(tmp_path / "x.json", content))
    assert len(catalog) == 1
    assert [problem.kind for problem in catalog.problems] == ["bad entry"]
    assert re.search(r"image 11: bad entry: images\[1\]: ", str(catalog.problems[0]))
    assert re.search(match, str(catalog.problems[0]))


def test_marks_are_read_and_written_where_there_are_any(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    content = coco_content(["a.png"])
    for number, annotation in enumerate(content["annotations"]):
        annotation |= {"uncertain": number == 1, "logo": False, "ignore": number == 2}
    catalog = read_annotations(write_json(tmp_path / "x.json", content))
    assert catalog.records[0].marked("uncertain").tolist() == [False, True, False]
    annotations = coco_dict(catalog)["annotations"]
    assert isinstance(annotations, list)
    assert [a["uncertain"] for a in annotations] == [0, 1, 0]
    assert [a["ignore"] for a in annotations] == [0, 0, 1]
    assert not any("logo" in a for a in annotations)
    table = GroundTruthTable.of(coco_dict(catalog))  # what protocols see
    assert table.uncertain.tolist() == [False, True, False]
    assert table.ignore.tolist() == [False, False, True]
